"""What images are made from, by other definitions of the same."""

import numpy as np
import torch
from PIL import Image

from gssl.data.transforms import mask as masks
from gssl.data.transforms.pairs import enlarged, grey, one_hot, shrunk
from gssl.data.views import centre


def images(count: int = 3, side: int = 16) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, side, side))
    return torch.from_numpy(pixels).float() / 255


def test_shrinking_takes_the_mean_of_squares() -> None:
    x = images()
    expected = x.numpy().reshape(3, 3, 4, 4, 4, 4).mean(axis=(3, 5))
    assert np.abs(shrunk(x, 4).numpy() - expected).max() <= 0.5 / 255 + 1e-6
    assert torch.equal(shrunk(x, 4) * 255, (shrunk(x, 4) * 255).round())  # as a file would have it


def keys(t: np.ndarray, a: float = -0.75) -> np.ndarray:
    """The kernel of Keys 1981."""
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def test_enlarging_is_bicubic() -> None:
    x, factor = images(1, 8)[:, :1], 4
    at = (np.arange(8 * factor) + 0.5) / factor - 0.5
    weight = np.zeros((8 * factor, 8))
    for row, place in enumerate(at):
        for i in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            weight[row, min(max(i, 0), 7)] += keys(np.array(place - i))
    expected = np.clip(weight @ x[0, 0].numpy() @ weight.T, 0, 1)
    assert np.abs(enlarged(x, factor)[0, 0].numpy() - expected).max() <= 0.5 / 255 + 1e-5


def test_grey_is_that_of_pillow() -> None:
    x = images(1)
    pixels = (x[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    known = np.array(Image.fromarray(pixels).convert("L")).astype(float)
    found = grey(x)[0].numpy() * 255
    assert np.abs(found - known).max() <= 1.01 and np.array_equal(found[0], found[2])
    assert torch.equal(grey(grey(x)), grey(x))


def test_one_hot_leaves_what_is_ignored_without_a_class() -> None:
    ids = torch.tensor([[[0, 2], [255, 1]]], dtype=torch.uint8)
    assert one_hot(ids, 3)[0, :, 0, 1].tolist() == [0, 0, 1] and one_hot(ids, 3)[0, :, 1, 0].tolist() == [0, 0, 0]
    assert one_hot(ids, 3).sum() == 3


def test_the_centre_of_a_mask_is_that_of_its_image() -> None:
    """Blocks of 8 pixels: where a pixel of the small image is of one block alone, mask and image agree."""
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (4, 5, 7)).repeat(8, 1).repeat(8, 2)).to(torch.uint8)
    for size in (40, 20):
        image = centre((ids * 255)[:, None], size)[:, 0]
        sure = (image == 0) | (image == 1)
        assert sure.float().mean() > 0.5
        assert torch.equal(masks.centre(ids, size)[sure].float(), image[sure])
    canvas = torch.full((4, 48, 60), 255, dtype=torch.uint8)
    canvas[:, :40, :56] = ids
    extent = torch.tensor([[40, 56]] * 4)
    assert torch.equal(masks.centre(canvas, 20, extent), masks.centre(ids, 20))
