"""Real images and those of generators: `real/` and `fake/GENERATOR/` below data.root, as `gssl sample --files` writes.

Learned from are real images and those of known generators; tested on are others of both and all images of the
generators in data.held_out. Test images come twice: as they are, and after JPEG of quality 90, real ones too. Which
images of real/ and of known generators are tested on (data.test_fraction) is decided by the content of each file.

All files must have gone the same way: format, mode, size and JPEG tables of both sorts must agree, for a detector that
has learnt from JPEG and PNG knows files and not images (DIRE, issue 11). Else the data are refused.
"""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import chi2_contingency

from gssl import schemas
from gssl.data import cache, decode
from gssl.data.draws import digest
from gssl.data.images import Images
from gssl.data.opening import opened
from gssl.data.sources import DataSource
from gssl.data.sources.folders import Told, child, find_folder, folders_in, images_below, one_line, some
from gssl.data.sources.segmentation import goal
from gssl.errors import UsageError
from gssl.statistics.fake import HELD_OUT, JPEG, KNOWN

CLASSES = ["real", "fake"]
QUALITY = 90  # of JPEG in the test
LEAST_GAP, LUCK = 0.1, 0.001  # of shares of ways that are no reason to refuse; the p from which they may be luck
LAYOUT = (
    "expected real/ and fake/ with a folder for each generator, as `gssl sample RUN --files -o FOLDER` writes them; add"
    " a second run to the same folder, and name it in data.held_out"
)


