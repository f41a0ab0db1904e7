"""Every GAN recipe for the same time, evaluated on held-out images beside the untrained generator and real images.

    .venv/bin/python scripts/table_gan.py data=imagefolder data.root=CIFAR10 --seconds 180 --out runs/table_gan

Trains every recipe for `--seconds` of one core with ten evaluations on validation images, exports the best of them by
KID, evaluates that generator once on the test images (KID with its bootstrap interval, precision, recall, coverage; for
class-conditional generators what a classifier learns from their images), and probes the backbone (linear, all labels).
Evaluator: a small classifier trained on the real training images. OUT/table.md has the tables of
docs/results/gan_tables.md. How rows, times, `--only` and `--jobs` work: scripts/tables.py. What is written as key=value
goes to every command that trains or transfers.
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

PROBING = ["labels_per_class=[]", "fractions=[1.0]", "draws=1", "probe.use=[linear]"]
CONTROLS = {"random": (), "random without norm": ("backbone=convnet_plain",), "pixels": ()}
EVALUATIONS = 10  # during training


def rows() -> list[Row]:
    """Controls of the probe, then every recipe."""
    return [
        *(Row(name, None, words) for name, words in CONTROLS.items()),
        *(Row(name, name) for name in registry.GAN),
    ]


class Table(tables.Table):
    """Training, evaluation on the test images, transfer; controls are transferred only."""

    command = "train-gan"

    def commands(self, row: Row) -> tuple[str, list[list[str]]]:
        common = ["engine.threads=1", "engine.progress=false", "resume=auto"]
        lines = []
        if row.method:
            words = [f"gan={row.method}", *row.overrides, *self.data, *common]
            steps = self.budget(words)
            every = max(1, -(-steps // EVALUATIONS))
            lines.append(["train-gan", *words, f"budget.steps={steps}", f"eval.every={every}"])
            digest = config_hash(compose("train-gan", lines[0][1:]))[:8]
        else:
            digest = hashlib.sha256(repr((row.name, row.overrides, self.data)).encode()).hexdigest()[:8]
        folder = f"{row.name.replace(' ', '-')}-{digest}"
        run = self.out / folder / "gan"
        if row.method:
            lines[0].append(f"hydra.run.dir={run}")
            lines.append(["evaluate", str(run), "--split", "test", "-o", str(self.out / folder / "evaluation.json")])
        weights = str(run) if row.method else row.name.split(" ")[0]
        transfer = [
            "transfer",
            f"weights={weights}",
            *self.data,
            *PROBING,
            *common,
            *(() if row.method else row.overrides),
        ]
        lines.append([*transfer, f"hydra.run.dir={self.out / folder / 'transfer'}"])
        return folder, lines

    def entry(self, row: Row, folder: Path, lines: list[list[str]]) -> dict[str, Any]:
        (score,) = json.loads((folder / "transfer" / "result.json").read_text())["scores"]
        entry: dict[str, Any] = {"linear": {key: score[key] for key in ("correct", "n_test", "n_train")}}
        if not row.method:
            return entry | {"machine": tables.machine(folder / "transfer")}
        trained = json.loads((folder / "gan" / "result.json").read_text())
        entry |= {key: trained[key] for key in ("spent", "alarms", "exported", "backbone")}
        entry |= {which: trained[which]["val_kid"] for which in ("last", "best")}
        first = json.loads((folder / "gan" / "metrics.jsonl").read_text().splitlines()[0])
        entry["untrained"] = {key: first[key] for key in ("val_kid", "coverage")}
        evaluated = json.loads((folder / "evaluation.json").read_text())
        entry |= {key: evaluated[key] for key in ("figures", "baseline", "evaluator", "n")}
        entry["conditional"] = evaluated.get("conditional")
        return entry | {"machine": tables.machine(folder / "gan")}

    def summary(self, entry: dict[str, Any]) -> str:
        linear = f"linear {entry['linear']['correct'] / entry['linear']['n_test']:.3f}"
        if not entry["method"]:
            return linear
        found = entry["figures"]
        ratio = f", GAN-train ÷ real {entry['conditional']['ratio']['value']:.2f}" if entry["conditional"] else ""
        return f"KID {found['kid']:.3f}, coverage {found['coverage']:.2f}, {linear}{ratio}"

    def markdown(self) -> str:
        """The table, smallest KID first; the untrained generator, real images and the probe's controls below."""
        names = ["recipe", "steps", "seconds", "KID", "precision", "recall", "coverage", "GAN-train ÷ real"]
        names += ["best of the ten", "linear probe"]
        lines = ["| " + " | ".join(names) + " |", "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
        trained = sorted((e for e in self.rows.values() if e["method"]), key=lambda e: e["figures"]["kid"])

        def linear(entry: dict[str, Any]) -> str:
            correct, n = entry["linear"]["correct"], entry["linear"]["n_test"]
            low, high = wilson(correct, n)
            return f"{100 * correct / n:.1f} ({100 * low:.1f}–{100 * high:.1f})"

        def figures(found: dict[str, Any]) -> list[str]:
            kid = f"{found['kid']:.3f} ({found['kid_low']:.3f} to {found['kid_high']:.3f})".replace("-", "−")
            return [kid, *(f"{found[key]:.2f}" for key in ("precision", "recall", "coverage"))]

        for entry in trained:
            spent, ratio = entry["spent"], (entry["conditional"] or {}).get("ratio")
            reads = registry.GAN[entry["method"]].labels
            last = "last" if entry["best"] == entry["last"] else f"step {entry['exported']['step']:,}"
            cells = [entry["name"] + (" (reads labels)" if reads else ""), f"{spent['steps']:,}"]
            cells += [f"{spent['cpu_seconds']:.0f}", *figures(entry["figures"])]
            cells += [f"{ratio['value']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else "", last]
            lines.append("| " + " | ".join([*cells, linear(entry)]) + " |")
        if trained:
            first = trained[0]
            low, high = (f(e["untrained"]["val_kid"] for e in trained) for f in (min, max))
            covered = max(e["untrained"]["coverage"] for e in trained)
            cells = ["untrained generators (validation)", "0", "", f"{low:.2f} to {high:.2f}", "", "", f"{covered:.2f}"]
            lines.append("| " + " | ".join([*cells, "", "", ""]) + " |")
            for key, name in (("train_train", "train half vs train half"), ("train_real", "train vs test")):
                found = first["baseline"][key]
                cells = [f"{name}, n = {found['n_fake']:,}", "", "", *figures(found), "1 by definition", "", ""]
                lines.append("| " + " | ".join(cells) + " |")
        for name in CONTROLS:
            if name in self.rows:
                lines.append("| " + " | ".join([f"{name} (no training)", *[""] * 8, linear(self.rows[name])]) + " |")
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tables.main(Table, rows(), __doc__ or "", "runs/table_gan")
