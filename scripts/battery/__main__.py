"""The battery: what may go wrong with a run's files, processes and inputs, many times. Bounded and resumable.

    python -m scripts.battery [--only kill flips …] [--minutes 10] [--out .battery/rows.jsonl]

One row per finished trial, with the revision of the code; a second call goes on with those that are not on record of
this revision. `--summary` prints the table alone. `--shard 0/2` and `--shard 1/2` divide the trials of a group between
two calls. Trials are forked from a process that has torch in memory, each in an empty folder.
"""

import argparse
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
GROUPS = ["kill", "flips", "signals", "crowd", "disk", "malformed", "fuzz", "soak"]
ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600.0  # seconds of a trial


def revision() -> str:
    """Of the code that is tried, `gssl` and `conf`; `-changed` where files differ from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words, "--", "gssl", "conf"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    name = git("log", "-1", "--format=%h", "--abbrev=12") or "none"
    return name + ("-changed" if git("status", "--porcelain") else "")


def rows(path: Path, of: str | None = None) -> list[dict[str, Any]]:
    """The newest row of every trial; of one revision, where `of` names it."""
    lines = path.read_text().splitlines() if path.is_file() else []
    found = {}
    for row in map(json.loads, lines):
        if of is None or row.get("revision") == of:
            found[row["group"], row["id"]] = row
    return list(found.values())


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def beside(mine: list[dict[str, Any]]) -> str:
    """What rows say beside whether their trial failed."""
    counts = Counter(row["held"] for row in mine if "held" in row)
    said = [f"{count} {name}" for name, count in sorted(counts.items())]
    if late := [row["latency"] for row in mine if "latency" in row]:
        said.append(f"latency {quantile(late, 0.5):.2f} s, p95 {quantile(late, 0.95):.2f} s, longest {max(late):.2f} s")
    return "; ".join([*said, *(row["note"] for row in mine if "note" in row)])


def summary(found: list[dict[str, Any]]) -> str:
    lines = ["| group | trials | failed | seconds, median | longest | |", "|---|--:|--:|--:|--:|---|"]
    for group in GROUPS:
        mine = [row for row in found if row["group"] == group]
        if mine:
            times = [row["seconds"] for row in mine]
            failed = sum(bool(row["what"]) for row in mine)
            lines.append(
                f"| {group} | {len(mine)} | {failed} | {quantile(times, 0.5):.1f} | {max(times):.1f} | {beside(mine)} |"
            )
    lines += [f"FAILED {row['group']} {row['id']}: {row['what'][:300]}" for row in found if row["what"]]
    return "\n".join(lines)


def one(trial: Any, home: Path, limit: float = LIMIT) -> tuple[str, dict[str, Any]]:
    """A trial in a child of its own; what went wrong, or "", and what the row says beside it."""
    from scripts.battery.trial import fork, wait

    answer, work = home / "answer", home / "work"
    work.mkdir()

    def inside() -> int:
        os.chdir(work)
        found = trial(work)
        answer.write_text(json.dumps(found if isinstance(found, tuple) else (found, {})))
        return 0

    code = wait(fork(inside, home / "log"), limit)
    if code is None:
        return "hung", {}
    if code or not answer.is_file():
        return f"the trial itself ended with {code}: {(home / 'log').read_text()[-400:]}", {}
    what, more = json.loads(answer.read_text())
    return what, more


def tried(args: argparse.Namespace, name: str) -> None:
    """Run what is not on record of this revision."""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("GSSL_CACHE", str(args.out.parent.absolute() / "cache"))
    import torch
    import torchvision.models  # noqa: F401  # seconds of a trial are not those of imports

    import gssl.cli  # noqa: F401
    from gssl.commands import pretrain_ssl, train_gan, transfer  # noqa: F401

    torch.set_num_threads(1)
    done = {(row["group"], row["id"]) for row in rows(args.out, name)}
    part, parts = map(int, args.shard.split("/"))
    for group in args.only:
        end = time.monotonic() + 60 * args.minutes
        module = importlib.import_module(f"scripts.battery.{group}")
        for at, (title, trial) in enumerate(module.trials()):
            if at % parts != part or not re.search(args.match, title):
                continue
            if ((group, title) in done and not args.again) or time.monotonic() > end:
                continue
            home, start = Path(tempfile.mkdtemp(prefix="gssl-battery-")), time.monotonic()
            what, more = one(trial, home, getattr(module, "LONGEST", LIMIT))
            row = {"revision": name, "group": group, "id": title, "what": what, **more}
            with args.out.open("a") as file:
                file.write(json.dumps(row | {"seconds": round(time.monotonic() - start, 2)}) + "\n")
            if what:
                print(f"FAILED {group} {title}: {what[:300]}", flush=True)
            shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=GROUPS)
    parser.add_argument("--match", default="", help="a regular expression: only trials with such an id")
    parser.add_argument("--shard", default="0/1", help="this of so many divisions of every group's trials")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each group at most")
    parser.add_argument("--out", type=Path, default=ROOT / ".battery" / "rows.jsonl")
    parser.add_argument("--again", action="store_true", help="run what is on record, too; its newest row counts")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--any-revision", action="store_true", help="count rows of other revisions: the newest of each")
    args = parser.parse_args()
    name = revision()
    if not args.summary:
        tried(args, name)
    found = rows(args.out, None if args.any_revision else name)
    print(f"revision {'any' if args.any_revision else name}\n{summary(found)}")
    sys.exit(any(row["what"] for row in found))


if __name__ == "__main__":
    main()
