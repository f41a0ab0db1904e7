"""Runs the parts of a comparison, side by side, each when what it needs is there.

By default in workers of this machine (`Local`); `gssl.comparison.executors` has the others.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.executors import BUSY, FAILED, LOST, OK, STOPPED, Ended, Executor, Refused
from gssl.comparison.parts import Part
from gssl.comparison.repair import made_ready
from gssl.engine.files import write_json
from gssl.engine.progress import PlanMeter, say
from gssl.engine.recorded import finished
from gssl.engine.signals import Signals
from gssl.engine.worker import Job, Worker
from gssl.errors import Interrupted

RETRY = 2.0  # seconds until a part that another process works on is tried again


@dataclass(frozen=True)
class Task:
    """A job with its name, the directories that must be finished before it, and of which kind it is: those of one kind
    take about as long as each other."""

    name: str
    job: Job
    depends: tuple[Path, ...] = ()
    kind: str = ""

    @property
    def path(self) -> Path:
        return self.job.run_dir

    @property
    def finished(self) -> bool:
        return finished(self.path)


def execute(
    parts: list[Part],
    jobs: int,
    engine: schemas.Engine,
    commands: Mapping[str, str],
    told: Callable[[Part], None] | None = None,
    expected: Mapping[str, float] | None = None,
    executor: schemas.Section | None = None,
) -> dict[str, str]:
    """Run what is not finished. Returns {part's name: why} of the failed ones.

    commands: `module:function` of whole commands, by name. told: is called with every part that has ended well.
    expected: seconds of parts, by name. executor: where they run; None: here, `jobs` side by side.

    Raises Interrupted on a signal, after the running parts have saved.
    """
    if not parts:
        return {}
    for part in parts:
        part.path.mkdir(parents=True, exist_ok=True)
        made_ready(part)
        write_json(part.path / "part.json", part.record())
    by_path = {part.path: part for part in parts}
    tasks = [
        Task(
            name=part.name,
            job=Job(part.where(commands), part.cfg, part.path),
            depends=part.depends,
            kind=f"{part.stage} {part.method or part.arm} {part.budget_fraction}",
        )
        for part in parts
    ]
    own = opened(executor, jobs, parts[0].cfg.engine.threads)
    return drive(tasks, own, engine.progress, told and (lambda task: told(by_path[task.path])), expected)


def opened(executor: Any, jobs: int, threads: int) -> Executor:
    """The executor that a configuration asks for; nothing is started before its first job."""
    if isinstance(executor, schemas.Slurm):
        from gssl.comparison.executors.slurm import Slurm

        return Slurm(executor)
    if isinstance(executor, schemas.Ray):
        from gssl.comparison.executors.ray import Ray

        return Ray(executor)
    return Local(jobs, threads)


class Local:
    """Workers of this machine, `jobs` side by side."""

    def __init__(self, jobs: int, threads: int) -> None:
        self.most, self.again, self.retry = jobs, dict[str, int](), RETRY
        self._workers: dict[Worker, Path | None] = {Worker(threads): None for _ in range(jobs)}

    def start(self, job: Job) -> None:
        worker = next(worker for worker, busy in self._workers.items() if busy is None)
        self._workers[worker] = job.run_dir
        worker.start(job)

    def poll(self) -> list[Ended]:
        ended: list[Ended] = []
        busy = [(worker, path) for worker, path in self._workers.items() if path]
        for worker, path in busy:
            if answer := worker.poll(0.2 / len(busy)):
                self._workers[worker] = None
                ended.append((path, *answer))
        return ended

    def interrupt(self) -> None:
        for worker, path in self._workers.items():
            if path:
                worker.interrupt()
                worker.poll(60)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


class Schedule:
    """What waits, runs and has failed. again: how often a task that ended in this state is started again."""

    def __init__(self, tasks: Sequence[Task], again: Mapping[str, int]) -> None:
        self.waiting, self.again = list(tasks), again
        self.running: dict[Path, Task] = {}
        self.failed: dict[str, str] = {}  # by name
        self._bad: set[Path] = set()
        self._later: dict[Path, float] = {}
        self._starts: Counter[tuple[Path, str]] = Counter()

    def next(self) -> Task | None:
        """The first task whose needs are there, which waits no longer; those that need a failed one fail, too."""
        missing = {task.path for task in self.waiting} | self.running.keys()
        for task in list(self.waiting):
            if self._bad & set(task.depends):
                self.waiting.remove(task)
                self._bad.add(task.path)
                self.failed[task.name] = "what it needs failed"
            elif self._later.get(task.path, 0.0) <= time.monotonic() and not missing & set(task.depends):
                self.waiting.remove(task)
                return task
        return None

    def postpone(self, task: Task, seconds: float) -> None:
        """Try it again later."""
        self.running.pop(task.path, None)
        self.waiting.insert(0, task)
        self._later[task.path] = time.monotonic() + seconds

    def ended(self, task: Task, state: str, why: str) -> str:
        """Take note of how a task ended; returns its state, "again" where it waits once more."""
        self.running.pop(task.path)
        if state in self.again:
            self._starts[task.path, state] += 1
            count, most = self._starts[task.path, state], self.again[state]
            if count <= most:
                what = "its job was lost" if state == LOST else "it was told to save and stop"
                say(f"note: {task.name}: {what}; it is submitted again ({count} of {most} times)")
                self.waiting.insert(0, task)
                return "again"
            key = "max_lost" if state == LOST else "max_preemptions"
            state, why = FAILED, f"{why} ({count} times; executor.{key}={most})"
        if state not in (OK, STOPPED):
            self.failed[task.name] = why
            self._bad.add(task.path)
            say(f"failed: {task.name}: {why} ({task.path / 'log.txt'})")
            return FAILED
        return state


def drive(
    tasks: Sequence[Task],
    executor: Executor,
    show: bool,
    told: Callable[[Task], None] | None = None,
    expected: Mapping[str, float] | None = None,
    what: str = "parts",
) -> dict[str, str]:
    """Run what is not finished of `tasks`; as `execute`. what: progress calls them so."""
    schedule = Schedule([task for task in tasks if not task.finished], executor.again)
    kinds = {task.name: task.kind for task in schedule.waiting}
    done = len(tasks) - len(kinds)
    with Signals() as signals, PlanMeter(kinds, done, executor.most, show, expected, what) as meter:
        try:
            while schedule.waiting or schedule.running:
                while not signals.code and len(schedule.running) < executor.most and (ready := schedule.next()):
                    if ready.finished:  # another comparison has made it meanwhile
                        meter.done(ready.name, OK)
                        continue
                    try:
                        executor.start(ready.job)
                    except Refused:
                        if not schedule.running:
                            raise
                        schedule.postpone(ready, executor.retry)  # a limit of the cluster's, most likely
                        break
                    schedule.running[ready.path] = ready
                    meter.begin(ready.name)
                for path, state, why in executor.poll():
                    task = schedule.running[path]
                    if signals.code and state != OK:  # a signal to all processes ends a worker that begins, too
                        state = STOPPED
                    if state == BUSY:  # another comparison makes this very part: its result will do
                        schedule.postpone(task, executor.retry)
                        continue
                    state = schedule.ended(task, state, why) if not signals.code else _over(schedule, task, state)
                    if state == "again":
                        continue
                    meter.done(task.name, state)
                    if told and state == OK:
                        told(task)
                for name in schedule.failed:  # what needs a failed part will not be run
                    meter.kinds.pop(name, None)
                meter.show([task.name for task in schedule.running.values()])
                if not schedule.running and schedule.waiting:
                    time.sleep(0.2)
                if signals.code:
                    executor.interrupt()
                    raise Interrupted(signals.code)
        finally:
            executor.close()
    return schedule.failed


def _over(schedule: Schedule, task: Task, state: str) -> str:
    """What ended after a signal is neither failed nor started again."""
    schedule.running.pop(task.path)
    return state
