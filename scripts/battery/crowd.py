"""Many processes at once: starts in one directory, starts on one cache, comparisons over one folder of parts, and
`gssl runs list` in a loop beside them."""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scripts.battery.kill import COMPARE, words_of
from scripts.battery.trial import TRAIN, command, fork, outcome, unlike, wait


def lister(folder: Path, log: Path) -> int:
    def work() -> int:
        from scripts.battery.trial import call

        end = time.monotonic() + 300
        while time.monotonic() < end:
            said = call("runs", "list", "--root", str(folder), "--json")
            if said.code or "Traceback" in said.err:
                print("LIST", said.code, said.err, flush=True)
        return 0

    return fork(work, log)


def _listed(pid: int, log: Path) -> str:
    import signal

    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    text = log.read_text() if log.is_file() else ""
    return f"runs list: {text[:200]}" if "LIST" in text else ""


def one_directory(seed: int, where: Path) -> str:
    """Twenty starts of one run: one runs, the others are refused and told by whom, or find it finished."""
    run = where / "run"
    listing = lister(where, where / "list.log")
    words = [*words_of("simclr"), f"seed={seed}", f"hydra.run.dir={run}", "resume=auto"]
    logs = [where / f"log{i}" for i in range(20)]
    pids = [fork(lambda: command(*words), log) for log in logs]
    codes = [wait(pid, 280) for pid in pids]
    if what := _listed(listing, where / "list.log"):
        return what
    for code, log in zip(codes, logs, strict=True):
        text = log.read_text()
        if "Traceback" in text:
            return text[-300:]
        if code not in (0, 2) or (code == 2 and "another process is running here (process " not in text):
            return f"exit {code}: {text[-300:]}"
    return "" if codes.count(0) >= 1 and (run / "result.json").is_file() else f"none ran: {codes}"


def one_cache(seed: int, where: Path) -> str:
    """Ten starts, in directories of their own, that need the same images: all run, with the same result."""
    os.environ["GSSL_CACHE"] = str(where / "cache")
    runs = [where / f"run{i}" for i in range(10)]
    pids = [
        fork(partial(command, *words_of("transfer"), f"hydra.run.dir={run}"), run.with_suffix(".log")) for run in runs
    ]
    codes = [wait(pid, 280) for pid in pids]
    if any(codes):
        said = next(run.with_suffix(".log").read_text() for run, code in zip(runs, codes, strict=True) if code)
        return f"exits {codes}: {said[-300:]}"
    first = outcome(runs[0])
    return next((found for run in runs if (found := unlike(first, outcome(run)))), "")


def one_parts(seed: int, where: Path) -> str:
    """Four comparisons over one folder of parts: none fails, all have one table, no part is made twice."""
    listing = lister(where, where / "list.log")
    words = [*COMPARE, *TRAIN, f"parts={where / 'parts'}"]
    pids = [fork(partial(command, *words, f"hydra.run.dir={where / f'c{i}'}"), where / f"c{i}.log") for i in range(4)]
    codes = [wait(pid, 500) for pid in pids]
    if what := _listed(listing, where / "list.log"):
        return what
    if any(codes):
        return f"exits {codes}: {next((where / f'c{i}.log').read_text()[-300:] for i in range(4) if codes[i])}"
    tables = [json.dumps(json.loads((where / f"c{i}" / "report.json").read_text())["table"]) for i in range(4)]
    return "" if len(set(tables)) == 1 else "the tables differ"


def trials() -> list[tuple[str, Callable[[Path], str]]]:
    found: list[tuple[str, Callable[[Path], str]]] = []
    for k in range(4):
        found.append((f"directory-{k}", partial(one_directory, k)))
        found.append((f"cache-{k}", partial(one_cache, k)))
        found.append((f"parts-{k}", partial(one_parts, k)))
    return found
