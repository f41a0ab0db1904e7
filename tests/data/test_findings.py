"""What can make a verdict wrong is found in small folders, one kind at a time, and said with its numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gssl import schemas
from gssl.data import Splits, load_data

Cfg = Callable[..., schemas.Data]


def of(splits: Splits, kind: str) -> list[dict[str, Any]]:
    return [finding for finding in splits.summary["findings"] if finding["kind"] == kind]


@pytest.fixture
def halves(paint: Callable[..., Path], tmp_path: Path) -> Path:
    """train/ and test/ with classes a and b, 110 and 60 images of each."""
    for part, count in (("train", 110), ("test", 60)):
        for label in "ab":
            for i in range(count):
                paint(tmp_path / "set" / part / label / f"{i:03}.png", size=(16, 16))
    return tmp_path / "set"


def test_a_sound_data_set_has_no_findings(cfg: Cfg, halves: Path) -> None:
    summary = load_data(cfg(root=halves)).summary
    assert summary["findings"] == summary["warnings"] == []
    assert summary["class_counts"] == {"train": [88, 88], "val": [22, 22], "test": [60, 60]}
    assert summary["test_groups"] is None


def test_every_test_image_inside_what_pretraining_sees(cfg: Cfg, halves: Path) -> None:
    splits = load_data(cfg(root=halves, pretrain=halves / "test"))
    (found,) = splits.summary["findings"]
    assert (found["kind"], found["part"], found["images"], found["fraction"]) == (
        "test_in_training",
        "pretrain",
        120,
        1,
    )
    assert found["text"] == (
        "All 120 test images are among the images of pretraining (data.pretrain), pixel for pixel: scores of"
        " everything pretrained may be too high."
    )
    assert found["examples"][0] == f"{halves}/test/a/000.png = {halves}/test/a/000.png"
    few, warning = splits.summary["warnings"]
    assert few.startswith("pretraining has ")
    assert warning.startswith(found["text"][:-1]) and found["examples"][0] in warning


def test_copies_that_were_changed(cfg: Cfg, halves: Path) -> None:
    """Mirrored, saved again and resized ones; a copy that is exact counts as exact alone."""
    extra = halves.parent / "extra"
    extra.mkdir()
    for i in range(6):
        with Image.open(halves / "test" / "a" / f"{i:03}.png") as image:
            image = image.convert("RGB")
            if i < 2:
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(extra / f"{i}.png")
            elif i < 4:
                image.save(extra / f"{i}.jpg", quality=90)
            elif i == 4:
                image.resize((32, 32), Image.Resampling.BICUBIC).save(extra / f"{i}.png")
            else:
                image.save(extra / f"{i}.png")
    splits = load_data(cfg(root=halves, pretrain=extra))
    (exact,), (near,) = of(splits, "test_in_training"), of(splits, "near_duplicates")
    assert (exact["images"], near["images"], near["mirrored"], near["part"]) == (1, 5, 2, "pretrain")
    assert near["text"] == (
        "5 of 120 test images (4.2%) look like copies of images among the images of pretraining (data.pretrain),"
        " saved again, resized or a little changed, 2 of them mirrored: scores of everything pretrained may be too"
        " high, by 4.2 points at the most."
    )
    few, *others = splits.summary["warnings"]
    assert few.startswith("pretraining has 6 images and not the ") and len(others) == 2


def test_copies_among_training_and_validation_images(cfg: Cfg, halves: Path) -> None:
    for i in range(110):  # all of class b, so some of them are validation images
        with Image.open(halves / "train" / "b" / f"{i:03}.png") as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(halves / "test" / "b" / f"copy{i:03}.png")
    train, val = of(load_data(cfg(root=halves)), "near_duplicates")
    assert (train["part"], train["images"], train["mirrored"]) == ("train", 88, 88)
    assert (val["part"], val["images"], val["mirrored"]) == ("val", 22, 22)
    assert "labelled training images (data.train), mirrored: scores of every arm may be too high." in train["text"]


def test_equal_pixels_with_two_labels(cfg: Cfg, halves: Path) -> None:
    for source, copy in (("train/a/000", "train/b/x"), ("train/a/001", "test/b/y"), ("test/a/000", "test/b/z")):
        (halves / f"{copy}.png").write_bytes((halves / f"{source}.png").read_bytes())
    splits = load_data(cfg(root=halves))
    (found,) = of(splits, "conflicting_labels")
    assert (found["pictures"], found["within_training"], found["test_images"]) == (3, 1, 1)
    assert found["text"].startswith("3 pictures occur with more than one label, pixel for pixel (1 among the training")
    assert "1 of 122 test images (0.82%) have another label" in found["text"]
    (halves / "train" / "a" / "twice.png").write_bytes((halves / "train" / "a" / "005.png").read_bytes())
    assert of(load_data(cfg(root=halves)), "conflicting_labels") == [found]  # equal labels are no conflict


def grouped(root: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    text = "".join(f"{','.join(row)}\n" for row in [("path", "label", "split", "group"), *rows])
    (root / "labels.csv").write_text(text)
    return root


def test_groups_on_both_sides(cfg: Cfg, halves: Path) -> None:
    rows = [(f"train/{c}/{i:03}.png", c, "train", f"p{i // 2}") for c in "ab" for i in range(100)]
    rows += [(f"test/{c}/{i:03}.png", c, "test", "p7" if i < 3 else f"q{i}") for c in "ab" for i in range(60)]
    rows += [("train/a/109.png", "", "", "q59")]  # unlabelled: pretraining has a sister of two test images
    splits = load_data(cfg(root=grouped(halves, rows)))
    (found,) = of(splits, "torn_groups")
    assert (found["groups"], found["images"], found["examples"]) == (2, 8, ["p7", "q59"])
    assert found["parts"][-1] == "pretrain" and {"train", "val"} & set(found["parts"])  # p7 is not divided further
    assert found["text"].startswith("2 groups have some of the test images and some of those trained on")
    assert "8 of 120 test images (6.7%)" in found["text"] and "by 6.7 points at the most" in found["text"]
    assert splits.summary["test_groups"] == 58


def test_groups_travel_with_the_images(cfg: Cfg, halves: Path) -> None:
    rows = [(f"{c}/{i:03}.png", c, "", f"p{i // 5}") for c in "ab" for i in range(100)]
    splits = load_data(cfg(root=grouped(halves / "train", rows)))
    assert not of(splits, "torn_groups")
    test = splits.open_test()
    for part in (splits.train, splits.val, splits.labelled, test):
        assert part.groups.tolist() == [f"p{int(Path(name).stem) // 5}" for name in part.names]
    codes = test.group_codes()
    assert codes.dtype == np.int32 and len(set(codes.tolist())) == splits.summary["test_groups"]
    assert ((codes[:, None] == codes) == (test.groups[:, None] == test.groups)).all()


@pytest.mark.parametrize(("size", "said"), [(50, True), (2, False)])
def test_few_groups_are_few_observations(cfg: Cfg, halves: Path, size: int, said: bool) -> None:
    rows = [(f"{c}/{i:03}.png", c, "", f"p{c}{i // size}") for c in "ab" for i in range(100)]
    splits = load_data(cfg(root=grouped(halves / "train", rows)))
    found = of(splits, "few_groups")
    assert bool(found) == said == (splits.summary["test_groups"] < 10)
    if said:
        assert found[0]["groups"] == splits.summary["test_groups"] and "group" in found[0]["text"]


def test_a_class_without_images(cfg: Cfg, halves: Path) -> None:
    for i in range(60):
        (halves / "test" / "b" / f"{i:03}.png").unlink()
    (found,) = of(load_data(cfg(root=halves)), "missing_classes")
    assert (found["part"], found["classes"]) == ("test", ["b"])
    assert found["text"] == "1 of 2 classes has no test image (b): the scores say nothing of them."


def test_few_test_images(cfg: Cfg, halves: Path) -> None:
    for label, keep in (("a", 12), ("b", 8)):
        for i in range(keep, 60):
            (halves / "test" / label / f"{i:03}.png").unlink()
    splits = load_data(cfg(root=halves))
    (few,), (single,) = of(splits, "few_test_images"), of(splits, "few_per_class")
    assert few["images"] == 20 and "20 test images only, and one of them is 5 points" in few["text"]
    assert single["classes"] == {"b": 8} and "1 of 2 classes has fewer than 10 test images" in single["text"]
    assert not of(splits, "imbalance")


def test_imbalance(cfg: Cfg, halves: Path) -> None:
    for i in range(20, 60):
        (halves / "test" / "b" / f"{i:03}.png").unlink()
    (found,) = of(load_data(cfg(root=halves)), "imbalance")
    own = {"largest": "a", "smallest": "b", "ratio": 3.0, "majority_fraction": 0.75}
    assert found["parts"] == {"test": own}
    assert found["text"].startswith("75% of the test images are of the class a, 3 times as many as of b:")
    for i in range(50, 110):
        (halves / "train" / "b" / f"{i:03}.png").unlink()
    (found,) = of(load_data(cfg(root=halves)), "imbalance")
    assert list(found["parts"]) == ["test", "train"] and "of the training images are of the class a" in found["text"]
