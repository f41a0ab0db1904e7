"""Two domains without pairs: how they lie on a disk, how they are divided and drawn, and layouts that are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.data import Batches, Draws
from gssl.data.columns import GIVEN, MADE
from gssl.data.domains import domains_of, of_domain
from gssl.data.splits import load_data
from gssl.engine.feed import Feed
from gssl.errors import UsageError

from .test_paired import natural_views as natural_views

CPU = torch.device("cpu")


@pytest.fixture
def load(cfg):
    return lambda root, **more: load_data(cfg(**({"name": "unpaired", "root": root, "direction": "a_to_b"} | more)))


@pytest.fixture
def refused(load):
    def text(root, **changes) -> str:
        with pytest.raises(UsageError) as error:
            load(root, **changes)
        assert "\n" not in str(error.value)
        return str(error.value)

    return text


def fill(folder: Path, count: int, shift: int, size: tuple[int, int] = (20, 18), mode: str = "RGB") -> None:
    """Images whose mean says of which domain they are."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([count, shift])
    for i in range(count):
        shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
        pixels = random.integers(0, 100, shape) + shift
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """12 dark images and 8 bright ones of another size, and parts to test on and to choose by."""
    root = tmp_path / "set"
    for part, counts in (("train", (12, 8)), ("val", (3, 2)), ("test", (4, 5))):
        fill(root / f"{part}A", counts[0], 0)
        fill(root / f"{part}B", counts[1], 150, (24, 16))
    return root


def brightness(images) -> np.ndarray:
    return np.array([images.fetch(np.array([i]))["image"].float().mean().item() for i in range(len(images))])


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_each_row_is_of_one_domain(domains, load, direction) -> None:
    splits = load(domains, direction=direction)
    assert splits.columns == ("image", "domain") and splits.classes == []
    made_bright = direction == "a_to_b"
    for part, counts in ((splits.train, (12, 8)), (splits.val, (3, 2)), (splits.open_test(), (4, 5))):
        given, made = of_domain(part, GIVEN), of_domain(part, MADE)
        assert (len(given), len(made)) == (counts if made_bright else counts[::-1])
        assert ((brightness(made) > 125) == made_bright).all() and ((brightness(given) > 125) != made_bright).all()


def test_parts_that_are_not_there_are_divided_by_what_is_in_them_each_domain_by_itself(domains, load) -> None:
    for part in ("valA", "valB", "testA", "testB"):
        for path in (domains / part).iterdir():
            path.unlink()
        (domains / part).rmdir()
    splits = load(domains, val_fraction=0.25, test_fraction=0.3)
    parts = [splits.train, splits.val, splits.open_test()]
    names = [set(part.names) for part in parts]
    assert sum(map(len, names)) == 20 == len(set.union(*names))
    assert all((domains_of(part) == own).sum() >= 2 for part in parts for own in (GIVEN, MADE))
    for path in sorted((domains / "trainA").iterdir()):  # another name, the same side
        path.rename(path.with_name(f"x{path.name}"))
    again = load(domains, val_fraction=0.25, test_fraction=0.3)
    assert {n.replace("/x", "/") for n in again.val.names} == {str(n) for n in splits.val.names}


def test_a_step_has_as_many_of_each_in_orders_of_their_own(domains, cfg, load, natural_views) -> None:
    data = cfg(name="unpaired", root=domains, direction="a_to_b", views=natural_views)
    images = load_data(data).train
    needs = ("domain0", "domain1")
    feed = Feed(Batches(images, 4, Draws(0), CPU), images, needs, data, Draws(0))
    seen: list[set[int]] = [set(), set()]
    for step in range(6):
        batch = feed(step)
        for i, name in enumerate(needs):
            assert batch[name].shape == (4, 3, 16, 16) and ((batch[name].mean((1, 2, 3)) > 0.5) == bool(i)).all()
            seen[i] |= set(feed.domains[i].indices(step).tolist())
    assert [len(x) for x in seen] == [12, 8]
    # two processes have the halves of what one has
    parts = []
    for rank in range(2):
        draws = Draws(0, rank, 2)
        parts.append(Feed(Batches(images, 4, draws, CPU), images, needs, data, draws)(3))
    for name in needs:
        assert torch.equal(torch.cat([part[name] for part in parts]), feed(3)[name])


def test_orders_of_domains_of_one_size_differ(tmp_path, cfg, natural_views) -> None:
    for side, shift in (("A", 0), ("B", 150)):
        fill(tmp_path / "set" / f"train{side}", 20, shift)
    data = cfg(name="unpaired", root=tmp_path / "set", direction="a_to_b", views=natural_views)
    images = load_data(data).train
    feed = Feed(Batches(images, 8, Draws(0), CPU), images, ("domain0", "domain1"), data, Draws(0))
    assert feed.domains[0].indices(0).tolist() != feed.domains[1].indices(0).tolist()


def test_a_batch_that_a_domain_cannot_fill_and_other_data_are_refused(domains, folders, cfg, natural_views) -> None:
    for data, said in (
        (cfg(name="unpaired", root=domains, direction="a_to_b", views=natural_views), "has 8 training images"),
        (cfg(root=folders, views=natural_views), "data=imagefolder has none; use data=unpaired"),
    ):
        images = load_data(data).train
        with pytest.raises(UsageError, match=said):
            Feed(Batches(images, 10, Draws(0), CPU), images, ("domain0", "domain1"), data, Draws(0))


# ── layouts that are refused ─────────────────────────────────────────────────────────────────────


def test_a_domain_that_is_missing_or_empty_is_a_line(domains, refused, tmp_path) -> None:
    (domains / "testB").rename(domains / "other")
    assert "has testA and no testB" in refused(domains)
    (domains / "other").rename(domains / "testB")
    (domains / "trainB").rename(domains / "other")
    assert "has trainA and no trainB" in refused(domains)
    (domains / "trainB").mkdir()
    assert f"no images below {domains / 'trainB'}" in refused(domains)
    assert "no folder given" in refused(None)
    (tmp_path / "none").mkdir()
    assert "has neither trainA nor trainB" in refused(tmp_path / "none")


@pytest.mark.parametrize("folders_", [("A", "B"), ("train/A", "train/B"), ("A/train", "B/train")])
def test_the_layouts_of_pairs_are_a_line_that_says_so(tmp_path, refused, folders_) -> None:
    for i, name in enumerate(folders_):
        fill(tmp_path / "set" / name, 4, 50 * i)
    assert "use data=paired gan=pix2pix" in refused(tmp_path / "set")


def test_other_channels_and_broken_files_are_a_line_or_left_out(domains, refused, load) -> None:
    fill(domains / "trainA", 2, 20, mode="L")
    text = refused(domains)
    assert "2 of 34 images have other channels than most" in text and "00.png (1)" in text
    assert len(of_domain(load(domains, on_error="skip").train, GIVEN)) == 10
    fill(domains / "trainA", 2, 20)
    (domains / "trainB" / "03.png").write_bytes(b"no image")
    text = refused(domains)
    assert "1 of 34 images cannot be read" in text and "03.png" in text
    assert len(of_domain(load(domains, on_error="skip").train, MADE)) == 7


def test_a_domain_of_one_image_is_a_line(domains, refused) -> None:
    for path in sorted((domains / "valB").iterdir())[1:]:
        path.unlink()
    assert "the val part of" in refused(domains) and "has 1 of the domain that is made" in refused(domains)


def test_the_only_folder_of_an_archive_is_read(domains, tmp_path, load) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    domains.rename(outer / "horse2zebra")
    assert len(load(outer).train) == 20
