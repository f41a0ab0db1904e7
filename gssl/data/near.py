"""Near-duplicates: images that show the same picture, mirrored, saved again, resized or a little brighter.

An image's code is the low frequencies of the cosine transform of its grey pixels, as in perceptual hashing (Zauner
2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"), but kept as numbers of unit length and not
as signs: the similarity of two images is the cosine of their codes, one matrix product for all of them. Frequencies
are those of the whole picture whatever its number of pixels, so that a resized copy has the same code; offset and gain
of the brightness drop out. Mirroring changes the sign of the odd horizontal frequencies alone: both similarities come
of one product of the even part and one of the odd part.

What is alike by nature (digits, a row of cars on white) is distinguished from copies by its neighbours: a copy is far
nearer to its original than to the `NEIGHBOURS`-th nearest image. Colours of candidates are compared last.

Measured on 500 changed training images each of CIFAR-10 and of mnist5k, looked for among all training images: found
was every one that was mirrored, saved as JPEG of quality 30 to 95, at half or double size, with an aspect ratio changed
by a tenth, or grey; 99% of those 20% brighter; at half size and then quality 50 95% (mnist5k: 91%). False alarms: none
among the 1,000 test digits of mnist5k, 0.4 of 1,000 over 20 other divisions of it. Of CIFAR-10's 10,000 test images 73
are called copies, and to the eye all of them are (arXiv:1902.00423 found 3%, with crops and other colours). To compare
CIFAR-10's 60,000 images took 4 seconds of one core.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from gssl.data import cache, decode
from gssl.data.draws import digest
from gssl.data.images import Images

FORMAT = 1  # part of the key of what is kept: raise it when any rule here changes
FREQUENCIES = 8  # per axis
LEAST_CONTRAST = 2.0  # grey levels; flatter images have nothing to be known by
SIMILAR = 0.9  # least cosine of copies
NEIGHBOURS = 10  # a copy's distance is at most `CLOSER` of that of so manieth a neighbour
CLOSER = 0.08
SAME = 0.997  # cosine from which the neighbours are not asked: an image may have many copies
LUMA = np.array([[0.299], [0.587], [0.114]], dtype=np.float32)  # as Pillow and JPEG make colours grey
COLOUR_GRID = 4  # side of the grid on which colours are compared
COLOUR_LEVELS, COLOUR_FRACTION = (
    10.0,
    0.35,
)  # largest difference of colours: levels, or a fraction of the colour there is
BLOCK = 1 << 22  # numbers per temporary array
BAR = 1 << 28  # pairs from which a line says what takes so long


class Codes(NamedTuple):
    """Of n images: frequencies that mirroring keeps and those whose sign it changes; together of length 1, or 0."""

    even: np.ndarray  # (n, 32) float32
    odd: np.ndarray  # (n, 32) float32


def copies(test: Images, parts: Sequence[Images], workers: int = 0, progress: bool = False) -> np.ndarray:
    """int64 (M, 4): a test image that looks like a copy, the part and image it is like, and 1 where it is mirrored.

    Positions in `test`, ascending, in `parts` and in that part; of each part the most similar image at the most.
    Equal images count as copies where they have contrast. Kept in the cache, by the content of all.
    Of texts those are copies that have the same letters and digits, of sounds the same samples. workers: threads, 0 for
    one per core.
    """
    if not test.store.pictures:
        return _texts(test, parts)
    key = digest("near", FORMAT, test.hash, *(part.hash for part in parts)).hex()
    return cache.remembered("near", key, lambda: search(test, parts, workers, progress))


def _texts(test: Images, parts: Sequence[Images]) -> np.ndarray:
    """As `copies`, of texts and sounds."""
    asked, found = test.store.array("plain")[test.rows], []
    for number, part in enumerate(parts):
        known, first = np.unique(part.store.array("plain")[part.rows], return_index=True)
        at = np.minimum(np.searchsorted(known, asked), max(len(known) - 1, 0))
        rows = np.flatnonzero((known[at] == asked) & (asked > 0)) if len(known) else np.zeros(0, np.int64)
        found += [(int(row), number, int(first[at[row]]), 0) for row in rows]
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 4)


def search(test: Images, parts: Sequence[Images], workers: int, progress: bool) -> np.ndarray:
    """What `copies` gives, computed."""
    ends = np.cumsum([len(part) for part in parts])
    count = int(ends[-1])
    title = f"looking for copies of {len(test):,} test images among {count:,} images"
    found: list[tuple[int, int, int, int]] = []
    with decode.bar(title, len(test), progress and len(test) * count >= BAR) as advance:
        asked, known = codes(test, workers), [codes(part, workers) for part in parts]
        even, odd = (torch.from_numpy(np.concatenate([code[side] for code in known]).T.copy()) for side in (0, 1))
        step = max(1, BLOCK // count)
        for start in range(0, len(test), step):
            own = [torch.from_numpy(side[start : start + step]) for side in asked]
            similar = (own[1] @ odd).abs_().addmm_(own[0], even)
            for row in torch.nonzero(similar.amax(1) >= SIMILAR)[:, 0].tolist():
                like: dict[int, tuple[int, int, int, int]] = {}
                for other in candidates(similar[row]):
                    number = int(np.searchsorted(ends, other, side="right"))
                    at, mirrored = other - int(ends[number]) + len(parts[number]), int(own[1][row] @ odd[:, other] < 0)
                    if number not in like and same_colours(test, start + row, parts[number], at, mirrored):
                        like[number] = (start + row, number, at, mirrored)
                found += like.values()
            advance(len(similar))
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def candidates(similar: torch.Tensor) -> list[int]:
    """Positions of the images that the `similar` (n,) ones of one test image say are copies, the likeliest first."""
    best = similar.topk(min(NEIGHBOURS + 1, len(similar)))
    usual = float(best.values[-1]) if len(similar) > 1 else 0.0
    least = min(SAME, max(SIMILAR, 1 - CLOSER * (1 - usual)))
    return best.indices[best.values >= least].tolist()


def codes(images: Images, workers: int = 0) -> Codes:
    """The codes of all images; images without contrast have zeros."""
    out = np.zeros((len(images), FREQUENCIES, FREQUENCIES), dtype=np.float32)

    def work(chunk: tuple[np.ndarray, np.ndarray]) -> None:
        index, pixels = chunk[0], _pixels(images, chunk[0])
        n, height, width, channels = pixels.shape
        # the product makes the pixels grey, which costs less than an array of grey pixels
        across = np.kron(basis(width).T, LUMA if channels == 3 else np.ones((1, 1), np.float32))
        out[index] = basis(height) @ (pixels.reshape(n, height, -1).astype(np.float32) @ across)

    with ThreadPoolExecutor(decode.threads(workers)) as pool:
        list(pool.map(work, _chunks(images)))
    steps = np.arange(FREQUENCIES, dtype=np.float32)
    out *= np.hypot(steps[:, None], steps)  # fine structure is weak and tells more; the mean brightness drops out
    length = np.sqrt(np.square(out).sum(axis=(1, 2)))[:, None, None]
    out = np.where(length >= LEAST_CONTRAST, out / np.maximum(length, LEAST_CONTRAST), np.float32(0))
    n = len(images)
    return Codes(*(np.ascontiguousarray(out[:, :, i::2].reshape(n, -1)) for i in (0, 1)))


def basis(n: int) -> np.ndarray:
    """(FREQUENCIES, n) float32: an image's n pixels along one axis → its cosine coefficients, in grey levels.

    Pixels are means over their area, which weakens a frequency the more the fewer pixels there are: that is undone.
    """
    steps = np.arange(FREQUENCIES)[:, None]
    rows = np.cos(np.pi * (np.arange(n) + 0.5) * steps / n) / n
    rows[1:] *= np.sqrt(2)
    rows /= np.sinc(steps / (2 * n))
    rows[n:] = 0  # so few pixels have no such frequency
    return rows.astype(np.float32)


def same_colours(test: Images, i: int, part: Images, j: int, mirrored: int) -> bool:
    """Whether two images differ in colour by no more than copies do. A grey image is a copy of a coloured one."""
    one, other = _colours(test, i), _colours(part, j)
    if one is None or other is None:
        return True
    other = other[:, ::-1] if mirrored else other
    strength = max(float(np.sqrt(np.square(c).mean())) for c in (one, other))
    return float(np.sqrt(np.square(one - other).mean())) <= max(COLOUR_LEVELS, COLOUR_FRACTION * strength)


def _colours(images: Images, i: int) -> np.ndarray | None:
    """(4, 4, 2): red less green and blue less green, averaged over a coarse grid; None of a grey image."""
    pixels = _pixels(images, np.array([i]))[0].astype(np.float32)
    if pixels.shape[2] == 1 or (pixels[..., :1] == pixels[..., 1:]).all():
        return None
    rows, columns = (np.array_split(np.arange(n), min(n, COLOUR_GRID)) for n in pixels.shape[:2])
    grid = np.array([[pixels[np.ix_(r, c)].mean(axis=(0, 1)) for c in columns] for r in rows])
    return grid[..., [0, 2]] - grid[..., 1:2]


def _chunks(images: Images) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(positions, their shape): images of one size each, as many as a block holds."""
    shapes, code = np.unique(images.store.shapes[images.rows], axis=0, return_inverse=True)
    for number, shape in enumerate(shapes):
        index = np.flatnonzero(code == number)
        step = max(1, BLOCK // (images.channels * int(shape.prod())))
        for start in range(0, len(index), step):
            yield index[start : start + step], shape


def _pixels(images: Images, index: np.ndarray) -> np.ndarray:
    """uint8 (B, h, w, c) of images of one size."""
    return images.store.stack(images.rows[index])
