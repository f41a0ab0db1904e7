"""Images with a mask each: `{train,val,test}/{images,masks}/NAME.*`, or `images/` and `masks/` alone.

With data.masks, a template such as '{stem}_mask.png' (or '*_mask.png'), masks lie beside their images, or where the
template's folders lead from there ('../masks/{stem}.png'). `classes.json` in data.root says what the pixels of masks
mean (`gssl.data.masks`). data.groups says which images belong together: a pattern of their names such as '{group}_*',
or a CSV with the columns path and group. Images and masks are stored at data.size, a column each.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from gssl import schemas
from gssl.data import cache, decode
from gssl.data.columns import IGNORE
from gssl.data.images import Images
from gssl.data.masks import Legend, WrongMask, read_legend, read_mask
from gssl.data.opening import opened
from gssl.data.sources import DataSource, imagefolder, parts
from gssl.data.sources.folders import Told, child, find_folder, images_below, one_line, some
from gssl.data.sources.grouping import grouping
from gssl.data.sources.wrong_files import refuse_or_note
from gssl.data.values import Mapping, Range, stored
from gssl.errors import UsageError
from gssl.words import count

PARTS = ("train", "val", "test")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm")
MOST_TEMPLATES = 20  # that are tried for a hint
LAYOUT = (
    "expected images/ and masks/ in it, or train/, val/ and test/ that have these two, or data.masks, a template such"
    " as \"data.masks='{stem}_mask.png'\""
)
CHECKED = 64  # masks that are looked through at once
WRONG = {  # masks that are wrong in one way, and what to do about them
    "size": ("masks have another size than their image", "masks must have the size of their image, upright"),
    "ids": (
        "masks have ids that classes.json does not name",
        "list every value in classes.json, under names or ignore; masks of 0 and 255 with two classes say"
        ' {"names": {"0": "background", "255": "object"}}',
    ),
    "ignored": ("masks ignore every pixel", "remove these images or correct their masks"),
    "colours": (
        "masks hold colours where class ids are expected",
        'save masks with one channel of ids, or give "colours" in classes.json, one per name',
    ),
    "unknown colours": (
        "masks have colours that classes.json does not name",
        'give every colour in classes.json, under "colours" or "ignore_colours"',
    ),
    "file": ("images cannot be read, or their masks", "repair or remove them"),
}


@dataclass
class Pairs:
    """Images of one part below `root`, their masks and their groups."""

    root: Path
    names: list[str]
    masks: list[str]  # paths relative to `root`, too
    groups: list[str] | None


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images and masks of `data=segmentation`, decoded once; data.pretrain may name images without masks.

    Errors: UsageError for a missing folder or classes.json, training masks of one class, and (data.on_error=stop)
    images without a mask, files that are broken and masks that are wrong.
    """
    root = find_folder("root", cfg.root, None)
    if root is None:
        raise UsageError(f"data.root: no folder given; {LAYOUT}")
    told = Told()
    root = parts.inner_of_masks(root, told)
    legend = read_legend(root / "classes.json")
    group_of = grouping(cfg.groups, root)
    warnings: list[str] = []
    skipped: list[str] = []
    folders = {name: folder for name in PARTS if (folder := parts.named(root, name))} or {"train": root}
    told.notes += [
        f"{folder} is the {name} part" for name, folder in folders.items() if folder.name not in (root.name, name)
    ]
    if "train" not in folders:
        raise UsageError(f"data.root: {root} has {' and '.join(folders)} and no train; {LAYOUT}")
    found = {name: _pairs(folder, cfg, group_of, warnings, skipped, told) for name, folder in folders.items()}
    loaded, keys = {}, []
    mapping = Mapping(cfg.range)
    pretrain = None
    for name, pairs in found.items():
        loaded[name], hashes, kept = _load(name, pairs, legend, cfg, mapping, progress, skipped)
        if name == "train":  # which comes first
            keys = [hashes[i] for i in kept]
            _check_classes(loaded[name], legend, root)
            if (folder := find_folder("pretrain", cfg.pretrain, root)) is not None:
                pretrain = imagefolder.unlabelled(folder, cfg, progress, skipped, told, mapping)
    test, val = loaded.get("test"), loaded.get("val")
    warnings += [*told.suspicious(), *mapping.warnings()]
    texts = [*told.texts(), *mapping.texts()]
    return DataSource(loaded["train"], test, keys, pretrain, val, skipped, warnings, texts)


# ── which files ──────────────────────────────────────────────────────────────────────────────────


