"""Images kept as JPEG files (data.store): which kind of entry is taken, and how files get into one.

A JPEG whose short side is at most `NATIVE` times data.size goes in byte for byte. What is larger would be decoded whole
at every step, and what has another format has no bytes of this kind: these are decoded, shrunk as pixels would be
(`gssl.data.decode`) and saved at quality 95. The difference that makes is measured and said.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import IO

import numpy as np
from PIL import Image

from gssl.data import cache, decode, jpeg, values
from gssl.data.opening import opened
from gssl.data.store import EncodedStore, EncodedWriter, Store, image_hash

NATIVE = 4
LEAST, MOST, PART = 1e9, 20e9, 0.1  # bytes that pixels may take in any case, and at most, and of the free disk


def kind_of(wanted: str, keys: dict[str, str], need: Callable[[], int]) -> str:
    """pixels or jpeg. wanted: data.store; keys: of the entries of both kinds; need: the bytes that pixels would take.

    What is in the cache decides before the disk does, which has another size the next day.
    """
    if wanted != "auto":
        return wanted
    home = cache.cache_root() / "images"
    for kind in ("pixels", "jpeg"):
        if (home / keys[kind]).is_dir():
            return kind
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    return "jpeg" if need() > max(LEAST, min(MOST, PART * shutil.disk_usage(there).free)) else "pixels"


def told(stores: Iterable[Store]) -> list[str]:
    """What is to be said of stores of JPEG files: a line, or none."""
    kept = [store for store in stores if isinstance(store, EncodedStore)]
    if not kept:
        return []
    made, count = sum(int(store.meta["made"]) for store in kept), sum(map(len, kept))
    text = f"images are kept as JPEG files ({sum(int(store.starts[-1]) for store in kept) / 1e6:,.0f} MB)"
    if made:
        loss = sum(store.meta["made"] * store.meta["loss"] for store in kept) / made
        text += (
            f", {made:,} of {count:,} saved anew at quality {jpeg.QUALITY} (other formats, or large): levels differ by"
            f" {loss:.1f} of 255 on average"
        )
    return [text]


def estimate(paths: Sequence[str], sample: int = 256) -> int:
    """About how many bytes the files take, from at most `sample` of them, plus a margin."""
    sizes = []
    for path in paths[:: max(1, len(paths) // sample)]:
        with suppress(OSError):  # counted among the broken ones later
            sizes.append(os.stat(path).st_size)
    return int(np.mean(sizes) * len(paths) * 1.1) + 2**24 if sizes else 0


def write_files(
    writer: EncodedWriter,
    paths: Sequence[str],
    size: int,
    workers: int,
    progress: bool,
    given: values.Range | None = None,
) -> None:
    """As `decode.write_files`, as JPEG files."""
    decode.write_files(writer, paths, size, workers, progress, given, partial(_put, writer), _read)


Read = tuple[bytes, tuple[int, int, int], bytes, int, float | None]


def _put(writer: EncodedWriter, found: Read) -> None:
    writer.add_file(*found)


def _read(path: str, size: int, given: values.Range) -> Read:
    """What `EncodedWriter.add_file` takes. The whole file is decoded: whatever that raises passes through."""
    with opened(path) as image:
        if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB") and min(image.size) <= NATIVE * size:
            file: IO[bytes] = image.fp  # type: ignore[attr-defined]
            here = file.tell()
            file.seek(0)
            data = file.read()
            file.seek(here)
            turn = _turn(image)
            image.load()
            pixels = _upright(np.array(image), turn)
            return data, pixels.shape, image_hash(pixels), turn, None
    return made(decode.decode(path, size, given))


def made(pixels: np.ndarray) -> Read:
    """The same for pixels, uint8 (h, w, c), that are saved now."""
    data = jpeg.encoded(pixels)
    again = jpeg.by_pillow(data, pixels.shape[2])
    loss = float(np.abs(again.astype(np.int16) - pixels).mean()) if pixels.size else 0.0
    return data, pixels.shape, image_hash(again), 1, loss


def again(store: Store, path: str, size: int, given: values.Range) -> np.ndarray:
    """The image that `store` would hold of a file now. Raises as `decode.decode` does."""
    if store.kind == "pixels":
        return decode.decode(path, size, given)
    data, shape, _, turn, _ = _read(path, size, given)
    return jpeg.upright(jpeg.by_pillow(data, shape[2]), turn)


def _turn(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(decode.ORIENTATION, 1)
    except Exception:  # malformed EXIF raises anything; the pixels are fine
        return 1
    return turn if turn in decode.ORIENTATIONS else 1


def _upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    return jpeg.upright(pixels[:, :, None] if pixels.ndim == 2 else pixels, turn)
