"""A network's own preprocessing gives what timm's transforms give; ours stays what it was."""

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.data.preprocessing import Preprocessing
from gssl.data.views import centre

RNG = np.random.default_rng(0)


def photograph(height: int, width: int) -> np.ndarray:
    """Smooth colours with some grain, uint8 (h, w, 3)."""
    small = Image.fromarray(RNG.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize((width, height), 3)
    grain = RNG.normal(0, 10, (height, width, 3))
    return (np.asarray(small) + grain).clip(0, 255).astype(np.uint8)


def batch(*images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """A padded canvas and extents."""
    extent = torch.tensor([image.shape[:2] for image in images])
    canvas = np.zeros((len(images), *extent.amax(0).tolist(), 3), dtype=np.uint8)
    for place, image in zip(canvas, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(canvas).permute(0, 3, 1, 2), extent


@pytest.mark.parametrize(("crop", "how"), [(0.875, "bicubic"), (0.95, "bilinear"), (1.0, "bicubic")])
def test_it_is_timms_transform(crop: float, how: str) -> None:
    data = pytest.importorskip("timm.data")
    images = [photograph(75, 100), photograph(131, 90), photograph(32, 32)]
    theirs = data.create_transform((3, 64, 64), crop_pct=crop, interpolation=how, mean=(0, 0, 0), std=(1, 1, 1))
    wanted = torch.stack([theirs(Image.fromarray(image)) for image in images])
    own = Preprocessing(64, "short", crop, how)
    found = own(*batch(*images))
    assert found.shape == (3, 3, 64, 64) and (found - wanted).abs().max() <= 1.01 / 255
    assert ((found - wanted).abs() > 1e-6).float().mean() < 0.05  # a level where rounding differs, here and there
    alone = own(torch.from_numpy(images[1]).permute(2, 0, 1)[None])
    torch.testing.assert_close(alone, found[1:2])
    assert Preprocessing(**own.record()) == own


def test_squash_is_timms_too() -> None:
    data = pytest.importorskip("timm.data")
    image = photograph(60, 110)
    theirs = data.create_transform(
        (3, 48, 48), crop_pct=0.9, crop_mode="squash", interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
    )
    found = Preprocessing(48, "squash", 0.9, "bicubic")(torch.from_numpy(image).permute(2, 0, 1)[None])
    assert (found[0] - theirs(Image.fromarray(image))).abs().max() <= 1.01 / 255


def test_grey_becomes_colour_and_centre_is_the_evaluation_crop() -> None:
    image = torch.from_numpy(RNG.integers(0, 256, (2, 1, 20, 30), dtype=np.uint8))
    found = Preprocessing(32, "short", 0.8, "bicubic")(image)
    assert found.shape == (2, 3, 32, 32) and torch.equal(found[:, 0], found[:, 2])
    assert torch.equal(Preprocessing(16)(image), centre(image, 16))
    assert (Preprocessing(16).need, Preprocessing(224, "short", 0.875).need) == (16, 256)
