"""The palette for all kinds of colour vision; one place for colours; variables of the page."""

import importlib.util
import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from gssl.figures import style
from gssl.figures.style import DARK, LIGHT, PRINT

ROOT = Path(__file__).parents[2]
LEAST = 15  # CIEDE2000 between two of the first eight colours; of Okabe and Ito's the least is 10.9


def _module():
    spec = importlib.util.spec_from_file_location("colour_vision", Path(__file__).parent / "colour_vision.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


sight = _module()


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000_by_its_published_test_data(x, y, expected):
    assert sight.ciede2000(np.array(x, float), np.array(y, float)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", sight.SIGHT)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_first_eight_colours_are_distinguished(theme, kind):
    assert len(theme.series) == 8
    pairs = itertools.combinations(theme.series, 2)
    near = {pair: sight.difference(*pair, kind) for pair in pairs}
    assert min(near.values()) >= LEAST, min(near, key=near.get)


@pytest.mark.parametrize("kind", sight.SIGHT)
def test_classes_of_masks_are_distinguished(kind):
    assert len(style.CLASSES) >= 11
    assert min(sight.difference(*pair, kind) for pair in itertools.combinations(style.CLASSES, 2)) >= LEAST


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_colours_stand_out_from_their_background(theme):
    for colour in [*theme.series, theme.control, theme.reference]:
        assert sight.contrast(colour, theme.paper) >= 3, colour  # lines and marks: WCAG 1.4.11
    for colour in (theme.ink, theme.muted):
        assert sight.contrast(colour, theme.paper) >= 4.5, colour  # text
    for text in (theme.accent, theme.ink, theme.muted):
        assert sight.contrast(text, theme.tint) >= 4.5, text


def test_frames_of_neighbours_differ_for_every_eye():
    for kind in sight.SIGHT:
        for pair in itertools.combinations((style.SAME, style.OTHER, style.UNKNOWN), 2):
            assert sight.difference(*pair, kind) >= 12, (pair, kind)


def test_every_colour_of_the_light_theme_is_one_variable():
    colours = list(LIGHT.variables().values())
    assert len(set(colours)) == len(colours)
    assert LIGHT.variables().keys() == DARK.variables().keys()
    assert style.css().count("--s0:") == 3 and f"--paper:{DARK.paper}" in style.css()


def test_no_other_file_has_a_colour_or_a_font():
    written = re.compile(r"#[0-9a-fA-F]{6}\b|['\"]tab:\w+|DejaVu|font_?size=\d|labelsize=\d|Helvetica")
    for path in (ROOT / "gssl").rglob("*.py"):
        if path.name != "style.py":
            found = written.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path}: {found[0]} belongs into gssl/figures/style.py"
    css = (ROOT / "gssl" / "report" / "page.css").read_text(encoding="utf-8")
    assert not re.search(r"--s\d:|#[0-9a-f]{3,6}\b", css)


def test_arms_look_by_their_role():
    arms = [("a", "contestant"), ("random", "control"), ("b", "contestant"), ("x", "control"), ("r", "reference")]
    found = style.looks(arms)
    assert [found[name].series for name, _ in arms] == [0, 8, 1, 8, 9]
    assert found["random"].css == "dashed" and found["a"].css == "solid"
    assert {found[name].colour for name in "ab"} == set(LIGHT.series[:2])
    many = style.looks([(str(i), "contestant") for i in range(12)])
    assert len({look.series for look in many.values()}) == 8


def test_things_without_a_role_differ_by_colour_or_marker():
    assert len({(look.colour, look.marker) for look in map(style.look, range(20))}) == 20
