"""Images of more than 8 bits a value: which values become black and white.

16-bit, 32-bit and floating-point files rarely use all that their type can hold: 12 bits of a detector, a reflectance, a
density. `data.range=auto` takes the 0.1% and 99.9% of the values of the training part, one interval for all images of a
data set; `full` takes what the type can hold (0 to 1 of floating point), `[low, high]` says it. Images of 8 bits are
never changed.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from gssl.data import cache
from gssl.data.opening import opened, readable

Range = tuple[float, float] | Literal["full"]
KINDS = ("16-bit grey", "16-bit colour", "32-bit integer", "floating-point")
FULL = {"16-bit grey": (0, 2**16 - 1), "16-bit colour": (0, 2**16 - 1), "32-bit integer": (0, 2**31 - 1)}
PERCENTILES = (0.1, 99.9)
LOOKED_AT, PIXELS = 1000, 4096  # images, and values of each, from which percentiles are taken
BLOCK = 4096  # files that wait to be looked at
ROWS = 256  # that are mapped at a time: a large image is not in memory as floats
FAR = 8  # times as large, or as small: other units, or another number of bits
FORMAT = 2  # part of the key of what is kept: raise it when any rule here changes
NODATA = 42113  # the tag of TIFF by which maps say which value means nothing
OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # orders of bytes
# Pillow keeps the high byte of 16-bit colours: read by the other order, the low one
LOW_BYTES = {f"{mode};16{a}": f"{mode};16{b}" for mode in ("RGB", "RGBX", "RGBA") for a, b in OTHER.items()}
GREY_ALPHA = "LA;16B"  # four bytes


# ── of an image ──────────────────────────────────────────────────────────────────────────────────


def kind_of(image: Image.Image) -> str | None:
    """One of KINDS, of an image that is not decoded yet; None: 8 bits, or what Pillow itself brings to 8 bits by the
    file's own scale."""
    mode = image.mode
    if mode in ("RGB", "RGBA"):
        return KINDS[1] if _raw_mode(image) in (*LOW_BYTES, GREY_ALPHA) else None
    if mode == "F":
        return KINDS[3]
    if mode == "I":  # 16 bits with a sign, and what older versions of Pillow have no other mode for
        return KINDS[0 if image.format == "PPM" or _raw_mode(image).startswith("I;16") else 2]
    return KINDS[0] if mode.startswith("I;16") else None


def _raw_mode(image: Image.Image) -> str:
    """How the file holds its pixels, by Pillow's name."""
    tiles = getattr(image, "tile", None)
    args = tiles[0][3] if tiles else ""
    found = args[0] if isinstance(args, tuple) and args else args
    return found if isinstance(found, str) else ""


def levels(image: Image.Image, path: str) -> np.ndarray:
    """The values of an image that has a kind, as its file holds them: (h, w), of colours and alpha (h, w, 2 to 4)."""
    mode = _raw_mode(image)  # known as long as it is not decoded
    if kind_of(image) != KINDS[1]:
        found = np.asarray(image)
        return found.view(np.uint32) if mode == "I;32N" else found  # Pillow has no integers without a sign
    with opened(path) as again:
        assert isinstance(again, ImageFile)
        again.tile = [_read_as(tile, LOW_BYTES.get(mode, "RGBA")) for tile in again.tile]
        low = np.asarray(again)
    if mode == GREY_ALPHA:
        return low[..., 0::2].astype(np.uint16) << 8 | low[..., 1::2]
    return np.asarray(image).astype(np.uint16) << 8 | low


def _read_as(tile: Any, mode: str) -> Any:
    args = tile[3]
    return tile._replace(args=(mode, *args[1:]) if isinstance(args, tuple) else mode)


def colours(values: np.ndarray, kind: str) -> np.ndarray:
    """Without alpha, which stands last."""
    if kind != KINDS[1]:
        return values
    return values[..., : 1 if values.shape[2] == 2 else 3]


def mapped(values: np.ndarray, kind: str, given: Range, nothing: float | None = None) -> np.ndarray:
    """uint8 of the same shape: the lower end becomes 0, the upper one 255; what is no number, and `nothing`, is 0."""
    low, high = bounds(kind, given)
    scale = 255 / (high - low)
    found = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS):
        part = values[start : start + ROWS]
        level = np.clip((part.astype(np.float64) - low) * scale, 0, 255)
        if nothing is not None:
            level[part == nothing] = 0
        found[start : start + ROWS] = np.rint(np.nan_to_num(level))
    return found


def bounds(kind: str, given: Range) -> tuple[float, float]:
    """The values that become black and white in images of a kind."""
    return FULL.get(kind, (0, 1)) if given == "full" else given


