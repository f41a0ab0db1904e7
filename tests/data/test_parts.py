"""How folders are understood: parts by any of their names, classes called like parts, folders that are never data.

Whatever is not read is told, and no image appears in two places or in none without a word.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gssl.data import layout
from gssl.data.sources import imagefolder, parts
from gssl.data.sources.folders import SUFFIXES, Told, images_below
from gssl.errors import UsageError


def fill(folder: Path, count: int = 2, suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        with (folder / f"{i}{suffix}").open("wb") as file:
            Image.new("RGB", (8, 8)).save(file, "PNG")


def split(root: Path, *names: str) -> None:
    for part in names:
        for label in "ab":
            fill(root / part / label)


def found(cfg: Callable, root: Path, **changes: object) -> tuple[dict[str, imagefolder.Listing], Told]:
    told = Told()
    return imagefolder.find(cfg(root=root, **changes), told), told


def classes(listing: imagefolder.Listing) -> set[str | None]:
    return set(listing.labels)


@pytest.mark.parametrize(
    ("names", "train", "val", "test"),
    [
        (("Training", "Testing"), "Training", None, "Testing"),
        (("TRAIN", "valid", "Test"), "TRAIN", "valid", "Test"),
        (("train", "validation", "test"), "train", "validation", "test"),
        (("training_set", "dev", "test_set"), "training_set", "dev", "test_set"),
        (("seg_train", "seg_test"), "seg_train", None, "seg_test"),
        (("train2017", "val2017"), "train2017", "val2017", None),
        (("train-images", "test images"), "train-images", None, "test images"),
    ],
)
def test_parts_go_by_many_names_in_any_case(cfg, tmp_path, names, train, val, test) -> None:
    split(tmp_path, *names)
    listings, told = found(cfg, tmp_path)
    assert {part: listing.root.name for part, listing in listings.items()} == {
        part: name for part, name in (("train", train), ("val", val), ("test", test)) if name
    }
    assert all(classes(listing) == {"a", "b"} for listing in listings.values())
    unusual = [name for name in (train, val, test) if name and name not in ("train", "val", "test")]
    assert len(told.notes) == len(unusual) and all(any(n in text for text in told.notes) for n in unusual)
    seen = layout.look(tmp_path).lines[0]  # gssl FOLDER understands it alike
    assert "2 class folders (a 2, b 2)" in seen and all(f"{n}/ with 4" in seen for n in (val, test) if n)


@pytest.mark.parametrize(
    "name", ["cat", "trainer", "strain", "test1", "devil", "contest", "valley", "invalid", "2017", "", "set", "тест"]
)
def test_other_names_are_no_parts(name: str) -> None:
    assert parts.part_of(name) is None


def test_two_folders_of_one_part_and_folders_beside_are_warned_of(cfg, tmp_path) -> None:
    split(tmp_path, "train", "Training", "val")
    fill(tmp_path / "extra")
    listings, told = found(cfg, tmp_path)
    assert listings["train"].root.name == "train"
    assert any("Training is not read: train/ is the train part" in text for text in told.warnings)
    assert any("1 folders beside train/ are not read (extra)" in text for text in told.warnings)


@pytest.mark.parametrize("name", ["train", "Train", "test", "val", "validation", "dev"])
def test_a_class_called_like_a_part_is_a_class(cfg, tmp_path, name) -> None:
    for label in (name, "bus", "car"):
        fill(tmp_path / label)
    listings, told = found(cfg, tmp_path)
    assert set(listings) == {"train"} and classes(listings["train"]) == {name, "bus", "car"}
    assert any(f"{name}/" in text and "read as a class" in text for text in told.notes)
    assert "3 class folders" in layout.look(tmp_path).lines[0]


def test_a_test_part_beside_class_folders(cfg, tmp_path) -> None:
    split(tmp_path, ".", "Test", "valid")
    listings, _ = found(cfg, tmp_path)
    assert {part: classes(own) for part, own in listings.items()} == dict.fromkeys(("train", "test", "val"), {"a", "b"})


def test_parts_without_one_to_train_on(cfg, tmp_path) -> None:
    split(tmp_path, "valid", "Testing")
    with pytest.raises(UsageError, match="valid/ and Testing/ and no train/; give a folder with train/"):
        found(cfg, tmp_path)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_archives_only_folder_is_looked_into(cfg, tmp_path, depth) -> None:
    home = tmp_path.joinpath(*["photos"] * depth)
    split(home, ".")
    listings, told = found(cfg, tmp_path)
    assert listings["train"].root == home and classes(listings["train"]) == {"a", "b"}
    assert told.notes == [f"{home} is read, the only folder in {tmp_path}"]
    assert "2 class folders" in layout.look(tmp_path).lines[0]


def test_an_archives_only_folder_with_parts_a_list_or_masks(cfg, tmp_path) -> None:
    split(tmp_path / "one/set", "Training", "Testing")
    listings, _ = found(cfg, tmp_path / "one")
    assert set(listings) == {"train", "test"}
    fill(tmp_path / "two/set/img", 4)
    (tmp_path / "two/set/labels.csv").write_text("path,label\nimg/0.png,x\nimg/1.png,y\n")
    listings, _ = found(cfg, tmp_path / "two")
    train = listings["train"]
    assert list(train.names) == ["img/0.png", "img/1.png"] and train.root == tmp_path / "two/set"
    assert "2 labelled images" in layout.look(tmp_path / "two").lines[0]
    fill(tmp_path / "three/set/images")
    fill(tmp_path / "three/set/masks")
    assert layout.look(tmp_path / "three").name == "segmentation"
    split(tmp_path / "four", "train/train", "test/test")
    listings, _ = found(cfg, tmp_path / "four")
    assert classes(listings["train"]) == classes(listings["test"]) == {"a", "b"}


def test_one_class_with_folders_and_an_empty_class_is_no_archive(cfg, tmp_path) -> None:
    split(tmp_path, "cat")
    (tmp_path / "dog").mkdir()
    listings, told = found(cfg, tmp_path)
    assert classes(listings["train"]) == {"cat"}
    assert told.warnings == [f"data.root: 1 class folder has no images in {tmp_path}: dog"]


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "#recycle", "lost+found", ".thumbnails"])
def test_folders_of_systems_are_no_classes(cfg, tmp_path, name) -> None:
    split(tmp_path, ".", name)
    listings, told = found(cfg, tmp_path)
    assert classes(listings["train"]) == {"a", "b"}
    assert name.startswith(".") or any("made by a system" in text and name in text for text in told.texts())


def run(folder: Path) -> None:
    fill(folder / "samples")
    for name in ("status.json", "config.yaml"):
        (folder / name).write_text("{}")


@pytest.mark.parametrize("where", ["runs/compare/one", "mine", "a/b/mine", "runs/pretrain_ssl/x/folds/0"])
def test_run_directories_are_never_data(cfg, tmp_path, where) -> None:
    split(tmp_path, ".")
    run(tmp_path / where)
    before = 4
    listings, told = found(cfg, tmp_path)
    assert classes(listings["train"]) == {"a", "b"} and len(listings["train"].names) == before
    assert any("written by gssl" in text for text in told.texts()) and not told.warnings
    assert "2 class folders (a 2, b 2)" in layout.look(tmp_path).lines[0]
    assert len(images_below(tmp_path, [])) == before


def test_pictures_of_dry_runs_and_predicted_masks_are_never_data(cfg, tmp_path) -> None:
    split(tmp_path, ".")
    fill(tmp_path / "runs/train_gan/2026")
    fill(tmp_path / "found_masks")
    (tmp_path / "found.csv.json").write_text("{}")
    assert classes(found(cfg, tmp_path)[0]["train"]) == {"a", "b"}


def test_every_kind_of_image_is_read_and_the_rest_is_told(cfg, tmp_path) -> None:
    for suffix in (".jfif", ".avif", ".JPG", ".tga"):
        fill(tmp_path / suffix.strip("."), suffix=suffix)
    fill(tmp_path / "jfif", 3, ".txt")
    fill(tmp_path / "photos of a phone", 3, ".HEIC")
    (tmp_path / "empty").mkdir()
    listings, told = found(cfg, tmp_path)
    assert classes(listings["train"]) == {"jfif", "avif", "JPG", "tga"}
    (text,) = told.texts()
    assert text.startswith("6 files are no images that are read (3 .heic, 3 .txt; the first is ") and ".HEIC" in text
    heic, empty = sorted(told.suspicious())
    assert heic.startswith("3 .heic files are left out") and "convert" in heic
    assert "2 class folders have no images" in empty and "empty, photos of a phone" in empty


def test_avif_and_jfif_are_decoded(tmp_path) -> None:
    from PIL import features

    from gssl.data import decode

    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.jfif", "JPEG")
    assert decode.decode(str(tmp_path / "a.jfif"), 8).shape == (8, 8, 3)
    if features.check("avif"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / "a.avif")
        assert decode.decode(str(tmp_path / "a.avif"), 8).shape == (8, 8, 3)


def test_a_folder_that_is_linked_twice_is_in_both_classes(cfg, tmp_path) -> None:
    fill(tmp_path / "elsewhere/x")
    (tmp_path / "set").mkdir()
    for name in "ab":
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere/x")
    listings, _ = found(cfg, tmp_path / "set")
    assert list(listings["train"].names) == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]


def test_links_that_lead_back_end_and_are_told(cfg, tmp_path) -> None:
    split(tmp_path / "set", ".")
    (tmp_path / "set/a/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/a/above").symlink_to(tmp_path)
    (tmp_path / "set/b/again").symlink_to(tmp_path / "set/b")
    listings, told = found(cfg, tmp_path / "set")
    assert len(listings["train"].names) == 4
    assert [text for text in told.texts() if "3 folders are not read, linked twice or back" in text]


def test_a_class_of_links_counts_and_a_link_above_is_not_walked(cfg, tmp_path, monkeypatch) -> None:
    fill(tmp_path / "elsewhere/x")
    split(tmp_path / "set", ".")
    (tmp_path / "set/c").mkdir()
    (tmp_path / "set/c/deep").symlink_to(tmp_path / "elsewhere/x")
    (tmp_path / "set/up").symlink_to(tmp_path)
    assert parts.holds_images(tmp_path / "set/c") and not parts.holds_images(tmp_path / "set/up")
    assert classes(found(cfg, tmp_path / "set")[0]["train"]) == {"a", "b", "c"}


def test_unlabelled_images_inside_are_no_class(cfg, tmp_path) -> None:
    split(tmp_path, ".")
    fill(tmp_path / "Unlabelled", 5)
    listings, told = found(cfg, tmp_path)
    assert set(listings) == {"train"} and classes(listings["train"]) == {"a", "b"}
    assert any("5 images in" in text and "data.pretrain=" in text for text in told.notes)
    assert len(found(cfg, tmp_path, pretrain="Unlabelled")[0]["pretrain"].names) == 5
    fill(tmp_path / "alone/unlabelled", 5)
    assert classes(found(cfg, tmp_path / "alone")[0]["train"]) == {None}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_an_error(cfg, tmp_path) -> None:
    split(tmp_path, ".")
    (tmp_path / "a").chmod(0)
    with pytest.raises(UsageError, match="cannot be read"):
        found(cfg, tmp_path)


NAMES = ["a", "b", "train", "Training", "val", "valid", "test", "runs", "unlabelled", "@eaDir", "x y"]


@pytest.mark.parametrize("seed", range(40))
def test_every_image_is_in_one_part_or_told(cfg, tmp_path, seed) -> None:
    root, draws = tmp_path / "set", random.Random(seed)
    for _ in range(draws.randint(1, 7)):
        folder = root.joinpath(*draws.choices(NAMES, k=draws.randint(0, 3)))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "i.png").touch()
    told = Told()
    try:
        listings = imagefolder.find(cfg(root=root), told)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    read = [path for own in listings.values() for path in (str(own.root / name) for name in own.names)]
    assert len(read) == len(set(read))
    every = {str(path) for path in root.rglob("*.png")}
    said = " ".join([*told.texts(), *told.warnings])
    assert set(read) <= every
    assert set(read) == every or said, every - set(read)


def test_suffixes_are_lower_and_start_with_a_dot() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
