"""What is seen while a run runs, on stderr: a bar on a terminal, a line now and then elsewhere, or lines of JSON.

A line of JSON is a `gssl.progress/1` (docs/sweeps.md). The last one of a run lies in RUN/progress.json while it runs.
"""

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gssl.names import printable

LINE_EVERY = 15.0  # seconds between lines where there is no terminal
RECORD_EVERY = 1.0  # between records, as JSON or in a file
FILE = "progress.json"  # in a run directory

_as_json = False


def write_json_lines(wanted: bool) -> None:
    """Whether this process writes records in place of bars and lines, from now on."""
    global _as_json
    _as_json = wanted


def say(text: str) -> None:
    """One line on stderr."""
    if _as_json:
        kind = text.partition(":")[0]
        _emit(_record(kind if kind in ("note", "warning", "alarm", "failed") else "message", text=text))
    else:
        print(printable(text), file=sys.stderr, flush=True)


def _record(event: str, **values: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"schema": "gssl.progress/1", "event": event, "time": now, **values}


def _emit(record: dict[str, Any]) -> None:
    print(json.dumps(record), file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Meter:
    """Progress of one training: fraction done, throughput, time left. `transient`: one of many, whose bar vanishes.

    `run`: a run directory, which holds the last record while the meter is in use.
    """

    _said = 0.0  # when the last line was printed, by whichever meter
    _kept = 0.0  # when the last record was made

    def __init__(self, title: str, show: bool, transient: bool = False, run: Path | None = None) -> None:
        self.title, self.show, self.transient, self.run = title, show, transient, run
        self.terminal = show and not _as_json and sys.stderr.isatty()
        if not (transient and Meter._said):  # many short trainings have their lines in common
            Meter._said = time.monotonic()
        self._bar: Progress | None = None
        self._ended = False

    def __enter__(self) -> "Meter":
        if self.terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=self.transient,
            )
            self._task = self._bar.add_task(escape(printable(self.title)), total=1.0, text="")
            self._bar.start()
        return self

    def update(self, progress: float, step: int, seconds: float, rate: float, loss: float | None) -> None:
        """`progress` in [0, 1], `seconds` of training so far, `rate` in images per second."""
        left = seconds * (1 - progress) / progress if progress > 0 else 0.0
        self._keep(progress, step, seconds, left, rate, loss)
        number = "" if loss is None else f" · loss {loss:.4g}"
        text = f"step {step} · {rate:,.0f} img/s · {_duration(left)} left{number}"
        if self._bar:
            self._bar.update(self._task, completed=progress, text=text)
        elif self.show and not _as_json and time.monotonic() - Meter._said >= LINE_EVERY:
            Meter._said = time.monotonic()
            say(f"{self.title}: {progress:4.0%} · {text}")

    def _keep(self, progress: float, step: int, seconds: float, left: float, rate: float, loss: float | None) -> None:
        """A record, at most one in `RECORD_EVERY`, and one of the end of what is no one of many."""
        last = progress >= 1 and not self.transient
        if self._ended or not last and time.monotonic() - Meter._kept < RECORD_EVERY:
            return
        Meter._kept = time.monotonic()
        self._ended = last
        record = _record(
            "end" if last else "progress",
            title=self.title,
            run=None if self.run is None else str(self.run),
            whole=not self.transient,
            step=step,
            total=round(step / progress) if progress > 0 else None,  # of a budget of seconds: by what was made so far
            progress=round(progress, 4),
            seconds=round(seconds, 3),
            eta=round(left, 1),
            images_per_second=round(rate, 1),
            loss=loss,
        )
        if _as_json and self.show:
            _emit(record)
        if self.run:
            with contextlib.suppress(OSError):  # a full disk is met elsewhere
                temp = self.run / f".{FILE}.tmp"
                temp.unlink(missing_ok=True)  # of a killed run, or a link that leads elsewhere
                with temp.open("x", encoding="utf-8") as file:
                    file.write(json.dumps(record))
                temp.replace(self.run / FILE)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self.run:
            (self.run / FILE).unlink(missing_ok=True)


class PlanMeter:
    """Progress of a plan of many parts: how many are done, what runs now, how much time is left.

    Parts of one kind take about as long as each other, parts of different kinds do not: time left is the sum of what
    the missing parts' kinds have taken so far, shared by the workers. A kind of which none has ended takes what is
    expected, else the mean of the others.
    """

    def __init__(
        self,
        kinds: dict[str, str],
        done: int,
        jobs: int,
        show: bool,
        expected: Mapping[str, float] | None = None,
        what: str = "parts",
    ) -> None:
        """`kinds`: of every missing part, by name. `done`: parts that were there before. expected: seconds, by name.
        what: how they are called."""
        self.what = what
        self.kinds, self.jobs, self.expected = dict(kinds), jobs, dict(expected or {})
        self.total, self.finished = done + len(kinds), done
        self._show = show
        self._took: dict[str, list[float]] = {}
        self._since: dict[str, float] = {}
        self._bar: Progress | None = None

    def __enter__(self) -> "PlanMeter":
        if _as_json and self._show:
            self._emit("start", None, None)
        elif self._show and sys.stderr.isatty():
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn(f"[bold]{{task.completed:.0f}}/{{task.total:.0f}} {self.what}"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("", total=self.total, completed=self.finished)
            self._bar.start()
        elif self._show:
            say(f"{self.total} {self.what}, {self.finished} finished before{self._left()}")
        return self

    def seconds_left(self) -> float | None:
        """What is left of the plan, None while nothing has ended and nothing is expected."""
        known: list[float] = [took for found in self._took.values() for took in found] or [*self.expected.values()]
        if not known:
            return None
        usual = {kind: sum(found) / len(found) for kind, found in self._took.items()}
        mean = sum(known) / len(known)
        now = time.monotonic()
        left = 0.0
        for name, kind in self.kinds.items():
            gone = now - self._since[name] if name in self._since else 0.0
            left += max(usual.get(kind, self.expected.get(name, mean)) - gone, 0.0)
        return left / self.jobs

    def _left(self) -> str:
        seconds = self.seconds_left()
        return "" if seconds is None else f" · about {_duration(seconds)} left"

    def begin(self, name: str) -> None:
        """A part has been started."""
        self._since[name] = time.monotonic()

    def show(self, running: list[str]) -> None:
        """Redraw with the names of the running parts."""
        if self._bar:
            names = printable(", ".join(running))
            self._bar.update(self._task, completed=self.finished, description=escape(names) + self._left())

    def done(self, name: str, state: str) -> None:
        """One part has ended."""
        self.finished += 1
        kind = self.kinds.pop(name, "")
        if name in self._since:
            self._took.setdefault(kind, []).append(time.monotonic() - self._since.pop(name))
        if _as_json and self._show:
            self._emit("part", name, state)
        elif self._bar is None and self._show:
            say(f"[{self.finished}/{self.total}] {name}: {state}{self._left()}")

    def _emit(self, event: str, part: str | None, state: str | None) -> None:
        """A record in parts: `step` of `total` are finished."""
        left = self.seconds_left()
        eta = None if left is None else round(left, 1)
        progress = round(self.finished / max(self.total, 1), 4)
        counts = {"step": self.finished, "total": self.total, "progress": progress}
        _emit(_record(event, title=self.what, **counts, eta=eta, part=part, state=state))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
