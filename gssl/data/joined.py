"""Images of several parts as one set, for what learns from all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gssl.data import cache, values
from gssl.data.columns import RAGGED, TextColumn, VideoColumn
from gssl.data.images import Images
from gssl.data.index import together
from gssl.data.store import EncodedStore, EncodedWriter, TokenWriter, Writer

TEXT_META, TEXT_ARRAYS = (
    ("width", "tokenizer", "tokenizer_hash", "messages", "pairs"),
    ("bytes", "plain"),
)  # of an entry of texts


def joined(parts: Sequence[Images]) -> Images:
    """The images of `parts` in their order; parts of different stores become an entry of the cache.

    The classes are those of the first part, and the others have the same. Names and groups are kept where all parts
    have them.
    """
    parts = [part for part in parts if len(part)]
    first = parts[0]
    assert all(part.classes == first.classes for part in parts)
    labels = np.concatenate([part.labels for part in parts])
    groups = _all([part.groups for part in parts])
    known = [part.names for part in parts if part.names is not None]
    names = together(known) if len(known) == len(parts) else None
    if all(part.store is first.store for part in parts):
        rows = np.concatenate([part.rows for part in parts])
        return Images(first.store, rows, labels, first.classes, names, groups, first.stored)
    stored = first.stored or ()

    if clips := first.column_of(VideoColumn):
        return _joined_clips(parts, clips.frames, labels, names, groups)
    if not first.store.pictures:
        return _joined_texts(parts, labels, names, groups)
    jpeg = all(isinstance(part.store, EncodedStore) for part in parts)  # else all become pixels

    def build(writer: Writer) -> None:
        for part in parts:
            if isinstance(writer, EncodedWriter):
                _copy(writer, part)
                continue
            for row in part.rows.tolist():
                image = part.store.image(row)
                fetched = {name: part.store.columns[name].fetch(np.array([row]))[0] for name in stored}
                columns = {name: [np.atleast_1d(own)] for name, own in fetched.items()}  # of a row one number, too
                height, width = image.shape[:2]
                maps = [name for name, own in columns.items() if own[0].ndim > 1 and name not in RAGGED]
                columns |= {name: [columns[name][0][:height, :width]] for name in maps}
                writer.add([image], [bytes(part.store.hashes[row])], **columns)
        known = next((part.range for part in parts if part.range is not None), None)
        writer.finish({} if known is None else {"range": values.stored(known)}, {})

    key = cache.entry_key("joined", *(["jpeg"] if jpeg else []), *(part.hash for part in parts))
    need = sum(part.nbytes for part in parts)  # more than JPEG files take
    store = cache.entry(key, lambda: need, build, writer=EncodedWriter if jpeg else Writer)
    return Images(store, np.arange(len(store)), labels, first.classes, names, groups, stored)


def _joined_clips(
    parts: Sequence[Images], frames: int, labels: np.ndarray, names: Any, groups: np.ndarray | None
) -> Images:
    """Clips of the same number of frames. Every frame is an image of the new entry."""
    hashes = np.concatenate([part.store.columns["video"].hashes[part.rows] for part in parts])

    def build(writer: Writer) -> None:
        for part in parts:
            column = part.store.columns["video"]
            assert isinstance(column, VideoColumn) and column.frames == frames
            for row in column.members(part.rows).ravel().tolist():
                writer.add([part.store.image(row)], [bytes(part.store.hashes[row])])
        writer.finish({"columns": ["video"], "frames": frames}, {"video_hashes": hashes})

    key = cache.entry_key("joined clips", *(part.hash for part in parts))
    store = cache.entry(key, lambda: sum(part.nbytes for part in parts), build)
    rows = np.arange(len(labels)) * frames + np.concatenate([part.rows % frames for part in parts])
    return Images(store, rows, labels, parts[0].classes, names, groups, parts[0].stored)


def _joined_texts(parts: Sequence[Images], labels: np.ndarray, names: Any, groups: np.ndarray | None) -> Images:
    """Texts by one tokenizer. Every row becomes a document of its own."""
    meta = parts[0].store.meta
    assert all(part.store.meta["tokenizer_hash"] == meta["tokenizer_hash"] for part in parts)

    def build(writer: TokenWriter) -> None:
        for part in parts:
            column = part.store.columns["text"]
            assert isinstance(column, TextColumn)
            for row in part.rows.tolist():
                ids = column.fetch(np.array([row]))[0]
                writer.add_document([ids], meta["width"], bytes.fromhex(meta["tokenizer_hash"]))
        arrays = {key: np.concatenate([part.store.array(key)[part.rows] for part in parts]) for key in TEXT_ARRAYS}
        writer.finish({key: meta[key] for key in TEXT_META}, arrays)

    key = cache.entry_key("joined texts", *(part.hash for part in parts))
    store = cache.entry(key, lambda: sum(part.nbytes for part in parts), build, writer=TokenWriter)
    return Images(store, np.arange(len(store)), labels, parts[0].classes, names, groups, parts[0].stored)


def _copy(writer: EncodedWriter, part: Images) -> None:
    """The files of a part. What was saved anew is counted where that was done."""
    store = part.store
    assert isinstance(store, EncodedStore)
    for row in part.rows.tolist():
        shape = (*store.shapes[row].tolist(), store.channels)
        writer.add_file(store.encoded(row), shape, bytes(store.hashes[row]), int(store.turns[row]), None)


def _all(known: list[np.ndarray | None]) -> np.ndarray | None:
    """One after another; None where one is not known."""
    there = [values for values in known if values is not None]
    return np.concatenate(there) if len(there) == len(known) else None
