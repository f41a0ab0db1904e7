"""Pairs of images: how they lie on a disk, which half is made from which, and layouts that are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.data import Batches, Draws
from gssl.data.sources import paired
from gssl.data.splits import load_data
from gssl.engine.feed import Feed
from gssl.errors import UsageError
from gssl.schemas import Views


@pytest.fixture
def load(cfg):
    return lambda root, **changes: load_data(cfg(**({"name": "paired", "root": root, "direction": "a_to_b"} | changes)))


@pytest.fixture
def aligned(tmp_path: Path, paint) -> Path:
    """Files of 24×12 px: 10 to train on, 3 and 4 in parts of their own."""
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        for i in range(count):
            paint(tmp_path / "set" / part / f"{i:02}.png", (24, 12))
    return tmp_path / "set"


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def folders_of(root: Path, out: Path, template: str) -> Path:
    """The same pairs in two folders."""
    for path in sorted(root.rglob("*.png")):
        whole = Image.open(path)
        for side, x in (("A", 0), ("B", whole.width // 2)):
            to = out / template.format(side=side, part=path.parent.name) / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            whole.crop((x, 0, x + whole.width // 2, whole.height)).save(to)
    return out


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_one_half_is_the_image_and_the_other_what_it_is_made_from(aligned, load, direction) -> None:
    splits = load(aligned, direction=direction)
    assert splits.columns == ("image", "paired") and splits.classes == []
    assert [len(part) for part in (splits.train, splits.val, splits.open_test())] == [10, 3, 4]
    batch = splits.train.fetch(np.arange(10))
    whole = np.stack([pixels(Path(name)) for name in splits.train.names])
    halves = [whole[:, :, :12], whole[:, :, 12:]]
    given, made = halves if direction == "a_to_b" else halves[::-1]
    assert np.array_equal(batch["paired"].numpy(), given)
    assert np.array_equal(batch["image"].permute(0, 2, 3, 1).numpy(), made)


@pytest.mark.parametrize("template", ["{side}/{part}", "{part}/{side}"])
def test_two_folders_are_the_same_pairs(aligned, load, tmp_path, template) -> None:
    one, two = load(aligned), load(folders_of(aligned, tmp_path / "two", template))
    for part in ("train", "val"):
        found = [getattr(splits, part).fetch(np.arange(3)) for splits in (one, two)]
        for name in ("image", "paired"):
            assert torch.equal(found[0][name], found[1][name])


def test_files_without_parts_are_divided_by_what_is_in_them(aligned, load, tmp_path) -> None:
    splits = load(aligned / "train")
    parts = [splits.train, splits.val, splits.open_test()]
    names = [set(part.names) for part in parts]
    assert sum(map(len, names)) == 10 == len(set.union(*names)) and all(names)
    for path in sorted((aligned / "train").iterdir()):  # another name, the same side
        path.rename(path.with_name(f"x{path.name}"))
    again = load(aligned / "train")
    assert {n.replace("/x", "/") for n in again.train.names} == {str(n) for n in splits.train.names}


def test_pairs_of_several_sizes_are_padded_alike(tmp_path, paint, load) -> None:
    for i, size in enumerate([(24, 12), (28, 10), (24, 12), (32, 16)]):
        paint(tmp_path / "set" / "train" / f"{i}.png", size)
    splits = load(tmp_path / "set", val_fraction=0.3, test_fraction=0.3)
    for part in (splits.train, splits.val):
        batch = part.fetch(np.arange(len(part)))
        for i, name in enumerate(part.names):
            whole = pixels(Path(name))
            h, w = whole.shape[0], whole.shape[1] // 2
            assert np.array_equal(batch["paired"][i, :h, :w].numpy(), whole[:, :w])


@pytest.mark.parametrize("sizes", [[(60, 30)], [(60, 30), (48, 26)]], ids=["one", "several"])
def test_views_of_both_are_one_crop_and_one_flip(tmp_path, paint, cfg, natural_views, sizes) -> None:
    """The two halves of these files are equal, and stay so."""
    for i in range(12):
        path = paint(tmp_path / "set" / f"{i}.png", sizes[i % len(sizes)])
        whole = pixels(path)
        whole[:, whole.shape[1] // 2 :] = whole[:, : whole.shape[1] // 2]
        Image.fromarray(whole).save(path)
    data = cfg(name="paired", root=tmp_path / "set", direction="b_to_a", views=natural_views)
    images = load_data(data).train
    feed = Feed(Batches(images, 4, Draws(0), torch.device("cpu")), images, ("crop0", "paired"), data, Draws(0))
    found = [feed(step) for step in range(3)]
    for batch in found:
        assert batch["crop0"].shape == (4, 3, 16, 16)
        torch.testing.assert_close(batch["crop0"], batch["paired"], atol=1e-5, rtol=0)


def test_data_without_pairs_are_refused(folders, cfg, natural_views) -> None:
    data = cfg(root=folders, views=natural_views)
    images = load_data(data).train
    with pytest.raises(UsageError, match="data=imagefolder has none; use data=paired"):
        Feed(Batches(images, 4, Draws(0), torch.device("cpu")), images, ("crop0", "paired"), data, Draws(0))


@pytest.fixture
def natural_views() -> Views:
    zero = dict.fromkeys(
        ["rotate", "jitter", "brightness", "contrast", "saturation", "hue", "grayscale", "blur", "solarize", "cutout"],
        0.0,
    )
    rest = {"crop_scale": [0.5, 1.0], "crop_ratio": [1.0, 1.0], "flip": 0.5, "blur_sigma": [0.1, 2.0]}
    return Views(**zero, **rest, cutout_size=0.25, second_blur=None, second_solarize=None)


def test_a_folder_without_its_other_is_refused(aligned, tmp_path, refused) -> None:
    two = folders_of(aligned, tmp_path / "two", "{side}/{part}")
    (two / "B" / "train" / "03.png").unlink()
    text = refused(two)
    assert "1 of 10 images of" in text and "03.png" in text and "have no partner" in text
    (two / "B" / "test").rename(two / "B" / "other")
    assert "has a part test" in refused(two)
    (two / "B").rename(two / "C")
    assert "has a folder A and no folder B" in refused(two)


def test_a_partner_that_lacks_may_be_left_out(aligned, tmp_path, load) -> None:
    two = folders_of(aligned, tmp_path / "two", "{side}/{part}")
    (two / "A" / "train" / "03.png").unlink()
    splits = load(two, on_error="skip")
    assert len(splits.train) == 9 and any("no partner" in text for text in splits.summary["warnings"])


@pytest.mark.parametrize(
    ("size", "said"), [((25, 12), "1 of 10 images have an odd width"), (None, "1 of 10 pairs cannot be read")]
)
def test_a_file_that_is_no_pair_is_refused(aligned, paint, refused, load, size, said) -> None:
    path = aligned / "train" / "04.png"
    if size:
        paint(path, size)
    else:
        path.write_bytes(b"no image")
    assert said in refused(aligned) and "04.png" in refused(aligned)
    assert len(load(aligned, on_error="skip").train) == 9


def test_halves_of_two_sizes_are_refused(aligned, tmp_path, paint, refused) -> None:
    two = folders_of(aligned, tmp_path / "two", "{side}/{part}")
    paint(two / "B" / "val" / "01.png", (20, 12))
    text = refused(two)
    assert "1 of 3 pairs are of two sizes" in text and "20×12" in text


def test_nothing_to_read_is_refused(tmp_path, refused) -> None:
    assert "no folder given" in refused(None)
    (tmp_path / "set" / "train").mkdir(parents=True)
    assert "no images below" in refused(tmp_path / "set")
    (tmp_path / "only" / "test").mkdir(parents=True)
    assert "no train" in refused(tmp_path / "only")


def test_the_only_folder_of_an_archive_is_read(aligned, tmp_path, load) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    aligned.rename(outer / "facades")
    assert len(load(outer).train) == 10 and paired.PARTS == ("train", "val", "test")


def test_two_files_of_one_name_are_a_line(tmp_path, load):
    for side in "AB":
        (tmp_path / side).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / side / f"{i}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "A" / "0.jpg")
    with pytest.raises(UsageError, match=r"0.jpg and 0.png in .*/A would have one partner; rename one"):
        load(tmp_path)


def test_images_beside_the_parts_are_told(aligned, load, paint):
    assert not load(aligned).summary["warnings"]
    for i in range(2):
        paint(aligned / f"loose{i}.png", (24, 12))
    splits = load(aligned)
    assert len(splits.train) == 10
    assert f"data.root: 2 images directly in {aligned}: left out" in splits.summary["warnings"]
