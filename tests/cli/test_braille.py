"""Curves as text: every dot where it belongs."""

import math

from gssl.cli.braille import BLANK, DOTS, bar, plot


def dots(lines):
    """(column, row) of every dot, from the upper left."""
    found = set()
    for y, line in enumerate(lines):
        for x, letter in enumerate(line):
            for row in range(4):
                for column in range(2):
                    if (ord(letter) - BLANK) & DOTS[row][column]:
                        found.add((2 * x + column, 4 * y + row))
    return found


def test_a_rising_line_is_the_diagonal():
    lines = plot([0, 1], [0, 1], 4, 2)
    assert [len(line) for line in lines] == [4, 4]
    assert dots(lines) == {(i, 7 - i) for i in range(8)}


def test_ends_are_in_the_corners_and_the_line_has_no_gap():
    found = dots(plot([5, 6, 9], [3.0, -2.0, 8.0], 20, 5))
    assert {(0, 10), (39, 0)} <= found and max(y for _, y in found) == 19
    assert {x for x, _ in found} == set(range(40))


def test_what_cannot_be_drawn_is_left_out():
    assert dots(plot([], [], 3, 2)) == set()
    assert dots(plot([1, 2], [math.nan, math.inf], 3, 2)) == set()
    assert dots(plot([1, 2, 3], [0.0, math.nan, 1.0], 4, 2)) == dots(plot([1, 3], [0.0, 1.0], 4, 2))


def test_one_point_and_a_level_line_lie_in_the_middle():
    assert dots(plot([3], [7.0], 4, 2)) == {(0, 3)}
    assert dots(plot([1, 2], [7.0, 7.0], 2, 2)) == {(i, 3) for i in range(4)}


def test_bar():
    assert (bar(0, 4), bar(0.5, 4), bar(2, 4)) == ("░░░░", "██░░", "████")
