"""What files and pixels say by themselves: formats and sizes from the files' heads, brightness and contrast of images.

No network is asked here. Limits of what is remarkable are named below, and every finding says which it was.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gssl.data import decode
from gssl.data.opening import opened, signature
from gssl.data.pool import Pool
from gssl.data.sources.folders import SUFFIXES, unread

SMALL = 32  # pixels: shorter sides below have little to be learned from
LONG = 3.0  # longer side ÷ shorter side
FLAT = 2.0  # grey levels of standard deviation: nothing can be seen
DARK, BRIGHT = 16.0, 239.0  # mean grey level
ROTATED = 0x0112  # the EXIF tag of the orientation
NUMBERED = re.compile(r"^(.*?\D)[\W_]*\d+$|^(\d+\D+?)[\W_]*\d+$")  # clip_0012, 0016E5_00901
LEAST_GROUP = 2.0  # images per group of names, on average


class Head(NamedTuple):
    """What a file says before it is decoded: pixels as they are to be shown, and how they are kept."""

    width: int
    height: int
    mode: str
    format: str
    bytes: int
    rotated: bool
    frames: int


def heads(paths: Sequence[str], workers: int = 0) -> list[Head | None]:
    """The heads of the files; None where one cannot be read."""
    with warnings.catch_warnings(), ThreadPoolExecutor(decode.threads(workers)) as pool:
        warnings.simplefilter("ignore")  # odd metadata is not the user's problem
        return list(pool.map(_head, paths))


def _head(path: str) -> Head | None:
    try:
        with opened(path) as image:
            orientation = image.getexif().get(ROTATED, 1)
            width, height = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
            frames = int(getattr(image, "n_frames", 1))
            size = signature(path)[0]
            return Head(width, height, image.mode, str(image.format), size, orientation not in (0, 1), frames)
    except Exception:  # Pillow raises anything on malformed files
        return None


class Values(NamedTuple):
    """Of n images, in grey levels 0 to 255: means and deviations per channel, and of the grey image."""

    mean: np.ndarray  # (n, 3) float32
    square: np.ndarray  # (n, 3) mean of squares
    grey: np.ndarray  # (n,) mean
    contrast: np.ndarray  # (n,) standard deviation
    low: np.ndarray  # (n,) smallest value
    high: np.ndarray  # (n,) largest value
    coloured: np.ndarray  # (n,) whether its channels differ


def values(pool: Pool, workers: int = 0) -> Values:
    """Of all images, as they are stored."""
    with ThreadPoolExecutor(decode.threads(workers)) as threads:
        found = list(threads.map(lambda i: _values(pool.image(i)), range(len(pool)), chunksize=64))
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return Values(*columns)


def _values(image: np.ndarray) -> tuple[Any, ...]:
    x = image.reshape(-1, image.shape[2])
    mean = x.mean(axis=0, dtype=np.float64)
    square = np.einsum("ij,ij->j", x, x, dtype=np.float64) / len(x)
    own = (np.broadcast_to(part, 3).astype(np.float32) for part in (mean, square))
    coloured = x.shape[1] == 3 and bool((x[:, :1] != x[:, 1:]).any())
    grey = x @ np.array([0.299, 0.587, 0.114], dtype=np.float32) if coloured else x[:, 0].astype(np.float32)
    return (*own, float(grey.mean()), float(grey.std()), int(x.min()), int(x.max()), coloured)


def summary(numbers: np.ndarray) -> dict[str, float]:
    """Smallest, quartiles and largest."""
    names = ("min", "low", "median", "high", "max")
    return dict(zip(names, np.percentile(numbers, (0, 25, 50, 75, 100)).tolist(), strict=True))


def files(found: Sequence[Head]) -> dict[str, Any]:
    """Formats, colours, bytes and sizes of files."""
    sides = np.array([(head.height, head.width) for head in found])
    sizes = Counter((head.width, head.height) for head in found)
    return {
        "n": len(found),
        "formats": dict(Counter(head.format for head in found).most_common()),
        "modes": dict(Counter(head.mode for head in found).most_common()),
        "bytes": summary(np.array([head.bytes for head in found])) | {"total": sum(head.bytes for head in found)},
        **shapes(sides),
        "common": [{"width": w, "height": h, "n": n} for (w, h), n in sizes.most_common(5)],
        "rotated": sum(head.rotated for head in found),
        "animated": sum(head.frames > 1 for head in found),
    }


def shapes(sides: np.ndarray) -> dict[str, Any]:
    """Shorter and longer sides, width ÷ height, and how many sizes there are, of (n, 2) heights and widths."""
    return {
        "shorter": summary(sides.min(axis=1)),
        "longer": summary(sides.max(axis=1)),
        "aspect": summary(sides[:, 1] / sides[:, 0]),
        "sizes": len(np.unique(sides, axis=0)),
    }


def pixels(found: Values) -> dict[str, Any]:
    """Means and deviations per channel over all pixels, images counting alike, and the range of values."""
    mean = found.mean.mean(axis=0)
    std = np.sqrt(np.maximum(found.square.mean(axis=0) - mean**2, 0))
    return {
        "mean": (mean / 255).tolist(),
        "std": (std / 255).tolist(),
        "range": [int(found.low.min()), int(found.high.max())],
        "brightness": summary(found.grey),
        "contrast": summary(found.contrast),
        "grey": int((~found.coloured).sum()),
    }


def remarkable(sides: np.ndarray, found: Values) -> dict[str, tuple[str, np.ndarray]]:
    """kind → (what it means, indices): images that are small, long, blank, dark or bright. Of (n, 2) sides in files."""
    ratio = sides.max(axis=1) / np.maximum(sides.min(axis=1), 1)
    flat = found.contrast < FLAT
    kinds = {
        "small": (f"the shorter side is below {SMALL} pixels", sides.min(axis=1) < SMALL),
        "long": (f"one side is more than {LONG:g} times the other: crops see a part of it only", ratio > LONG),
        "blank": (f"grey levels vary by less than {FLAT:g}: nothing can be seen", flat),
        "dark": (f"the mean grey level is below {DARK:g} of 255", (found.grey < DARK) & ~flat),
        "bright": (f"the mean grey level is above {BRIGHT:g} of 255", (found.grey > BRIGHT) & ~flat),
    }
    return {kind: (text, np.flatnonzero(which)) for kind, (text, which) in kinds.items() if which.any()}


def unused(root: Path, used: Sequence[str]) -> dict[str, list[str]]:
    """Files below `root` that no part uses, by their suffix: other images, and what is no image that is read."""
    known = {os.path.realpath(path) for path in used}
    found: dict[str, list[str]] = {}
    for folder, inside, names in os.walk(root):
        if folder != str(root) and unread(folder):
            inside.clear()
            continue
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.realpath(path) not in known:
                found.setdefault(Path(name).suffix.lower() or "without a suffix", []).append(path)
    return found


def readable(suffix: str) -> bool:
    """Whether files of this suffix are read as images."""
    return suffix in SUFFIXES


def group_of(path: str) -> str | None:
    """What a numbered name begins with: `clip_0012.png` → `clip`; None where it is not numbered so."""
    match = NUMBERED.match(Path(path).stem)
    text = (match[1] or match[2] or "").rstrip("-_. ") if match else ""
    return text or None
