"""The two ways a command can end badly, and the warning that does not end it. No torch here."""


class UsageError(Exception):
    """The user can fix this: a key, a value, a file. One line on stderr, exit 2.

    The message names the key or file, says what was expected and what to do.
    """


class Busy(UsageError):
    """Another process holds this run directory: wait for it, or take another one."""


class JobError(Exception):
    """The job itself failed (diverged, ran out of disk, a part died). One line on stderr, exit 1."""


class Diverged(JobError):
    """What a training step returned is not finite."""


class Interrupted(Exception):
    """A signal asked the run to stop; the last checkpoint is on disk. Exit 130 (SIGINT) or 75 (SIGTERM)."""

    def __init__(self, code: int = 130) -> None:
        super().__init__("interrupted")
        self.code = code
