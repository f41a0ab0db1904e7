"""Rank and number of processes: one process today. torchrun's variables are read, so randomness is already global."""

import os

from gssl.errors import UsageError


def rank() -> int:
    """This process among all of them, from 0. Rank 0 alone writes."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """The number of processes that have a global batch in common."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check() -> None:
    """Raises UsageError where the environment asks for several processes.

    There is no process group yet: each of them would train alone, on its part of every batch.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size != "1":
        raise UsageError(
            f"WORLD_SIZE={size}: expected 1, or no such variable, because gssl trains in one process;"
            " unset it, and start gssl without torchrun"
        )
