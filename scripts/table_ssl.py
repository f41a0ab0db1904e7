"""Every self-supervised method for the same time, each beside the random init of its own architecture.

    .venv/bin/python scripts/table_ssl.py data=imagefolder data.root=CIFAR10 --seconds 180 --out runs/table_ssl

Pretrains every method with its short recipe for `--seconds` of one core, then judges it once on the test set: kNN and
linear probe on all labels, with Wilson intervals. A few steps of each method, timed by the processor's clock, say how
many steps that is: so whatever else the machine does, each gets the same. One row is added to OUT/rows.jsonl when a run
has finished; called again, only what is missing or was configured differently is run. OUT/table.md is made anew each
time. `--only a,b` runs some rows, `--jobs 2` runs two side by side. What is written as key=value goes to both commands.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from gssl.config import registry
from gssl.config.check import config_hash
from gssl.config.composing import compose as hydra_compose
from gssl.metrics.accuracy import wilson

COMPOSING = Lock()  # Hydra has one global state
TIMED = 25  # steps from which the time of one is measured
VIT = "backbone=vit_micro"
JUDGE = ["labels_per_class=[]", "fractions=[1.0]", "draws=1", "probe.use=[knn,linear]"]


def compose(command: str, words: list[str]) -> Any:
    with COMPOSING:
        return hydra_compose(command, words)


@dataclass(frozen=True)
class Row:
    """One line of the table: what is pretrained (nothing for controls) and what it stands beside."""

    name: str
    method: str | None
    overrides: tuple[str, ...] = ()


def rows() -> list[Row]:
    """Controls first, then every method, then those that also run on the other architecture."""
    found = [Row("random convnet", None), Row("random ViT", None, (VIT,)), Row("pixels", None)]
    found += [Row(name, name) for name in registry.SSL]
    found += [Row("simmim on a convnet", "simmim", ("backbone=convnet",))]
    found += [Row("lejepa on a convnet", "lejepa", ("backbone=convnet", "ssl.batch_size=256"))]
    return found


class Table:
    """Runs what is missing and keeps one JSON line per finished row."""

    def __init__(self, out: Path, data: list[str], seconds: float, steps: int | None) -> None:
        self.out, self.data = out, data
        self.seconds, self.steps = seconds, steps
        self.lock = Lock()
        out.mkdir(parents=True, exist_ok=True)
        self.file = out / "rows.jsonl"
        self.rows: dict[str, dict[str, Any]] = {}
        if self.file.is_file():
            for line in self.file.read_text().splitlines():
                self.rows[json.loads(line)["name"]] = json.loads(line)

    def budget(self, row: Row, words: list[str]) -> int:
        """Steps that take `seconds` on one core, measured once per configuration."""
        if self.steps:
            return self.steps
        file = self.out / "steps.json"
        key = config_hash(compose("pretrain-ssl", [*words, "budget.steps=1"]))
        with self.lock:
            known: dict[str, int] = json.loads(file.read_text()) if file.is_file() else {}
        if key not in known:
            folder = self.out / "timing" / key
            where = [f"budget.steps={TIMED}", "eval.images=100", f"hydra.run.dir={folder}"]
            if said := self._gssl(["pretrain-ssl", *words, *where]):
                raise RuntimeError(said)
            spent = json.loads((folder / "result.json").read_text())["spent"]
            with self.lock:
                known = json.loads(file.read_text()) if file.is_file() else {}
                known[key] = round(self.seconds / (spent["cpu_seconds"] / TIMED))
                file.write_text(json.dumps(known, indent=1))
        return known[key]

    def commands(self, row: Row) -> tuple[str, list[str], list[str]]:
        """A name for the folder that changes with the configuration, and the two command lines."""
        train: list[str] = []
        if row.method:
            words = [f"ssl={row.method}", *row.overrides, *self.data]
            words += ["engine.threads=1", "engine.progress=false", "engine.log_every=10", "resume=auto"]
            train = ["pretrain-ssl", *words, f"budget.steps={self.budget(row, words)}"]
            digest = config_hash(compose("pretrain-ssl", train[1:]))[:8]
        else:
            digest = hashlib.sha256(repr((row.name, row.overrides, self.data)).encode()).hexdigest()[:8]
        folder = f"{row.name.replace(' ', '-')}-{digest}"
        weights = str(self.out / folder / "pretrain") if row.method else row.name.split(" ")[0]
        judge = ["transfer", f"weights={weights}", *self.data, *JUDGE, "engine.threads=1", "engine.progress=false"]
        judge += [*(() if row.method else row.overrides), "resume=auto"]
        if train:
            train.append(f"hydra.run.dir={self.out / folder / 'pretrain'}")
        return folder, train, [*judge, f"hydra.run.dir={self.out / folder / 'transfer'}"]

    def run(self, row: Row) -> None:
        """Train, judge and record one row; a failed one is told and left out."""
        try:
            folder, train, judge = self.commands(row)
        except RuntimeError as error:
            print(f"{row.name}: FAILED: {error}", flush=True)
            return
        if self.rows.get(row.name, {}).get("folder") == folder:
            return
        start = time.perf_counter()
        for words in (train, judge):
            if words and (done := self._gssl(words)):
                print(f"{row.name}: FAILED: {done}", flush=True)
                return
        entry = self._entry(row, folder, train, judge)
        with self.lock:
            self.rows[row.name] = entry
            with self.file.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        linear, knn = (entry[p]["correct"] / entry[p]["n_test"] for p in ("linear", "knn"))
        print(f"{row.name}: linear {linear:.3f}, kNN {knn:.3f} ({time.perf_counter() - start:.0f} s)", flush=True)

    def _gssl(self, words: list[str]) -> str:
        done = subprocess.run([sys.executable, "-m", "gssl", *words], capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]

    def _entry(self, row: Row, folder: str, train: list[str], judge: list[str]) -> dict[str, Any]:
        result = json.loads((self.out / folder / "transfer" / "result.json").read_text())
        entry: dict[str, Any] = {"name": row.name, "method": row.method, "folder": folder}
        for score in result["scores"]:
            entry[score["probe"]] = {key: score[key] for key in ("correct", "n_test", "n_train")}
        entry["backbone"] = compose("transfer", judge[1:-2] if not row.method else ["weights=random"]).backbone.name
        where = self.out / folder / "transfer"
        if row.method:
            trained = json.loads((self.out / folder / "pretrain" / "result.json").read_text())
            entry["spent"], entry["val_knn"] = trained["spent"], trained["objective"]["value"]
            entry["backbone"], entry["alarms"] = trained["backbone"]["name"], trained["alarms"]
            where = self.out / folder / "pretrain"
        machine = json.loads((where / "environment.json").read_text())
        entry["machine"] = {key: machine[key] for key in ("cpu", "torch", "threads", "gssl")}
        entry["commands"] = [" ".join(["gssl", *words]) for words in (train, judge) if words]
        return entry

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

        def share(entry: dict[str, Any]) -> float:
            return float(entry["linear"]["correct"] / entry["linear"]["n_test"])

        head = "| method | backbone | steps | seconds | images/s | linear probe | − its random init | kNN | − its |"
        lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
        trained = sorted((e for e in self.rows.values() if e["method"]), key=share, reverse=True)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", help="overrides for both commands, such as data=cifar10")
    parser.add_argument("--seconds", type=float, default=180.0, help="of one core, per method")
    parser.add_argument("--steps", type=int, help="instead of seconds")
    parser.add_argument("--out", type=Path, default=Path("runs/table_ssl"))
    parser.add_argument("--only", help="comma-separated names of rows")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    chosen = [row for row in rows() if not args.only or row.name in args.only.split(",")]
    table = Table(args.out, args.data, args.seconds, args.steps)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(table.run, chosen))
    (args.out / "table.md").write_text(table.markdown())
    print(args.out / "table.md")


if __name__ == "__main__":
    main()
