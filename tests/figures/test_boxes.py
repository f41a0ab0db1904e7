"""Boxes on images: where they are, in which colour, and what is crossed out."""

import numpy as np
import torch
from PIL import Image

from gssl.figures import style
from gssl.figures.boxes import Shown, drawn, save_boxes

ONE = Shown(np.array([[2.0, 3.0, 12.0, 9.0]]), np.array([1]), np.array([False]))


def test_a_box_is_drawn_on_its_edges_and_the_image_is_enlarged():
    found = drawn(torch.zeros(3, 20, 32), ONE, ["#ff0000", "#00ff00"])
    assert found.shape == (3, 200, 320)
    green = (found[1] == 1) & (found[0] == 0)
    rows, columns = np.nonzero(green.numpy())
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (30, 90, 20, 120)
    assert not green[40:80, 30:110].any()


def test_what_is_wrong_is_crossed_out():
    wrong = ONE._replace(wrong=np.array([True]))
    plain, crossed = (drawn(torch.zeros(3, 20, 32), own, ["#ff0000", "#00ff00"]) for own in (ONE, wrong))
    assert crossed[1, 40:80, 30:110].any() and crossed.sum() > plain.sum()


def test_a_page_of_sections(tmp_path):
    nothing = Shown(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    images = [torch.rand(3, 20, 32), torch.rand(3, 24, 16)]
    section = ("Most right", "text", images, {"labelled": [ONE, nothing], "probe": [ONE, ONE]}, ["F1 1.00", "F1 0.00"])
    save_boxes("title", [section], ["cat", "dog"], tmp_path / "boxes.png")
    with Image.open(tmp_path / "boxes.png") as page:
        colours = {tuple(own) for own in np.unique(np.array(page.convert("RGB")).reshape(-1, 3), axis=0).tolist()}
    assert style.rgb(style.CLASSES[1]) in colours and not list(tmp_path.glob(".*"))
