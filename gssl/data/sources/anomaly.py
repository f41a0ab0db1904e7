"""Images of what is good, and for the test some of what is not: `train/good`, `test/KIND`, `ground_truth/KIND`.

That is MVTec's layout below data.root, with masks `ground_truth/KIND/NAME_mask.png` (or NAME.png). Or three folders:
data.good, of which a part is tested on (data.test_fraction, decided by the content of each file), data.bad, whose
folders are kinds of defects, and data.masks with a mask for each image of data.bad under the same path.

Learning sees good images alone. Every pixel of a mask that is not 0 is a defect. The column `anomaly` has the kind of
each image and where its defects are (`gssl.data.columns.AnomalyColumn`); images and masks are stored at data.size.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from gssl import schemas
from gssl.data import cache, decode
from gssl.data.columns import MOST_KINDS, UNKNOWN_PLACE
from gssl.data.draws import digest
from gssl.data.images import Images
from gssl.data.opening import opened
from gssl.data.sources import DataSource, imagefolder, parts
from gssl.data.sources.folders import Told, child, class_of, find_folder, folders_in, images_below, one_line, some
from gssl.data.sources.segmentation import MASK_SUFFIXES, goal
from gssl.data.sources.wrong_files import refuse_or_note
from gssl.data.values import Mapping, Range, stored
from gssl.errors import UsageError
from gssl.words import count

GOOD = "good"
LAYOUT = (
    "expected train/good and test/ with good and a folder for each kind of defect, masks in ground_truth/, or data.good"
    " and data.bad (and data.masks), folders of images"
)
WRONG = {  # files that are wrong in one way, and what to do about them
    "size": ("masks have another size than their image", "masks must have the size of their image, upright"),
    "file": ("images cannot be read, or their masks", "repair or remove them"),
}


@dataclass
class Listing:
    """Images of one part: paths, the mask of each or None, its kind (0 is good)."""

    names: list[str] = field(default_factory=list)
    masks: list[str | None] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    def add(self, names: list[str], kind: int, masks: list[str | None] | None = None) -> None:
        self.names += names
        self.masks += masks or [None] * len(names)
        self.kinds += [kind] * len(names)


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Good images to learn from and a test set of both sorts, decoded once; data.pretrain may name other images.

    Errors: UsageError for a missing folder, no good image to learn from, a test set of one sort alone, and
    (data.on_error=stop) defects without a mask where others have one, broken files and masks of another size.
    """
    told, skipped, mapping = Told(), list[str](), Mapping(cfg.range)
    root = find_folder("root", cfg.root, None)
    if cfg.good is None and cfg.bad is None:
        if root is None:
            raise UsageError(f"data.root: no folder given; {LAYOUT}")
        root = parts.inner(root, told)
        kinds, train, test = _mvtec(root, cfg, told, skipped)
    else:
        kinds, train, test = _folders(root, cfg, told, skipped)
    where = "" if root is None else f" in {root}"
    if not train.names:
        raise UsageError(f"data: no good image to learn from{where}; {LAYOUT}")
    _check_kinds(np.array(test.kinds), where)
    keys, loaded = list[str](), dict[str, Images]()
    for name, listing in (("train", train), ("test", test)):
        loaded[name], hashes = _load(name, listing, kinds, cfg, mapping, progress, skipped, told)
        keys = keys or hashes
    _check_kinds(column_kinds(loaded["test"]), where)  # of those that could be read
    pretrain = None
    if (folder := find_folder("pretrain", cfg.pretrain, root)) is not None:
        pretrain = imagefolder.unlabelled(folder, cfg, progress, skipped, told, mapping)
    warnings = [*told.suspicious(), *mapping.warnings()]
    texts = [*told.texts(), *mapping.texts()]
    return DataSource(loaded["train"], loaded["test"], keys, pretrain, None, skipped, warnings, texts)