def picture(image: Image.Image, path: str, kind: str, given: Range) -> Image.Image:
    """Mode L, LA, RGB or RGBA, of an image that is not decoded yet."""
    nothing = nothing_of(image)
    values = levels(image, path)
    seen = colours(values, kind)
    found = mapped(seen, kind, given, nothing)
    if kind != KINDS[1]:
        return Image.fromarray(found)
    alpha = mapped(values[..., seen.shape[2] :], kind, "full")
    found = np.concatenate([found, alpha], axis=2)
    channels = [Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(found, 2, 0)]
    return Image.merge(("L", "LA", "RGB", "RGBA")[len(channels) - 1], channels)


def nothing_of(image: Image.Image) -> float | None:
    """The value that means nothing, where a TIFF file names one."""
    text = getattr(image, "tag_v2", {}).get(NODATA)
    try:
        return None if text is None else float(str(text).strip("\0 "))
    except ValueError:
        return None


# ── of a data set ────────────────────────────────────────────────────────────────────────────────


class Mapping:
    """The range of a data set: chosen on the first part that has such images, and used for all.

    given: data.range, or what is recorded with weights; None is auto.
    """

    def __init__(self, given: Any = None) -> None:
        self.auto = given in (None, "auto")
        self.given: Range | None = None if self.auto else as_range(given)
        self.parts: list[tuple[str, int, dict[str, int]]] = []
        self.own: tuple[float, float] | None = None  # of the first part that has such images
        self.several = 0  # files of several pages or frames
        self.blind = False  # whether none of the parts to learn from has such images

    @staticmethod
    def key(contents: Sequence[str] | np.ndarray) -> str:
        """Of what is found in files of these contents."""
        known = [contents] if isinstance(contents, np.ndarray) else contents
        return cache.entry_key("range", FORMAT, PERCENTILES, LOOKED_AT, PIXELS, *known)

    def of(
        self, part: str, paths: Sequence[str], contents: Sequence[str] | np.ndarray | None, threads: int
    ) -> Range | None:
        """For the images of a part, training images before all others; None where all of them have 8 bits.

        contents: hashes of the files, by which what was found is kept; None: nothing is kept.
        """
        if contents is None:
            found = _looked_at(paths, paths, threads)
        else:
            found = cache.remembered("ranges", self.key(contents), lambda: _looked_at(paths, contents, threads))
        counts = {kind: int(n) for kind, n in zip(KINDS, found[:4], strict=True) if n}
        self.parts.append((part, len(paths), counts))
        self.several += int(found[6])
        if not counts:
            return None
        self.own = self.own or (float(found[4]), float(found[5]))
        if self.given is None:
            self.blind = part in ("val", "test")  # which nothing is chosen by
            self.given = "full" if self.blind else self.own
        return self.given

    def texts(self, why: str = "") -> list[str]:
        """One line on what is mapped, where something is. why: by whom the range was given, else by data.range."""
        counts: dict[str, int] = {}
        for _, _, own in self.parts:
            for kind, n in own.items():
                counts[kind] = counts.get(kind, 0) + n
        if not counts or self.given is None:
            return []
        images = " and ".join(f"{n:,} {kind}" for kind, n in counts.items())
        images += " image" if sum(counts.values()) == 1 else " images"
        if self.given == "full":
            ends = sorted({bounds(kind, "full") for kind in counts})
            how = " and ".join(f"{low:g} to {high:,}" for low, high in ends)
            return [f"{images}: values {how} become black to white ({why or 'data.range=full'})"]
        first = next(part for part, _, own in self.parts if own)
        if self.auto:
            why = f"0.1% and 99.9% of the {first} images' values; data.range=[low,high] sets others"
        return [f"{images}: values {words(self.given)} become black to white ({why or 'as given'})"]

    def warnings(self) -> list[str]:
        """What is likely wrong."""
        total = sum(n for _, n, _ in self.parts)
        wide = sum(sum(own.values()) for _, _, own in self.parts)
        found = []
        if self.several:
            have = "file has" if self.several == 1 else "files have"
            found.append(f"{self.several:,} {have} several pages or frames, of which the first alone is read")
        if not wide:
            return found + ["data.range: all images have 8 bits a value, which are not mapped"] * (not self.auto)
        if wide < total:
            found.append(
                f"{wide:,} of {total:,} images have more than 8 bits a value: these are mapped, the others stay as they"
                " are"
            )
        kinds = {kind for _, _, own in self.parts for kind in own}
        if len(kinds - {KINDS[1]}) > 1 and self.given != "full":
            found.append(f"one range for {' and '.join(sorted(kinds))} images: give each kind a data set of its own")
        if self.blind:
            found.append(
                "no image to learn from has more than 8 bits a value, so full is used; give data.range=[low,high]"
            )
        return found

    def against(self, what: str) -> list[str]:
        """The same for images that a trained network reads, whose own range was given. what: this network."""
        wide = any(own for _, _, own in self.parts)
        if not wide:
            lacking = f"{what} learned from images of more than 8 bits a value, and these have 8: they are not mapped"
            return [lacking] * (self.given is not None)
        if self.auto:
            assert self.given is not None
            return [
                f"{what} learned from images of 8 bits a value; of these the values {words(self.given)}, their own 0.1%"
                " and 99.9%, become black to white"
            ]
        if self.given == "full" or self.own is None or not _far(self.own, as_range(self.given)):
            return []
        return [
            f"{what} learned from values {words(self.given)}, which become black to white in these images too; theirs"
            f" go from {words(self.own)}: other units, or another number of bits?"
        ]


