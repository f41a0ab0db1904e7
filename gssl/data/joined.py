"""Images of several parts as one set, for what learns from all of them."""

from collections.abc import Sequence

import numpy as np

from gssl.data import cache
from gssl.data.images import Images


def joined(parts: Sequence[Images]) -> Images:
    """The images of `parts` in their order; parts of different stores become an entry of the cache.

    The classes are those of the first part, and the others have the same. Names and groups are kept where all parts
    have them.
    """
    parts = [part for part in parts if len(part)]
    first = parts[0]
    assert all(part.classes == first.classes for part in parts)
    labels = np.concatenate([part.labels for part in parts])
    names, groups = _all([part.names for part in parts]), _all([part.groups for part in parts])
    if all(part.store is first.store for part in parts):
        rows = np.concatenate([part.rows for part in parts])
        return Images(first.store, rows, labels, first.classes, names, groups, first.stored)
    stored = first.stored or ()

    def build(writer: cache.Writer) -> None:
        for part in parts:
            for row in part.rows.tolist():
                image = part.store.image(row)
                columns = {name: [np.asarray(part.store.columns[name].fetch(np.array([row]))[0])] for name in stored}
                height, width = image.shape[:2]
                columns = {name: [values[0][:height, :width]] for name, values in columns.items()}
                writer.add([image], [bytes(part.store.hashes[row])], **columns)
        writer.finish({}, {})

    key = cache.entry_key("joined", *(part.hash for part in parts))
    store = cache.entry(key, lambda: sum(part.nbytes for part in parts), build)
    return Images(store, np.arange(len(store)), labels, first.classes, names, groups, stored)


def _all(known: list[np.ndarray | None]) -> np.ndarray | None:
    """One after another; None where one is not known."""
    there = [values for values in known if values is not None]
    return np.concatenate(there) if len(there) == len(known) else None