def column_kinds(images: Images) -> np.ndarray:
    """int64 (n,): the kind of each image, 0 is good."""
    found: np.ndarray = images.store.columns["anomaly"].kinds(images.rows)  # type: ignore[attr-defined]
    return found


# ── which files ──────────────────────────────────────────────────────────────────────────────────


def _mvtec(root: Path, cfg: schemas.Data, told: Told, skipped: list[str]) -> tuple[list[str], Listing, Listing]:
    """Kinds, images to learn from and images to test on, below `root`."""
    train, test = parts.named(root, "train"), parts.named(root, "test")
    if train is None or test is None:
        raise UsageError(f"data.root: {root} has no folder {'test' if train else 'train'}/; {LAYOUT}")
    learnt, tested, found = Listing(), Listing(), Told()
    others = [name for name in parts.classes_in(train) if name.lower() != GOOD]
    if others:
        raise UsageError(
            f"data.root: {train} has {some(others)} beside {GOOD}/, and what is learned from must be good; move them to"
            f" {test}, or out of {train}"
        )
    own = _named_good(train)
    learnt.add([] if own is None else cache.join(own, images_below(own, [], found)), 0)
    names = [name for name in parts.classes_in(test) if name.lower() != GOOD]
    kinds = _kinds(names, test)
    if (good := _named_good(test)) is not None:
        tested.add(cache.join(good, images_below(good, [], found)), 0)
    truth = cfg.masks and find_folder("masks", cfg.masks, root)
    truth = truth or child(root, "ground_truth")
    for number, name in enumerate(names, 1):
        folder = test / name
        inside = images_below(folder, [], found)
        masks = None if truth is None else truth / name
        tested.add(cache.join(folder, inside), number, _masks(inside, folder, masks, cfg, told, skipped))
    told.merge(found)
    if truth is None:
        told.notes.append(f"{root} has no ground_truth/: where defects are is not known, and pixels are not scored")
    else:
        rest = [name for name in folders_in(truth) if name.lower() != GOOD and name not in names]
        if rest:
            told.warnings.append(f"{truth} has masks of {some(rest)}, of which {test} has no images: left out")
    return kinds, learnt, _without_skipped(tested, skipped)


def _named_good(folder: Path) -> Path | None:
    return next((folder / name for name in folders_in(folder) if name.lower() == GOOD), None)


def _folders(
    root: Path | None, cfg: schemas.Data, told: Told, skipped: list[str]
) -> tuple[list[str], Listing, Listing]:
    """The same of data.good, data.bad and data.masks."""
    good, bad = find_folder("good", cfg.good, root), find_folder("bad", cfg.bad, root)
    if good is None or bad is None:
        raise UsageError(f"data.{'bad' if good else 'good'}: no folder given; {LAYOUT}")
    if good.resolve() == bad.resolve() or bad.resolve() in good.resolve().parents:
        raise UsageError(f"data.bad={cfg.bad}: holds data.good={cfg.good}; give two folders beside each other")
    learnt, tested, found = Listing(), Listing(), Told()
    names = images_below(good, [bad], found)
    files = cache.join(good, names)
    contents = cache.contents(good, names, decode.threads(cfg.workers))
    held = [_chance(content, cfg.split_seed) < cfg.test_fraction for content in contents]
    learnt.add([file for file, apart in zip(files, held, strict=True) if not apart], 0)
    tested.add([file for file, apart in zip(files, held, strict=True) if apart], 0)
    inside = images_below(bad, [], found)
    own = [class_of(name) if "/" in name else "bad" for name in inside]
    names = sorted(set(own))
    kinds = _kinds(names, bad)
    masks = find_folder("masks", cfg.masks, root)
    given = _masks(inside, bad, masks, cfg, told, skipped)
    for path, kind, mask in zip(cache.join(bad, inside), own, given, strict=True):
        tested.add([path], names.index(kind) + 1, [mask])
    told.merge(found)
    if masks is None:
        told.notes.append("no data.masks: where defects are is not known, and pixels are not scored")
    return kinds, learnt, _without_skipped(tested, skipped)


