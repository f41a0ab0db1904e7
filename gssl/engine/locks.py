"""The lock of a run directory: one process at a time, which says who it is. The kernel drops it when that dies."""

import errno
import fcntl
import os
import socket
import stat
import time
from pathlib import Path
from typing import TextIO

from gssl.errors import Busy, JobError, UsageError

NAME = ".lock"
PATIENCE = 1.0  # seconds: who only asks whether a run is alive holds the lock for an instant


def take(run: Path) -> TextIO:
    """The open lock of `run`. Raises Busy, which names the owner, and UsageError where the lock is no regular file."""
    path = run / NAME
    try:
        # nothing is truncated before the lock is ours, and a link leads nowhere
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise UsageError(f"{path}: expected a regular file, and it is none; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UsageError(f"{path}: expected a regular file, and it is none; remove it")
    file = os.fdopen(handle, "r+", encoding="utf-8")
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                owner = _owner(file)
                file.close()
                by = f" ({owner})" if owner else ""
                raise Busy(
                    f"{run}: another process is running here{by}; wait for it or choose another hydra.run.dir"
                ) from None
            time.sleep(0.02)
        except OSError as error:
            file.close()
            raise JobError(
                f"{path}: this file system has no locks ({error.strerror}); choose a hydra.run.dir on another one"
            ) from None
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def _owner(file: TextIO) -> str:
    """Who holds the lock; "" where nobody has written it. Between the lock and the name is an instant."""
    end = time.monotonic() + PATIENCE
    while True:
        file.seek(0)
        owner = file.read(200).strip()
        if owner or time.monotonic() > end:
            return owner
        time.sleep(0.02)
