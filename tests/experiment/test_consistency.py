"""Whether an output shows its input: true images pass, images of other pairs fail."""

import numpy as np
import pytest
import torch

from gssl.data.pairs import Given
from gssl.experiment.consistency import consistency, ids_of
from gssl.metrics.translation import MeanTint, label_colours, miou_interval, painted
from gssl.statistics.metric import mask_counts

CPU = torch.device("cpu")
PALETTE = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.9]])


def scenes(count: int, seed: int = 0, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot maps of three classes in blocks of four pixels, and noisy photographs of them."""
    random = np.random.default_rng(seed)
    ids = torch.from_numpy(random.integers(0, 3, (count, side // 4, side // 4)).repeat(4, 1).repeat(4, 2))
    maps = torch.nn.functional.one_hot(ids, 3).permute(0, 3, 1, 2).float()
    noise = torch.from_numpy(random.normal(0, 0.05, (count, 3, side, side))).float()
    return maps.contiguous(), (PALETTE[ids].permute(0, 3, 1, 2) + noise).clamp(0, 1)


def test_a_segmenter_reads_true_images_and_not_those_of_other_masks() -> None:
    known, held = scenes(40), scenes(12, seed=1)
    shows = consistency(Given("masks", 3), *known, CPU)
    true, pairs = shows(held[1], held[0])
    other, _ = shows(held[1].roll(1, 0), held[0])
    flat, _ = shows(torch.full_like(held[1], 0.5), held[0])
    assert pairs is None and shows.key == "input_miou"
    assert true["low"] > 0.9 and other["high"] < 0.4 and flat["high"] < 0.4
    colours = painted(held[0], label_colours(*known), known[1].mean((0, 2, 3)))
    assert shows(colours, held[0])[0]["low"] > 0.9


def test_mean_iou_is_that_of_all_pixels_and_ignored_ones_do_not_count() -> None:
    random = np.random.default_rng(0)
    mask, guess = random.integers(0, 3, (2, 9, 8, 8)).astype(np.uint8)
    mask[:, 0] = 255
    ious = []
    for c in range(3):
        seen = mask != 255
        ious.append((seen & (mask == c) & (guess == c)).sum() / (seen & ((mask == c) | (guess == c))).sum())
    found = miou_interval(mask_counts(mask, guess, 3))
    assert found["value"] == pytest.approx(np.mean(ious)) and found["low"] < found["value"] < found["high"]
    maps, _ = scenes(2)
    maps[0, :, 0, 0] = 0
    assert ids_of(maps)[0, 0, 0] == 255 and torch.equal(ids_of(maps)[1].long(), maps[1].argmax(0))


@pytest.mark.parametrize("given", [Given("super_resolution", 3, 4), Given("colour")])
def test_of_an_input_that_was_made_from_the_image_the_same_is_made_again(given) -> None:
    images = scenes(5)[1]
    inputs = given.again(images)
    shows = consistency(given, inputs, images, CPU)
    figure, pairs = shows(images, inputs)
    assert figure["value"] == 0 and pairs is not None and len(pairs) == 5
    assert shows(images.roll(1, 0), inputs)[0]["low"] > 0.02
    assert float(shows(images + 0.1, inputs)[1].mean()) == pytest.approx(0.1, abs=0.02)


def test_the_mean_colour_of_each_class_and_of_each_brightness() -> None:
    maps, photos = scenes(10)
    colours = label_colours(maps, photos)
    for c in range(3):
        there = maps[:, c].bool()
        expected = photos.permute(0, 2, 3, 1)[there].mean(0)
        torch.testing.assert_close(colours[c], expected)
    made = painted(maps, colours, torch.zeros(3))
    torch.testing.assert_close(made[0, :, 0, 0], colours[maps[0, :, 0, 0].argmax()])
    grey = photos.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    tint = MeanTint(grey, photos)
    made = tint(grey)
    bright = (grey[:, 0] >= 0.5) & (grey[:, 0] < 0.5 + 1 / 16)  # one of the sixteen parts
    expected = (photos - grey).permute(0, 2, 3, 1)[bright].mean(0)
    torch.testing.assert_close((made - grey).permute(0, 2, 3, 1)[bright].mean(0), expected, atol=1e-5, rtol=0)
    assert float((made - photos).square().mean()) < float((grey - photos).square().mean())