def _chance(content: str, seed: int) -> float:
    """In [0, 1), by the content of a file: neither names nor other files move it."""
    return int.from_bytes(digest("anomaly/test", seed, content)[:8], "little") / 2.0**64


def _kinds(names: list[str], where: Path) -> list[str]:
    """Names of the kinds of images, good first. Raises UsageError where there are too many."""
    if len(names) > MOST_KINDS:
        raise UsageError(
            f"data: {where} has {len(names)} folders, and at most {MOST_KINDS} kinds of defects are possible; put kinds"
            " that belong together into one folder"
        )
    return [GOOD, *names]


def _masks(
    names: list[str], folder: Path, masks: Path | None, cfg: schemas.Data, told: Told, skipped: list[str]
) -> list[str | None]:
    """The mask of each image, by its path with or without `_mask` at the end. Without a folder of masks none has one.

    Errors: UsageError where images lack one (data.on_error=skip: they are left out).
    """
    if masks is None:
        return [None] * len(names)
    listed = images_below(masks, []) if masks.is_dir() else []
    there = {_stem(name): name for name in listed if name.lower().endswith(MASK_SUFFIXES)}
    own = [there.get(f"{_stem(name)}_mask", there.get(_stem(name))) for name in names]
    lacking = [f"{folder}/{name}" for name, mask in zip(names, own, strict=True) if mask is None]
    if lacking and cfg.on_error == "stop":
        raise UsageError(
            f"data: {len(lacking)} of {len(names)} images of defects have no mask in {masks}: {some(lacking)}; name"
            " masks NAME_mask.png or NAME.png like their image, or leave these images out with data.on_error=skip"
        )
    skipped += [f"{path} (no mask)" for path in lacking]
    used = set(own)
    unused = [name for name in there.values() if name not in used]
    if unused:
        many = count(len(unused), "mask")
        told.warnings.append(f"{many} without an image, the first is {masks}/{unused[0]}: left out")
    return [mask and f"{masks}/{mask}" for mask in own]


def _without_skipped(listing: Listing, skipped: list[str]) -> Listing:
    left_out = {text.removesuffix(" (no mask)") for text in skipped}
    found = Listing()
    for name, mask, kind in zip(listing.names, listing.masks, listing.kinds, strict=True):
        if name not in left_out:
            found.add([name], kind, [mask])
    return found


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _check_kinds(kinds: np.ndarray, where: str) -> None:
    """Raises UsageError where test images are of one sort: nothing tells how well the two are told apart."""
    if (kinds == 0).any() and (kinds > 0).any():
        return
    sort = "good" if (kinds == 0).any() else "with defects"
    which = f"all {len(kinds)} test images{where} are {sort}" if len(kinds) else f"there are no test images{where}"
    raise UsageError(f"data: {which}, and both sorts are needed to tell how well they are told apart; {LAYOUT}")


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def _load(
    part: str,
    listing: Listing,
    kinds: list[str],
    cfg: schemas.Data,
    mapping: Mapping,
    progress: bool,
    skipped: list[str],
    told: Told,
) -> tuple[Images, list[str]]:
    """(images with the column `anomaly`, content hash of the file of each)."""
    paths = listing.names
    files = [*paths, *(mask for mask in listing.masks if mask is not None)]
    home = Path(os.path.commonpath([os.path.dirname(path) for path in paths]))
    hashes = cache.contents_of(
        files, decode.threads(cfg.workers), lambda n: decode.bar(f"reading {n:,} files", n, progress)
    )
    given = mapping.of(part, paths, hashes[: len(paths)], decode.threads(cfg.workers))
    which = [mask is not None for mask in listing.masks]
    store = cache.entry(
        cache.entry_key("anomaly", cfg.size, str(listing.kinds), str(which), *([] if given is None else [given]),
                        *hashes),
        lambda: 2 * decode.estimate(paths, cfg.side),
        lambda writer: _write(writer, listing, cfg, given, progress),
        about=str(home),
    )  # fmt: skip
    wrong = [(kind, f"{paths[i] if kind == 'file' else listing.masks[i]} ({text})")
             for i, kind, text in store.meta["wrong"]]  # fmt: skip
    skipped += refuse_or_note(wrong, len(paths), len(store), cfg.on_error, WRONG, key="data")
    if empty := store.meta["empty"]:
        told.notes.append(
            f"{count(len(empty), 'mask')} of defects without a pixel at data.size={cfg.size}, the first is"
            f" {listing.masks[empty[0]]}: such images count as defects and their pixels nowhere"
        )
    kept = store.array("kept")
    none = np.full(len(store), -1, dtype=np.int64)
    images = Images(store, np.arange(len(store)), none, kinds, np.array(paths)[kept], None)
    return images, [hashes[i] for i in kept]


