"""Colours, fonts, sizes, lines and markers of every picture: no other Python file has any.

The eight series colours can be distinguished with all common kinds of colour vision, and each stands out from its
background (tests/figures/test_style.py computes both). A marker or a name stands beside every colour.

The report's page takes its colours from `css()`. A figure is drawn in the light theme's colours; for the page each of
them becomes the CSS variable of the same name, so one drawing serves light mode, dark mode and print.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Theme(NamedTuple):
    """Colours of the page and of its figures."""

    paper: str
    ink: str
    muted: str
    rule: str
    tint: str
    accent: str
    series: tuple[str, ...]  # contestants, in their order
    control: str
    reference: str

    def variables(self) -> dict[str, str]:
        """CSS variable → colour."""
        lines = [*self.series, self.control, self.reference]
        named = {f"--{name}": getattr(self, name) for name in ("paper", "ink", "muted", "rule", "tint", "accent")}
        return named | {f"--s{i}": colour for i, colour in enumerate(lines)}


LIGHT = Theme(
    paper="#fdfdfb",
    ink="#1b1d20",
    muted="#5f646c",
    rule="#e5e4df",
    tint="#f5f4f0",
    accent="#1d63b3",
    series=("#0040f8", "#a54f00", "#227d62", "#442e73", "#fb5091", "#b58e00", "#039cdf", "#5f2422"),
    control="#74787f",
    reference="#45494f",
)
DARK = Theme(
    paper="#141619",
    ink="#e8e7e3",
    muted="#a0a5ad",
    rule="#2d3137",
    tint="#1c1f24",
    accent="#7db3f2",
    series=("#a2b5ff", "#efaa31", "#429672", "#9f63ff", "#b17fa8", "#efecb1", "#58f1e2", "#c66418"),
    control="#8f949c",
    reference="#bcc0c6",
)
PRINT = LIGHT._replace(paper="#ffffff", ink="#111111", muted="#555555", rule="#cccccc", tint="#f6f6f6")
WHITE = "#ffffff"  # behind files

# ── roles of colours in pictures ─────────────────────────────────────────────────────────────────

SAME, OTHER, UNKNOWN = LIGHT.series[2], LIGHT.series[4], "#c9cbcf"  # frames of neighbours, by their class
BARS = "#b4b6ba"  # a histogram that is context
SHADES = "Blues"  # matplotlib's colour map of fractions and similarities
HEAT = "inferno"  # of maps over images: lightness alone says the value
DARK_SHADE = 0.6  # where `SHADES` asks for white letters
GAINS = "RdBu"  # matplotlib's colour map of losses and gains, which all eyes distinguish; its middle is white
FAINT_GAIN, FULL_GAIN = 0.12, 0.38  # how far from that middle the faintest and the strongest of them stand
RING = ((6, (0, 0, 0), 1), (5, (90, 255, 120), 2), (3, (0, 0, 0), 1))  # radius, colour and width, outside in
# Classes of masks over photographs: twelve colours as far apart as they can be; a legend names them.
CLASSES = (
    "#0505a3", "#ae9500", "#1e715c", "#f52b83", "#30a8a8", "#a4ff00", "#912a08", "#8065fe", "#f3d9bf", "#2b0b01",
    "#ebecff", "#0b0024",
)  # fmt: skip
IGNORED = "#808080"  # pixels that no metric counts, hatched by nothing

# ── lines and markers ────────────────────────────────────────────────────────────────────────────

MARKERS = "osD^vPX*"
DASHED, DOTTED, SPARSE = (0, (4, 2)), (0, (1, 1.6)), (0, (1, 3))
CONTROL_DASHES = {"random": DASHED, "pixels": DOTTED, "majority": SPARSE}
CONTROL, REFERENCE = len(LIGHT.series), len(LIGHT.series) + 1  # series numbers
THIN, LINE, STRONG = 0.8, 1.2, 1.9  # widths in points
BAND, FAINT_BAND = 0.15, 0.09  # opacity of intervals


class Look(NamedTuple):
    """How one thing looks in every figure: a series number for its colour, its dashes and its marker."""

    series: int
    dashes: Any
    marker: str

    @property
    def colour(self) -> str:
        return [*LIGHT.series, LIGHT.control, LIGHT.reference][self.series]

    @property
    def css(self) -> str:
        """The border style of CSS that is most like the line."""
        return "solid" if self.dashes == "solid" else "dotted" if self.dashes[1][0] <= 1 else "dashed"


def look(index: int) -> Look:
    """Of the thing number `index` where there are no roles: the greys are its 9th and 10th colour. Markers shift with
    each round of colours."""
    n = len(LIGHT.series) + 2
    return Look(index % n, "solid", MARKERS[(index + index // n) % len(MARKERS)])


def looks(arms: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """Of arms (name, role): contestants take colours in order; controls are grey and broken, references dark."""
    found, contestants = {}, 0
    for name, role in arms:
        if role == "contestant":
            found[name] = Look(contestants % CONTROL, "solid", MARKERS[contestants % len(MARKERS)])
            contestants += 1
        elif role == "control":
            found[name] = Look(CONTROL, CONTROL_DASHES.get(name, DASHED), "o")
        else:
            found[name] = Look(REFERENCE, "solid", "o")
    return found


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────

FONT = "DejaVu Sans"  # has most scripts, and comes with matplotlib
TEXT, SMALL, TINY, HEADING = 9.0, 8.0, 6.5, 12.0  # points
WIDTH, WIDE = 5.0, 7.4  # inches, of a figure of the report: one that a phone shows whole, and of several panels
ENLARGED = 1.7  # CSS pixels to a point, at most
DPI = 120  # of files
SOFTWARE = "gssl"  # says in a PNG who wrote it: `gssl.engine.outputs` replaces no other file
POINTS = 72  # to the inch
TILE_TITLE, TILE_HEADING, TILE_TEXT, TILE_SMALL = 21, 17, 14, 11  # letters beside image tiles, pixels


def settings(text: float = TEXT, salt: str = "gssl") -> dict[str, Any]:
    """matplotlib's settings; `text`: size of letters in points, `salt`: makes ids in an SVG its own."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,  # an arm's name is text, whatever is in it
        "font.family": FONT,
        "font.size": text,
        "text.color": LIGHT.ink,
        "axes.labelcolor": LIGHT.muted,
        "axes.edgecolor": LIGHT.rule,
        "axes.linewidth": THIN,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": text,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LIGHT.rule,
        "grid.linewidth": 0.6,
        "xtick.color": LIGHT.rule,
        "ytick.color": LIGHT.rule,
        "xtick.labelcolor": LIGHT.muted,
        "ytick.labelcolor": LIGHT.muted,
        "xtick.labelsize": min(SMALL, text),
        "ytick.labelsize": min(SMALL, text),
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "legend.frameon": False,
        "legend.fontsize": min(SMALL, text),
        "lines.linewidth": LINE,
        "lines.solid_capstyle": "round",
    }


def png_text() -> Any:
    """What Pillow writes into a PNG beside its pixels."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Software", SOFTWARE)
    return text


def css() -> str:
    """The page's variables: light, dark, print."""
    light, dark, on_paper = (
        ";".join(f"{name}:{colour}" for name, colour in theme.variables().items()) for theme in (LIGHT, DARK, PRINT)
    )
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n@media print{{:root{{{on_paper}}}}}"
    )


def rgb(colour: str) -> tuple[int, int, int]:
    """ "#0040f8" → (0, 64, 248)."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
