"""A folder of images as the first word of a command: what is in it, and the overrides that it stands for. No torch."""

import os
from collections.abc import Sequence
from pathlib import Path

from gssl.config.command_line import quoted
from gssl.config.image_size import has_gpu
from gssl.config.paths import conf_dir
from gssl.data import tars
from gssl.data.layout import Layout, look
from gssl.data.sources import pair_folders
from gssl.errors import UsageError
from gssl.schemas.ready_made import READY_MADE, installed

COMPARED = ("transfer", "curve", "compare")  # commands that need labels
PER_CLASS = (10, 5, 2, 1)  # labels per class: the first that leaves enough images to choose and to test on
LEFT = 0.6  # of the smallest class: what a fold or a test part leaves of it
MOST_JOBS = 8


def expanded(command: str, texts: Sequence[str], preset: str) -> tuple[list[str], list[str]]:
    """(overrides with those that a folder among them stands for, what was found in words).

    A comparison of a folder starts from a preset, unless the user gives an experiment. What the user writes wins.
    Raises UsageError where the folder is not there or holds nothing to compare on.
    """
    words = [text for text in texts if "=" not in text and not text.startswith("~")]
    if not words:
        return list(texts), []
    folder = Path(words[0]).expanduser()
    if len(words) > 1 and os.path.isdir(folder):
        raise UsageError(f"{words[0]} and {words[1]}: one folder of images at a time; the rest is key=value")
    if not os.path.isdir(folder):
        raise UsageError(
            f"{words[0]}: there is no such folder; expected a folder of images, or key=value, such as seed=1"
            + (f"; one archive is data=webdataset data.root={words[0]}" if tars.is_tar(words[0]) else "")
        )
    rest = [text for text in texts if text is not words[0]]
    given = {text.lstrip("+").partition("=")[0] for text in rest}
    if clash := given & {"data", "data.root"}:
        raise UsageError(f"{words[0]} and {min(clash)}= both say which images; leave one out")
    found = _layout(command, folder)
    data = {f"data.{key}": quoted(value) for key, value in found.keys.items()}
    mine = [f"data={found.name}", *(f"{key}={value}" for key, value in data.items() if key not in given)]
    lines = list(found.lines)
    if command == "compare" and "runs" not in given:
        mine += _comparison(found, given, rest, preset, lines)
    return [*mine, *rest], lines


def _layout(command: str, folder: Path) -> Layout:
    try:
        return look(folder)
    except UsageError:
        if command in COMPARED:
            raise
        if pair_folders.has_sides(folder):
            return Layout("paired", {"root": str(folder)})
        return Layout("imagefolder", {"root": str(folder)})  # learns without labels; an empty folder is said later


def _comparison(found: Layout, given: set[str], texts: Sequence[str], preset: str, lines: list[str]) -> list[str]:
    """What a comparison of a folder is made of, where the user does not say."""
    mine = []
    if "experiment" not in given:
        own = f"{preset}_{found.name}"  # what this kind of data has of its own
        there = (conf_dir() / "experiment" / "compare" / f"{own}.yaml").is_file()
        mine.append(f"experiment={own if there else preset}")
        if any(key.startswith("budget.") for key in given) and "minutes" not in given:
            mine.append("minutes=null")  # the budget is given
        if found.smallest is not None and "labels_per_class" not in given:
            count = next((n for n in PER_CLASS if n <= LEFT * found.smallest), 1)
            mine.append(f"labels_per_class=[{count}]")
    if found.smallest is not None and "arms" not in given and "experiment" not in given:
        mine.append(f"arms=[{','.join(_arms(preset, lines))}]")
    if "jobs" not in given and "experiment" not in given:
        mine.append(f"jobs={_jobs(texts)}")
    return mine


def _arms(preset: str, lines: list[str]) -> list[str]:
    """Pretraining of each kind, what can be had without it, and controls."""
    ready = [name for name in READY_MADE if installed(name)]
    for name in READY_MADE.keys() - set(ready):
        lines.append(f"{name}, a ready-made network, would take part too: pip install 'gssl[{READY_MADE[name].extra}]'")
    go_on = [f"simclr-from-{name}" for name in ready] if preset != "try" else []
    controls = ["random", "pixels", "majority"] if preset != "try" else ["random", "majority"]
    return ["simclr", "dcgan", *ready, *go_on, "scratch", *controls]


def _jobs(texts: Sequence[str]) -> int:
    """Parts side by side: small networks use several cores better one each; a GPU is one."""
    device = next((t.partition("=")[2] for t in texts if t.partition("=")[0] in ("device", "engine.device")), "auto")
    if has_gpu(device):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_JOBS, cores if cores <= 4 else cores // 2))
