"""Pairs that need no second picture: masks of a segmentation set, smaller images, grey ones."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.config.composing import compose
from gssl.data import Batches, Draws, Splits, pairs
from gssl.data.splits import load_data
from gssl.data.transforms.pairs import enlarged, grey, shrunk
from gssl.engine.feed import Feed
from gssl.errors import UsageError
from tests.data.test_paired import natural_views  # noqa: F401

CPU = torch.device("cpu")
COLOURS = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], dtype=np.uint8)


@pytest.fixture
def load(cfg: Callable[..., object]) -> Callable[..., Splits]:
    return lambda root, **changes: load_data(cfg(**({"name": "paired", "root": root, "pairs": "files"} | changes)))


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    """Twelve images of 24 × 32 px whose colour is their mask's class, in blocks; one pixel of each is ignored."""
    root, random = tmp_path / "scenes", np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for i in range(12):
        ids = random.integers(0, 3, (3, 4)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        Image.fromarray(COLOURS[ids]).save(root / "images" / f"{i}.png")
        ids[0, 0] = 9
        Image.fromarray(ids).save(root / "masks" / f"{i}.png")
    (root / "classes.json").write_text(json.dumps({"names": ["a", "b", "c"], "ignore": 9}))
    return root


def fed(splits: Splits, cfg: object, draws: Draws | None = None) -> list[dict[str, torch.Tensor]]:
    draws = draws or Draws(0)
    feed = Feed(Batches(splits.train, 4, draws, CPU), splits.train, ("crop0", "paired"), cfg, draws)  # type: ignore
    return [feed(step) for step in range(2)]


def test_masks_are_classes_that_are_cropped_and_flipped_with_their_image(masked, load, cfg, natural_views) -> None:  # noqa: F811
    splits = load(masked)
    assert splits.classes == ["a", "b", "c"] and splits.columns == ("image", "mask")
    data = cfg(name="paired", root=masked, pairs="files", views=natural_views)
    for batch in fed(splits, data):
        assert batch["paired"].shape == (4, 3, 16, 16) and set(batch["paired"].unique().tolist()) == {0.0, 1.0}
        colour = torch.from_numpy(COLOURS).float() / 255
        distance = (batch["crop0"][:, None] - colour[None, :, :, None, None]).abs().amax(2)
        near, which = distance.min(1)
        sure = (near < 0.02) & (batch["paired"].sum(1) == 1)
        assert sure.float().mean() > 0.3
        assert torch.equal(batch["paired"].argmax(1)[sure], which[sure])


@pytest.mark.parametrize("kind", ["masks", *pairs.MADE])
def test_two_processes_have_the_halves_of_one_batch(kind, masked, load, cfg, natural_views) -> None:  # noqa: F811
    changes = {"pairs": "files" if kind == "masks" else kind, "factor": 2}
    splits = load(masked if kind == "masks" else masked / "images", **changes)
    data = cfg(name="paired", root=masked, views=natural_views, **changes)
    one, first, second = (fed(splits, data, draws) for draws in (Draws(0), Draws(0, 0, 2), Draws(0, 1, 2)))
    for whole, *halves in zip(one, first, second, strict=True):
        for name in ("crop0", "paired"):
            assert torch.equal(whole[name], torch.cat([half[name] for half in halves]))


@pytest.mark.parametrize("kind", pairs.MADE)
def test_what_is_made_from_an_image_follows_its_crop(kind, folders, load, cfg, natural_views) -> None:  # noqa: F811
    changes = {"pairs": kind, "factor": 4, "size": 8}
    splits = load(folders, **changes)
    assert splits.classes == [] and splits.columns == ("image",) and len(splits.train) > 0
    data = cfg(name="paired", root=folders, views=natural_views, **changes)
    for batch in fed(splits, data):
        x = batch["crop0"]
        again = grey(x) if kind == "colour" else enlarged(shrunk(x, 4), 4)
        assert torch.equal(batch["paired"], again) and not torch.equal(again, x)


def test_images_that_are_too_small_are_refused_or_left_out(folders, load, paint, refused) -> None:
    few = {"pairs": "super_resolution", "factor": 2, "size": 8}
    paint(sorted(path for path in folders.iterdir() if path.is_dir())[0] / "tiny.png", (5, 7))
    text = refused(folders, **few)
    assert "data.size=8: 1 of " in text and "tiny.png (5 px)" in text and "on_error=skip" in text
    splits = load(folders, **few, on_error="skip")
    assert any("too small" in text for text in splits.summary["warnings"])
    assert not any("tiny" in str(name) for name in splits.train.names)
    assert "set data.size=" not in text and "remove" in text


def test_grey_images_have_no_colour_to_learn(tmp_path, paint, load, cfg, natural_views) -> None:  # noqa: F811
    for i in range(8):
        paint(tmp_path / "set" / f"{i}.png", grey=True)
    data = cfg(name="paired", root=tmp_path / "set", pairs="colour", size=8, views=natural_views)
    splits = load_data(data)
    with pytest.raises(UsageError, match="data.pairs=colour: the images of data=paired are grey"):
        fed(splits, data)
    for i in range(8):  # grey in three channels
        Image.open(tmp_path / "set" / f"{i}.png").convert("RGB").save(tmp_path / "set" / f"{i}.png")
    with pytest.raises(UsageError, match="are grey"):
        fed(load_data(data), data)


def test_keys_that_nobody_would_read_are_refused(masked, folders, refused) -> None:
    assert "images are made from masks here" in refused(masked, direction="b_to_a")
    assert "data.groups" in refused(folders, groups="{group}_*", pairs="colour")
    (masked / "masks" / "3.png").unlink()
    assert "1 of 12 images have no mask" in refused(masked)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gan=pix2pix", "data=mnist5k", "data.pairs=super_resolution"], "set data.factor=2 or 4"),
        (["gan=pix2pix", "data=mnist5k", "data.pairs=files"], "data=mnist5k has no pairs of files"),
        (["gan=pix2pix", "data=mnist5k", "data.factor=2"], "data.factor: is for data.pairs=super_resolution"),
        (["gan=specgan", "data=audio", "data.root=a", "data.pairs=colour"], "is made from single images"),
        (
            ["gan=pix2pix", "data=paired", "data.root=a", "data.factor=3"],
            "expected one of 2, 4, or null; got 3",
        ),
    ],
)
def test_wrong_pairs_are_a_line(words, said) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        compose("train-gan", words)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="gssl pretrain-ssl reads no pairs"):
        compose("pretrain-ssl", ["data=mnist5k", "data.pairs=colour"])
