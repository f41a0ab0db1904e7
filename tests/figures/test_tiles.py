"""A page of tiles: tiles keep their pixels and their shape, texts stay on the page."""

import numpy as np
import torch
from PIL import Image

from gssl.figures.tiles import EDGE, LEAST, Row, Section, Tile, heat, save_page


def saved(tmp_path, *sections):
    save_page("title", "text", list(sections), tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_tiles_are_there_pixel_by_pixel_and_side_by_side(tmp_path):
    red, blue = torch.zeros(2, 3, 16, 16)
    red[0, :8], blue[2] = 1, 1
    picture = saved(tmp_path, Section("p", "", [Row("", [Tile(red), None, Tile(blue)])]))
    is_red, is_blue = (picture == (255, 0, 0)).all(2), (picture == (0, 0, 255)).all(2)
    assert is_red.sum() == 32 * 64 and is_blue.sum() == 64 * 64  # enlarged four times
    assert np.argmax(is_red.any(0)) + 64 < np.argmax(is_blue.any(0))


def test_long_texts_wrap_and_wide_rows_fit(tmp_path):
    few = saved(tmp_path, Section("p", "word " * 10))
    many = saved(tmp_path, Section("p", "word " * 400))
    assert many.shape[0] > few.shape[0] and many.shape[1] == few.shape[1] > LEAST
    assert (many[-10:] == 255).all() and (many[:, -10:] == 255).all()
    wide = saved(tmp_path, Section("p", "", [Row("a long name", [Tile(torch.zeros(3, 200, 200))] * 16)]))
    assert (wide == 0).all(2).sum() >= 16 * 96 * 96 and (wide[:, -10:] == 255).all()


def test_captions_of_neighbours_stay_apart(tmp_path):
    """Each is folded below its tile, and the row is as high as the longest."""

    def row(*captions):
        return Section("p", "", [Row("", [Tile(torch.ones(3, 64, 64), caption) for caption in captions])])

    short, long = saved(tmp_path, row("a 1", "b 2")), saved(tmp_path, row("a blowhole, 8.15", "another crack, 8.66"))
    assert long.shape[0] > short.shape[0]
    below = long[short.shape[0] - long.shape[0] - EDGE : -EDGE]  # the second line of captions
    ink = np.flatnonzero((below < 200).all(2).any(0)) - EDGE - 12  # from where the tiles begin
    assert len(ink) and ink.min() >= 0 and ink.max() < 2 * 64 + 3 and not ((ink > 64) & (ink < 67)).any()
    assert saved(tmp_path, row("the one caption of a row may be wide")).shape[0] == short.shape[0]


def test_heat_is_dark_at_zero_and_scaled_by_its_own_or_the_given_top():
    values = torch.tensor([[[0.0, 1.0]], [[0.0, 0.1]]])
    own, given = heat(values, 2), heat(values, 2, least=1.0)
    assert own[:, :, 0, 0].max() < 0.02 and torch.equal(own[0], own[1])
    assert torch.equal(given[0], own[0]) and given[1, :, 0, 1].sum() < own[1, :, 0, 1].sum()


def test_tiles_need_not_be_square(tmp_path):
    wide = torch.zeros(3, 20, 40)
    wide[1] = 1
    picture = saved(tmp_path, Section("p", "", [Row("", [Tile(wide), Tile(wide)])]))
    green = (picture == (0, 255, 0)).all(2)
    assert green.sum() == 2 * 20 * 40 and green.any(1).sum() == 20


def test_a_legend_has_a_square_per_class_and_wraps(tmp_path):
    legend = [("#ff0000", "a"), *[("#00ff00", f"class {i} of a long name") for i in range(20)]]
    picture = saved(tmp_path, Section("p", "", [Row("", [Tile(torch.zeros(3, 8, 8))])], legend=legend))
    red, green = (picture == (255, 0, 0)).all(2), (picture == (0, 255, 0)).all(2)
    assert 100 < red.sum() < 300 and 19 * red.sum() < green.sum() + 20 < 21 * red.sum()
    assert np.flatnonzero(green.any(1)).max() > np.flatnonzero(red.any(1)).max() + 20
