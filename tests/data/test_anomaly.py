"""Folders of good images and defects: both layouts, kinds and masks, and every mistake as one line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.data import layout
from gssl.data.columns import IGNORE, MOST_KINDS, UNKNOWN_PLACE, AnomalyColumn, anomalous
from gssl.data.sources.anomaly import column_kinds
from gssl.data.splits import load_data


def picture(path: Path, number: int = 0, size: tuple[int, int] = (16, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def truth(path: Path, value: int = 255, size: tuple[int, int] = (16, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    mask[2:5, 3:7] = value
    Image.fromarray(mask).save(path)


def mvtec(home: Path) -> Path:
    """Ten good images to learn from; tested on: three good ones, two cracks, two holes."""
    for i in range(10):
        picture(home / f"train/good/{i}.png", i)
    for i in range(3):
        picture(home / f"test/good/{i}.png", 100 + i)
    for kind, value in (("hole", 255), ("crack", 1)):
        for i in range(2):
            picture(home / f"test/{kind}/{i}.png", 200 + i + value)
            truth(home / f"ground_truth/{kind}/{i}_mask.png", value)
    return home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return mvtec(tmp_path / "set")


@pytest.fixture
def load(cfg):
    return lambda root=None, **changes: load_data(cfg(name="anomaly", root=root, **({"size": 12} | changes)))


def test_the_column_tells_kinds_and_places() -> None:
    flat = np.zeros((4, 2, 3), dtype=np.uint8)
    flat[1, 0, 1], flat[2], flat[3, 1, 2] = MOST_KINDS, UNKNOWN_PLACE + MOST_KINDS, 1
    column = AnomalyColumn(flat.reshape(-1), np.full((4, 2), (2, 3), dtype=np.int32), np.zeros((4, 16), np.uint8))
    assert column.kinds(np.array([3, 2, 1, 0])).tolist() == [1, MOST_KINDS, MOST_KINDS, 0]
    assert anomalous(flat).sum(axis=(1, 2)).tolist() == [0, 1, 6 * IGNORE, 1]
    assert UNKNOWN_PLACE + MOST_KINDS < IGNORE


def test_mvtec(root, load) -> None:
    splits = load(root)
    test = splits.open_test()
    assert splits.columns == test.columns == ("image", "anomaly")
    assert splits.classes == test.classes == ["good", "crack", "hole"]
    assert len(splits.labelled) == 10 == len(splits.pretrain) + len(splits.val)
    assert column_kinds(splits.labelled).tolist() == [0] * 10
    assert column_kinds(test).tolist() == [0, 0, 0, 1, 1, 2, 2]
    places = test.fetch(np.arange(7))["anomaly"].numpy()
    assert (places[:3] == 0).all() and (places[3:].reshape(4, -1) > 0).sum(axis=1).tolist() == [12] * 4
    assert places[5, 3, 4] == 2 and places[5, 0, 0] == 0
    assert splits.pretrain.unlabelled().columns == ("image",)


def test_the_only_folder_in_a_folder_is_read_and_names_may_lack_mask(root, load) -> None:
    for path in list((root / "ground_truth").rglob("*.png")):
        path.rename(path.with_name(path.name.replace("_mask", "")))
    assert len(load(root.parent).open_test()) == 7


def test_three_folders(root, load) -> None:
    good, bad = root.parent / "fine", root.parent / "broken"
    shutil.copytree(root / "train/good", good)
    shutil.copytree(root / "test", bad)
    shutil.rmtree(bad / "good")
    picture(bad / "loose.png", 300)
    truth(root / "ground_truth/loose.png")
    for masks in (root / "ground_truth", None):
        splits = load(good=good, bad=bad, masks=masks, test_fraction=0.4)
        test = splits.open_test()
        assert test.classes == ["good", "bad", "crack", "hole"]
        assert splits.summary["found"].startswith(f"{good}: good images and defects of 3 kinds: ")
        names, held = {Path(n).name for n in splits.labelled.names}, {Path(n).name for n in test.names if "fine" in n}
        assert names and held and not names & held and len(names | held) == 10
        assert np.bincount(column_kinds(test))[1:].tolist() == [1, 2, 2]
        known = anomalous(test.fetch(np.arange(len(test)))["anomaly"].numpy())[column_kinds(test) > 0]
        assert (known != IGNORE).all() if masks else (known == IGNORE).all()
    (good / "0.png").rename(good / "another name.png")  # the side of an image is decided by its content
    again = load(good=good, bad=bad, test_fraction=0.4)
    assert {n for n in names if n != "0.png"} == {Path(n).name for n in again.labelled.names} - {"another name.png"}


def test_images_and_masks_are_stored_at_data_size(root, load) -> None:
    test = load(root, size=[6, 8]).open_test()
    places = test.fetch(np.arange(7))["anomaly"].numpy()
    assert test.shape == (6, 8) and set(np.unique(places[3:5])) == {0, 1} and set(np.unique(places[5:])) == {0, 2}


def test_empty_masks_are_told_and_counted(root, load) -> None:
    truth(root / "ground_truth/hole/1_mask.png", 0)
    splits = load(root)
    test = splits.open_test()
    assert "1 mask of defects without a pixel at data.size=" in splits.summary["found"]
    assert "hole/1_mask.png" in splits.summary["found"]
    assert column_kinds(test).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert (anomalous(test.fetch(np.array([6]))["anomaly"].numpy()) == IGNORE).all()


def test_without_masks_places_are_not_known(root, load) -> None:
    shutil.rmtree(root / "ground_truth")
    splits = load(root)
    assert "where defects are is not known" in splits.summary["found"]
    assert column_kinds(splits.open_test()).tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_masks_without_an_image_are_a_warning(root, load) -> None:
    truth(root / "ground_truth/hole/9_mask.png")
    truth(root / "ground_truth/dent/0_mask.png")
    said = " ".join(load(root).summary["warnings"])
    assert "1 mask without an image, the first is" in said and "hole/9_mask.png" in said
    assert "ground_truth has masks of dent, of which" in said


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────


def test_a_defect_without_a_mask(root, load, refused) -> None:
    (root / "ground_truth/crack/1_mask.png").unlink()
    text = refused(root)
    assert "1 of 2 images of defects have no mask" in text and "test/crack/1.png" in text
    splits = load(root, on_error="skip")
    assert len(splits.open_test()) == 6 and "crack/1.png (no mask)" in splits.summary["skipped"][0]


def test_a_mask_of_another_size(root, load, refused) -> None:
    truth(root / "ground_truth/crack/0_mask.png", size=(12, 16))
    text = refused(root)
    assert "1 of 7 masks have another size than their image" in text and "crack/0_mask.png (12×16, its image" in text
    assert len(load(root, on_error="skip").open_test()) == 6


def test_a_broken_file(root, load, refused) -> None:
    (root / "train/good/3.png").write_bytes(b"none")
    assert "1 of 10 images cannot be read" in refused(root) and "good/3.png" in refused(root)
    assert len(load(root, on_error="skip").labelled) == 9


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["test/good"], "all 4 test images in"),
        (["test/hole", "test/crack"], "all 3 test images in"),
        (["test/good", "test/hole", "test/crack"], "there are no test images in"),
    ],
)
def test_a_test_set_of_one_sort_is_refused(root, refused, gone, said) -> None:
    for folder in gone:
        shutil.rmtree(root / folder)
    assert said in refused(root) and "both sorts are needed" in refused(root)


def test_what_is_missing(root, refused) -> None:
    assert "data.root: no folder given" in refused()
    shutil.rmtree(root / "train/good")
    (root / "train/good").mkdir()
    assert "no good image to learn from" in refused(root)
    picture(root / "train/crack/0.png")
    assert "has crack beside good/, and what is learned from must be good" in refused(root)
    shutil.rmtree(root / "train")
    assert "has no folder train/" in refused(root)


def test_folders_that_are_missing_or_inside_each_other(root, refused) -> None:
    good = root / "train/good"
    assert "data.bad: no folder given" in refused(good=good)
    assert "data.good: no folder given" in refused(bad=good)
    assert "holds data.good" in refused(good=good, bad=root / "train")
    assert "data.good: nowhere is not a folder" in refused(good="nowhere", bad=good)


# ── a folder as the first word of a command ──────────────────────────────────────────────────────


def test_the_layout_is_recognised(root) -> None:
    found = layout.look(root.parent)
    assert (found.name, found.keys) == ("anomaly", {"root": str(root.parent)})
    assert found.lines == [f"{root.parent}: 10 good images, tested on 7 (crack 2, good 3, hole 2)"]


def test_a_relative_root_is_the_same_data(root, load, monkeypatch) -> None:
    """Files that were not found had one empty hash in common: one key for all contents, one side in every split."""
    whole = load(root)
    monkeypatch.chdir(root.parent)
    assert load(Path(root.name)).hash == whole.hash
