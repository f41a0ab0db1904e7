"""How figures are drawn: colours, the two widths, matplotlib's settings and the clean-up of its SVG.

Matplotlib draws with sentinel colours, which become `currentColor` and CSS variables, so one SVG serves light
and dark mode and print. Every figure is drawn twice, wide and narrow, because an SVG that merely shrinks on a
phone cannot be read there. matplotlib is imported when the first figure is drawn, not before.

Over the drawing lie invisible circles with a <title> each: the values that a pointer, a finger or the arrow keys
bring up (page.js shows them; without a script the browser shows the titles).
"""

import html
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

INK, MUTED, GRID, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
SERIES = [f"#0a0c{i:02x}" for i in range(10)]  # the page gives --s0 … --s9 their colours
PALETTE = 8  # colours for contestants before they repeat
VARIABLES = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--rule)", PAPER: "var(--paper)"}
CONTROL, LINE = 8, 9  # series numbers of controls and of the reference line
WIDE, NARROW = 7.4, 3.7  # inches: the widths of the two versions
POINTS = 72  # to the inch: SVG's unit
MOST_MARKS = 400  # in one figure; beyond that nobody can hit one, and the page grows
DASHES = {"random": (0, (4, 2)), "pixels": (0, (1, 1.6)), "majority": (0, (1, 3))}


class Style(NamedTuple):
    """How an arm looks in every figure: a series number for its colour, its dashes and its marker."""

    series: int
    dashes: Any
    marker: str

    @property
    def colour(self) -> str:
        return SERIES[self.series]


class Mark(NamedTuple):
    """A place in a figure, in the data's own coordinates, and what is said of it."""

    ax: Any
    x: float
    y: float
    text: str


class Data(NamedTuple):
    """The numbers behind a figure, as its CSV holds them."""

    columns: list[str]
    rows: list[list[Any]]


class Figure(NamedTuple):
    """One figure: `wide` and `narrow` are SVG markup, `alt` says in words what it shows."""

    name: str
    wide: str
    narrow: str
    alt: str
    caption: str
    data: Data


def styles(arms: Sequence[dict[str, Any]]) -> dict[str, Style]:
    """Contestants take colours in order; controls are grey and broken, the line is thin and dark."""
    out, markers, n = {}, "osD^vPX*", 0
    for a in arms:
        if a["role"] == "contestant":
            out[a["name"]] = Style(n % PALETTE, "solid", markers[n % len(markers)])
            n += 1
        elif a["role"] == "control":
            out[a["name"]] = Style(CONTROL, DASHES.get(a["name"], (0, (4, 2))), "o")
        else:
            out[a["name"]] = Style(LINE, "solid", "o")
    return out


def draw(
    name: str,
    paint: Callable[[Any, bool], Sequence[Mark]],
    heights: tuple[float, float],
    alt: str,
    caption: str,
    data: Data,
) -> Figure:
    """`paint(figure, narrow)` fills an empty matplotlib figure and returns the places that speak when pointed at;
    `heights` in inches for wide and narrow."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    out = []
    for narrow, width, height in ((False, WIDE, heights[0]), (True, NARROW, heights[1])):
        settings: Any = _settings(f"{name}-{width}")
        with matplotlib.rc_context(settings):
            fig = Canvas(figsize=(width, height), dpi=POINTS, layout="constrained")
            FigureCanvasSVG(fig)
            marks = paint(fig, narrow)
            text = _svg(fig, f"{name}-{'n' if narrow else 'w'}")
            out.append(text.removesuffix("</svg>") + _hits(marks, height * POINTS) + "</svg>")
    return Figure(name, out[0], out[1], alt, caption, data)


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


def _settings(salt: str) -> dict[str, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,  # an arm's name is text, whatever is in it
        "font.family": "DejaVu Sans",  # only for measuring; the page's own font is shown
        "font.size": 8.5,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": GRID,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 8.5,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "lines.linewidth": 1.7,
        "lines.solid_capstyle": "round",
    }


def _svg(fig: Any, prefix: str) -> str:
    """The figure for inlining: no prologue, metadata, comments or namespaces; ids unique on the page."""
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(?::\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'(<[^>]*\bid=")', rf"\g<1>{prefix}-", text)
    text = text.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    text = re.sub(r"font: ([^;\"]*?) ?'DejaVu Sans'[^;\"]*", r"font: \1 var(--sans)", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for i, colour in enumerate(SERIES):
        text = text.replace(colour, f"var(--s{i})")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    # A hundredth of a point is enough for places; a number in a text stays whole.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0]), text)
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1).strip()


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near `wanted`, at least `gap` apart and inside [low, high] where there is room for that."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [wanted[i] for i in order]
    for _ in range(200):
        for k in range(len(placed) - 1):
            short = gap - (placed[k + 1] - placed[k])
            if short > 1e-9:
                placed[k] -= short / 2
                placed[k + 1] += short / 2
        placed = [min(max(p, low), high) for p in placed]
    out = [0.0] * len(wanted)
    for k, i in enumerate(order):
        out[i] = placed[k]
    return out


def name_lines(
    ax: Any,
    ends: dict[str, float],
    rows: dict[str, list[dict[str, Any]]],
    look: dict[str, Style],
    titles: dict[str, str],
    role: dict[str, str],
    narrow: bool,
    markers: bool,
) -> None:
    """Names beside the lines' ends; on a narrow figure a legend above, since there is no room beside."""
    if narrow:
        from matplotlib.lines import Line2D

        handles = [
            Line2D(
                [],
                [],
                color=look[a].colour,
                linestyle=look[a].dashes,
                marker=look[a].marker if markers and role[a] == "contestant" else "",
                markersize=4,
                linewidth=1.7,
            )
            for a in ends
        ]
        ax.figure.legend(
            handles,
            [titles[a] for a in ends],
            loc="outside upper left",
            ncols=2,
            frameon=False,
            fontsize=8,
            handlelength=2.2,
            columnspacing=1.2,
            borderpad=0,
            labelspacing=0.35,
        )
        return
    low, high = ax.get_ylim()
    gap = (high - low) * 0.062
    places = _spread(list(ends.values()), gap, low + gap / 2, high - gap / 2)
    left, right = ax.get_xlim()
    furthest = max(found[-1]["x"] for found in rows.values())
    for (arm, value), y in zip(ends.items(), places, strict=True):
        x = rows[arm][-1]["x"]
        # A line that ends early is named where it ends.
        at = 1.025 if x > 0.8 * furthest else (x - left) / (right - left) + 0.03
        ax.annotate(
            titles[arm],
            (x, value),
            (at, (y - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            color=look[arm].colour,
            fontweight="bold" if role[arm] == "contestant" else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": look[arm].colour,
                "alpha": 0.45,
                "linewidth": 0.7,
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


def thousands(ax: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x >= 1e4 else f"{x:g}")
    )
