"""Five kinds of signals at instants of training, saving, evaluation, fine-tuning: saved, the right exit code, and the
run goes on to the same bytes. The latency is from the signal to the end of the process."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from scripts.battery.kill import calm, run
from scripts.battery.trial import FAMILIES, outcome, unlike, wait

CODES = {"SIGINT": 130, "SIGTERM": 75, "SIGHUP": 75, "SIGUSR1": 75, "SIGUSR2": 75}


def signalled(name: str, kind: str, fraction: float, where: Path) -> str:
    _, seconds, _ = calm(name)
    folder = where / "run"
    pid = run(name, folder)
    time.sleep(max(0.3, fraction * seconds))  # before that the command has not begun to listen
    start = time.monotonic()
    os.kill(pid, getattr(signal, kind))
    code = wait(pid)
    latency = time.monotonic() - start
    with (Path(os.environ["GSSL_CACHE"]).with_name("latencies.jsonl")).open("a") as file:
        file.write(json.dumps({"kind": kind, "name": name, "seconds": latency, "code": code}) + "\n")
    said = folder.with_suffix(".log").read_text()
    if code == 0:
        return unlike(json.loads(calm(name)[0]), outcome(folder))  # it had ended already
    if code != CODES[kind]:
        return f"exit {code}, expected {CODES[kind]}: {said[-300:]}"
    if "Traceback" in said:
        return f"traceback: {said[-300:]}"
    again = wait(run(name, folder))
    if again != 0:
        return f"called again: exit {again}: {folder.with_suffix('.log').read_text()[-300:]}"
    return unlike(json.loads(calm(name)[0]), outcome(folder))


def trials() -> list[tuple[str, Callable[[Path], str]]]:
    rng = random.Random(1)
    names = [*FAMILIES, "transfer"]
    found: list[tuple[str, Callable[[Path], str]]] = []
    for k in range(60):
        name, kind, fraction = names[k % len(names)], list(CODES)[k % len(CODES)], rng.random()
        found.append((f"{k}-{kind}-{name}", lambda where, n=name, s=kind, f=fraction: signalled(n, s, f, where)))
    return found