def _pairs(
    folder: Path,
    cfg: schemas.Data,
    group_of: Callable[[Path], str] | None,
    warnings: list[str],
    skipped: list[str],
    told: Told,
) -> Pairs:
    """The images of one part with their masks.

    data.on_error=skip leaves images without a mask out, with a warning. Else, or where no image has one: UsageError.
    """
    template = cfg.masks
    if template is None:
        names, masks, unused = _in_two_folders(folder, told)
    else:
        names, masks, unused = _by_template(folder, template, told)
    lacking = [f"{folder}/{name}" for name, mask in zip(names, masks, strict=True) if mask is None]
    if lacking and (cfg.on_error == "stop" or len(lacking) == len(names)):
        advice = "give each a mask or remove it"
        if template is None:
            advice += f" (masks/ must have the same name, ending in {', '.join(MASK_SUFFIXES)})"
            alone = [name for name, mask in zip(names, masks, strict=True) if mask is None]
            if hint := _template_that_fits(alone, unused):
                advice = f"name masks like their images, or give data.masks='{hint}'"
        rest = "" if len(lacking) == len(names) else ", or leave these images out with data.on_error=skip"
        raise UsageError(
            f"data.root: {len(lacking)} of {len(names)} images have no mask: {some(lacking)}; {advice}{rest}"
        )
    if lacking:
        few = f"{len(lacking)} of {len(names)} images have no mask, the first is {lacking[0]}"
        warnings.append(f"data.root: {few}: left out")
        skipped += [f"{path} (no mask)" for path in lacking]
        kept = [i for i, mask in enumerate(masks) if mask is not None]
        names, masks = [names[i] for i in kept], [masks[i] for i in kept]
    if unused:
        many = count(len(unused), "mask")
        warnings.append(f"data.root: {many} without an image, the first is {folder}/{unused[0]}: left out")
    groups = None if group_of is None else [group_of(folder / name) for name in names]
    return Pairs(folder, names, [mask for mask in masks if mask], groups)


def _in_two_folders(folder: Path, told: Told) -> tuple[list[str], list[str | None], list[str]]:
    """images/NAME.* and masks/NAME.*: names, the mask of each or None, and masks without an image."""
    images, masks = child(folder, "images"), child(folder, "masks")
    if images is None or masks is None:
        raise UsageError(f"data.root: {folder} has no folder {'masks' if images else 'images'}; {LAYOUT}")
    mine = Told()
    names = images_below(images, [], mine)
    if not names:
        raise UsageError(f"data.root: no images below {images}; {'; '.join([LAYOUT, *mine.texts()])}")
    told.merge(mine)
    known = {_stem(name): name for name in images_below(masks, []) if name.lower().endswith(MASK_SUFFIXES)}
    own = [known.get(_stem(name)) for name in names]
    used = set(own)
    unused = [f"masks/{name}" for name in known.values() if name not in used]
    return [f"images/{name}" for name in names], [mask and f"masks/{mask}" for mask in own], unused


def _template_that_fits(names: list[str], unused: list[str]) -> str | None:
    """The data.masks by which most of the images NAMES (images/NAME.*) have one of the unused masks (masks/NAME.*).

    None where less than half have one. Folders below images/ are not looked into.
    """
    stems = [PurePosixPath(name).stem for name in names if name.count("/") == 1]
    if not stems:
        return None
    known = set(unused)
    near = sorted((name for name in unused if stems[0] in PurePosixPath(name).name), key=len)[:MOST_TEMPLATES]
    templates = [PurePosixPath(name).name.replace(stems[0], "{stem}", 1) for name in near]
    counts = [sum(f"masks/{text.replace('{stem}', stem)}" in known for stem in stems) for text in templates]
    best = max(counts, default=0)
    return f"../masks/{templates[counts.index(best)]}" if 2 * best >= len(names) else None


def _by_template(folder: Path, template: str, told: Told) -> tuple[list[str], list[str | None], list[str]]:
    """Masks where data.masks says. Every file that a template without folders fits is a mask and no image."""
    text = template.replace("{stem}", "*")
    if text.count("*") != 1:
        raise UsageError(f"data.masks={template}: expected one {{stem}} in it, such as '{{stem}}_mask.png'")
    beside = "/" not in text
    before, after = text.split("*")
    shape = re.compile(re.escape(before) + "(.+)" + re.escape(after))
    mine = Told()
    everything = images_below(folder, [], mine)
    told.merge(mine)
    fits = {name: bool(beside and shape.fullmatch(PurePosixPath(name).name)) for name in everything}
    if beside and all(fits.values()):  # the template fits images as well, such as {stem}.png
        raise UsageError(f"data.masks={template}: fits every image below {folder}, so none is left that is no mask")
    names, masks = [name for name in everything if not fits[name]], []
    for name in names:
        path = folder / PurePosixPath(name).parent / text.replace("*", PurePosixPath(name).stem)
        masks.append(str(_below(path, folder)) if path.is_file() and path != folder / name else None)
    if not beside:  # masks elsewhere below the folder are among the images found
        own = set(masks)
        rest = [(name, mask) for name, mask in zip(names, masks, strict=True) if name not in own]
        names, masks = [name for name, _ in rest], [mask for _, mask in rest]
    used = set(masks)
    return names, masks, [name for name in everything if fits[name] and name not in used]


