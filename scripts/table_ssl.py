"""Every self-supervised method for the same time, each beside the random init of its own architecture.

    .venv/bin/python scripts/table_ssl.py data=imagefolder data.root=CIFAR10 --seconds 180 --out runs/table_ssl

Pretrains every method with its short recipe for `--seconds` of one core, then evaluates it once on the test set: kNN
and linear probe on all labels, with Wilson intervals. A few steps of each method, timed by the processor's clock, say
how many steps that is, so that each gets the same whatever else the machine does. One row is added to OUT/rows.jsonl
when a run has finished; called again, only what is missing or was configured differently is run. OUT/table.md, the
table of docs/results/ssl_cifar10.md, is written anew each time. `--only a,b` runs some rows, `--jobs 2` runs two at a
time. What is written as key=value goes to both commands.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import tables
from tables import Row, compose

from gssl.config import registry
from gssl.schemas.determining import config_hash
from gssl.statistics.intervals import wilson

VIT = "backbone=vit_micro"
PROBING = ["labels_per_class=[]", "fractions=[1.0]", "draws=1", "probe.use=[knn,linear]"]


def rows() -> list[Row]:
    """Controls first, then every method, then those that also run on the other architecture."""
    found = [Row("random convnet", None), Row("random ViT", None, (VIT,)), Row("pixels", None)]
    found += [Row(name, name) for name in registry.SSL]
    found += [Row("simmim on a convnet", "simmim", ("backbone=convnet",))]
    found += [Row("lejepa on a convnet", "lejepa", ("backbone=convnet", "ssl.batch_size=256"))]
    return found


class Table(tables.Table):
    """Pretraining, then transfer; controls are transferred only."""

    command = "pretrain-ssl"

    def commands(self, row: Row) -> tuple[str, list[list[str]]]:
        train: list[str] = []
        if row.method:
            words = [f"ssl={row.method}", *row.overrides, *self.data]
            words += ["engine.threads=1", "engine.progress=false", "engine.log_every=10", "resume=auto"]
            train = ["pretrain-ssl", *words, f"budget.steps={self.budget(words)}"]
            digest = config_hash(compose("pretrain-ssl", train[1:]))[:8]
        else:
            digest = hashlib.sha256(repr((row.name, row.overrides, self.data)).encode()).hexdigest()[:8]
        folder = f"{row.name.replace(' ', '-')}-{digest}"
        weights = str(self.out / folder / "pretrain") if row.method else row.name.split(" ")[0]
        transfer = ["transfer", f"weights={weights}", *self.data, *PROBING, "engine.threads=1", "engine.progress=false"]
        transfer += [*(() if row.method else row.overrides), "resume=auto"]
        if train:
            train.append(f"hydra.run.dir={self.out / folder / 'pretrain'}")
        transfer.append(f"hydra.run.dir={self.out / folder / 'transfer'}")
        return folder, [train, transfer] if train else [transfer]

    def entry(self, row: Row, folder: Path, lines: list[list[str]]) -> dict[str, Any]:
        result = json.loads((folder / "transfer" / "result.json").read_text())
        entry: dict[str, Any] = {}
        for score in result["scores"]:
            entry[score["probe"]] = {key: score[key] for key in ("correct", "n_test", "n_train")}
        if row.method:
            trained = json.loads((folder / "pretrain" / "result.json").read_text())
            entry["spent"], entry["val_knn"] = trained["spent"], trained["objective"]["value"]
            entry["backbone"], entry["alarms"] = trained["backbone"]["name"], trained["alarms"]
        else:
            entry["backbone"] = compose("transfer", lines[0][1:-2]).backbone.name
        return entry | {"machine": tables.machine(folder / ("pretrain" if row.method else "transfer"))}

    def summary(self, entry: dict[str, Any]) -> str:
        linear, knn = (entry[p]["correct"] / entry[p]["n_test"] for p in ("linear", "knn"))
        return f"linear {linear:.3f}, kNN {knn:.3f}"

    def markdown(self) -> str:
        """The table: accuracy with Wilson's 95% interval, best linear probe first; controls below."""
        base = {"convnet": self.rows.get("random convnet"), "vit_micro": self.rows.get("random ViT")}

        def percent(entry: dict[str, Any], probe: str) -> str:
            low, high = wilson(entry[probe]["correct"], entry[probe]["n_test"])
            return f"{100 * entry[probe]['correct'] / entry[probe]['n_test']:.1f} ({100 * low:.1f}–{100 * high:.1f})"

        def gain(entry: dict[str, Any], probe: str) -> str:
            other = base.get(entry["backbone"])
            if other is None or not entry["method"]:
                return ""
            mine = [entry[probe]["correct"], entry[probe]["n_test"]]
            its = [other[probe]["correct"], other[probe]["n_test"]]
            (low, high), (its_low, its_high) = wilson(*mine), wilson(*its)
            apart = "above" if low > its_high else "below" if high < its_low else "not separate"
            return f"{100 * (mine[0] / mine[1] - its[0] / its[1]):+.1f} {apart}".replace("-", "−")

        def accuracy(entry: dict[str, Any]) -> float:
            return float(entry["linear"]["correct"] / entry["linear"]["n_test"])

        head = "| method | backbone | steps | seconds | images/s | linear probe | − its random init | kNN | − its |"
        lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
        trained = sorted((e for e in self.rows.values() if e["method"]), key=accuracy, reverse=True)
        for entry in [*trained, *(e for e in self.rows.values() if not e["method"])]:
            spent = entry.get("spent", {})
            backbone = "" if entry["name"] == "pixels" else entry["backbone"]
            reads = entry["method"] and registry.SSL[entry["method"]].labels
            cells = [f"{entry['name']}{' (reads labels)' if reads else ''}", backbone]
            if spent:
                rate = spent["images"] / spent["cpu_seconds"]
                cells += [f"{spent['steps']:,}", f"{spent['cpu_seconds']:.0f}", f"{rate:,.0f}"]
            else:
                cells += [""] * 3
            cells += [percent(entry, "linear"), gain(entry, "linear"), percent(entry, "knn"), gain(entry, "knn")]
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tables.main(Table, rows(), __doc__ or "", "runs/table_ssl")
