"""Five kinds of signals in training, evaluation, metrics of a GAN, probes, the building of a cache, and a comparison.

Each ends with its exit code and, called again, gives the same bytes. The latency is from the signal to the end of the
process. In training and comparisons the instant is drawn in time, else at the k-th event of a phase.
"""

import functools
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.battery.instants import watch
from scripts.battery.kill import again, called, calm, calm_comparison, compared, compared_again, left_behind
from scripts.battery.kill import kept as made_once
from scripts.battery.malformed import folder as pictures
from scripts.battery.trial import FAMILIES, TRAIN, Found, Trial, command, fork, outcome, unlike, wait

CODES = {"SIGINT": 130, "SIGTERM": 75, "SIGHUP": 75, "SIGUSR1": 75, "SIGUSR2": 75}
PLACES = ["training", "evaluation", "metrics", "probes", "cache", "compare"]
EARLIEST = 0.3  # seconds: before that the command has not begun to listen
CACHED = ["transfer", "weights=random", "backbone.width=8", "labels_per_class=[2]", "draws=1", "probe.use=[knn]"]
CACHED += ["diagnose.pictures=false", "data=imagefolder", *TRAIN]


def from_outside(work: Callable[[], int], kind: str, after: float, log: Path) -> tuple[int, int | None, float]:
    """A child's id, its exit code and seconds from the signal, which is sent `after` so many seconds."""
    pid = fork(work, log)
    time.sleep(max(EARLIEST, after))
    start = time.monotonic()
    os.kill(pid, getattr(signal, kind))
    code = wait(pid)
    return pid, code, time.monotonic() - start


def at_event(work: Callable[[], int], kind: str, phase: str, at: int, log: Path) -> tuple[int, int | None, float]:
    """The same with a signal at the `at`-th event of a phase."""
    sent = log.with_name("sent")

    def send(now: str, k: int) -> None:
        if now == phase and k == at:
            handle = os.open(sent, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(handle, str(time.monotonic()).encode())
            os.close(handle)
            os.kill(os.getpid(), getattr(signal, kind))

    def watched() -> int:
        watch(send)
        return work()

    pid = fork(watched, log)
    code = wait(pid)
    return pid, code, time.monotonic() - float(sent.read_text()) if sent.is_file() else -1.0


def judged(kind: str, found: tuple[int, int | None, float], log: Path, go_on: Callable[[], str]) -> Found:
    pid, code, latency = found
    said = log.read_text()
    if code == 0:  # it had all but ended
        what = go_on()
    elif code != CODES[kind]:
        what = f"exit {code}, expected {CODES[kind]}: {said[-300:]}"
    elif "Traceback" in said or latency < 0:
        what = f"a traceback, or never signalled: {said[-300:]}"
    else:
        what = left_behind(pid) or go_on()
    if code == 0:  # how long the rest took is no latency
        return what, {"held": "done already"}
    return what, {"held": "saved or nothing kept", "latency": round(latency, 3)}


def signalled(name: str, kind: str, fraction: float, phase: str | None, where: Path) -> Found:
    before, folder = calm(name), where / "run"
    log = folder.with_suffix(".log")
    work = functools.partial(called, name, folder)
    if phase:
        found = at_event(work, kind, phase, 1 + int(fraction * before["counts"][phase]), log)
    else:
        found = from_outside(work, kind, fraction * before["seconds"], log)
    return judged(kind, found, log, lambda: again(name, folder))


def in_comparison(kind: str, fraction: float, where: Path) -> Found:
    before, log = calm_comparison(), where / "log"
    found = from_outside(lambda: command(*compared(where)), kind, fraction * before["seconds"], log)
    return judged(kind, found, log, lambda: compared_again(where))


def over_images(where: Path) -> int:
    """A run over images that are in no cache yet."""
    os.environ["GSSL_CACHE"] = str(where / "cache")
    return command(*CACHED, f"data.root={where / 'p'}", f"hydra.run.dir={where / 'run'}", "resume=auto")


def calm_images(where: Path) -> dict[str, Any]:
    """Of the undisturbed run over 400 images: its outcome, and how many file operations it makes."""

    def make() -> dict[str, Any]:
        place = where / "calm"
        pictures(random.Random(7), place / "p", each=200)

        def counted() -> int:
            counts = watch(lambda phase, k: None)
            code = over_images(place)
            (place / "counts").write_text(json.dumps(counts))
            return code

        assert wait(fork(counted, place / "log")) == 0, (place / "log").read_text()
        return {"outcome": outcome(place / "run"), "file": json.loads((place / "counts").read_text())["file"]}

    found: dict[str, Any] = made_once("images", make)
    return found


def in_cache(kind: str, fraction: float, where: Path) -> Found:
    before, log = calm_images(where), where / "log"
    pictures(random.Random(7), where / "p", each=200)
    # the cache is built at the beginning: the first third of what is written
    at = 1 + int(fraction * before["file"] / 3)
    found = at_event(lambda: over_images(where), kind, "file", at, log)

    def go_on() -> str:
        code = wait(fork(lambda: over_images(where), log))
        if code != 0:
            return f"called again: exit {code}: {log.read_text()[-300:]}"
        return unlike(before["outcome"], outcome(where / "run"))

    return judged(kind, found, log, go_on)


def trials() -> list[tuple[str, Trial]]:
    rng = random.Random(1)
    found: list[tuple[str, Trial]] = []
    for k in range(60):
        place, kind, fraction = PLACES[k % 6], list(CODES)[k // 6 % 5], rng.random()
        trains = {"training": list(FAMILIES)[k // 6 % 6], "evaluation": "simclr", "metrics": "dcgan"}
        name = trains.get(place, "transfer")
        phase = {"evaluation": "evaluation", "metrics": "evaluation", "probes": "forward"}.get(place)
        trial: Trial = functools.partial(signalled, name, kind, fraction, phase)
        if place == "cache":
            trial = functools.partial(in_cache, kind, fraction)
        elif place == "compare":
            trial = functools.partial(in_comparison, kind, fraction)
        found.append((f"{k}-{kind}-{place}", trial))
    return found
