"""Own-size pixels: from the files, the same rows in the same order, and only where the store has too few."""

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.data import decode, load_data, originals
from gssl.data.originals import Originals
from gssl.errors import UsageError


@pytest.fixture
def images(tmp_path, cfg, paint):
    for name in "ab":
        for i in range(6):
            paint(tmp_path / "photos" / name / f"{i}.png", (90 + i, 70), grey=i == 3)
    return load_data(cfg(root=tmp_path / "photos")).labelled


def test_the_same_rows_in_the_same_order_with_the_pixels_of_the_files(images) -> None:
    few = images.subset(np.array([4, 0, 2]))
    assert few.store.shapes.min() == 32  # what data.size=16 has left
    for stored in (False, True):
        found = originals.at(few, 60, 16, stored)
        assert (len(found), found.labels.tolist(), found.names.tolist()) == (3, few.labels.tolist(), few.names.tolist())
        batch = found.subset(np.array([2, 1, 0])).fetch(np.array([1, 2]))
        for i, row in enumerate((1, 0)):
            wanted = np.asarray(Image.open(few.name(row)).convert("RGB"))
            height, width = batch["extent"][i].tolist() if "extent" in batch else wanted.shape[:2]
            assert np.array_equal(batch["image"][i, :, :height, :width].permute(1, 2, 0).numpy(), wanted)
        assert batch["label"].tolist() == few.labels[[1, 0]].tolist()
    assert originals.at(few, 60, 16).hash == few.hash  # what was drawn does not depend on the size
    again = pickle.loads(pickle.dumps(originals.at(few, 60, 16)))
    assert isinstance(again, Originals) and isinstance(again.unlabelled(), Originals) and again.side == 60
    assert len(list(few.store.path.parent.glob("*/meta.json"))) == 2  # the second entry is read again


def test_nothing_is_read_again_where_the_store_has_everything(images, tmp_path, cfg, paint) -> None:
    assert originals.at(images, 32, 16) is images  # as many pixels as are needed
    for name in "ab":
        for i in range(4):
            paint(tmp_path / "small" / name / f"{i}.png", (20, 18))
    small = load_data(cfg(root=tmp_path / "small")).labelled
    assert originals.at(small, 224, 16) is small  # the files have no more
    lazy = originals.at(images, 60, 16)
    assert originals.at(lazy, 60, 16) is lazy


def test_a_file_that_is_gone_is_named(images) -> None:
    lazy = originals.at(images, 60, 16)
    os.remove(images.name(2))
    with pytest.raises(UsageError, match=r"\.png: could be read before, and not now"):
        lazy.fetch(np.array([2]))
    with pytest.raises(UsageError, match=r"\.png: could be read before, and not now"):
        originals.at(images, 60, 16, stored=True)


@pytest.mark.parametrize("stored", [False, True])
def test_a_file_with_another_picture_than_the_store_is_named(images, tmp_path, paint, stored) -> None:
    lazy = originals.at(images, 60, 16)
    path = Path(images.name(2))
    times = path.stat()
    other = paint(tmp_path / "other" / "x.png", (92, 70))
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UsageError, match=r"\.png: has another picture than when it was read first"):
        originals.at(images, 60, 16, stored=True) if stored else lazy.fetch(np.array([2]))
    assert len(list(images.store.path.parent.glob("*/meta.json"))) == 1  # no entry with a wrong picture
    lazy.fetch(np.array([1]))  # the others are as they were


def test_a_file_that_was_copied_and_has_the_same_picture_is_used(images, monkeypatch) -> None:
    path = Path(images.name(2))
    data = path.read_bytes()
    time.sleep(0.06)  # more than clocks are coarse
    images.store.opened = time.time_ns()
    path.unlink()
    path.write_bytes(data)
    lazy, decoded = originals.at(images, 60, 16), []
    own = decode.decode
    monkeypatch.setattr(decode, "decode", lambda path, *rest: decoded.append(path) or own(path, *rest))
    lazy.fetch(np.array([1, 2]))
    assert sorted(decoded) == sorted([images.name(1), str(path), str(path)])  # only what changed is decoded twice
    assert pickle.loads(pickle.dumps(lazy)).store.opened == images.store.opened
    originals.at(images, 60, 16, stored=True)
