"""From files or arrays to uint8 images in the cache.

Stored at native size, except that an image whose short side is more than twice the training size is shrunk
(antialiased) to that: crops cut from there still have enough pixels, and nothing is ever enlarged.
"""

import os
import sys
import warnings
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps

from gssl.data import values
from gssl.data.opening import opened
from gssl.data.store import Writer, image_hash

R = TypeVar("R")
CHUNK = 64  # images per task: small enough for a smooth bar, large enough to hide the hand-over
GREY = ("1", "L", "LA", "La", "I", "F")  # and every I;16 variant
ORIENTATION = 0x0112  # the EXIF tag
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LARGE = 1 << 25  # pixels
_large = Lock()  # of images as large as that one at a time is in memory as numbers


def threads(workers: int) -> int:
    """data.workers as a number of threads; 0 means one per core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers or cores


def target(width: int, height: int, size: int) -> tuple[int, int]:
    """Stored (width, height): native, or the short side at 2 * size where it is longer than that."""
    short = min(width, height)
    if short <= 2 * size:
        return width, height
    scale = 2 * size / short
    return max(1, round(width * scale)), max(1, round(height * scale))


def decode(path: str, size: int, given: values.Range = "full") -> np.ndarray:
    """uint8 (h, w, c): upright (EXIF), c = 1 for grey files, else 3, transparency over white.

    given: which values become black and white, where the file has more than 8 bits a value (`gssl.data.values`).
    Errors: OSError, also where it is no regular file; any error of Pillow passes through.
    """
    with opened(path) as image:
        flat = picture(image, path, given, size)
        goal = target(*flat.size, size)
        if goal != flat.size:
            flat = flat.resize(goal, Image.Resampling.LANCZOS, reducing_gap=3.0)
        array = np.array(flat)
    return array[:, :, None] if array.ndim == 2 else array


def picture(image: Image.Image, path: str, given: values.Range, size: int | None = None) -> Image.Image:
    """Mode L or RGB, upright, of an image that was opened; size: of networks for which it is shrunk (`target`)."""
    if kind := values.kind_of(image):
        with _large if image.width * image.height > LARGE else nullcontext():
            flat = flatten(values.picture(image, path, kind, given))
        return _turned(flat, image)
    if size is not None and (small := target(*image.size, size)) != image.size:
        image.draft(None, (2 * small[0], 2 * small[1]))  # a JPEG decodes to a fraction of its size
    image.load()
    return flatten(upright(image))


def _turned(flat: Image.Image, image: Image.Image) -> Image.Image:
    """`flat`, made of `image`, upright."""
    try:
        turn = ORIENTATIONS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # malformed EXIF raises anything; the pixels are fine
        return flat
    return flat if turn is None else flat.transpose(turn)


def upright(image: Image.Image) -> Image.Image:
    """Rotated and mirrored as its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # malformed EXIF raises anything, SyntaxError included; the pixels are fine
        return image


def flatten(image: Image.Image) -> Image.Image:
    """Mode L or RGB, of an image with 8 bits a value."""
    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("L" if mode in GREY else "RGB")
    return image.convert("L" if mode in GREY else "RGB")


def write_files(
    writer: Writer,
    paths: Sequence[str],
    size: int,
    workers: int,
    progress: bool,
    given: values.Range | None = None,
    put: Callable[[Any], None] | None = None,
    read: Callable[[str, int, values.Range], Any] | None = None,
) -> None:
    """Decode `paths` into the entry. given: which values become black and white; None: all files have 8 bits a value.

    read, put: what else is made of a file, for an entry of another kind, and what takes it (`gssl.data.encoding`).
    meta: `broken`, a list of [position in paths, reason], and `range` where it is given; arrays: `kept`, the other
    positions.
    """
    broken: list[tuple[int, str]] = []
    kept = array("q")
    read, put = read or _decoded, put or (lambda found: writer.add([found[0]], [found[1]]))

    def work(start: int) -> list[Any]:
        return [_try(read, path, size, given or "full") for path in paths[start : start + CHUNK]]

    title = f"decoding {len(paths):,} images"
    # caught here, not in the threads, which have the filters in common: odd metadata is not the user's problem
    with warnings.catch_warnings(), bar(title, len(paths), progress) as advance:
        warnings.simplefilter("ignore")
        for start, results in windowed(work, range(0, len(paths), CHUNK), threads(workers)):
            for position, result in enumerate(results, start):
                if isinstance(result, str):
                    broken.append((position, result))
                else:
                    kept.append(position)
                    put(result)
            advance(len(results))
    meta = {"broken": broken} | ({} if given is None else {"range": values.stored(given)})
    writer.finish(meta, {"kept": np.array(kept, dtype=np.int64)})


