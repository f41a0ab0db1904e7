"""Executors beside this machine's own processes: Slurm jobs and Ray tasks.

An executor (`Executor`) starts jobs and says how they ended. A part's directory on the shared disk is the only medium:
a job leaves job.json there (`traces`), and a part is finished where status.json and result.json say so, never because a
scheduler does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from gssl.engine.worker import BUSY, FAILED, OK, STOPPED, USAGE, Job
from gssl.errors import UsageError

LOST = "lost"  # gone without having said how it ended
Ended = tuple[Path, str, str]  # run directory, state, why

__all__ = ["BUSY", "FAILED", "LOST", "OK", "STOPPED", "USAGE", "Ended", "Executor", "Job", "Refused"]


class Refused(UsageError):
    """A scheduler does not take a job, perhaps only now."""


class Executor(Protocol):
    """Runs jobs elsewhere. `execute` starts no more than `most` at once."""

    most: int
    retry: float  # seconds until a part that another process works on is tried again

    @property
    def again(self) -> Mapping[str, int]:
        """How often a job that ended in this state, unasked, is started again."""

    def start(self, job: Job) -> None:
        """Hand over a job. Raises UsageError, `Refused` where another time may do."""

    def poll(self) -> list[Ended]:
        """The jobs that have ended since, after a moment of waiting."""

    def interrupt(self) -> None:
        """Cancel what waits, let what runs save and stop, and wait for that, but not for ever."""

    def close(self) -> None:
        """Leave nothing behind that runs, or would run."""
