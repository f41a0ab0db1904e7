import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from gssl.data import Draws
from gssl.data.corruptions import KINDS, LEVELS, STRENGTHS, corrupt


def pictures(n: int, height: int, width: int = 0, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth blobs with fine grain, of full contrast: something for each corruption to spoil."""
    noise = np.random.default_rng(seed).standard_normal((n, height, width or height, channels))
    smooth = ndimage.gaussian_filter(noise, (0, height / 8, height / 8, 0), mode="nearest")
    x = smooth / smooth.std() + 0.3 * noise[..., :1]
    return (128 + 60 * x).clip(0, 255).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) mean absolute difference in levels."""
    return np.abs(a.astype(float) - b).mean(axis=(1, 2, 3))


def growth(side: int) -> float:
    return max(1, side / 32) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (48, 64, 3)])
def test_stronger_is_further(kind, shape):
    height, width, channels = shape
    x = pictures(40, height, width, channels)
    kept = x.copy()
    far = [0.0]
    for strength in STRENGTHS:
        y = corrupt(x, kind, strength, Draws(0))
        assert y.dtype == np.uint8 and y.shape == x.shape
        assert np.array_equal(y, corrupt(x, kind, strength, Draws(0)))
        far.append(distance(x, y).mean())
    assert np.array_equal(x, kept)
    assert all(b > a + 0.1 for a, b in zip(far, far[1:], strict=False)), far


@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_matter(kind, monkeypatch):
    x = pictures(9, 32)
    whole = corrupt(x, kind, 3, Draws(4))
    parts = [corrupt(x[i : i + 4], kind, 3, Draws(4), first=i) for i in range(0, 9, 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    monkeypatch.setattr("gssl.data.corruptions.BLOCK", 1)
    assert np.array_equal(corrupt(x, kind, 3, Draws(4)), whole)
    other = np.array_equal(corrupt(x, kind, 3, Draws(5)), whole)
    assert other == (kind != "gaussian_noise")
    assert corrupt(x[:0], kind, 3, Draws(4)).shape == (0, 32, 32, 3)


@pytest.mark.parametrize("side", [16, 32, 128])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_is_normal_white_and_of_the_level(side, strength):
    x = np.full((8, side, side, 3), 128, dtype=np.uint8)
    noise = (corrupt(x, "gaussian_noise", strength, Draws(0)) - 128.0) / 255
    assert noise.std() == pytest.approx(LEVELS["gaussian_noise"][strength - 1] * growth(side), rel=0.03)
    assert abs(noise.mean()) < 0.01
    between = np.corrcoef(noise.reshape(8, -1)) - np.eye(8)
    assert np.abs(between).max() < 0.15, "each image has noise of its own"
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("side", [8, 32, 64])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_blur_agrees_with_scipy(side, strength):
    x = pictures(3, side, side + 3)
    sigma = LEVELS["gaussian_blur"][strength - 1] * growth(side)
    wanted = ndimage.gaussian_filter(x.astype(float), (0, sigma, sigma, 0), mode="nearest", truncate=4)
    found = corrupt(x, "gaussian_blur", strength, Draws(0))
    assert np.abs(found - wanted).max() < 0.5001  # half a level is rounding


@pytest.mark.parametrize("strength", STRENGTHS)
def test_contrast_is_the_formula(strength):
    x = pictures(4, 32)
    mean = x.mean(axis=(1, 2), keepdims=True)
    wanted = mean + LEVELS["contrast"][strength - 1] * (x - mean)
    assert np.abs(corrupt(x, "contrast", strength, Draws(0)) - wanted).max() < 0.5001


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_jpeg_is_pillows(strength, channels):
    x = pictures(3, 20, 30, channels)
    found = corrupt(x, "jpeg", strength, Draws(0))
    for image, out in zip(x, found, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, format="JPEG", quality=int(LEVELS["jpeg"][strength - 1]))
        assert np.array_equal(np.asarray(Image.open(file)), out.squeeze())


@pytest.mark.parametrize("side", [28, 32, 64, 224])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_pixelate_agrees_with_pillow(side, strength):
    x = pictures(1, side)
    small = int(LEVELS["pixelate"][strength - 1] / growth(side) * side)
    pillow = Image.fromarray(x[0]).resize((small, small), Image.Resampling.BOX)
    wanted = np.asarray(pillow.resize((side, side), Image.Resampling.BOX))
    found = corrupt(x, "pixelate", strength, Draws(0))[0]
    assert np.abs(found.astype(int) - wanted).max() <= 1  # Pillow rounds between the two axes
    assert len(np.unique(found.reshape(-1, 3), axis=0)) <= small**2


def test_a_flat_image_has_nothing_to_lose_but_to_noise():
    x = np.full((2, 32, 32, 3), (200, 30, 90), dtype=np.uint8)
    far = {kind: distance(x, corrupt(x, kind, 5, Draws(0))).max() for kind in KINDS}
    assert far["gaussian_noise"] > 5 and far["jpeg"] < 4
    assert far["gaussian_blur"] == far["contrast"] == far["pixelate"] == 0


def test_noise_does_not_turn_black_into_white():
    x = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    x[:, :16] = 255
    noisy = corrupt(x, "gaussian_noise", 5, Draws(0))
    assert noisy[:, :16].min() > 127 > noisy[:, 16:].max()
    assert (noisy == x).mean() == pytest.approx(0.5, abs=0.05), "half of the noise points outwards"


def test_unknown_requests():
    x = pictures(1, 8)
    with pytest.raises(KeyError):
        corrupt(x, "fog", 1, Draws(0))
    for strength in (0, 6):
        with pytest.raises(AssertionError):
            corrupt(x, "jpeg", strength, Draws(0))
