"""Images that were unpacked into files of the cache, and what is known of each. No torch here.

A folder holds the files and `rows.sealed`, which is memory-mapped: there may be millions.
"""

import os
from array import array
from pathlib import Path

import numpy as np

from gssl.data import arrays, cache, checksums
from gssl.data.columns import HASH
from gssl.data.index import Coded, Names, Texts

ROWS = "rows.sealed"
EARLIER = ("index.sealed", "index.json")  # of earlier versions


class Unpacked:
    """names: of the files, in order; contents: S32 (N,), their hashes as they were written; labels and groups: of each,
    groups None where there are none."""

    def __init__(self, names: Names, labels: Coded, groups: Coded | None, contents: np.ndarray) -> None:
        self.names, self.labels, self.groups, self.contents = names, labels, groups, contents

    @classmethod
    def read(cls, folder: Path) -> "Unpacked":
        """Raises one of `gssl.data.cache.BROKEN`."""
        found = arrays.read(folder / ROWS)
        names = Names(found["names"], found["starts"])
        labels, groups = (
            Coded(found[name], Texts(found[f"{name}_texts"], found[f"{name}_starts"])) if name in found else None
            for name in ("labels", "groups")
        )
        if labels is None or not len(names) == len(labels) == len(found["contents"]):
            raise ValueError(f"{ROWS} is of other files")
        return cls(names, labels, groups, found["contents"])

    def changed(self, now: np.ndarray) -> str:
        """What is said where the files have other contents now, S32 (N,); empty where all are as they were written."""
        other = np.flatnonzero(now != self.contents)
        return f"{len(other)} of {len(now)} files are damaged, such as {self.names[other[0]]}" if len(other) else ""


def compare(folder: Path, whole: bool) -> None:
    """Compare the files with what was written; whole: every byte, whatever their times say. Raises Damaged."""
    rows = Unpacked.read(folder)
    if whole:
        now = np.empty_like(rows.contents)
        for i, name in enumerate(rows.names):
            with checksums.opened(folder / name, follow=False) as handle:
                now[i] = cache.content_of(handle)
    else:
        now = cache.looked_up(folder, rows.names)[1]
    if why := rows.changed(now):
        raise checksums.Damaged(why)


class Unpacking:
    """Takes rows one by one and writes what is known of them; no object is kept of any."""

    def __init__(self, grouped: bool) -> None:
        self._blob, self._starts, self._contents = bytearray(), array("q", [0]), bytearray()
        self._codes = {name: array("i") for name in ("labels", "groups")[: 2 if grouped else 1]}
        self._texts: dict[str, dict[str, int]] = {name: {} for name in self._codes}

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, name: str, content: str, label: str | None, group: str) -> None:
        """A file, the hash of what was written, and what it is."""
        self._blob += os.fsencode(name)
        self._starts.append(len(self._blob))
        self._contents += content.encode()
        for kind, text in zip(self._codes, (label, group), strict=False):
            known = self._texts[kind]
            self._codes[kind].append(-1 if text is None else known.setdefault(text, len(known)))

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        found: dict[str, np.ndarray] = {
            "names": np.frombuffer(self._blob, np.uint8),
            "starts": np.frombuffer(self._starts, np.int64),
            "contents": np.frombuffer(self._contents, f"S{2 * HASH}"),
        }
        for kind, codes in self._codes.items():
            texts = Texts.of(self._texts[kind])
            found |= {kind: np.frombuffer(codes, np.int32), f"{kind}_texts": texts.blob, f"{kind}_starts": texts.starts}
        arrays.write(folder / ROWS, found)
