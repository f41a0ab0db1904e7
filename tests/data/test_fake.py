"""Folders of real and generated images: what is learned from, what is tested on, and files that went another way."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.data.splits import load_data
from gssl.statistics.fake import CONDITIONS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Forty real images, forty of each of two generators, all PNG of 16 px."""
    random = np.random.default_rng(0)
    for folder in ("real", "fake/a", "fake/b"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for i in range(40):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / folder / f"{i:02}.png")
    return tmp_path / "set"


@pytest.fixture
def load(cfg):
    return lambda root, **changes: load_data(cfg(name="fake", root=root, **({"held_out": ["b"]} | changes)))


def test_a_held_out_generator_is_tested_on_alone(root, load) -> None:
    splits = load(root)
    test, learnt = splits.open_test(), splits.labelled
    assert splits.columns == ("image", "label", "fake") and splits.classes == ["real", "fake"]
    assert not any("/fake/b/" in name for name in learnt.names)
    conditions = test.fetch(np.arange(len(test)))["fake"].numpy()
    counts = np.bincount(conditions, minlength=len(CONDITIONS))
    assert counts[4] == counts[5] == 40 and counts[0] == counts[1] > 0 and counts[2] == counts[3] > 0
    assert (test.labels == (conditions >= 2)).all()
    assert counts[0] + (learnt.labels == 0).sum() == 40 and counts[2] + (learnt.labels == 1).sum() == 40
    assert not {Path(n).name for n, c in zip(test.names, conditions, strict=True) if c == 0} & {
        Path(n).name for n, label in zip(learnt.names, learnt.labels, strict=True) if label == 0
    }


def test_real_and_generated_images_go_through_the_same_jpeg(root, load) -> None:
    test = load(root).open_test()
    half = len(test) // 2
    clean, after = (test.fetch(np.arange(start, start + half))["image"].float() for start in (0, half))
    apart = (clean - after).abs().mean(dim=(1, 2, 3))
    assert bool((apart > 1).all()) and list(test.names[:half]) == list(test.names[half:])


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (lambda image, path: image.save(path.with_suffix(".jpg")), "JPEG of tables"),
        (lambda image, path: image.resize((20, 20)).save(path), "20×20 px"),
        (lambda image, path: image.convert("L").save(path), "L, 16×16 px"),
    ],
    ids=["format", "size", "mode"],
)
def test_files_that_went_another_way_are_refused(root, refused, way, said) -> None:
    for path in list((root / "real").iterdir()):
        image = Image.open(path)
        image.load()
        path.unlink()
        way(image, path)
    text = refused(root)
    assert said in text and "40 real images are" in text and "a detector would learn how files were written" in text


def test_jpeg_of_two_qualities_is_refused_and_of_one_is_not(root, load, refused) -> None:
    for path in list(root.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".jpg"), quality=90)
        path.unlink()
    assert len(load(root).open_test()) > 0
    path = root / "fake/a/03.jpg"
    Image.open(path).save(path, quality=60)
    assert "1 generated images are JPEG of tables" in refused(root) and "fake/a/03.jpg" in refused(root)


def test_files_that_went_another_way_more_often_are_refused(root, refused, load) -> None:
    """Both sorts have PNG and JPEG: of one half are JPEG, of the other hardly any."""

    def jpeg(folder: Path, count: int) -> None:
        for path in sorted(folder.iterdir())[:count]:
            Image.open(path).save(path.with_suffix(".jpg"))
            path.unlink()

    jpeg(root / "real", 20)
    jpeg(root / "fake" / "a", 1)
    text = refused(root)
    assert "50% of the real images are JPEG" in text and "1% of the generated ones" in text and "real/" in text
    jpeg(root / "fake" / "a", 20)
    jpeg(root / "fake" / "b", 20)
    assert len(load(root).train)


def test_what_is_missing(root, load, refused) -> None:
    assert "data.root: no folder given" in refused(None)
    assert "data.held_out: name the generators" in refused(root, held_out=None) and "a, b" in refused(root, held_out=[])
    assert "has no c; there is: a, b" in refused(root, held_out=["c"])
    assert "all generators of" in refused(root, held_out=["a", "b"])
    (root / "fake/a/00.png").write_bytes(b"none")
    assert "00.png cannot be read" in refused(root)
    shutil.rmtree(root / "real")
    assert "has no folder real/" in refused(root)
    (root / "real").mkdir()
    assert "has no real image to learn from" in refused(root)


def test_a_relative_root_is_the_same_data(root, load, monkeypatch) -> None:
    """Files that were not found had one empty hash in common: one key for all contents, one side in every split."""
    whole = load(root)
    monkeypatch.chdir(root.parent)
    assert load(Path(root.name)).hash == whole.hash
