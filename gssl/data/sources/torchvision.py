"""torchvision's data sets through its own classes, which are imported only where the cache has no entry."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gssl import schemas
from gssl.data import cache, decode
from gssl.data.images import Images
from gssl.data.sources import DataSource
from gssl.errors import UsageError

Part = tuple[str, np.ndarray, np.ndarray]  # name, uint8 (N, H, W[, C]), int64 labels (N,)


class Kind(NamedTuple):
    """A torchvision class, its files below data.root and how its parts are asked for."""

    cls: str
    folder: str
    files: tuple[str, ...]
    parts: dict[str, dict[str, Any]]


_FLAG = {"train": {"train": True}, "test": {"train": False}}
_MNIST = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
_CIFAR10 = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_STL10 = ("train_X.bin", "train_y.bin", "unlabeled_X.bin", "test_X.bin", "test_y.bin")

KINDS = {
    "mnist": Kind("MNIST", "MNIST/raw", _MNIST, _FLAG),
    "fashion_mnist": Kind("FashionMNIST", "FashionMNIST/raw", _MNIST, _FLAG),
    "cifar10": Kind("CIFAR10", "cifar-10-batches-py", _CIFAR10, _FLAG),
    "cifar100": Kind("CIFAR100", "cifar-100-python", ("train", "test", "meta"), _FLAG),
    "svhn": Kind("SVHN", ".", ("train_32x32.mat", "test_32x32.mat"), {n: {"split": n} for n in ("train", "test")}),
    "stl10": Kind(
        "STL10",
        "stl10_binary",
        _STL10,
        {"train": {"split": "train"}, "test": {"split": "test"}, "pretrain": {"split": "unlabeled"}},
    ),
}


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """The data set's own training and test parts; STL-10's unlabelled images are `pretrain`.

    Errors: UsageError where the files are missing or damaged and cannot be downloaded.
    """
    kind = KINDS[cfg.name]
    root = Path(cfg.root or os.environ.get("GSSL_DATA") or "~/.cache/gssl/datasets").expanduser()
    names = [os.path.normpath(f"{kind.folder}/{name}") for name in kind.files]
    if not all((root / name).is_file() for name in names):
        made = [folder for folder in (root, *root.parents) if not folder.exists()]
        try:
            for keywords in kind.parts.values():
                _open(cfg.name, root, keywords, progress)  # downloads what is missing, or says what to do
        except UsageError:
            for folder in made:  # a failed download leaves empty folders
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
    key = cache.entry_key(cfg.name, *cache.contents(root, names), cfg.size)
    need = sum((root / name).stat().st_size for name in names)

    def build(writer: cache.Writer) -> None:
        classes: list[str] = []
        with decode.bar(f"reading {cfg.name} from {root}", 1, progress):
            parts = _parts(cfg.name, root, classes, progress)
            decode.write_arrays(writer, parts, classes, cfg.side, cfg.workers)

    store = cache.entry(key, lambda: 2 * need, build, about=cfg.name)
    labels, splits, start = store.array("labels"), {}, 0
    for name, count in store.meta["counts"].items():
        rows = np.arange(start, start + count)
        classes = store.meta["classes"] if labels[rows[0]] >= 0 else []
        splits[name] = Images(store, rows, labels[rows], classes)
        start += count
    keys = [f"{cfg.name}/{row}" for row in splits["train"].rows]
    return DataSource(splits["train"], splits["test"], keys, pretrain=splits.get("pretrain"))


def _parts(name: str, root: Path, classes: list[str], progress: bool) -> Iterator[Part]:
    """The parts one after another, so that only one is in memory; fills `classes` on the way."""
    for part, keywords in KINDS[name].parts.items():
        dataset = _open(name, root, keywords, progress)
        images = np.asarray(dataset.data)
        if name in ("svhn", "stl10"):  # these keep (N, C, H, W)
            images = images.transpose(0, 2, 3, 1)
        labels = np.asarray(dataset.targets if hasattr(dataset, "targets") else dataset.labels).astype(np.int64)
        if not classes:
            own = getattr(dataset, "classes", None) or range(int(labels.max()) + 1)
            classes.extend(str(c) for c in own)
        yield part, images, labels


def _open(name: str, root: Path, keywords: dict[str, Any], progress: bool) -> Any:
    kind = KINDS[name]
    cls = getattr(import_module("torchvision.datasets"), kind.cls)
    with contextlib.suppress(Exception):  # missing or damaged: torchvision raises several types
        return cls(root, download=False, **keywords)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # a network that answers nothing must not hang the command
    try:
        if progress:
            print(f"downloading {name} to {root}", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the command's result
            return cls(root, download=True, **keywords)
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UsageError(
            f"data.root: {name} is missing or damaged in {root} and could not be downloaded ({reason}); put "
            f"{', '.join(kind.files)} into {os.path.normpath(root / kind.folder)}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
