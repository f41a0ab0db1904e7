"""What stands for the run in any process but rank 0, which alone writes: where its files lie."""

from pathlib import Path
from typing import Any


class Follower:
    """Has of `gssl.engine.run.Run` what commands call on the way, and does nothing."""

    finished, objective = False, None

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def bind(self, **inputs: str | None) -> None:
        """Rank 0 binds the run."""

    def begin(self) -> list[str]:
        return []

    def opened(self) -> int:
        return 0

    def log(self, entry: dict[str, Any]) -> None:
        return None

    def finish(self, result: dict[str, Any]) -> None:
        return None
