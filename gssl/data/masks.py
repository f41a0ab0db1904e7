"""Masks in files: what their pixels mean, read from `classes.json`, and how one becomes class ids.

    {"names": ["sky", "road"], "ignore": 11}                       pixels hold 0, 1, … in the order of the names
    ["sky", "road"]                                                the same without anything to ignore
    {"names": {"0": "background", "255": "vessel"}}                pixels hold these values
    {"names": ["sky", "road"], "colours": [[0, 0, 255], …]}        pixels hold colours, one per name

`ignore` is a value or a list of them; `ignore_colours` a list of colours. What is ignored becomes `IGNORE` (255).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gssl.data.columns import IGNORE
from gssl.data.opening import opened
from gssl.errors import UsageError

UNKNOWN = -1  # in a table: a value that stands for nothing
MOST = 254  # classes: ids are bytes, and one of them is `IGNORE`
LARGEST = 2**20  # bytes of a classes.json
EXPECTED = 'expected {"names": ["sky", "road"], "ignore": 255}, names in the order of their ids'


class WrongMask(ValueError):
    """What is wrong with a mask file: `kind`, the same for masks with the same mistake, and the text about this one."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True)
class Legend:
    """What the pixels of masks mean.

    names: of the classes, in the order of our ids 0, 1, …; table: int16 (256,), a stored value → our id, `IGNORE` or
    `UNKNOWN`; colours: RGB as one number (r << 16 | g << 8 | b) → our id or `IGNORE`, empty where masks hold ids.
    """

    names: list[str]
    table: np.ndarray
    colours: dict[int, int]

    @property
    def key(self) -> str:
        """A text that differs where masks are read differently."""
        return json.dumps([self.names, self.table.tolist(), sorted(self.colours.items())])


def read_legend(path: Path) -> Legend:
    """The legend in a `classes.json`. Raises UsageError."""
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST):
            raise UsageError(f"data.root: {path} is no file of at most {LARGEST >> 20} MB; {EXPECTED}")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UsageError(f"data.root: there is no {path}; {EXPECTED}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"data.root: {path} cannot be read as JSON ({error}); {EXPECTED}") from error
    try:
        return _legend(content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise UsageError(f"data.root: {path} is not understood ({reason}); {EXPECTED}") from error


def _legend(content: dict[str, Any] | list[str]) -> Legend:
    if isinstance(content, list):
        content = {"names": content}
    unknown = set(content) - {"names", "ignore", "colours", "colors", "ignore_colours", "ignore_colors"}
    if unknown:
        raise ValueError(f"no key {sorted(unknown)[0]}")
    given = content["names"]
    values = [int(value) for value in given] if isinstance(given, dict) else list(range(len(given)))
    order = np.argsort(values)
    listed = list(given.values()) if isinstance(given, dict) else given
    names = [str(listed[i]) for i in order]
    if not names or len(set(names)) < len(names):
        raise ValueError("names are empty or one stands there twice")
    if len(names) > MOST:
        raise ValueError(f"{len(names)} classes, at most {MOST} are possible")
    ignored = content.get("ignore")
    ignored = [] if ignored is None else ignored if isinstance(ignored, list) else [ignored]
    table = np.full(256, UNKNOWN, dtype=np.int16)
    for number, i in enumerate(order):
        table[_byte(values[i])] = number
    for value in ignored:
        if isinstance(given, list) and 0 <= int(value) < len(names):
            raise ValueError(f"ignore is {value}, which is the id of {names[int(value)]}")
        table[_byte(int(value))] = IGNORE
    colours: dict[int, int] = {}
    own = content.get("colours", content.get("colors"))
    if own is not None:
        if len(own) != len(names):
            raise ValueError(f"{len(own)} colours for {len(names)} names")
        colours = {_colour(own[i]): number for number, i in enumerate(order)}
        for colour in content.get("ignore_colours", content.get("ignore_colors")) or []:
            colours[_colour(colour)] = IGNORE
    return Legend(names, table, colours)


def _byte(value: int) -> int:
    if not 0 <= value <= 255:
        raise ValueError(f"{value} is no value of a pixel, 0 to 255")
    return value


def _colour(rgb: list[int]) -> int:
    red, green, blue = (_byte(int(part)) for part in rgb)
    return red << 16 | green << 8 | blue


def read_mask(path: str, legend: Legend, image_size: tuple[int, int]) -> Image.Image:
    """The mask in a file as class ids, mode L, of the size of its image, (width, height) in pixels.

    Raises WrongMask, and whatever Pillow raises.
    """
    with opened(path) as file:
        file.load()
        if file.size != image_size:
            sizes = f"{file.width}×{file.height}, its image {image_size[0]}×{image_size[1]}"
            raise WrongMask("size", f"{sizes} pixels (width × height)")
        ids = _ids(file, legend)
    if (ids == IGNORE).all():
        raise WrongMask("ignored", "every pixel is ignored")
    return Image.fromarray(ids)


def _ids(file: Image.Image, legend: Legend) -> np.ndarray:
    """uint8 (h, w): our ids."""
    if legend.colours and file.mode not in ("1", "L", "I", "F") and not file.mode.startswith("I;16"):
        return _of_colours(np.asarray(file.convert("RGB")), legend)
    if file.mode in ("1", "L", "P"):
        values = np.asarray(file).astype(np.int64)
    elif file.mode == "I" or file.mode.startswith("I;16"):
        values = np.asarray(file).astype(np.int64)
        if values.max(initial=0) > 255 or values.min(initial=0) < 0:
            raise WrongMask("ids", ids_text(np.unique(values).tolist()))
    else:
        rgb = np.asarray(file.convert("RGB"))
        grey = (rgb == rgb[..., :1]).all()
        hint = "its channels are equal: save one of them" if grey else f"{len(np.unique(_packed(rgb)))} colours"
        raise WrongMask("colours", f"mode {file.mode}, {hint}")
    ids = legend.table[values]
    if (ids == UNKNOWN).any():
        raise WrongMask("ids", ids_text(np.unique(values[ids == UNKNOWN]).tolist()))
    return ids.astype(np.uint8)


def ids_text(values: list[int]) -> str:
    """Values that stand for no class, as they are listed in a message."""
    return "ids " + ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")


def _packed(rgb: np.ndarray) -> np.ndarray:
    red, green, blue = (rgb[..., i].astype(np.int64) for i in range(3))
    return red << 16 | green << 8 | blue


def _of_colours(rgb: np.ndarray, legend: Legend) -> np.ndarray:
    colours, inverse = np.unique(_packed(rgb), return_inverse=True)
    ids = np.array([legend.colours.get(colour, UNKNOWN) for colour in colours.tolist()])
    if (ids == UNKNOWN).any():
        wrong = [(c >> 16, c >> 8 & 255, c & 255) for c in colours[ids == UNKNOWN].tolist()]
        shown = ", ".join(map(str, wrong[:3])) + (", …" if len(wrong) > 3 else "")
        raise WrongMask("unknown colours", f"colours {shown}")
    return ids[inverse].reshape(rgb.shape[:2]).astype(np.uint8)
