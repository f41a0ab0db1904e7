"""The two ways a command can end badly, and the warning that does not end it. No torch here."""

from pathlib import Path


class UsageError(Exception):
    """The user can fix this: a key, a value, a file. One line on stderr, exit 2.

    The message names the key or file, says what was expected and what to do.
    """


class Busy(UsageError):
    """Another process holds this run directory: wait for it, or take another one."""


class Damaged(UsageError):
    """A document is there and is not what gssl writes: damaged, changed, or something else under its name."""

    def __init__(self, path: Path, why: str, advice: str = "put back a whole copy, or make it again") -> None:
        super().__init__(f"{path}: {why}; {advice}")
        self.path, self.why = path, why


class JobError(Exception):
    """The job itself failed (diverged, ran out of disk, a part died). One line on stderr, exit 1."""


class Diverged(JobError):
    """What a training step returned is not finite."""


class Interrupted(Exception):
    """A signal asked the run to stop; the last checkpoint is on disk. Exit 130 (SIGINT) or 75 (SIGTERM)."""

    def __init__(self, code: int = 130) -> None:
        super().__init__("interrupted")
        self.code = code


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def describe(error: BaseException) -> str:
    """One line for a failed job: our own messages as they are, others with their type."""
    return one_line(error) if isinstance(error, UsageError | JobError) else f"{type(error).__name__}: {one_line(error)}"
