"""One process at a time, which says who it is; who only asks is no owner."""

import fcntl
import os
import socket
import threading
import time

import pytest

from gssl.engine import locks
from gssl.errors import Busy, UsageError


def test_the_owner_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    held = locks.take(tmp_path)
    with pytest.raises(
        Busy, match=rf"another process is running here \(process {os.getpid()} on {socket.gethostname()}"
    ):
        locks.take(tmp_path)
    held.close()
    locks.take(tmp_path).close()


def test_an_owner_that_has_not_written_its_name_yet_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.3)
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        timer = threading.Timer(0.4, lambda: (held.write("process 7 on here\n"), held.flush()))
        timer.start()
        with pytest.raises(Busy, match=r"running here \(process 7 on here\)"):
            locks.take(tmp_path)
        timer.join()


def test_who_asks_whether_a_run_lives_does_not_make_a_start_fail(tmp_path):
    locks.take(tmp_path).close()
    with (tmp_path / ".lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.2, lambda: fcntl.flock(asking, fcntl.LOCK_UN)).start()
        start = time.monotonic()
        locks.take(tmp_path).close()
        assert 0.1 < time.monotonic() - start < locks.PATIENCE


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_what_is_no_regular_file_is_refused_and_left_alone(tmp_path, kind):
    other, lock = tmp_path / "other.txt", tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    other.write_text("mine")
    if kind in ("link", "dangling"):
        lock.symlink_to(other if kind == "link" else tmp_path / "none")
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(UsageError, match="expected a regular file"):
        locks.take(lock.parent)
    assert other.read_text() == "mine" and not (tmp_path / "none").exists()
