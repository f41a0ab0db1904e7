"""A spawned, reusable process that runs commands one after another. Its death is one failed part."""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gssl.engine.outputs import open_to_append

OK, FAILED, USAGE, STOPPED, BUSY = "ok", "failed", "usage", "stopped", "busy"  # usage: refused what it was given


@dataclass(frozen=True)
class Job:
    """`main(cfg, run_dir)`; `where` is `module:function`, so nothing heavy is pickled."""

    where: str
    cfg: Any
    run_dir: Path


def _end_with(parent: Any) -> None:
    """End this process when its parent has gone, however it went: nobody would take the answer."""
    parent.join()
    os._exit(1)


def _serve(pipe: Connection, threads: int) -> None:
    from gssl.engine.device import release_memory, set_threads

    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between jobs; the loop listens while one runs
    set_threads(threads)
    while True:
        try:
            job: Job | None = pipe.recv()
        except EOFError:
            return
        if job is None:
            return
        answer = answered(job)
        release_memory()
        pipe.send(answer)


def answered(job: Job) -> tuple[str, str]:
    """Run a job in this process: how it ended, and why where it was not well. Its log is RUN/log.txt.

    A disk that takes no log is no death of this process.
    """
    from gssl.engine.trouble import told

    try:
        job.run_dir.mkdir(parents=True, exist_ok=True)
        log = open_to_append(job.run_dir / "log.txt")
    except OSError as error:
        return FAILED, told(error, job.cfg, job.run_dir) or f"{type(error).__name__}: {error}"
    try:
        with contextlib.redirect_stderr(log):
            return _ran(job)
    finally:
        with contextlib.suppress(OSError):
            log.close()


def _ran(job: Job) -> tuple[str, str]:
    from gssl.engine.signals import ending
    from gssl.engine.trouble import told
    from gssl.errors import Busy, Interrupted, UsageError, describe
    from gssl.names import load

    try:
        with ending():
            load(job.where)(job.cfg, job.run_dir)
        return OK, ""
    except (Interrupted, KeyboardInterrupt):
        return STOPPED, "interrupted"
    except Busy as error:
        return BUSY, str(error)
    except Exception as error:
        with contextlib.suppress(OSError):
            traceback.print_exc()
        if isinstance(error, UsageError):
            return USAGE, describe(error)
        return FAILED, told(error, job.cfg, job.run_dir) or describe(error)


class Worker:
    """A process that takes one job at a time: `start`, then `poll` until it gives an answer."""

    def __init__(self, threads: int, serve: Callable[[Connection, int], None] = _serve) -> None:
        self.threads, self._serve = threads, serve
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self, job: Job) -> None:
        """Hand over a job, starting the process where there is none."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=self._serve, args=(other, self.threads), daemon=True)
            self._process.start()
            other.close()
        assert self._pipe is not None
        self._pipe.send(job)

    def poll(self, timeout: float) -> tuple[str, str] | None:
        """(state, message) when the job has ended, None while it runs."""
        assert self._pipe is not None
        try:
            if not self._pipe.poll(timeout):
                return None
            answer: tuple[str, str] = self._pipe.recv()
            return answer
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            self._process = None
            why = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            return FAILED, f"the worker process died ({why}); out of memory is the usual reason"

    def interrupt(self) -> None:
        """Ask the running job to save and stop."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()  # SIGTERM: the loop's flag

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.is_alive():
            with contextlib.suppress(OSError):
                assert self._pipe is not None
                self._pipe.send(None)
            self._process.join(10)
            if self._process.is_alive():
                self._process.kill()
        self._process = None
