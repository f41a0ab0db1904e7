"""What a process that torchrun has started does with a command line: rank 0 runs it, the others take part in silence.

Hydra runs once, in rank 0, which alone has the run directory. All of them must name that directory by themselves, so
it has to be given.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gssl.config import hydra_api
from gssl.config.composing import check_all
from gssl.engine import launch
from gssl.engine.torchrun import CLEAN, Place, check
from gssl.errors import UsageError

KEY = "hydra.run.dir"


def begin(command: str | None) -> Place | None:
    """This process's place, before its command is read; any but rank 0 is silent from now on. Raises UsageError."""
    try:
        return check(command)
    finally:
        if os.environ.get("RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1":
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the process ends


def need_directory(place: Place, overrides: Sequence[str]) -> None:
    """Raises UsageError where the run's directory is not given, or has a name that each process would make itself."""
    given = [text.partition("=")[2] for text in overrides if text.lstrip("+").startswith(f"{KEY}=")]
    if not given or "${" in given[-1]:
        got = f"{KEY}={given[-1]}" if given else "none"
        raise UsageError(
            f"{KEY}: expected a directory by its name, such as {KEY}=runs/mine, because {place.count} processes must"
            f" all know it; got {got}"
        )


def follow(
    command: str, where: str, overrides: Sequence[str], config_dir: str | None, also: Callable[[Any], None] | None
) -> int:
    """Take part in a command as any process but rank 0; returns the exit code. Nothing is written."""
    cfg, whole, _ = check_all(command, overrides, False, config_dir, also)
    return launch.member(where, cfg, Path(hydra_api.selected(whole, KEY)).absolute())


def ended(code: int) -> int:
    """The exit code for torchrun: 0 after a stop that was asked for, else it would start all of them again."""
    return 0 if code in CLEAN else code
