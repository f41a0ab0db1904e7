"""The battery: what may go wrong with a run's files, processes and inputs, many times. Bounded and resumable.

    python -m scripts.battery [--only kill flips …] [--minutes 10] [--out .battery/rows.jsonl]

One row per finished trial; a second call goes on with those that are not on record. `--summary` prints the table alone.
Trials are forked from a process that has torch in memory, each in an empty folder with its own cache.
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
GROUPS = ["kill", "flips", "signals", "crowd", "disk", "malformed", "fuzz", "soak"]
ROOT = Path(__file__).resolve().parents[2]


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def summary(path: Path) -> str:
    lines = ["| group | trials | failed | seconds, median | longest |", "|---|--:|--:|--:|--:|"]
    found = rows(path)
    for group in GROUPS:
        mine = [row for row in found if row["group"] == group]
        if mine:
            times = sorted(row["seconds"] for row in mine)
            failed = sum(bool(row["what"]) for row in mine)
            lines.append(f"| {group} | {len(mine)} | {failed} | {times[len(times) // 2]:.1f} | {times[-1]:.1f} |")
    lines += [f"FAILED {row['group']} {row['id']}: {row['what'][:300]}" for row in found if row["what"]]
    return "\n".join(lines)


def one(trial, home: Path) -> str:
    """A trial in a child of its own; what went wrong, or ""."""
    from scripts.battery.trial import fork, wait

    answer = home / "answer"
    work = home / "work"
    work.mkdir()

    def inside() -> int:
        os.chdir(work)
        answer.write_text(trial(work))
        return 0

    code = wait(fork(inside, home / "log"), 600)
    if code is None:
        return "hung"
    return (
        answer.read_text() if code == 0 else f"the trial itself ended with {code}: {(home / 'log').read_text()[-400:]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=GROUPS)
    parser.add_argument("--minutes", type=float, default=60.0, help="of each group at most")
    parser.add_argument("--out", type=Path, default=ROOT / ".battery" / "rows.jsonl")
    parser.add_argument("--summary", action="store_true")
    args = parser.parse_args()
    if not args.summary:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("GSSL_CACHE", str(args.out.parent.absolute() / "cache"))
        import torch

        import gssl.cli  # noqa: F401
        from gssl.commands import pretrain_ssl, train_gan, transfer  # noqa: F401

        torch.set_num_threads(1)
        done = {(row["group"], row["id"]) for row in rows(args.out)}
        for group in args.only:
            end = time.monotonic() + 60 * args.minutes
            module = importlib.import_module(f"scripts.battery.{group}")
            for name, trial in module.trials():
                if (group, name) in done or time.monotonic() > end:
                    continue
                home, start = Path(tempfile.mkdtemp(prefix="gssl-battery-")), time.monotonic()
                what = one(trial, home)
                row = {"group": group, "id": name, "what": what, "seconds": round(time.monotonic() - start, 2)}
                with args.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                if what:
                    print(f"FAILED {group} {name}: {what[:300]}", flush=True)
                shutil.rmtree(home, ignore_errors=True)
    print(summary(args.out))
    sys.exit(any(row["what"] for row in rows(args.out)))


if __name__ == "__main__":
    main()
