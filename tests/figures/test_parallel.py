"""Parallel coordinates: where a value lies on its axis."""

import pytest

from gssl.figures.parallel import MOST_TICKS, Axis, figure


def test_numbers_lie_by_size():
    assert Axis("x", [1, 3, 2]).heights() == [0, 1, 0.5]
    assert Axis("x", [7, 7]).heights() == [0.5, 0.5]


def test_an_axis_over_decades_is_logarithmic():
    assert Axis("lr", [0.001, 0.1, 0.01]).heights() == pytest.approx([0, 1, 0.5])
    assert Axis("x", [0, 100, 50]).heights() == [0, 1, 0.5]  # zero has no logarithm


def test_names_lie_in_their_order():
    axis = Axis("ssl", ["simclr", "byol", "simclr", None])
    assert axis.heights() == [0, 0.5, 0, 1]
    assert axis.ticks() == [(0, "simclr"), (0.5, "byol"), (1, "–")]
    assert not Axis("x", [True, False]).numeric


def test_ticks_are_few_and_have_both_ends():
    ticks = Axis("x", list(range(100))).ticks()
    assert len(ticks) <= MOST_TICKS and ticks[0] == (0, "0") and ticks[-1] == (1, "99")


def test_the_figure_has_a_mark_per_line_and_axis():
    made = figure("p", [Axis("a", [1, 2]), Axis("score", [0.5, 0.6])], 1, "caption", ["first", "second"])
    svg = made.svg()
    assert svg.count("<title>first</title>") == 2 and "var(--s0)" in svg and "var(--s8)" in svg
    assert made.data.rows == [[1, 0.5], [2, 0.6]]
