import numpy as np
import pytest
import torch

from gssl.data.memory import in_memory
from gssl.nets.backbone import build_backbone
from gssl.probe import dense
from gssl.schemas import Backbone

CPU = torch.device("cpu")


def image(height=12, width=21, batch=2, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "dims"), [("position", 20), ("pixels", 27), ("majority", 1)])
def test_rules_have_a_quarter_of_the_sides(name, dims):
    found = dense.RULES[name](image())
    assert found.shape == (2, dims, 3, 6)


def test_position_sees_no_pixel_and_tells_cells_apart():
    a, b = dense.position(image()), dense.position(image(seed=1))
    assert torch.equal(a, b)
    cells = a[0].flatten(1).T
    assert len(torch.unique(cells, dim=0)) == 18
    y, x = a[0, 5 - 5], a[0, 5]  # the first powers: x alone, then y alone
    assert y[0].min() == -1 and y[0].max() == 1 and (y[0] == y[1]).all() and (x[:, 0] == x[:, 1]).all()


def test_pixels_are_the_nine_neighbours_of_the_small_image():
    x = image(16, 16, 1)
    small = torch.nn.functional.adaptive_avg_pool2d(x, 4)
    found = dense.pixels(x).unflatten(1, (3, 9))
    assert torch.allclose(found[0, :, 4], small[0])
    assert torch.allclose(found[0, :, 0, 1:, 1:], small[0, :, :-1, :-1])
    assert torch.allclose(found[0, :, 0, 0, 0], small[0, :, 0, 0])  # the border repeats


def test_maps_of_all_stages_stand_side_by_side():
    network = build_backbone(Backbone(name="convnet", norm="batch", width=8, patch=4), 16).train()
    x = image(24, 40)
    found = dense.NetworkMaps(network)(x)
    assert not network.training
    assert found.shape == (2, sum(network.dims), 6, 10)
    with torch.no_grad():
        maps = network.dense(x)
    third = slice(8 + 16, 8 + 16 + 32)
    assert torch.allclose(found[:, third], maps[2])  # at a quarter already
    assert torch.allclose(found[:, :8], torch.nn.functional.avg_pool2d(maps[0], 4), atol=1e-6)
    big = torch.nn.functional.interpolate(maps[3], size=(6, 10), mode="bilinear", align_corners=False)
    assert torch.allclose(found[:, 8 + 16 + 32 :], big)


def test_whole_images_come_with_their_masks():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3)).astype(np.uint8)
    masks = np.random.default_rng(1).integers(0, 2, (5, 8, 12)).astype(np.uint8)
    images = in_memory(pixels, np.full(5, -1), ["a", "b"], masks)
    parts = list(dense.views(images, CPU, batch=2))
    assert [len(x) for x, _ in parts] == [2, 2, 1]
    assert torch.allclose(torch.cat([x for x, _ in parts]), torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    assert np.array_equal(torch.cat([m for _, m in parts]), masks)
