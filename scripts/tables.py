"""The common part of the long tables: resumable rows, equal processor time, one JSON line per finished row.

A few steps of each configuration, timed by the processor's clock, say how many steps fit into the given seconds of one
core: so whatever else the machine does, each gets the same. OUT/rows.jsonl has a line per finished row; called again,
only what is missing or was configured differently is run.
"""

import argparse
import json
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from gssl.config.composing import compose as hydra_compose
from gssl.schemas.determining import config_hash

COMPOSING = Lock()  # Hydra has one global state
TIMED = 25  # steps from which the time of one is measured


def compose(command: str, words: list[str]) -> Any:
    with COMPOSING:
        return hydra_compose(command, words)


@dataclass(frozen=True)
class Row:
    """One line of a table: what is trained (nothing for controls) and what it stands beside."""

    name: str
    method: str | None
    overrides: tuple[str, ...] = ()


class Table(ABC):
    """Runs what is missing and keeps one JSON line per finished row. `command` is what trains: pretrain-ssl, train-gan.

    A table says what a row consists of: `commands(row)` gives a name for its folder, which changes with the
    configuration, and the command lines; `entry(row, folder, lines)` reads their results; `summary(entry)` is one line.
    """

    command = ""

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

    @abstractmethod
    def commands(self, row: Row) -> tuple[str, list[list[str]]]:
        """A name for the row's folder and its command lines."""

    @abstractmethod
    def entry(self, row: Row, folder: Path, lines: list[list[str]]) -> dict[str, Any]:
        """What the commands left in `folder`, JSON-able."""

    @abstractmethod
    def summary(self, entry: dict[str, Any]) -> str:
        """A finished row in a few words."""

    @abstractmethod
    def markdown(self) -> str:
        """The table."""

    def budget(self, words: list[str]) -> int:
        """Steps that take `seconds` on one core, measured once per configuration."""
        if self.steps:
            return self.steps
        file = self.out / "steps.json"
        key = config_hash(compose(self.command, [*words, "budget.steps=1"]))
        with self.lock:
            known: dict[str, int] = json.loads(file.read_text()) if file.is_file() else {}
        if key not in known:
            folder = self.out / "timing" / key
            where = [f"budget.steps={TIMED}", "eval.images=100", f"hydra.run.dir={folder}"]
            if said := self.gssl([self.command, *words, *where]):
                raise RuntimeError(said)
            spent = json.loads((folder / "result.json").read_text())["spent"]
            with self.lock:
                known = json.loads(file.read_text()) if file.is_file() else {}
                known[key] = round(self.seconds / (spent["cpu_seconds"] / TIMED))
                file.write_text(json.dumps(known, indent=1))
        return known[key]

    def run(self, row: Row) -> None:
        """Run the commands of one row and record it; a failed one is printed and left out."""
        try:
            folder, lines = self.commands(row)
        except RuntimeError as error:
            print(f"{row.name}: FAILED: {error}", flush=True)
            return
        if self.rows.get(row.name, {}).get("folder") == folder:
            return
        start = time.perf_counter()
        for words in lines:
            if done := self.gssl(words):
                print(f"{row.name}: FAILED: {done}", flush=True)
                return
        entry: dict[str, Any] = {"name": row.name, "method": row.method, "folder": folder}
        entry |= self.entry(row, self.out / folder, lines)
        entry["commands"] = [" ".join(["gssl", *words]) for words in lines]
        with self.lock:
            self.rows[row.name] = entry
            with self.file.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        print(f"{row.name}: {self.summary(entry)} ({time.perf_counter() - start:.0f} s)", flush=True)

    def gssl(self, words: list[str]) -> str:
        """Run one command; returns what it says where it fails."""
        done = subprocess.run([sys.executable, "-m", "gssl", *words], capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def machine(run: Path) -> dict[str, Any]:
    """Hardware and versions of a run."""
    text = json.loads((run / "environment.json").read_text())
    return {key: text[key] for key in ("cpu", "torch", "threads", "gssl")}


def main(kind: type[Table], rows: Sequence[Row], doc: str, out: str) -> None:
    """The command line of a table."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", help="overrides for every command, such as data=cifar10")
    parser.add_argument("--seconds", type=float, default=180.0, help="of one core, per method")
    parser.add_argument("--steps", type=int, help="instead of seconds")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--only", help="comma-separated names of rows")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    table = kind(args.out, args.data, args.seconds, args.steps)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(table.run, [row for row in rows if not args.only or row.name in args.only.split(",")]))
    (args.out / "table.md").write_text(table.markdown())
    print(args.out / "table.md")
