"""Curves as text: braille characters, each a grid of 2 x 4 dots. No terminal is asked for anything."""

import math
from collections.abc import Sequence

BLANK = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a character


def plot(x: Sequence[float], y: Sequence[float], width: int, height: int) -> list[str]:
    """`height` lines of `width` characters with a line through the points, the smallest y at the bottom.

    Points that are not finite are left out; without any the lines are blank.
    """
    points = sorted((a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b))
    cells = [[BLANK] * width for _ in range(height)]
    if points:
        left, right = points[0][0], points[-1][0]
        low, high = min(b for _, b in points), max(b for _, b in points)
        columns, rows = 2 * width - 1, 4 * height - 1
        at = [
            (
                round(columns * (a - left) / (right - left)) if right > left else 0,
                round(rows * (high - b) / (high - low)) if high > low else rows // 2,
            )
            for a, b in points
        ]
        for (x0, y0), (x1, y1) in zip(at, at[1:] or at, strict=False):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for k in range(steps + 1):
                column, row = x0 + round((x1 - x0) * k / steps), y0 + round((y1 - y0) * k / steps)
                cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
    return ["".join(map(chr, line)) for line in cells]


def bar(fraction: float, width: int) -> str:
    """A bar of `width` characters."""
    full = round(min(max(fraction, 0.0), 1.0) * width)
    return "█" * full + "░" * (width - full)