@dataclass
class Part:
    """Paths and their conditions (`gssl.statistics.fake.CONDITIONS`)."""

    names: list[str] = field(default_factory=list)
    conditions: list[int] = field(default_factory=list)

    def add(self, names: list[str], condition: int) -> None:
        self.names += names
        self.conditions += [condition] * len(names)


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images to learn from and to test on, labelled real or fake.

    Errors: UsageError for a missing folder, no real image, a generator that is not there or none that is left to learn
    from, files of both sorts that have not gone the same way, and files that are broken.
    """
    root = find_folder("root", cfg.root, None)
    if root is None:
        raise UsageError(f"data.root: no folder given; {LAYOUT}")
    told = Told()
    real, fake = child(root, "real"), child(root, "fake")
    if real is None or fake is None:
        raise UsageError(f"data.root: {root} has no folder {'fake' if real else 'real'}/; {LAYOUT}")
    known, held = _generators(fake, cfg)
    train, test = Part(), Part()
    _divide(real, 0, cfg, train, test, told)
    for name in known:
        _divide(fake / name, KNOWN, cfg, train, test, told)
    for name in held:
        test.add(cache.join(fake / name, images_below(fake / name, [], told)), HELD_OUT)
    for part, where in ((train, "to learn from"), (test, "to test on")):
        for sort, is_one in (("real", 0), ("generated", 1)):
            if not any((condition > 0) == bool(is_one) for condition in part.conditions):
                raise UsageError(f"data.root: {root} has no {sort} image {where}; {LAYOUT}")
    _same_way([*train.names, *test.names], [*train.conditions, *test.conditions])
    learnt, keys = _load(train, cfg, progress, twice=False)
    tested, _ = _load(test, cfg, progress, twice=True)
    text = f"learned from: {', '.join(known)}; held out: {', '.join(held)}; test images come twice, once after JPEG"
    return DataSource(learnt, tested, keys, None, None, [], told.suspicious(), [text, *told.texts()])


def _generators(folder: Path, cfg: schemas.Data) -> tuple[list[str], list[str]]:
    """Names of the generators that are learned from, and of those that are held out."""
    names = folders_in(folder)
    if not names:
        raise UsageError(f"data.root: {folder} has no folder of a generator; {LAYOUT}")
    held = list(cfg.held_out or [])
    if not held:
        raise UsageError(
            f"data.held_out: name the generators that are tested on and not learned from; in {folder}: {some(names, 6)}"
        )
    if missing := [name for name in held if name not in names]:
        raise UsageError(f"data.held_out: {folder} has no {missing[0]}; there is: {some(names, 6)}")
    known = [name for name in names if name not in held]
    if not known:
        raise UsageError(f"data.held_out: all generators of {folder} are held out; leave one to learn from")
    return known, held


def _divide(folder: Path, condition: int, cfg: schemas.Data, train: Part, test: Part, told: Told) -> None:
    """Images of a folder to learn from and to test on, by the content of each file."""
    names = images_below(folder, [], told)
    contents = cache.contents(folder, names, decode.threads(cfg.workers))
    paths = cache.join(folder, names)
    held = [
        int.from_bytes(digest("fake/test", cfg.split_seed, content)[:8], "little") / 2.0**64 < cfg.test_fraction
        for content in contents
    ]
    train.add([path for path, apart in zip(paths, held, strict=True) if not apart], condition)
    test.add([path for path, apart in zip(paths, held, strict=True) if apart], condition)


def way_of(path: str) -> tuple[str, ...]:
    """How a file was written: format, mode, size, and quality where it is a JPEG."""
    with opened(path, whole=False) as image:
        tables = getattr(image, "quantization", None)
        quality = "" if not tables else f" of tables {digest('tables', str(sorted(tables.items()))).hex()[:8]}"
        return f"{image.format}{quality}", image.mode, f"{image.width}×{image.height} px"


def _same_way(paths: list[str], conditions: list[int]) -> None:
    """Raises UsageError where files of real images differ from those of generated ones in how they were written: where
    one sort has what the other lacks, or where how often it has it tells the sorts apart."""
    ways: list[dict[tuple[str, ...], list[str]]] = [{}, {}]
    for path, condition in zip(paths, conditions, strict=True):
        try:
            way = way_of(path)
        except Exception as error:  # Pillow raises anything on malformed files
            raise UsageError(
                f"data.root: {path} cannot be read ({one_line(str(error))}); repair or remove it"
            ) from None
        ways[condition > 0].setdefault(way, []).append(path)
    real, fake = ways
    if real.keys() == fake.keys():
        _as_often(real, fake)
        return
    only = next((way for way in real if way not in fake), None) or next(way for way in fake if way not in real)
    sort, own = ("real", real) if only in real else ("generated", fake)
    other = next(iter(fake if sort == "real" else real))
    raise UsageError(
        f"data.root: {len(own[only])} {sort} images are {', '.join(only)} (the first is {own[only][0]}) and none of the"
        f" others is, which are {', '.join(other)}: a detector would learn how files were written; write both sorts the"
        " same way, as `gssl sample RUN --files` does"
    )


def _as_often(real: dict[tuple[str, ...], list[str]], fake: dict[tuple[str, ...], list[str]]) -> None:
    """Raises UsageError where real and generated images have the same ways, with shares too unlike for luck."""
    counts = np.array([[len(own[way]) for way in real] for own in (real, fake)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    gaps = shares[0] - shares[1]
    # half the sum of the gaps is by how much a guess from the way alone beats chance, twice
    if len(gaps) < 2 or np.abs(gaps).sum() / 2 <= LEAST_GAP or chi2_contingency(counts).pvalue >= LUCK:
        return
    way = list(real)[int(np.argmax(gaps))]
    more, less = (f"{share:.0%}" for share in shares[:, int(np.argmax(gaps))])
    raise UsageError(
        f"data.root: {more} of the real images are {', '.join(way)} (the first is {real[way][0]}) and {less} of the"
        " generated ones: a detector would learn how files were written; write both sorts the same way, as"
        " `gssl sample RUN --files` does"
    )


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def _load(part: Part, cfg: schemas.Data, progress: bool, twice: bool) -> tuple[Images, list[str]]:
    """(images with labels and the column `fake`, content hash of each file); twice: once more after JPEG."""
    home = Path(os.path.commonpath([os.path.dirname(path) for path in part.names]))
    hashes = cache.contents_of(part.names, decode.threads(cfg.workers))
    store = cache.entry(
        cache.entry_key("fake", cfg.size, twice, QUALITY, str(part.conditions), *hashes),
        lambda: (1 + twice) * decode.estimate(part.names, cfg.side),
        lambda writer: _write(writer, part, cfg.size, progress, twice),
        about=str(home),
    )
    conditions = np.array(part.conditions)
    conditions = np.concatenate([conditions, conditions + JPEG]) if twice else conditions
    names = np.array(part.names * (1 + twice))
    labels = (conditions >= KNOWN).astype(np.int64)
    images = Images(store, np.arange(len(store)), labels, CLASSES, names, None)
    return images, hashes


def _write(writer: cache.Writer, part: Part, size: int | list[int], progress: bool, twice: bool) -> None:
    with decode.bar(f"decoding {len(part.names):,} images", len(part.names), progress) as advance:
        for after_jpeg in (False, True)[: 1 + twice]:
            for path, condition in zip(part.names, part.conditions, strict=True):
                pixels = _pixels(path, size, after_jpeg)
                own = np.array([condition + JPEG * after_jpeg], dtype=np.uint8)
                writer.add([pixels], [cache.image_hash(pixels)], fake=[own])
            advance(len(part.names) // (1 + twice))
    writer.finish({}, {})


def _pixels(path: str, size: int | list[int], after_jpeg: bool) -> np.ndarray:
    """uint8 (h, w, c). Raises UsageError."""
    try:
        with opened(path) as file:
            image = decode.picture(file, path, "full")
    except Exception as error:  # Pillow raises anything on malformed files
        raise UsageError(f"data.root: {path} cannot be read ({one_line(str(error))}); repair or remove it") from None
    wanted = goal(*image.size, size)
    if wanted != image.size:
        image = image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if after_jpeg:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY)
        image = Image.open(buffer)
    pixels = np.array(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