def _decoded(path: str, size: int, given: values.Range) -> tuple[np.ndarray, bytes]:
    image = decode(path, size, given)
    return image, image_hash(image)


def _try(read: Callable[[str, int, values.Range], Any], path: str, size: int, given: values.Range) -> Any:
    """What `read` gives, or why there is nothing, as text."""
    try:
        return read(path, size, given)
    except Exception as error:  # Pillow raises anything on malformed files, even struct.error
        return f"{type(error).__name__}: {error}"


def write_twos(
    writer: Writer, count: int, read: Callable[[int], tuple[Any, Any]], column: str, what: str, cfg: Any, progress: bool
) -> tuple[list[tuple[int, str, str]], np.ndarray]:
    """Write images with a picture each, its mask or the other of a pair, to `column` of the entry.

    read: position below `count` → (image, picture), or (kind, reason) where they are not to be had. what: they are
    called. Returns (`wrong`: position, kind, reason; positions of what was written).
    """

    def work(start: int) -> list[tuple[Any, Any]]:
        return [read(i) for i in range(start, min(start + CHUNK, count))]

    wrong: list[tuple[int, str, str]] = []
    kept = array("q")
    with bar(f"decoding {count:,} {what}", count, progress) as advance:
        for start, results in windowed(work, range(0, count, CHUNK), threads(cfg.workers)):
            for position, (first, second) in enumerate(results, start):
                if isinstance(first, str):
                    wrong.append((position, first, second))
                else:
                    kept.append(position)
                    writer.add([first], [image_hash(first)], **{column: [second]})
            advance(len(results))
    return wrong, np.array(kept, dtype=np.int64)


def write_arrays(
    writer: Writer,
    parts: Iterable[tuple[str, np.ndarray, np.ndarray]],
    classes: list[str],
    size: int,
    workers: int,
) -> None:
    """Store parts (name, uint8 (N, H, W[, C]), int64 labels (N,)) one after another.

    meta: `counts` per part, `classes` (read last, so `parts` may fill it); arrays: `labels` of all parts.
    """
    counts: dict[str, int] = {}
    labels: list[np.ndarray] = []
    for name, images, part_labels in parts:
        images = images[..., None] if images.ndim == 3 else images
        counts[name] = len(images)
        labels.append(np.asarray(part_labels, dtype=np.int64))

        def work(start: int, images: np.ndarray = images) -> list[tuple[np.ndarray, bytes]]:
            small = [_shrink(image, size) for image in images[start : start + CHUNK]]
            return [(image, image_hash(image)) for image in small]

        for _, results in windowed(work, range(0, len(images), CHUNK), threads(workers)):
            writer.add([image for image, _ in results], [content for _, content in results])
    writer.finish({"counts": counts, "classes": classes}, {"labels": np.concatenate(labels)})


def _shrink(image: np.ndarray, size: int) -> np.ndarray:
    height, width, channels = image.shape
    goal = target(width, height, size)
    if goal == (width, height):
        return image
    pil = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if channels == 1 else image))
    return np.array(pil.resize(goal, Image.Resampling.LANCZOS)).reshape(goal[1], goal[0], channels)


def estimate(paths: Sequence[str], size: int, sample: int = 256) -> int:
    """About how many bytes the decoded images take: headers of at most `sample` files, plus a margin."""
    step = max(1, len(paths) // sample)
    sizes = []
    for path in paths[::step]:
        try:
            with opened(path, whole=False) as image:
                width, height = target(*image.size, size)
                sizes.append(width * height * (1 if image.mode in GREY else 3))
        except Exception:
            continue  # counted among the broken ones later
    return int(np.mean(sizes) * len(paths) * 1.1) + 2**24 if sizes else 0


def windowed(work: Callable[[int], R], starts: Iterable[int], count: int) -> Iterator[tuple[int, R]]:
    """Results in order, computed by `count` threads that run ahead by a bounded number of tasks.

    Threads, not processes: Pillow frees the interpreter lock while it decodes, and nothing needs pickling.
    """
    with ThreadPoolExecutor(count) as pool:
        waiting: deque[tuple[int, Future[R]]] = deque()
        try:
            for start in starts:
                waiting.append((start, pool.submit(work, start)))
                if len(waiting) > 4 * count:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def bar(text: str, total: int, progress: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr where that is a terminal, else one line; nothing unless `progress`.

    Yields a function that is called with the number of images done since its last call.
    """
    if progress and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as display:
            task = display.add_task(text, total=total)
            yield lambda count: display.advance(task, count)
    else:
        if progress:
            print(text, file=sys.stderr, flush=True)
        yield lambda count: None
