"""Features on disk: one pass per image, damage is found, the folder stays below its limit."""

import io
import os

import numpy as np
import pytest

from gssl.data import checksums
from gssl.data.images import Images
from gssl.data.memory import MemoryStore
from gssl.errors import UsageError
from gssl.probe.feature_cache import FeatureCache, image_ids


class Stored(MemoryStore):
    """As from the disk: the cache leaves images out that were made for one use."""


@pytest.fixture
def images(monkeypatch, tmp_path):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))
    monkeypatch.setattr("gssl.probe.feature_cache.MemoryStore", int)
    rng = np.random.default_rng(0)
    store = Stored(rng.integers(0, 256, (10, 4, 4, 3), dtype=np.uint8))
    return Images(store, np.arange(10), np.zeros(10), ["a"])


class Counting:
    """What computes features, and for how many images it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, images: Images) -> np.ndarray:
        self.asked.append(len(images))
        pixels = images.store.pixels[images.rows].reshape(len(images), -1)
        return pixels[:, :5].astype(np.float32)


def test_every_image_is_computed_once_whatever_it_is_asked_with(images) -> None:
    compute = Counting()
    first = FeatureCache("k").features(images.subset(np.array([3, 1, 3])), compute)
    assert compute.asked == [2] and np.array_equal(first[0], first[2])
    again = FeatureCache("k")
    whole = again.features(images, compute)
    assert compute.asked == [2, 8]
    assert np.array_equal(whole, Counting()(images)) and whole.dtype == np.float32
    assert np.array_equal(again.features(images.subset(np.array([9, 0])), compute), whole[[9, 0]])
    assert np.array_equal(FeatureCache("k").features(images, compute), whole) and compute.asked == [2, 8]
    FeatureCache("other").features(images, compute)  # another network, or another size
    assert compute.asked == [2, 8, 10]


def test_a_damaged_file_is_computed_again(images, tmp_path, capsys) -> None:
    compute = Counting()
    whole = FeatureCache("k").features(images, compute)
    (file,) = (tmp_path / "features" / "k").glob("*.npz")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert np.array_equal(FeatureCache("k").features(images, compute), whole) and compute.asked == [10, 10]
    (file,) = (tmp_path / "features" / "k").glob("*.npz")
    file.write_bytes(file.read_bytes()[:50])  # cut off
    assert np.array_equal(FeatureCache("k").features(images, compute), whole) and compute.asked == [10, 10, 10]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.endswith("its features are computed again") for line in lines)


@pytest.mark.parametrize("kind", ["pickle", "shapes", "text", "no zip", "fifo", "folder", "link"])
def test_a_file_of_a_stranger_is_neither_used_nor_waited_for(images, tmp_path, kind) -> None:
    compute = Counting()
    whole = FeatureCache("k").features(images, compute)
    (file,) = (tmp_path / "features" / "k").glob("*.npz")
    if kind in ("fifo", "folder", "link"):
        file.rename(tmp_path / "outside")
        {"fifo": os.mkfifo, "folder": os.mkdir, "link": lambda p: p.symlink_to(tmp_path / "outside")}[kind](file)
    else:
        buffer = io.BytesIO()
        ids = np.zeros((2, 16), np.uint8)
        if kind == "pickle":
            np.savez(buffer, ids=ids, features=np.array([{"a": 1}, None], dtype=object))
        elif kind == "shapes":
            np.savez(buffer, ids=ids, features=np.zeros((3, 5), np.float32))
        elif kind == "text":
            np.savez(buffer, ids=ids, features=np.array(["a", "b"]))
        else:
            buffer.write(b"PK\x03\x04 is no zip")
        file.rename(tmp_path / "away")
        name = checksums.name_of(buffer.getvalue(), file.parent)
        file.with_name(f"{name}.npz").write_bytes(buffer.getvalue())  # its name holds
    assert np.array_equal(FeatureCache("k").features(images, compute), whole) and compute.asked == [10, 10]


def test_features_of_another_network_are_damaged(images, tmp_path) -> None:
    compute = Counting()
    FeatureCache("other").features(images, lambda images: compute(images) + 1)
    (file,) = (tmp_path / "features" / "other").glob("*.npz")
    file.parent.rename(tmp_path / "features" / "k")  # its content is as it was
    assert np.array_equal(FeatureCache("k").features(images, compute), Counting()(images))
    assert compute.asked == [10, 10]


def test_what_was_kept_is_on_the_disk(images, monkeypatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    FeatureCache("k").features(images, Counting())
    assert len(synced) == 1


@pytest.mark.parametrize("text", ["four", "nan", "-1", "4 GB"])
def test_a_limit_that_is_no_number_is_one_line_before_anything_is_computed(images, monkeypatch, text) -> None:
    monkeypatch.setenv("GSSL_FEATURES_GB", text)
    with pytest.raises(UsageError, match="^GSSL_FEATURES_GB: .* is no number of gigabytes"):
        FeatureCache("k")


def test_the_oldest_files_go_first(images, tmp_path, monkeypatch) -> None:
    compute = Counting()
    for name in "abc":
        FeatureCache(name).features(images, compute)
    files = {file.parent.name: file for file in (tmp_path / "features").glob("*/*.npz")}
    for age, name in enumerate("bca"):  # b was used last
        os.utime(files[name], ns=(10**18 - age * 10**9,) * 2)
    size = files["a"].stat().st_size
    monkeypatch.setenv("GSSL_FEATURES_GB", str(3.5 * size / 1e9))
    FeatureCache("d").features(images, compute)
    assert {file.parent.name for file in (tmp_path / "features").glob("*/*.npz")} == {"b", "c", "d"}


def test_where_nothing_can_be_written_features_are_computed(images, tmp_path) -> None:
    (tmp_path / "features").write_text("in the way")
    compute = Counting()
    for _ in range(2):
        assert len(FeatureCache("k").features(images, compute)) == 10
    assert compute.asked == [10, 10]


def test_ids_are_contents(images) -> None:
    ids = image_ids(images)
    assert len(set(ids)) == 10 and ids[3] == image_ids(images.subset(np.array([3])))[0]
