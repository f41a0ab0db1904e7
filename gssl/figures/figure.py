"""One figure: what paints it, and the formats that it can be written in.

`Figure.svg()` is markup for a page, whose colours are CSS variables and whose values a pointer, a finger or the arrow
keys bring up: over the drawing lie invisible circles with a <title> each (page.js shows them; without a script the
browser does). `Figure.save(path)` writes a PNG, PDF or SVG file under a heading and above it the caption. Both paint
once. matplotlib is imported when the first figure is painted, not before.
"""

import contextlib
import html
import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gssl.figures import style

MOST_MARKS = 400  # in one figure; beyond that nobody can hit one, and the page grows


class Mark(NamedTuple):
    """A point of a figure, in the data's own coordinates, and what is said of it."""

    ax: Any
    x: float
    y: float
    text: str


class Data(NamedTuple):
    """The numbers behind a figure, as its CSV holds them."""

    columns: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Figure:
    """`paint(canvas)` fills an empty matplotlib figure of `size` (inches) and returns its marks.

    `alt` says in words what the figure shows, `heading` stands above it in a file; `free`: axes lie where `paint` put
    them, no layout is looked for.
    """

    name: str
    paint: Callable[[Any], Sequence[Mark]]
    size: tuple[float, float]
    caption: str
    alt: str = ""
    heading: str = ""
    data: Data = Data([], [])
    text: float = style.TEXT
    free: bool = False

    def svg(self) -> str:
        """Markup to be put into a page."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        with self._canvas() as canvas:
            FigureCanvasSVG(canvas)
            marks = self.paint(canvas)
            text = _markup(canvas, self.name, self.size[0])
            return text.removesuffix("</svg>") + _hits(marks, self.size[1] * style.POINTS) + "</svg>"

    def save(self, path: Path) -> None:
        """Write a file, of the format that its name ends with."""
        with self._canvas() as canvas:
            self.paint(canvas)
            whole = _write_around(canvas, self.heading, self.caption)
            about: Any = {".svg": {"Date": None}, ".png": {"Software": style.SOFTWARE}}.get(path.suffix)
            canvas.savefig(path, dpi=style.DPI, bbox_inches=whole, facecolor=style.WHITE, metadata=about)

    def image(self) -> Any:
        """An RGB picture (PIL) without heading and caption, to be put into another one."""
        from PIL import Image

        buffer = io.BytesIO()
        with self._canvas() as canvas:
            self.paint(canvas)
            canvas.savefig(buffer, format="png", dpi=style.DPI, facecolor=style.WHITE)
        return Image.open(buffer).convert("RGB")

    @contextlib.contextmanager
    def _canvas(self) -> Iterator[Any]:
        import matplotlib
        from matplotlib.figure import Figure as Canvas

        settings: Any = style.settings(self.text, self.name)
        with matplotlib.rc_context(settings), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # names in scripts that the font does not have
            yield Canvas(figsize=self.size, dpi=style.POINTS, layout=None if self.free else "constrained")


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def _write_around(canvas: Any, heading: str, caption: str) -> Any:
    """Put the heading and the caption above what is painted; returns the box of everything, in inches."""
    canvas.draw_without_rendering()  # now everything has its position
    canvas.set_layout_engine("none")  # which is not looked for again
    box, (width, height) = canvas.get_tightbbox(), canvas.get_size_inches()
    letters = max(40, round(box.width * style.POINTS / 4.9))
    parts, x, y = [], box.x0 / width, box.y1 + 0.12
    if caption:
        below = wrapped(caption, letters)
        parts.append(canvas.text(x, y / height, below, va="bottom", color=style.LIGHT.muted, fontsize=style.TEXT))
        y += (below.count("\n") + 1) * 0.165 + 0.06
    if heading:
        bold: dict[str, Any] = {"fontsize": style.HEADING, "fontweight": "bold", "color": style.LIGHT.ink}
        parts.append(canvas.text(x, y / height, wrapped(heading, round(letters * 0.72)), va="bottom", **bold))
    ends = [part.get_window_extent().transformed(canvas.dpi_scale_trans.inverted()) for part in parts]
    return box.union([box, *ends]).padded(0.15)


def wrapped(text: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(text, letters))


def grid_shape(panels: int, most: int = 3) -> tuple[int, int]:
    """Rows and columns of small multiples; `most` columns."""
    columns = 2 if panels == 4 and most < 4 else min(panels, most)
    return -(-panels // columns), columns


# ── markup ───────────────────────────────────────────────────────────────────────────────────────


def _hits(marks: Sequence[Mark], height: float) -> str:
    """One circle per mark, where the finished layout put it."""
    found = []
    for mark in marks[:MOST_MARKS]:
        if not all(map(math.isfinite, (mark.x, mark.y))):
            continue
        x, y = mark.ax.transData.transform((mark.x, mark.y))
        text = html.escape(mark.text)
        found.append(f'<circle class="hit" cx="{x:.1f}" cy="{height - y:.1f}" r="5"><title>{text}</title></circle>')
    return "".join(found)


def _markup(canvas: Any, prefix: str, width: float) -> str:
    """The painted figure: no prologue, metadata, comments or namespaces; ids unique on the page."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(?::\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'(<[^>]*\bid=")', rf"\g<1>{prefix}-", text)
    text = text.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    text = re.sub(rf"font: ([^;\"]*?) ?'{style.FONT}'[^;\"]*", r"font: \1 var(--sans)", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # A hundredth of a point is enough for positions; a number in a text stays whole, and so does a colour in one.
    text = re.sub(r"<[^>]*>", lambda tag: _coloured(re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0])), text)
    most = f'style="max-width:{width * style.POINTS * style.ENLARGED:.0f}px"'
    kind = 'class="wide" ' if width > style.WIDTH else ""
    return text.replace("<svg ", f'<svg aria-hidden="true" focusable="false" {kind}{most} ', 1).strip()


def _coloured(tag: str) -> str:
    """A tag with CSS variables in place of the light theme's colours."""
    if "#" not in tag:
        return tag
    for name, colour in style.LIGHT.variables().items():
        tag = tag.replace(colour, "currentColor" if name == "--ink" else f"var({name})")
    return tag
