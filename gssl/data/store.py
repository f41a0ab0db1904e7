"""Images of one entry of the cache: as pixels, or as JPEG files that are decoded when they are asked for.

Both kinds have `shapes.npy` (int32 (N, 2)), `hashes.npy` (uint8 (N, 16), of the decoded pixels), further arrays of the
source and `meta.json`. Everything that grows with the rows is memory-mapped.

| kind | images |
|---|---|
| pixels | `pixels.bin`: all images one after another, each (h, w, c) in C order |
| jpeg | `bytes.bin`: files one after another, `starts.npy` (int64 (N + 1,)), `turns.npy` (uint8 (N,), EXIF) |

A column beside the pixels, such as `mask`, adds `mask.bin` and `mask_hashes.npy`; one with any number of entries per
image, such as `boxes`, `boxes_counts.npy`, too (`gssl.data.columns`). Of clips every frame is an image;
`video_hashes.npy` has a row per clip, and `frames` in `meta.json` says how many images one has.
"""

import json
import os
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gssl.data import jpeg
from gssl.data.columns import HASH, RAGGED, Column, column_hash, open_column, stored_array
from gssl.errors import UsageError

FORMAT = 1  # part of every key: raise it when what is stored changes


class Store:
    """A finished entry, opened read-only; pickles as its path.

    pixels: uint8 (N, H, W, C) where all sizes agree (`uniform`), else flat, image i at `offsets[i]`.
    shapes: int32 (N, 2) heights and widths; hashes: uint8 (N, 16); meta: the source's own facts.
    columns: what is stored beside the pixels, by name. opened: when, in nanoseconds since 1970.
    """

    kind = "pixels"
    pictures = True  # whether rows have pixels
    pixels: np.ndarray

    def __init__(self, path: Path) -> None:
        """Raises one of `gssl.data.cache.BROKEN` where the entry is not as it was written."""
        self.path, self.opened = Path(path), time.time_ns()
        self.meta: dict[str, Any] = json.loads((self.path / "meta.json").read_bytes())
        if not isinstance(self.meta, dict) or self.meta.get("channels") not in (1, 3):
            raise ValueError("meta.json does not say how many channels there are")
        self.channels: int = self.meta["channels"]
        self.shapes = stored_array(self.path / "shapes.npy", np.int32, 2)
        self.hashes = stored_array(self.path / "hashes.npy", np.uint8, HASH)
        if len(self.hashes) != len(self.shapes) or (self.shapes < 0).any():
            raise ValueError("shapes.npy and hashes.npy are not of the same images")
        self.uniform = len(self.shapes) > 0 and bool((self.shapes == self.shapes[0]).all())
        self._map_images()
        self.columns: dict[str, Column] = {name: open_column(self, name) for name in self.meta.get("columns", [])}
        # mapped now: they are those that were compared, whatever happens to the folder
        self._arrays = {p.stem: np.load(p, mmap_mode="r", allow_pickle=False) for p in self.path.glob("*.npy")}

    def _map_images(self) -> None:
        areas = self.shapes[: 1 if self.uniform else None].astype(np.int64).prod(axis=1) * self.channels
        if not self.uniform:
            self.offsets = np.concatenate([[0], np.cumsum(areas)])
        size = len(self) * int(areas[0]) if self.uniform else int(self.offsets[-1])
        pixels = self.path / "pixels.bin"
        if pixels.stat().st_size != size:
            raise ValueError("pixels.bin has the wrong length")
        flat = mapped(pixels)
        self.pixels = flat.reshape(len(self), *self.shapes[0], self.channels) if self.uniform else flat

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,), {"opened": self.opened}

    def array(self, name: str) -> np.ndarray:
        """An array that the source stored beside the pixels, such as its labels. Raises KeyError."""
        return np.array(self._arrays[name])

    def image(self, row: int) -> np.ndarray:
        """uint8 (h, w, c), a read-only view."""
        if self.uniform:
            return self.pixels[row]
        part = self.pixels[self.offsets[row] : self.offsets[row + 1]]
        return part.reshape(*self.shapes[row], self.channels)

    def images(self, rows: np.ndarray) -> list[np.ndarray]:
        """`image` of each of `rows`."""
        return [self.image(row) for row in rows.tolist()]

    def stack(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (B, h, w, c), a copy: `rows`, which are of one size."""
        return np.take(self.pixels, rows, axis=0) if self.uniform else np.stack(self.images(rows))


class EncodedStore(Store):
    """An entry of JPEG files, which are decoded when they are asked for: `images` on a thread per core.

    turns: uint8 (N,), the EXIF orientation of each: bytes of files are as they were, and images are upright.
    """

    kind = "jpeg"

    def _map_images(self) -> None:
        starts = np.load(self.path / "starts.npy", mmap_mode="r", allow_pickle=False)
        turns = np.load(self.path / "turns.npy", mmap_mode="r", allow_pickle=False)
        if starts.dtype != np.int64 or turns.dtype != np.uint8 or turns.shape != (len(self),):
            raise ValueError("starts.npy or turns.npy holds something else")
        if starts.shape != (len(self) + 1,) or starts[0] != 0 or (starts[1:] < starts[:-1]).any():
            raise ValueError("starts.npy is not of these images")
        if (self.path / "bytes.bin").stat().st_size != starts[-1]:
            raise ValueError("bytes.bin has the wrong length")
        self.starts, self.turns, self.bytes = np.asarray(starts), np.asarray(turns), mapped(self.path / "bytes.bin")

    def encoded(self, row: int) -> np.ndarray:
        """uint8 (n,): the file of an image, a read-only view."""
        return self.bytes[self.starts[row] : self.starts[row + 1]]

    def image(self, row: int) -> np.ndarray:
        """uint8 (h, w, c), decoded now. Raises UsageError where the bytes are no longer what was stored."""
        try:
            found = jpeg.decoded(self.encoded(row), self.channels, int(self.turns[row]))
            if found.shape[:2] != tuple(self.shapes[row].tolist()):
                raise ValueError("another size")
        except Exception as error:  # decoders raise anything
            raise UsageError(
                f"GSSL_CACHE: image {row} of {self.path} is damaged ({' '.join(str(error).split())[:80]});"
                " gssl cache prune deletes what is, and the next start makes it anew"
            ) from error
        return found

    def images(self, rows: np.ndarray) -> list[np.ndarray]:
        return list(_decoders().map(self.image, rows.tolist())) if len(rows) > 1 else super().images(rows)

    def stack(self, rows: np.ndarray) -> np.ndarray:
        height, width = self.shapes[rows[0]].tolist()
        out = np.empty((len(rows), height, width, self.channels), dtype=np.uint8)

        def fill(place: int) -> None:
            out[place] = self.image(int(rows[place]))

        for _ in _decoders().map(fill, range(len(rows))):
            pass
        return out


class TokenStore(Store):
    """An entry of texts: rows are pieces of documents, and all that they have is the column `text`.

    meta: tokenizer (its JSON), tokenizer_hash, messages (whether they are dialogues), pairs (whether they are pairs).
    Arrays: `bytes`, int64 (N,), UTF-8 bytes of each document, in its first piece; `plain`, uint64 (N,), a hash of its
    letters and digits, 0 in other pieces.
    """

    kind = "tokens"
    pictures = False

    def _map_images(self) -> None:
        self.uniform = False

    def image(self, row: int) -> np.ndarray:
        raise AssertionError("a text has no pixels")


class SoundStore(Store):
    """An entry of sounds: all that rows have is the column `audio`.

    meta: rate, samples. Arrays: `length`, int64 (N,), samples of the whole file; `plain`, uint64 (N,), a hash of the
    row, 0 of silence; `file`, what the source asked for.
    """

    kind = "sounds"
    pictures = False

    def _map_images(self) -> None:
        self.uniform = False

    def image(self, row: int) -> np.ndarray:
        raise AssertionError("a sound has no pixels")


def open_store(path: Path) -> Store:
    """The entry at `path`, of whichever kind. Raises as `Store` does."""
    if (Path(path) / SoundWriter.FILE).exists():
        return SoundStore(path)
    if (Path(path) / TokenWriter.FILE).exists():
        return TokenStore(path)
    return (EncodedStore if (Path(path) / "bytes.bin").exists() else Store)(path)


def mapped(file: Path) -> np.ndarray:
    """uint8 (n,): the content of a file. np.asarray drops the memmap subclass, whose bookkeeping costs more than a
    gather."""
    return np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.zeros(0, np.uint8)


@cache
def _decoders() -> ThreadPoolExecutor:
    """Threads, not processes: decoders free the interpreter lock."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(count, thread_name_prefix="decoding")


# ── writing ──────────────────────────────────────────────────────────────────────────────────────


class Writer:
    """Fills an entry image by image. Grey and colour may be mixed: then `finish` replicates grey to RGB."""

    FILE = "pixels.bin"

    def __init__(self, folder: Path, about: str = "") -> None:
        self.folder, self.about = folder, about
        self._file: BinaryIO = open(folder / self.FILE, "wb")  # noqa: SIM115  closed by close
        self._shapes, self._hashes = array("i"), bytearray()  # not lists: there may be millions
        self._columns: dict[str, tuple[BinaryIO, list[bytes]]] = {}
        self._counts: dict[str, array[int]] = {}

    def add(self, images: Sequence[np.ndarray], hashes: Sequence[bytes], **columns: Sequence[np.ndarray]) -> None:
        """Append images, uint8 (h, w, c) with c in {1, 3}, and their `image_hash`es.

        columns: what else belongs to them, by name, e.g. mask: uint8 (h, w) each, or boxes: float32 (m, 6); the same
        names in every call.
        """
        for image, content in zip(images, hashes, strict=True):
            self._append(np.ascontiguousarray(image).data, image.shape, content)
        for name, rows in columns.items():
            if name not in self._columns:
                self._columns[name] = (open(self.folder / f"{name}.bin", "wb"), [])  # noqa: SIM115  closed by close
            file, contents = self._columns[name]
            for values in rows:
                file.write(np.ascontiguousarray(values).data)
                contents.append(column_hash(values))
                if name in RAGGED:
                    self._counts.setdefault(name, array("i")).append(len(values))

    def _append(self, data: Any, shape: Sequence[int], content: bytes) -> None:
        self._file.write(data)
        self._shapes.extend(shape)
        self._hashes += content

    def finish(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Write what belongs to the pixels."""
        self._file.flush()
        shapes = np.frombuffer(self._shapes, dtype=np.int32).reshape(-1, 3) if self._shapes else np.zeros((0, 3), "i4")
        if len(np.unique(shapes[:, 2])) > 1:
            self._replicate_grey(shapes)
        np.save(self.folder / "shapes.npy", np.ascontiguousarray(shapes[:, :2], dtype=np.int32))
        np.save(self.folder / "hashes.npy", np.frombuffer(bytes(self._hashes), dtype=np.uint8).reshape(-1, HASH))
        for name, value in arrays.items():
            np.save(self.folder / f"{name}.npy", value)
        for name, (column, contents) in self._columns.items():
            column.flush()
            np.save(self.folder / f"{name}_hashes.npy", np.frombuffer(b"".join(contents), np.uint8).reshape(-1, HASH))
        for name, counts in self._counts.items():
            np.save(self.folder / f"{name}_counts.npy", np.array(counts, dtype=np.int32)[:, None])
        meta = meta | ({"columns": list(self._columns)} if self._columns else {})
        channels = int(shapes[:, 2].max(initial=1))
        with open(self.folder / "meta.json", "w") as file:
            json.dump({"format": FORMAT, "channels": channels, "about": self.about, **meta}, file)

    def close(self) -> None:
        """Close the files, finished or not."""
        self._file.close()
        for file, _ in self._columns.values():
            file.close()

    def _replicate_grey(self, shapes: np.ndarray) -> None:
        self._file.close()
        mixed = self.folder / "mixed.bin"
        os.rename(self.folder / "pixels.bin", mixed)
        self._file = open(self.folder / "pixels.bin", "wb")  # noqa: SIM115
        with open(mixed, "rb") as source:
            for height, width, channels in shapes.tolist():
                raw = np.frombuffer(source.read(height * width * channels), dtype=np.uint8)
                self._file.write(np.repeat(raw, 3 // channels).data)
        mixed.unlink()
        self._file.flush()


class EncodedWriter(Writer):
    """Fills an entry with JPEG files. Grey and colour may be mixed: then grey is decoded as RGB."""

    FILE = "bytes.bin"

    def __init__(self, folder: Path, about: str = "") -> None:
        super().__init__(folder, about)
        self._starts, self._turns = array("q", [0]), bytearray()
        self._made, self._loss = 0, 0.0

    def add_file(self, data: Any, shape: Sequence[int], content: bytes, turn: int, loss: float | None) -> None:
        """Append a file. shape: (h, w, c), upright; content: `image_hash`; turn: EXIF orientation.

        loss: None where `data` is a file of the user's, else the mean difference from what it was made of, in levels.
        """
        self._append(data, shape, content)
        self._starts.append(self._starts[-1] + len(data))
        self._turns.append(turn)
        if loss is not None:
            self._made, self._loss = self._made + 1, self._loss + loss

    def finish(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        own: dict[str, np.ndarray] = {
            "starts": np.frombuffer(self._starts, np.int64),
            "turns": np.frombuffer(bytes(self._turns), np.uint8),
        }
        made = {"made": self._made, "loss": round(self._loss / max(1, self._made), 2)}
        super().finish(meta | made, arrays | own)

    def _replicate_grey(self, shapes: np.ndarray) -> None:
        return


class TokenWriter(Writer):
    """Fills an entry with texts: ids of tokens, document by document, each in one piece or several."""

    FILE = "text.bin"

    def __init__(self, folder: Path, about: str = "") -> None:
        super().__init__(folder, about)
        self._lengths, self._documents = array("i"), array("i")

    def add_document(self, pieces: Sequence[np.ndarray], width: int, tokenizer: bytes) -> None:
        """Append a document. pieces: its ids; width: bytes of an id, 2 or 4, the same in every call; tokenizer: its
        hash, which ids mean nothing without."""
        number = self._documents[-1] + 1 if self._documents else 0
        for ids in pieces:
            raw = np.ascontiguousarray(ids, dtype=f"<u{width}")
            content = blake2b(raw.data, digest_size=HASH, person=tokenizer[:16]).digest()
            self._append(raw.data, (0, 0, 1), content)
            self._lengths.append(len(ids))
            self._documents.append(number)

    def finish(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        own = {"text_counts": self._lengths, "text_documents": self._documents}
        columns = {name: np.array(values, dtype=np.int32)[:, None] for name, values in own.items()}
        super().finish(meta | {"columns": ["text"]}, arrays | columns)


class SoundWriter(Writer):
    """Fills an entry with sounds of equal length."""

    FILE = "audio.bin"

    def add_sound(self, samples: np.ndarray, content: bytes) -> None:
        """Append int16 (samples,) and its `column_hash`."""
        self._append(np.ascontiguousarray(samples, dtype="<i2").data, (0, 0, 1), content)

    def finish(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super().finish(meta | {"columns": ["audio"]}, arrays)


def image_hash(image: np.ndarray) -> bytes:
    """Content hash of one image, uint8 (h, w, c). Grey and its RGB replica hash alike."""
    height, width, channels = image.shape
    rgb = np.repeat(image, 3, axis=2) if channels == 1 else np.ascontiguousarray(image)
    return blake2b(rgb.data, digest_size=HASH, person=f"{height}x{width}".encode()[:16]).digest()


Build = Callable[[Any], None]  # fills a writer