def _write(writer: cache.Writer, listing: Listing, cfg: schemas.Data, given: Range | None, progress: bool) -> None:
    """Decode all images and masks into the entry. meta: `wrong`, a list of [position, kind, reason], and `empty`, the
    positions of empty masks; arrays: `kept`."""
    rows = list(zip(listing.names, listing.masks, listing.kinds, strict=True))

    def work(start: int) -> list[tuple[np.ndarray, np.ndarray, bool] | tuple[str, str]]:
        return [_try(*row, cfg.size, given or "full") for row in rows[start : start + decode.CHUNK]]

    wrong: list[tuple[int, str, str]] = []
    kept: list[int] = []
    empty: list[int] = []
    with decode.bar(f"decoding {len(rows):,} images", len(rows), progress) as advance:
        starts = range(0, len(rows), decode.CHUNK)
        for start, results in decode.windowed(work, starts, decode.threads(cfg.workers)):
            for position, found in enumerate(results, start):
                if isinstance(found[0], str):
                    wrong.append((position, found[0], str(found[1])))
                    continue
                image, places, blank = found
                kept.append(position)
                empty += [position] if blank else []
                writer.add([image], [cache.image_hash(image)], anomaly=[places])
            advance(len(results))
    meta = {"wrong": wrong, "empty": empty} | ({} if given is None else {"range": stored(given)})
    writer.finish(meta, {"kept": np.array(kept, dtype=np.int64)})


def _try(
    path: str, mask: str | None, kind: int, size: int | list[int], given: Range
) -> tuple[np.ndarray, np.ndarray, bool] | tuple[str, str]:
    """uint8 (h, w, c), the row (h, w) of the column, and whether the mask is empty; or what is wrong and why."""
    try:
        with opened(path) as file:
            image = decode.picture(file, path, given)
        places = None
        if mask is not None:
            with opened(mask) as file:
                if file.size != image.size:
                    sizes = f"{file.width}×{file.height}, its image {image.width}×{image.height}"
                    return "size", f"{sizes} pixels (width × height)"
                values = np.asarray(file)
            places = (values if values.ndim == 2 else values[..., :3].max(axis=2)) != 0
        wanted = goal(*image.size, size)
        if wanted != image.size:
            image = image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)
            places = places if places is None else np.asarray(
                Image.fromarray(places.astype(np.uint8)).resize(wanted, Image.Resampling.NEAREST)
            ) > 0  # fmt: skip
        pixels = np.array(image)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        blank = places is not None and not places.any()
        if kind and (places is None or blank):
            return pixels, np.full(pixels.shape[:2], UNKNOWN_PLACE + kind, dtype=np.uint8), blank
        found = np.zeros(pixels.shape[:2], dtype=np.uint8) if places is None else places.astype(np.uint8) * kind
        return pixels, found, False
    except Exception as error:  # Pillow raises anything on malformed files, even struct.error
        return "file", one_line(f"{type(error).__name__}: {error}")
