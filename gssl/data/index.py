"""Names and content hashes of very many files, without an object for each.

`$GSSL_CACHE/index` has a sealed file per folder: of each file below it the name, what tells whether it changed, and the
hash of its content. It is memory-mapped; a million files take no more memory than what is looked up.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from gssl.data import checksums
from gssl.data.columns import HASH

SIGNATURE = 4  # numbers of `checksums.signature`
HEAD = 65  # bytes of a seal
PAD = -HEAD % 8  # that numbers lie where processors want them
VERSION = 2


class Names(Sequence[str]):
    """Many texts in one block of bytes; text i is `root` and blob[starts[k]:starts[k + 1]], k = picked[i].

    Given one number it is a text, given several it is `Names`. Texts that begin with / have no root before them.
    """

    def __init__(self, blob: np.ndarray, starts: np.ndarray, picked: np.ndarray | None = None, root: str = "") -> None:
        self.blob, self.starts, self.picked, self.root = blob, starts, picked, root

    @classmethod
    def of(cls, texts: Sequence[str], root: str = "") -> "Names":
        blob, starts = packed(texts)
        return cls(np.frombuffer(blob, np.uint8), starts, None, root)

    def __len__(self) -> int:
        return len(self.starts) - 1 if self.picked is None else len(self.picked)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: Any) -> "Names": ...

    def __getitem__(self, index: Any) -> "str | Names":
        if isinstance(index, int | np.integer):
            i = range(len(self))[int(index)]
            k = i if self.picked is None else self.picked[i]
            name = os.fsdecode(self.blob[self.starts[k] : self.starts[k + 1]].tobytes())
            return name if name.startswith("/") or not self.root else f"{self.root}/{name}"
        if isinstance(index, slice):
            picked = np.arange(len(self))[index] if self.picked is None else self.picked[index]
        else:
            picked = np.arange(len(self))[np.asarray(index)] if self.picked is None else self.picked[np.asarray(index)]
        return Names(self.blob, self.starts, picked, self.root)

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def tolist(self) -> list[str]:
        """As of an array."""
        return list(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(list(self), dtype=dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (list(self),)  # those that it has, not those that the folder has


def _unpickled(texts: list[str]) -> Names:
    return Names.of(texts)


def together(parts: Sequence["Names | np.ndarray"]) -> "Names | np.ndarray":
    """The texts of parts one after another."""
    first = parts[0]
    if not isinstance(first, Names):
        return np.concatenate([np.asarray(part) for part in parts])
    picked = []
    for part in parts:
        if not isinstance(part, Names) or part.blob is not first.blob or part.root != first.root:
            return Names.of([str(text) for own in parts for text in own])
        picked.append(np.arange(len(part)) if part.picked is None else part.picked)
    return Names(first.blob, first.starts, np.concatenate(picked), first.root)


def packed(texts: Sequence[str]) -> tuple[bytes, np.ndarray]:
    """All texts as one, and where each begins: int64 (N + 1,)."""
    whole = "".join(texts)
    lengths = map(len, texts) if whole.isascii() else (len(os.fsencode(text)) for text in texts)
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, len(texts)), out=starts[1:])
    return os.fsencode(whole), starts


class Index:
    """What is known of the files of a folder. names: sorted as they were looked up.

    signatures: int64 (N, 4); contents: S32 (N,), hexadecimal, b"" where nothing is known that could be used again.
    """

    def __init__(self, blob: np.ndarray, starts: np.ndarray, signatures: np.ndarray, contents: np.ndarray) -> None:
        self.blob, self.starts, self.signatures, self.contents = blob, starts, signatures, contents

    @classmethod
    def empty(cls) -> "Index":
        none = np.zeros(0, np.uint8)
        return cls(none, np.zeros(1, np.int64), np.zeros((0, SIGNATURE), np.int64), np.zeros(0, f"S{2 * HASH}"))

    @classmethod
    def read(cls, file: Path) -> "Index":
        """Raises Damaged, OSError, or ValueError."""
        body = checksums.read(file)  # all of it is compared; what is used afterwards is mapped
        if body[:1] == b"{":  # of an earlier version
            return cls.empty()
        version, count, size, _ = np.frombuffer(body, np.int64, SIGNATURE, PAD).tolist()
        ends = np.cumsum([PAD + 8 * SIGNATURE, 8 * SIGNATURE * count, 8 * (count + 1), 2 * HASH * count, size])
        if version != VERSION or count < 0 or size < 0 or ends[-1] != len(body):
            raise ValueError("it is of another version")
        del body
        whole = np.asarray(np.memmap(file, np.uint8, "r"))
        signatures, starts, contents, blob = (whole[HEAD + a : HEAD + b] for a, b in zip(ends, ends[1:], strict=False))
        starts = starts.view(np.int64)
        if starts[0] != 0 or starts[-1] != size or (starts[1:] < starts[:-1]).any():
            raise ValueError("its names do not fit")
        return cls(blob, starts, signatures.view(np.int64).reshape(-1, SIGNATURE), contents.view(f"S{2 * HASH}"))

    def write(self, file: Path) -> None:
        """Raises OSError."""
        head = np.array([VERSION, len(self.contents), len(self.blob), 0], np.int64)
        arrays = (head, self.signatures, self.starts, self.contents, self.blob)
        checksums.write(file, b"".join([bytes(PAD), *(np.ascontiguousarray(part).tobytes() for part in arrays)]))

    def __len__(self) -> int:
        return len(self.contents)

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """int64 (N,): where each name stands; -1 where it does not."""
        blob, starts = packed(names)
        if len(self.blob) == len(blob) and np.array_equal(starts, self.starts) and self.blob.tobytes() == blob:
            return np.arange(len(names))  # the same files as before
        known = {name: row for row, name in enumerate(Names(self.blob, self.starts))}
        return np.fromiter((known.get(name, -1) for name in names), np.int64, len(names))

    def merged(self, names: Sequence[str], signatures: np.ndarray, contents: np.ndarray, rows: np.ndarray) -> "Index":
        """With what is known now of `names`, which stand at `rows`."""
        kept = np.ones(len(self), bool)
        kept[rows[rows >= 0]] = False
        old = np.flatnonzero(kept)
        blob, starts = packed([*names, *Names(self.blob, self.starts)[old]] if len(old) else names)
        both = (np.concatenate([signatures, self.signatures[old]]), np.concatenate([contents, self.contents[old]]))
        return Index(np.frombuffer(blob, np.uint8), starts, *both)
