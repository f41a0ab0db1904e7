"""Names and content hashes of very many files, without an object for each.

`$GSSL_CACHE/index` has a sealed file per folder: of each file below it the name, what tells whether it changed, and the
hash of its content. It is memory-mapped; a million files take no more memory than what is looked up.
"""

import functools
import itertools
import operator
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from gssl.data import checksums
from gssl.data.arrays import PAD, as_bytes
from gssl.data.columns import HASH

SIGNATURE = 4  # numbers of `checksums.signature`
VERSION = 2
BLOCK = 4096  # texts that are objects at a time


class Names(Sequence[str]):
    """Many texts in one block of bytes; text i is `root` and blob[starts[k]:starts[k + 1]], k = picked[i].

    Given one number it is a text, given several it is `Names`. Texts that begin with / have no root before them.
    """

    def __init__(self, blob: np.ndarray, starts: np.ndarray, picked: np.ndarray | None = None, root: str = "") -> None:
        self.blob, self.starts, self.picked, self.root = blob, starts, picked, root

    @staticmethod
    def encode(text: str) -> bytes:
        """As the file system has it."""
        return os.fsencode(text)

    @staticmethod
    def decode(raw: bytes) -> str:
        """The inverse of `encode`."""
        return os.fsdecode(raw)

    @classmethod
    def of(cls, texts: Iterable[str], root: str = "") -> "Names":
        if isinstance(texts, Names):
            return cls(texts.blob, texts.starts, texts.picked, root or texts.root)
        return cls(*packed(texts, cls.encode), None, root)

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
            name = self.decode(self.blob[self.starts[k] : self.starts[k + 1]].tobytes())
            return name if name.startswith("/") or not self.root else f"{self.root}/{name}"
        if isinstance(index, slice):
            picked = np.arange(len(self))[index] if self.picked is None else self.picked[index]
        else:
            picked = np.arange(len(self))[np.asarray(index)] if self.picked is None else self.picked[np.asarray(index)]
        return type(self)(self.blob, self.starts, picked, self.root)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            for raw in self._raw(start, start + BLOCK):
                name = self.decode(raw)
                yield name if name.startswith("/") or not self.root else f"{self.root}/{name}"

    def _raw(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of some of them, without the root."""
        if self.picked is None:
            places = self.starts[start : end + 1]
            block, cuts = self.blob[places[0] : places[-1]].tobytes(), (places - places[0]).tolist()
            return (block[a:b] for a, b in zip(cuts, cuts[1:], strict=False))
        picked = self.picked[start:end]
        cuts, ends = self.starts[picked].tolist(), self.starts[picked + 1].tolist()
        return (self.blob[a:b].tobytes() for a, b in zip(cuts, ends, strict=True))

    def __add__(self, other: "Names") -> "Names":
        if other.blob is not self.blob or other.root != self.root:
            return Names.of(itertools.chain(self, other))
        both = [np.arange(len(part)) if part.picked is None else part.picked for part in (self, other)]
        return type(self)(self.blob, self.starts, np.concatenate(both), self.root)

    def compact(self) -> "Names":
        """The same texts with no others in their block of bytes."""
        if self.picked is None:
            return self
        blob = b"".join(raw for start in range(0, len(self), BLOCK) for raw in self._raw(start, start + BLOCK))
        starts = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.starts[self.picked + 1] - self.starts[self.picked], out=starts[1:])
        return type(self)(np.frombuffer(blob, np.uint8), starts, None, self.root)

    def tolist(self) -> list[str]:
        """As of an array."""
        return list(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(list(self), dtype=dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        own = self.compact()  # those that it has, not those that the folder has
        return type(self), (np.array(own.blob), np.array(own.starts), None, own.root)


class Texts(Names):
    """Of texts that are no paths: UTF-8, whatever the file system has."""

    @staticmethod
    def encode(text: str) -> bytes:
        return text.encode("utf-8", "surrogatepass")

    @staticmethod
    def decode(raw: bytes) -> str:
        return raw.decode("utf-8", "surrogatepass")


def together(parts: Sequence["Names | np.ndarray"]) -> "Names | np.ndarray":
    """The texts of parts one after another."""
    if not isinstance(parts[0], Names):
        return np.concatenate([np.asarray(part) for part in parts])
    return functools.reduce(operator.add, (Names.of(part) for part in parts))


def packed(texts: Iterable[str], encode: Callable[[str], bytes] = os.fsencode) -> tuple[np.ndarray, np.ndarray]:
    """All texts as one, uint8, and where each begins: int64 (N + 1,)."""
    if isinstance(texts, Names) and not texts.root:
        own = texts.compact()
        return own.blob, own.starts
    blob, lengths, rest = bytearray(), array("q", [0]), iter(texts)
    while block := list(itertools.islice(rest, BLOCK)):
        whole = "".join(block)
        blob += encode(whole)
        lengths.extend(map(len, block) if whole.isascii() else (len(encode(text)) for text in block))
    return np.frombuffer(blob, np.uint8), np.cumsum(np.frombuffer(lengths, np.int64))


class Coded(Sequence[str | None]):
    """Many texts of which few are different: row i is texts[codes[i]], and None where that code is -1.

    Given one number it is a text, given several it is `Coded`.
    """

    def __init__(self, codes: np.ndarray, texts: Sequence[str]) -> None:
        self.codes, self.texts = codes, texts

    @classmethod
    def of(cls, rows: Iterable[str | None]) -> "Coded":
        if isinstance(rows, Coded):
            return rows
        known: dict[str, int] = {}
        codes = array("i", (-1 if row is None else known.setdefault(row, len(known)) for row in rows))
        return cls(np.frombuffer(codes, np.int32), list(known))

    @classmethod
    def none(cls, count: int) -> "Coded":
        """So many rows without a text."""
        return cls(np.full(count, -1, np.int32), [])

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str | None: ...

    @overload
    def __getitem__(self, index: Any) -> "Coded": ...

    def __getitem__(self, index: Any) -> "str | None | Coded":
        if not isinstance(index, int | np.integer):
            return Coded(self.codes[index], self.texts)
        code = self.codes[int(index)]
        return None if code < 0 else self.texts[code]

    @property
    def missing(self) -> np.ndarray:
        """bool (N,): the rows that are None."""
        return self.codes < 0

    def used(self) -> list[str]:
        """The different texts, sorted."""
        found = np.unique(self.codes)
        return sorted(self.texts[code] for code in found[found >= 0].tolist())

    def among(self, texts: Sequence[str]) -> np.ndarray:
        """int64 (N,): where each row's text stands in `texts`, -1 where it does not, or is None."""
        place = {text: i for i, text in enumerate(texts)}
        return np.array([*(place.get(text, -1) for text in self.texts), -1], np.int64)[self.codes]

    def array(self) -> np.ndarray:
        """str (N,), of rows none of which is None."""
        return np.array(self.texts, dtype=str)[self.codes]

    def __add__(self, other: "Coded") -> "Coded":
        return Coded.joined([self, other])

    @classmethod
    def joined(cls, parts: "Sequence[Coded]") -> "Coded":
        """The rows of parts one after another."""
        if all(part.texts is parts[0].texts for part in parts):
            return cls(np.concatenate([part.codes for part in parts]), parts[0].texts)
        place: dict[str, int] = {}
        codes = []
        for part in parts:
            own = [place.setdefault(text, len(place)) for text in part.texts]
            codes.append(np.array([*own, -1], np.int32)[part.codes])
        return cls(np.concatenate(codes), list(place))


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
        body = checksums.mapped(file)  # all of it is compared
        if body[:1].tobytes() == b"{":  # of an earlier version
            return cls.empty()
        version, count, size, _ = np.frombuffer(body, np.int64, SIGNATURE, PAD).tolist()
        ends = np.cumsum([PAD + 8 * SIGNATURE, 8 * SIGNATURE * count, 8 * (count + 1), 2 * HASH * count, size])
        if version != VERSION or count < 0 or size < 0 or ends[-1] != len(body):
            raise ValueError("it is of another version")
        signatures, starts, contents, blob = (body[a:b] for a, b in zip(ends, ends[1:], strict=False))
        starts = starts.view(np.int64)
        if starts[0] != 0 or starts[-1] != size or (starts[1:] < starts[:-1]).any():
            raise ValueError("its names do not fit")
        return cls(blob, starts, signatures.view(np.int64).reshape(-1, SIGNATURE), contents.view(f"S{2 * HASH}"))

    def write(self, file: Path) -> None:
        """Raises OSError."""
        head = np.array([VERSION, len(self.contents), len(self.blob), 0], np.int64)
        arrays = (head, self.signatures, self.starts, self.contents, self.blob)
        checksums.write(file, bytes(PAD), *map(as_bytes, arrays))

    def __len__(self) -> int:
        return len(self.contents)

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """int64 (N,): where each name stands; -1 where it does not."""
        blob, starts = packed(names)
        if np.array_equal(starts, self.starts) and np.array_equal(blob, self.blob):
            return np.arange(len(names))  # the same files as before
        known = {name: row for row, name in enumerate(Names(self.blob, self.starts))}
        return np.fromiter((known.get(name, -1) for name in names), np.int64, len(names))

    def unchanged(self, rows: np.ndarray, signatures: np.ndarray) -> np.ndarray:
        """bool (N,): whether what stands at each of `rows` has the signature that is known."""
        same = np.zeros(len(rows), bool)
        for start in range(0, len(rows), BLOCK):
            there = start + np.flatnonzero(rows[start : start + BLOCK] >= 0)
            same[there] = (self.signatures[rows[there]] == signatures[there]).all(axis=1)
        return same

    def merged(self, names: Sequence[str], signatures: np.ndarray, contents: np.ndarray, rows: np.ndarray) -> "Index":
        """With what is known now of `names`, which stand at `rows`."""
        kept = np.ones(len(self), bool)
        kept[rows[rows >= 0]] = False
        old = np.flatnonzero(kept)
        blob, starts = packed(itertools.chain(names, Names(self.blob, self.starts)[old]) if len(old) else names)
        both = (np.concatenate([signatures, self.signatures[old]]), np.concatenate([contents, self.contents[old]]))
        return Index(blob, starts, *both)
