"""Clips as strips of frames."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from gssl.figures.tiles import Row, Section, Tile, save_page

MOST = 12  # frames of a strip


def save_strips(title: str, text: str, clips: Sequence[tuple[str, str, Tensor]], path: Path) -> None:
    """A row per clip (kind, caption, frames (T, 3, S, S) in [0, 1]), a section per kind, in their order."""
    sections = []
    for kind in dict.fromkeys(kind for kind, _, _ in clips):
        rows = []
        for _, caption, frames in [clip for clip in clips if clip[0] == kind]:
            some = frames[:: -(-len(frames) // MOST)]
            rows.append(Row("", [Tile(some[0], caption), *(Tile(frame) for frame in some[1:])]))
        sections.append(Section(f"Named {kind}", "", rows))
    save_page(title, text, sections, path)
