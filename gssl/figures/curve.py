"""curve.png: scores against labelled images, a panel per data set and probe, a line per source of weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from gssl.figures import lines, style
from gssl.figures.figure import Figure

WIDTH, HEIGHT = 4.3, 3.4  # inches of a panel


@dataclass(frozen=True)
class Cell:
    """The score of a source with a number of labelled images; mean, low and high in the unit of the axis."""

    source: str
    target: str
    probe: str
    n_train: float
    mean: float
    low: float
    high: float
    n_test: int


def figure(cells: Sequence[Cell], score: str = "test accuracy, %") -> Figure:
    """`score`: the title of the axis. Names are as they are shown."""
    targets = list(dict.fromkeys(c.target for c in cells))
    probes = list(dict.fromkeys(c.probe for c in cells))
    sources = list(dict.fromkeys(c.source for c in cells))
    alone = len(targets) == 1
    columns = min(len(probes), 3) if alone else len(probes)
    rows = -(-len(probes) // columns) if alone else len(targets)
    panels = []
    for target, probe in [(t, p) for t in targets for p in probes]:
        mine = [c for c in cells if (c.target, c.probe) == (target, probe)]
        title = probe if alone else f"{target}: {probe}"
        drawn = [_line([c for c in mine if c.source == name], name, i) for i, name in enumerate(sources)]
        panels.append(
            lines.Panel(
                [line for line in drawn if line.x],
                "" if len(targets) * len(probes) == 1 else title,
                "labelled images (log scale)",
                score,
                log=True,
                write_x=lines.thousands,
            )
        )
    sizes = sorted({c.n_test for c in cells})
    n = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    by = f" by {probes[0]}" if len(probes) == 1 else ""
    return lines.figure(
        "curve",
        panels,
        f"Bands: 95% intervals. n = {n} test images.",
        heading=f"Labels against scores on {', '.join(targets)}{by}",
        height=HEIGHT,
        shape=(rows, columns),
        width=style.WIDE if len(panels) == 1 else WIDTH * columns,
        share_y="row",
    )


def _line(cells: Sequence[Cell], name: str, index: int) -> lines.Line:
    found = sorted(cells, key=lambda c: c.n_train)
    ends = [c.low for c in found], [c.high for c in found]
    return lines.Line(name, style.look(index), [c.n_train for c in found], [c.mean for c in found], *ends)