def _far(own: tuple[float, float], known: Any) -> bool:
    """Whether values lie far beyond what is known, or all in the lowest part of it; one bright image does not."""
    low, high = known
    return own[0] >= high or not 1 / FAR < (own[1] - low) / (high - low) < FAR


def words(given: Any) -> str:
    """A range as it is said: "12 to 3071", or "full"."""
    return given if isinstance(given, str) else " to ".join(f"{value:.6g}" for value in given)


def as_range(given: Any) -> Range:
    """What is written in a configuration or a document."""
    return "full" if given == "full" else (float(given[0]), float(given[1]))


def recorded(given: Any) -> Range | None:
    """What a document says of a range, None where it says nothing. Raises ValueError where that is no range."""
    if given is None or given == "full":
        return given
    numbers = isinstance(given, list) and len(given) == 2 and all(type(value) in (int, float) for value in given)
    if not numbers or not (np.isfinite(given).all() and given[0] < given[1]):
        raise ValueError("range is no [low, high]")
    return as_range(given)


def stored(given: Range | None) -> list[float] | str | None:
    """As documents keep it."""
    return list(given) if isinstance(given, tuple) else given


def _looked_at(paths: Sequence[str], contents: Sequence[str] | np.ndarray, threads: int) -> np.ndarray:
    """Counts of KINDS, the percentiles of the values, and how many files have several pages; float64 (7,)."""
    several = 0
    with ThreadPoolExecutor(threads) as pool:
        kinds: list[str | None] = []
        for start in range(0, len(paths), BLOCK):  # each that waits is an object
            for kind, more in pool.map(_kind, paths[start : start + BLOCK]):
                kinds.append(kind)
                several += more
        wide = sorted((content, path) for content, path, kind in zip(contents, paths, kinds, strict=True) if kind)
        chosen = wide[:: max(1, -(-len(wide) // LOOKED_AT))]
        found = pool.map(_sample, sorted(path for _, path in chosen))  # archives are read forward
        samples = np.concatenate([np.zeros(0), *found])
    low, high = np.percentile(samples, PERCENTILES, method="nearest") if len(samples) else (0.0, 1.0)
    if low == high and len(samples):  # nearly all of it is one value
        low, high = samples.min(), samples.max()
    if low == high:
        high = low + max(1.0, abs(low) * 1e-6)
    return np.array([*(kinds.count(kind) for kind in KINDS), low, high, several], dtype=np.float64)


def _kind(path: str) -> tuple[str | None, bool]:
    """Of a file, and whether it has several pages or frames. None, too, where it cannot be read: decoding says it."""
    try:
        with readable(path) as file:
            head = file.read(26)
        if head[:2] in (b"\xff\xd8", b"BM") or (head[:4] == b"\x89PNG" and head[24:25] != b"\x10"):
            return None, False
        if head[:4] == b"RIFF":  # of WebP's long form: its flag of an animation
            return None, head[12:16] == b"VP8X" and bool(head[20] & 2)
        with opened(path, whole=False) as image:
            return kind_of(image), bool(getattr(image, "is_animated", False))
    except Exception:  # Pillow raises anything on malformed files
        return None, False


def _sample(path: str) -> np.ndarray:
    """Some values of an image, float64, evenly from all over it."""
    try:
        with opened(path) as image:
            kind, nothing = kind_of(image), nothing_of(image)
            if kind is None:
                return np.zeros(0)
            values = colours(levels(image, path), kind)
    except Exception:
        return np.zeros(0)
    step = max(1, round((values.shape[0] * values.shape[1] / PIXELS) ** 0.5))
    few = values[step // 2 :: step, step // 2 :: step].astype(np.float64).reshape(-1)
    return few[np.isfinite(few) & (few != nothing)] if nothing is not None else few[np.isfinite(few)]
