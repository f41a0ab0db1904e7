"""What a run spends beside its training: seconds by name, for result.json and the terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Beside:
    """`with beside("pictures"): …` counts seconds of this process; a block within a block is counted once, inside."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]  # of each open block, what blocks inside it took

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        since = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole, inside = time.perf_counter() - since, self._inner.pop()
            self._inner[-1] += whole
            self.seconds[name] = self.seconds.get(name, 0.0) + whole - inside

    def record(self) -> dict[str, float]:
        """`spent.beside` of result.json."""
        return {name: round(seconds, 3) for name, seconds in self.seconds.items()}
