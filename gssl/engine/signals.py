"""Signals end a training between two steps, never within one; outside of a loop they end the command.

SIGINT is Ctrl-C. SIGTERM, SIGHUP (the terminal has gone) and SIGUSR1/2 (a cluster takes the machine back) save and end
with exit code 75. What was ignored when the command began stays ignored: `nohup`, and a shell's `&`.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from gssl.engine import dist

CODES: dict[signal.Signals, int] = {signal.SIGINT: 130}
CODES |= {getattr(signal, name): 75 for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)}

_received: list[int] = []  # exit codes of the signals of this command, in order
_depth = 0  # of `ending` in `ending`


class Terminated(KeyboardInterrupt):
    """A signal other than SIGINT outside of a loop."""


def received() -> int:
    """The exit code that the first signal of this command asks for; 0 where there was none."""
    return _received[0] if _received else 0


class Signals:
    """Signals set a flag; the loop looks at it. A second Ctrl-C stops at once.

    In a process of several the third does: a terminal's Ctrl-C reaches it twice, the second time from the process that
    started it. One that stopped at once would leave the others waiting for it.

    Nothing is saved inside a handler: a handler that saves can hang.
    """

    def __init__(self) -> None:
        self.code = 0
        self._count = 0
        self._stack = contextlib.ExitStack()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count >= (3 if dist.here().count > 1 else 2) and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.code = self.code or CODES[signal.Signals(number)]

    def __enter__(self) -> "Signals":
        self._stack.enter_context(handled(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@contextlib.contextmanager
def handled(note: Any) -> Iterator[None]:
    """`note(number, frame)` handles every signal of `CODES` that is not ignored; in the main thread only."""
    old: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for one in CODES:
            before = signal.getsignal(one)
            if before != signal.SIG_IGN and before is not None:
                old[one] = signal.signal(one, note)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Signals end a command as Ctrl-C does. What swallows the exception cannot swallow `received`."""

    def stop(number: int, frame: FrameType | None) -> None:
        code = CODES[signal.Signals(number)]
        _received.append(code)
        raise KeyboardInterrupt if code == 130 else Terminated

    global _depth
    if not _depth:
        _received.clear()
    _depth += 1
    try:
        with handled(stop):
            yield
    finally:
        _depth -= 1
