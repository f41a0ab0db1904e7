"""Runs the parts of a comparison in workers, side by side, each when what it needs is there."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gssl import schemas
from gssl.comparison.parts import Part
from gssl.engine.files import write_json
from gssl.engine.progress import PlanMeter, say
from gssl.engine.signals import Signals
from gssl.engine.worker import BUSY, OK, STOPPED, Job, Worker
from gssl.errors import Interrupted

RETRY = 2.0  # seconds until a part that another process works on is tried again


def execute(
    parts: list[Part],
    jobs: int,
    engine: schemas.Engine,
    commands: Mapping[str, str],
    told: Callable[[Part], None] | None = None,
    expected: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Run what is not finished, `jobs` side by side. Returns {part's name: why} of the failed ones.

    commands: `module:function` of whole commands, by name. told: is called with every part that has ended well.
    expected: seconds of parts, by name.

    Raises Interrupted on a signal, after the running parts have saved.
    """
    if not parts:
        return {}
    for part in parts:
        part.path.mkdir(parents=True, exist_ok=True)
        write_json(part.path / "part.json", part.record())
    waiting = [part for part in parts if not part.finished]
    kinds = {p.name: f"{p.stage} {p.method or p.arm} {p.budget_fraction}" for p in waiting}
    failed: dict[str, str] = {}
    bad: set[Path] = set()
    later: dict[Path, float] = {}
    workers: dict[Worker, Part | None] = {Worker(parts[0].cfg.engine.threads): None for _ in range(jobs)}
    with Signals() as signals, PlanMeter(kinds, len(parts) - len(waiting), jobs, engine.progress, expected) as meter:
        try:
            while waiting or any(workers.values()):
                for worker, busy in workers.items():
                    if busy is None and waiting and not signals.code:
                        ready = _next(waiting, workers, bad, failed, later)
                        if ready and ready.finished:  # another comparison has made it meanwhile
                            waiting.remove(ready)
                            meter.done(ready.name, OK)
                            ready = None
                        if ready:
                            waiting.remove(ready)
                            workers[worker] = ready
                            meter.begin(ready.name)
                            worker.start(Job(ready.where(commands), ready.cfg, ready.path))
                    running = workers[worker]
                    answer = worker.poll(0.2) if running else None
                    if running and answer:
                        workers[worker] = None
                        state, why = answer
                        if state == BUSY:  # another comparison makes this very part: its result will do
                            waiting.insert(0, running)
                            later[running.path] = time.monotonic() + RETRY
                            continue
                        if state not in (OK, STOPPED):
                            failed[running.name] = why
                            bad.add(running.path)
                            say(f"failed: {running.name}: {why} ({running.path / 'log.txt'})")
                        meter.done(running.name, state)
                        if told and state == OK:
                            told(running)
                for name in failed:  # what needs a failed part will not be run
                    meter.kinds.pop(name, None)
                meter.show([part.name for part in workers.values() if part])
                if not any(workers.values()) and waiting:
                    time.sleep(0.2)
                if signals.code:
                    for worker, busy in workers.items():
                        if busy:
                            worker.interrupt()
                            worker.poll(60)
                    raise Interrupted(signals.code)
        finally:
            for worker in workers:
                worker.close()
    return failed


def _next(
    waiting: list[Part],
    workers: dict[Worker, Part | None],
    bad: set[Path],
    failed: dict[str, str],
    later: dict[Path, float],
) -> Part | None:
    """The first part whose weights are there; parts that need a failed one are marked as failed too."""
    running = {part.path for part in workers.values() if part}
    missing = {part.path for part in waiting}
    for part in list(waiting):
        if bad & set(part.depends):
            waiting.remove(part)
            bad.add(part.path)
            failed[part.name] = "what it needs failed"
        elif later.get(part.path, 0.0) > time.monotonic():
            continue
        elif not (running | missing) & set(part.depends):
            return part
    return None
