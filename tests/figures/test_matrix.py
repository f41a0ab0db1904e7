"""The matrix: a cell's colour says what its interval shows, and every number stands in it."""

import pytest

from gssl.figures import matrix, style
from gssl.figures.matrix import STRONGEST, Cell, Column


@pytest.fixture
def made():
    columns = [
        Column("photos", ["accuracy, %", "linear probe"], "1 label per class"),
        Column("photos", ["accuracy, %", "linear probe"], "all labels"),
        Column("street", ["mean IoU, %", "linear probe on dense features"], "all labels"),
    ]
    cells = {
        (0, 0): Cell("score 41.0", "+6.0", "2.0 to 10.0", 1.5),
        (0, 1): Cell("score 50.0", "+0.5", "−1.0 to 2.0", 0.3),
        (1, 0): Cell("score 35.0", about="baseline"),
    }
    return matrix.figure(["SimCLR", "scratch"], columns, cells, "caption", "heading")


def test_every_cell_has_its_numbers_and_what_is_missing_a_dash(made):
    svg = made.svg()
    for text in ("+6.0", "2.0 to 10.0", "score 41.0", "−1.0 to 2.0", "baseline", "1 label per class", "street"):
        assert f">{text}<" in svg, text
    assert svg.count(">–<") == 3 and svg.count(">photos<") == 1
    assert "SimCLR on photos, 1 label per class: +6.0 (2.0 to 10.0) score 41.0" in svg
    assert made.data.rows[0] == ["SimCLR", "photos", "1 label per class", "+6.0", "2.0 to 10.0", "score 41.0"]


def test_grey_where_the_interval_contains_0_and_the_more_colour_the_clearer():
    assert {matrix._colours(s)[0] for s in (-1, -0.4, 0, 0.9, 1)} == {style.LIGHT.rule}
    blue = [matrix._colours(s)[0] for s in (1.01, 2, STRONGEST)]
    assert all(c[2] > c[0] for c in blue) and blue[0][0] > blue[1][0] > blue[2][0]
    red = [matrix._colours(-s)[0] for s in (1.01, 2, STRONGEST)]
    assert all(c[0] > c[2] for c in red) and red[0][2] > red[1][2] > red[2][2]
    assert matrix._colours(STRONGEST) == matrix._colours(99)


def test_letters_stand_out_from_every_shade():
    def light(colour):
        values = style.rgb(colour) if isinstance(colour, str) else [255 * c for c in colour[:3]]
        linear = [c / 3294.6 if c <= 10.31 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in values]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for strength in (-4, -3, -2, -1.5, -1.01, 0, 1.01, 1.5, 2, 3, 4):
        fill, ink = matrix._colours(strength)
        low, high = sorted((light(fill), light(ink)))
        assert (high + 0.05) / (low + 0.05) >= 4, strength  # WCAG asks 4.5 of small text, and 3 of large


def test_a_long_name_of_a_folder_takes_lines_and_no_room_of_others():
    name = "photographs of the harbour"
    column = Column(name, ["accuracy, %"], "all labels")
    made = matrix.figure(["SimCLR"], [column], {}, "", "")
    assert f">{name}<" not in made.svg() and ">photographs" in made.svg()
