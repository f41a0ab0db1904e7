"""SIGINT and SIGTERM end a training between two steps, never within one."""

import signal
import threading
from types import FrameType
from typing import Any


class Signals:
    """SIGINT and SIGTERM set a flag; the loop looks at it. A second Ctrl-C stops at once.

    Nothing is saved inside a handler: a handler that saves can hang.
    """

    def __init__(self) -> None:
        self.code = 0
        self._old: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.code and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.code = 130 if number == signal.SIGINT else 75

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)
