"""Masks over images: a colour per class, grey where nothing is evaluated, a legend of what is there."""

import numpy as np
import torch
from PIL import Image

from gssl.figures import style
from gssl.figures.masks import OPACITY, colours_of, overlay, save_masks
from gssl.statistics.metric import IGNORE

CLASSES = [f"class {i}" for i in range(11)]


def test_every_class_has_its_colour_and_ignored_pixels_are_grey():
    masks = torch.arange(12).reshape(1, 3, 4)
    masks[masks == 11] = IGNORE
    found = overlay(torch.ones(1, 3, 3, 4), masks, CLASSES)
    expected = [(1 - OPACITY) + OPACITY * torch.tensor(style.rgb(c)) / 255 for c in [*colours_of(11), style.IGNORED]]
    assert torch.allclose(found[0].flatten(1).T, torch.stack(expected), atol=1e-6)


def test_more_classes_than_colours_are_still_different():
    assert len(set(colours_of(30))) == 30 and colours_of(11) == list(style.CLASSES[:11])


def test_a_page_of_images_and_masks_that_are_not_square(tmp_path):
    images, mask = torch.rand(2, 3, 40, 60), torch.zeros(2, 40, 60, dtype=torch.uint8)
    mask[:, :20] = 3
    save_masks("title", "text", images, {"labelled": mask, "predicted": mask}, CLASSES, tmp_path / "masks.png")
    with Image.open(tmp_path / "masks.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    for i, colour in enumerate(style.CLASSES[:11]):
        in_legend = (pixels == style.rgb(colour)).all(2).sum()
        assert (in_legend > 100) == (i in (0, 3)), i
