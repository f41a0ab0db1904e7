"""Image and mask get one crop and one flip; ids are never invented; images are resampled as torchvision does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gssl.data.draws import Draws
from gssl.data.transforms import Crop, RandomCrop, boxes, image, mask

SIZES = [(8, 8), (12, 20), (40, 24)]


def rows(batch: int, height: int, width: int, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of `classes` ids in blocks of 4 pixels, and them as images: one channel per id, 255 where it stands."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, classes, (batch, -(-height // 4), -(-width // 4)), dtype=np.uint8)
    ids = torch.from_numpy(small.repeat(4, 1).repeat(4, 2)[:, :height, :width].copy())
    return F.one_hot(ids.long(), classes).permute(0, 3, 1, 2).to(torch.uint8) * 255, ids


@pytest.mark.parametrize("size", SIZES)
def test_boxes_of_the_size_itself_give_the_same_pixels_of_both(size: tuple[int, int]) -> None:
    one_hot, ids = rows(16, 40, 48)
    transform = RandomCrop(size, Draws(3))
    drawn = transform.draw(5, 16, (40, 48))
    x, y = transform.apply(drawn, one_hot, "image"), transform.apply(drawn, ids, "mask")
    assert x.shape == (16, 3, *size) and y.shape == (16, *size) and y.dtype == torch.uint8
    assert torch.equal(x, F.one_hot(y.long(), 3).permute(0, 3, 1, 2).float())
    assert 0 < drawn.flip.sum() < 16


@pytest.mark.parametrize("step", range(60))
def test_resized_boxes_agree_where_one_class_clearly_leads(step: int) -> None:
    """The nearest pixel has a quarter of the weight of an enlarged pixel at least: more than the rest decides it."""
    height, width, *sides = np.random.default_rng(step).integers(6, 45, 4).tolist()
    size = (sides[0], sides[1])
    one_hot, ids = rows(4, height, width, seed=step)
    transform = RandomCrop(size, Draws(step), scale=(0.3, 1.0))
    drawn = transform.draw(step, 4, (height, width))
    top, left, h, w = drawn.box.unbind(1)
    assert (drawn.box == drawn.box.round()).all() and (torch.stack([h, w]) >= 1).all()
    assert ((top >= 0) & (left >= 0) & (top + h <= height) & (left + w <= width)).all()
    x, y = transform.apply(drawn, one_hot, "image"), transform.apply(drawn, ids, "mask")
    assert set(y.unique().tolist()) <= set(ids.unique().tolist())
    best = x.max(1)
    larger = ((h <= size[0]) & (w <= size[1]))[:, None, None] & (best.values > 0.7501)
    assert (y.long() == best.indices)[larger].all()


def test_the_flip_of_both_is_the_same_flip() -> None:
    one_hot, ids = rows(2, 16, 24)
    box = torch.tensor([[2.0, 3.0, 8.0, 12.0]] * 2)
    both = [Crop(box, torch.tensor([flip] * 2), (8, 12)) for flip in (False, True)]
    transform = RandomCrop((8, 12), Draws(0))
    for column, kind in ((one_hot, "image"), (ids, "mask")):
        straight, mirrored = (transform.apply(drawn, column, kind) for drawn in both)
        assert torch.equal(straight.flip(-1), mirrored) and not torch.equal(straight, mirrored)


@pytest.mark.parametrize("size", [(5, 9), (16, 24), (30, 41)])
def test_an_image_is_cropped_and_resized_as_torchvision_does(size: tuple[int, int]) -> None:
    from torchvision.transforms.v2.functional import resized_crop

    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 16, 24), dtype=np.uint8))
    box = torch.tensor([[3.0, 4.0, 11.0, 17.0]])
    found = image.crop(x, box, torch.tensor([False]), size)
    assert torch.equal(found, resized_crop(x, 3, 4, 11, 17, list(size), antialias=True).float() / 255)
    exact = resized_crop(x.float() / 255, 3, 4, 11, 17, list(size), antialias=True)
    torch.testing.assert_close(found, exact, atol=1.5 / 255, rtol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(5, 9), (16, 24), (30, 41)])
def test_a_mask_is_resized_as_nearest_exact(size: tuple[int, int]) -> None:
    _, ids = rows(3, 16, 24)
    expected = F.interpolate(ids[:, None].float(), size, mode="nearest-exact")[:, 0]
    assert torch.equal(mask.resized(ids, size).float(), expected)


def test_images_of_other_sizes_are_cropped_inside_their_own_extent() -> None:
    canvas, ids = torch.full((3, 3, 30, 30), 255, dtype=torch.uint8), torch.full((3, 30, 30), 255, dtype=torch.uint8)
    extent = torch.tensor([[12, 30], [30, 9], [20, 20]])
    for i, (h, w) in enumerate(extent.tolist()):
        canvas[i, :, :h, :w], ids[i, :h, :w] = 0, 1
    for scale in (None, (0.2, 1.0)):
        transform = RandomCrop((10, 10), Draws(1), scale=scale)
        for step in range(20):
            drawn = transform.draw(step, 3, extent)
            assert transform.apply(drawn, canvas, "image").max() == 0
            assert transform.apply(drawn, ids, "mask").unique().tolist() == [1]


def test_an_image_smaller_than_the_crop_is_enlarged_in_its_shape() -> None:
    drawn = RandomCrop((32, 16), Draws(0)).draw(0, 8, (16, 20))
    assert drawn.box[:, 2:].tolist() == [[16, 8]] * 8
    assert drawn.box[:, 1].min() >= 0 and drawn.box[:, 1].max() <= 12 and len(drawn.box[:, 1].unique()) > 2


def test_parameters_are_a_function_of_seed_purpose_and_step() -> None:
    def draw(step: int, purpose: str = "crop", seed: int = 0) -> torch.Tensor:
        return RandomCrop((8, 8), Draws(seed), scale=(0.2, 1), purpose=purpose).draw(step, 16, (40, 40)).box

    assert torch.equal(draw(3), draw(3))
    others = [draw(4), draw(3, "other"), draw(3, seed=1)]
    assert all(not torch.equal(draw(3), other) for other in others)


def test_ranks_draw_the_rows_of_one_batch() -> None:
    both = RandomCrop((8, 8), Draws(0), scale=(0.2, 1)).draw(2, 8, (40, 40))
    for rank in (0, 1):
        own = RandomCrop((8, 8), Draws(0, rank, 2), scale=(0.2, 1)).draw(2, 4, (40, 40))
        assert torch.equal(own.box, both.box[4 * rank :][:4]) and torch.equal(own.flip, both.flip[4 * rank :][:4])


@pytest.mark.parametrize("channels", [1, 3])
def test_whole_images_are_divided_by_255(channels: int) -> None:
    x = torch.randint(0, 256, (2, channels, 5, 7), dtype=torch.uint8)
    assert torch.equal(image.whole(x), (x.float() / 255).expand(-1, 3, -1, -1))


# ── boxes of objects ─────────────────────────────────────────────────────────────────────────────


def painted(boxes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """uint8 (B, 3, H, W): the first box of each image in white."""
    image = torch.zeros((len(boxes), 3, height, width), dtype=torch.uint8)
    for own, (left, top, right, bottom, kind, _) in zip(image, boxes[:, 0].long().tolist(), strict=True):
        if kind >= 0:
            own[:, top:bottom, left:right] = 255
    return image


@pytest.mark.parametrize("size", [(20, 24), (40, 48)])
def test_a_box_is_where_its_object_is_after_a_crop(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    corner = random.integers(0, 20, (64, 2))
    edges = np.concatenate([corner, corner + random.integers(4, 20, (64, 2))], axis=1)
    given = torch.from_numpy(np.concatenate([edges, np.full((64, 1), 2), np.zeros((64, 1))], axis=1)).float()[:, None]
    transform = RandomCrop((20, 24), Draws(3))
    drawn = transform.draw(5, 64, (40, 48))._replace(size=size)  # resized by 1 or 2
    x, found = (transform.apply(drawn, c, k) for c, k in ((painted(given, 40, 48), "image"), (given, "boxes")))
    seen = 0
    for own, (left, top, right, bottom, kind, _) in zip(x[:, 0], found[:, 0].tolist(), strict=True):
        lit = (own > 0.5).nonzero()
        if kind < 0:  # less than a quarter of it is there
            assert len(lit) < 20 * 20 * (size[0] / 20) ** 2 / 4
            continue
        seen += 1
        assert lit.amin(0).tolist() == [top, left] and (lit.amax(0) + 1).tolist() == [bottom, right]
    assert seen > 20 and (found[:, 0, 4] < 0).sum() > 5


def test_boxes_flip_both_ways_and_what_is_no_box_stays_none() -> None:
    given = torch.tensor([[[2.0, 3.0, 8.0, 5.0, 1.0, 0.0], [0, 0, 0, 0, -1, 0]]] * 4)
    across, down = torch.tensor([False, True, False, True]), torch.tensor([False, False, True, True])
    found = boxes.flipped(given, (16, 24), across, down)
    assert found[:, 0, :4].tolist() == [[2, 3, 8, 5], [16, 3, 22, 5], [2, 11, 8, 13], [16, 11, 22, 13]]
    assert torch.equal(found[:, 1], given[:, 1])
    assert torch.equal(boxes.flipped(found, (16, 24), across, down), given)
