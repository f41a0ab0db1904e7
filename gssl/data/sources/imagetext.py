"""Images with captions: `captions.csv` with path,caption[,split][,group][,class], or NAME.jpg beside NAME.txt.

Images are divided, never captions: an image's captions are all in one part. Where groups are known no part tears them.
The tokenizer is trained on the captions of training images (and those for pretraining) alone. A row is an image with
its captions as ids of tokens, at most `data.caption_tokens` of each.
"""

from pathlib import Path

import numpy as np

from gssl import schemas
from gssl.data import cache, captions, decode
from gssl.data.captions import Listing, Pair
from gssl.data.columns import joined_captions
from gssl.data.images import Images
from gssl.data.sides import divided
from gssl.data.sources import DataSource
from gssl.data.sources.folders import Told, find_folder, folders_in, one_line, some
from gssl.data.sources.text import Maker
from gssl.data.sources.wrong_files import refuse_or_note
from gssl.data.tokens import Tokenizer
from gssl.data.values import Mapping, Range, stored
from gssl.errors import UsageError

PARTS = ("train", "val", "test", "pretrain")
WRONG = {
    "alone": ("images and texts have no counterpart", "give every image a caption and every text an image"),
    "file": ("images cannot be read", "repair or remove them"),
}


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images and captions of `data=imagetext`. Errors: UsageError for a missing folder, a malformed table, paths that
    are not there or lead elsewhere, and (data.on_error=stop) images without a caption and those that are broken."""
    root = find_folder("root", cfg.root, None)
    if root is None:
        raise UsageError(f"data.root: no folder given; {captions.LAYOUT}")
    told = Told()
    root = _inner(root, told)
    listing = captions.read(root, cfg.encoding, told)
    alone = [("alone", text) for text in listing.alone]
    of = len(listing.pairs) + len(alone)
    skipped = refuse_or_note(alone, of, len(listing.pairs), cfg.on_error, WRONG)
    paths = cache.join(root, [pair.path for pair in listing.pairs])
    threads = decode.threads(cfg.workers)
    hashes = cache.contents_of(paths, threads, lambda n: decode.bar(f"reading {n:,} files", n, progress))
    sides = _sides(listing, hashes, cfg, told)
    classes = _classes(listing, sides)
    learned = [text for pair, side in zip(listing.pairs, sides, strict=True) if side in ("train", "pretrain")
               for text in pair.captions]  # fmt: skip
    maker = Maker(cfg, learned)
    mapping = Mapping(cfg.range)
    values = mapping.of("train", paths, hashes, threads)
    store = cache.entry(
        cache.entry_key(
            "imagetext", 1, cfg.side, cfg.on_error, cfg.caption_tokens, maker.recipe, values,
            *hashes, *(repr(pair.captions) for pair in listing.pairs),
        ),
        lambda: decode.estimate(paths, cfg.side),
        lambda writer: _write(writer, listing.pairs, paths, cfg, maker, values, progress),
        about=str(root),
    )  # fmt: skip
    broken = [("file", f"{paths[i]} ({one_line(why)})") for i, why in store.meta["broken"]]
    skipped += refuse_or_note(broken, len(paths), len(store), cfg.on_error, WRONG)
    _tell(store.meta, cfg, told)
    kept = store.array("kept")
    number = {name: i for i, name in enumerate(classes)}
    pairs = [listing.pairs[i] for i in kept.tolist()]
    labels = np.array([number.get(pair.label or "", -1) for pair in pairs], dtype=np.int64)
    grouped = any(pair.group for pair in pairs)
    groups = np.array([pair.group or f"\0{pair.path}" for pair in pairs], dtype=object).astype(str) if grouped else None
    names = np.array(paths, dtype=object)[kept].astype(str)
    every = Images(store, np.arange(len(store)), labels, classes, names, groups)
    own = {part: every.subset(np.flatnonzero(sides[kept] == part)) for part in PARTS}
    for part in ("train", "val", "test"):
        if not len(own[part]):
            raise UsageError(
                f"data.root: there are no {part} images with captions in {root} that can be read; add some"
            )
    pretrain = own["pretrain"].unlabelled() if len(own["pretrain"]) else None
    keys = [hashes[i] for i in kept[sides[kept] == "train"].tolist()]
    warnings = [*told.suspicious(), *mapping.warnings()]
    return DataSource(
        own["train"], own["test"], keys, pretrain, own["val"], skipped, warnings, [*told.texts(), *mapping.texts()]
    )


def _inner(root: Path, told: Told) -> Path:
    """`root`, or the only folder in it, where that has the table, as archives have it."""
    names = folders_in(root)
    if len(names) != 1 or (root / captions.TABLE).is_file() or not (root / names[0] / captions.TABLE).is_file():
        return root
    told.notes.append(f"{root / names[0]} is read, the only folder in {root}")
    return root / names[0]


def _sides(listing: Listing, hashes: list[str], cfg: schemas.Data, told: Told) -> np.ndarray:
    """The part of each image: as it is said, else by seeded hashes of groups or of files."""
    pairs = listing.pairs
    sides = np.array([pair.split or "train" for pair in pairs])
    if not (sides == "train").any():
        raise UsageError("data.root: there are no training images with captions; add rows without split, or with train")
    grouped = any(pair.group for pair in pairs)
    units = np.array([pair.group or own for pair, own in zip(pairs, hashes, strict=True)], dtype=object).astype(str)
    labels = np.array([pair.label or "" for pair in pairs])
    if grouped:
        found: dict[str, set[str]] = {}
        for unit, side in zip(units.tolist(), sides.tolist(), strict=True):
            found.setdefault(unit, set()).add(side)
        torn = sorted(unit for unit, own in found.items() if len(own) > 1)
        if torn:
            told.warnings.append(
                f"data.root: the column split tears {len(torn):,} of {len(found):,} groups ({some(torn)}): it is not"
                " used, and groups are divided; for that split all the same leave the column group out"
            )
            sides[:] = "train"
    given = {part for part in ("val", "test") if (sides == part).any()}
    mine = np.flatnonzero(sides == "train")
    sides[mine] = divided(labels[mine], units[mine], grouped, given, cfg)
    return sides


def _classes(listing: Listing, sides: np.ndarray) -> list[str]:
    """Names of the classes. Raises UsageError where only some images have one, or classes are not learned."""
    learned = [p for p, side in zip(listing.pairs, sides, strict=True) if side != "pretrain"]
    classes = sorted({p.label for p, side in zip(listing.pairs, sides, strict=True) if p.label and side == "train"})
    if not any(pair.label for pair in learned):
        return []
    if lacking := [pair for pair in learned if not pair.label]:
        raise UsageError(
            f"data.root: {len(lacking):,} of {len(learned):,} images have no class ({lacking[0].path},"
            f" {lacking[0].where}); fill the column class in for all, or leave it out"
        )
    if unknown := sorted({str(pair.label) for pair in learned} - set(classes)):
        raise UsageError(
            f"data.root: no training image has the class {some(unknown)}; rename it, or give training images of it"
        )
    return classes


def _tell(meta: dict[str, int], cfg: schemas.Data, told: Told) -> None:
    """How many captions there are, and which are cut off."""
    count, cut = meta["captions"], meta["cut"]
    told.notes.append(f"{count:,} captions of at most {meta['longest']} tokens")
    if cut:
        told.notes.append(
            f"{cut:,} of {count:,} captions ({cut / count:.1%}) are longer than"
            f" data.caption_tokens={cfg.caption_tokens} and cut off"
        )


def _write(
    writer: cache.Writer,
    pairs: list[Pair],
    paths: list[str],
    cfg: schemas.Data,
    maker: Maker,
    values: Range | None,
    progress: bool,
) -> None:
    """Decode all images into the entry.

    meta: `broken`, a list of [position, reason]; tokenizer (its JSON), tokenizer_hash, tokens (rows of an embedding);
    captions, cut, longest: counts. arrays: `kept`, positions of the others.
    """
    tokenizer = maker.tokenizer
    made = iter(_encoded(pairs, tokenizer))
    most = int(cfg.caption_tokens or 1)
    count, cut, longest = 0, 0, 0
    broken: list[tuple[int, str]] = []
    kept: list[int] = []

    def work(start: int) -> list[np.ndarray | str]:
        return [_try(path, cfg.side, values or "full") for path in paths[start : start + decode.CHUNK]]

    with decode.bar(f"decoding {len(paths):,} images", len(paths), progress) as advance:
        for start, results in decode.windowed(work, range(0, len(paths), decode.CHUNK), decode.threads(cfg.workers)):
            for position, image in enumerate(results, start):
                own = next(made)
                if isinstance(image, str):
                    broken.append((position, image))
                    continue
                kept.append(position)
                count, cut = count + len(own), cut + sum(len(ids) > most for ids in own)
                longest = max(longest, *(min(len(ids), most) for ids in own))
                writer.add([image], [cache.image_hash(image)], caption=[joined_captions([ids[:most] for ids in own])])
            advance(len(results))
    meta = {"broken": broken, "captions": count, "cut": cut, "longest": longest, "tokens": tokenizer.count}
    meta |= {"tokenizer": tokenizer.json, "tokenizer_hash": tokenizer.hash}
    writer.finish(
        meta | ({} if values is None else {"range": stored(values)}), {"kept": np.array(kept, dtype=np.int64)}
    )


def _encoded(pairs: list[Pair], tokenizer: Tokenizer) -> list[list[np.ndarray]]:
    """Ids of the captions of each image."""
    found = iter(tokenizer.encode([text for pair in pairs for text in pair.captions]))
    return [[next(found) for _ in pair.captions] for pair in pairs]


def _try(path: str, size: int, values: Range) -> np.ndarray | str:
    try:
        return decode.decode(path, size, values)
    except Exception as error:  # Pillow raises anything on malformed files, even struct.error
        return f"{type(error).__name__}: {error}"
