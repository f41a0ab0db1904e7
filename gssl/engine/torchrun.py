"""What the environment says of the processes that train together. No torch: commands ask before they import it.

torchrun tells each process RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. All four together are believed, none alone:
clusters set WORLD_SIZE where nothing is launched, and Slurm sets SLURM_PROCID for a single process too.
"""

import os
from dataclasses import dataclass

from gssl.errors import UsageError

TOGETHER = ("train-gan", "pretrain-ssl", "transfer")  # commands that several processes run as one
NAMED = f"{', '.join(TOGETHER[:-1])} and {TOGETHER[-1]}"
MEETING = ("RANK", "MASTER_ADDR", "MASTER_PORT")
CLEAN = (75, 130)  # exit codes of a run that was saved and stopped


@dataclass(frozen=True)
class Place:
    """This process among those that torchrun has started."""

    rank: int
    count: int
    restarted: bool  # by torchrun, after one of them has died


def found() -> Place | None:
    """None where this process is alone. Raises UsageError where it is told of others that it cannot meet.

    Each of them would train alone, on all of every batch.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return None
    missing = [name for name in MEETING if not os.environ.get(name)]
    own = os.environ.get("RANK", "")
    if missing or not (size.isdecimal() and own.isdecimal() and int(own) < int(size)):
        why = f"no {' and no '.join(missing)} beside it" if missing else f"RANK={own} beside it"
        raise UsageError(
            f"WORLD_SIZE={size}: expected 1, or what torchrun sets, and there is {why}; unset it, and say"
            " engine.processes=N for several processes of this machine"
        )
    return Place(int(own), int(size), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0"))


def check(command: str | None, multirun: bool = False) -> Place | None:
    """`found`, for a command. Raises UsageError where it is none that several processes can run as one."""
    place = found()
    if place is None:
        return None
    if command not in TOGETHER:
        raise UsageError(
            f"{command}: runs in one process, and torchrun has started {place.count} (WORLD_SIZE); start gssl without"
            f" torchrun, which is for {NAMED}"
        )
    if multirun:
        raise UsageError("-m: torchrun starts the processes of one training; leave -m out, or start gssl without it")
    return place