def _below(path: Path, folder: Path) -> Path:
    """`path`, which may have .. in it, relative to `folder` where it lies there."""
    direct, own = path.resolve(), folder.resolve()
    return direct.relative_to(own) if direct.is_relative_to(own) else direct


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def goal(width: int, height: int, size: int | list[int]) -> tuple[int, int]:
    """Stored (width, height): data.size is the shorter side, or [height, width]."""
    if not isinstance(size, int):
        return size[1], size[0]
    scale = size / min(width, height)
    return max(size, round(width * scale)), max(size, round(height * scale))


def _decode(
    image_path: str, mask_path: str, legend: Legend, size: int | list[int], given: Range
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (h, w, c) antialiased, and ids uint8 (h, w) by the nearest pixel. Raises WrongMask, or as Pillow."""
    with opened(image_path) as file:
        image = decode.picture(file, image_path, given)
    mask = read_mask(mask_path, legend, image.size)
    goal_size = goal(*image.size, size)
    if goal_size != image.size:
        image = image.resize(goal_size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        mask = mask.resize(goal_size, Image.Resampling.NEAREST)
    pixels = np.array(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels, np.array(mask)


def _load(
    part: str,
    pairs: Pairs,
    legend: Legend,
    cfg: schemas.Data,
    mapping: Mapping,
    progress: bool,
    skipped: list[str],
) -> tuple[Images, list[str], np.ndarray]:
    """(images with masks, content hash of every image file, positions of those that could be read)."""
    paths, mask_paths = cache.join(pairs.root, pairs.names), cache.join(pairs.root, pairs.masks)
    hashes = cache.contents(
        pairs.root,
        [*pairs.names, *pairs.masks],
        decode.threads(cfg.workers),
        lambda n: decode.bar(f"reading {n:,} files", n, progress),
    )
    given = mapping.of(part, paths, hashes[: len(paths)], decode.threads(cfg.workers))
    store = cache.entry(
        cache.entry_key("segmentation", cfg.size, legend.key, *([] if given is None else [given]), *hashes),
        lambda: 2 * decode.estimate(paths, cfg.side),
        lambda writer: _write(writer, paths, mask_paths, legend, cfg, given, progress),
        about=str(pairs.root),
    )
    wrong = [
        (kind, f"{(paths if kind == 'file' else mask_paths)[i]} ({text})") for i, kind, text in store.meta["wrong"]
    ]
    skipped += refuse_or_note(wrong, len(paths), len(store), cfg.on_error, WRONG)
    kept = store.array("kept")
    groups = None if pairs.groups is None else np.array(pairs.groups)[kept]
    labels = np.full(len(store), -1, dtype=np.int64)
    images = Images(store, np.arange(len(store)), labels, legend.names, np.array(paths)[kept], groups)
    return images, hashes[: len(paths)], kept


def _check_classes(images: Images, legend: Legend, root: Path) -> None:
    """Raises UsageError where all labelled pixels are of one class: a constant prediction would be perfect."""
    found: set[int] = set()
    for start in range(0, len(images), CHECKED):
        part = images.subset(np.arange(start, min(start + CHECKED, len(images)))).masks
        assert part is not None
        found |= set(np.flatnonzero(np.bincount(part.reshape(-1), minlength=256)).tolist()) - {IGNORE}
        if len(found) > 1:
            return
    name = legend.names[found.pop()]
    advice = "give masks with at least two classes"
    if legend.table[255] == IGNORE:
        advice += (
            ", or where pixels of 255 are a class and not to be ignored, say so by"
            f' "names": {{"0": "background", "255": "object"}} in {root / "classes.json"}, without "ignore"'
        )
    raise UsageError(
        f"data.root: every labelled pixel of the {len(images)} training masks is of the class {name}, so there is"
        f" nothing to learn; {advice}"
    )


def _write(
    writer: cache.Writer,
    paths: list[str],
    mask_paths: list[str],
    legend: Legend,
    cfg: schemas.Data,
    given: Range | None,
    progress: bool,
) -> None:
    """Decode all pairs into the entry. meta: `wrong`, a list of [position, kind, reason]; arrays: `kept`."""

    def read(i: int) -> tuple[np.ndarray, np.ndarray] | tuple[str, str]:
        return _try(paths[i], mask_paths[i], legend, cfg.size, given or "full")

    wrong, kept = decode.write_twos(writer, len(paths), read, "mask", "images and masks", cfg, progress)
    writer.finish({"wrong": wrong} | ({} if given is None else {"range": stored(given)}), {"kept": kept})


def _try(
    image: str, mask: str, legend: Legend, size: int | list[int], given: Range
) -> tuple[np.ndarray, np.ndarray] | tuple[str, str]:
    try:
        return _decode(image, mask, legend, size, given)
    except WrongMask as error:
        return error.kind, str(error)
    except Exception as error:  # Pillow raises anything on malformed files, even struct.error
        return "file", one_line(f"{type(error).__name__}: {error}")
