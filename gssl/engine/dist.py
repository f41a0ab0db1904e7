"""Rank and world size. One process today; torchrun's variables are read so that randomness is already global."""

import os


def rank() -> int:
    """This process among all of them, from 0. Rank 0 alone writes."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """The number of processes that share a global batch."""
    return int(os.environ.get("WORLD_SIZE", "1"))
