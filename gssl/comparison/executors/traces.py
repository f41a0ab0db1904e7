"""What a job elsewhere and who started it leave in a part's directory: submitted.json and job.json.

submitted.json is written by who starts a job, job.json by the job, so that neither writes over the other's. Both have
the token of one start: what an earlier job left is not taken for a word of this one.
"""

import contextlib
import os
import platform
import shlex
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gssl.comparison.executors import BUSY, FAILED, LOST, OK, STOPPED, USAGE
from gssl.engine.files import find_json, write_json
from gssl.engine.recorded import finished
from gssl.engine.run import command_line
from gssl.engine.worker import Job, answered

SUBMITTED, SAID = "submitted.json", "job.json"
FINAL = (OK, FAILED, USAGE, STOPPED, BUSY)  # states of job.json after which nothing follows


class Carried:
    """A job as it is pickled: runs it where it is called, and writes job.json before and after."""

    def __init__(self, job: Job, token: str) -> None:
        self.job, self.token, self.folder = job, token, os.getcwd()
        self.words = shlex.split(command_line())

    def __call__(self) -> None:
        os.chdir(self.folder)  # names in the configuration may be relative
        before, sys.argv = sys.argv, [" ".join(self.words[:2]), *self.words[2:]]  # what `command_line` reads
        try:
            self._say("running")
            state, why = answered(self.job)
            self._say(state, why)
        finally:
            sys.argv = before

    def checkpoint(self) -> None:
        """submitit asks this before a job of its is put into the queue again: not by it, who started it does that."""

    def _say(self, state: str, why: str = "") -> None:
        about = {"host": socket.gethostname(), "device": _device(), "pid": os.getpid()}
        text = {"schema": "gssl.job/1", "token": self.token, "state": state, "why": why, **about}
        with contextlib.suppress(OSError):  # a full disk, which the run itself has met
            write_json(self.job.run_dir / SAID, text)


def _device() -> str:
    """What computes here, by name: beside each part, as machines may be unlike. Known once the job has used torch."""
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return platform.processor() or platform.machine()


@dataclass
class Trace:
    """One start of a job. id: the scheduler's name of it."""

    path: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    id: str = ""
    gone: float | None = None  # when the scheduler no longer knew it, or job.json said how it ended
    before: Any = None  # status.json as it was

    def __post_init__(self) -> None:
        self.before = find_json(self.path / "status.json")

    def submitted(self, by: str, id: str) -> None:
        """Put it on record that the job waits in the scheduler's queue."""
        self.id = id
        write_json(self.path / SUBMITTED, {"schema": "gssl.submitted/1", "by": by, "id": id, "token": self.token})

    def pid(self) -> int:
        """The process of the job, on the machine where it runs. Raises KeyError where it has not said so."""
        found = find_json(self.path / SAID) or {}
        if found.get("token") != self.token:
            raise KeyError("pid")
        return int(found["pid"])

    def answer(self, alive: bool | None, patience: float) -> tuple[str, str] | None:
        """(state, why) where the job has ended, None while it may run.

        alive: whether the scheduler knows the job; None: it does not say. A job is given up `patience` seconds after
        it has gone, for a shared disk may show what was written a minute later.
        """
        found = find_json(self.path / SAID)
        state, why = _said(found, self.token)
        if state in FINAL and state != OK:
            return str(state), why
        if state == OK and finished(self.path):
            return OK, ""
        if state != OK and alive is not False:
            self.gone = None
            return None
        if self.gone is None:
            self.gone = time.monotonic()
        if time.monotonic() - self.gone < patience:
            return None
        return self._without_answer(state)

    def _without_answer(self, state: str | None) -> tuple[str, str]:
        """Of a job that has gone: what status.json says, where this job has written it."""
        if finished(self.path):
            return OK, ""
        if state == OK:
            return FAILED, f"it ended well, and {self.path / 'result.json'} is not there"
        now = find_json(self.path / "status.json") or {}
        if now != self.before and now.get("state") == "interrupted":
            return STOPPED, "interrupted"
        if now != self.before and now.get("state") == "failed":
            return FAILED, str(now.get("error"))
        return LOST, "its job ended and left no status" + ("" if state else ", nor a sign that it began")


def _said(found: Any, token: str) -> tuple[str | None, str]:
    """What a job.json says of the job with this token."""
    if not isinstance(found, dict) or found.get("token") != token:
        return None, ""
    return str(found.get("state")), str(found.get("why") or "")


def left_behind(path: Path, by: str) -> Trace | None:
    """The start of a job that may still wait or run, by whoever started it; None where there is none on record."""
    found = find_json(path / SUBMITTED)
    if not isinstance(found, dict) or found.get("by") != by or not found.get("token") or not found.get("id"):
        return None
    if _said(find_json(path / SAID), str(found["token"]))[0] in FINAL:
        return None
    return Trace(path, str(found["token"]), str(found["id"]))
