"""curve.png: scores against labelled images, a panel per data set and probe, a line per source of weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from gssl.figures import lines, style
from gssl.figures.figure import Figure
from gssl.words import listed

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
    score: str  # title of the axis, such as "test accuracy, %"
    item: str  # what is tested on one by one, such as "image"
    labelled: str  # what is learned from, such as "labelled image"


def figure(cells: Sequence[Cell]) -> Figure:
    """Names are as they are shown."""
    targets = list(dict.fromkeys(c.target for c in cells))
    probes = list(dict.fromkeys(c.probe for c in cells))
    sources = list(dict.fromkeys(c.source for c in cells))
    alone = len(targets) == 1
    own = {t: list(dict.fromkeys(c.probe for c in cells if c.target == t)) for t in targets}
    columns = min(len(probes), 3) if alone else max(map(len, own.values()))
    rows = -(-len(probes) // columns) if alone else len(targets)
    pairs: list[tuple[str, str | None]] = []  # targets of unlike tasks have unlike probes
    for target in targets:
        rest = [] if alone else [None] * (columns - len(own[target]))
        pairs += [(target, probe) for probe in [*own[target], *rest]]
    panels = []
    for target, probe in pairs:
        mine = [c for c in cells if (c.target, c.probe) == (target, probe)]
        if probe is None or not mine:
            panels.append(lines.Panel([]))
            continue
        title = probe if alone else f"{target}: {probe}"
        drawn = [_line([c for c in mine if c.source == name], name, i) for i, name in enumerate(sources)]
        panels.append(
            lines.Panel(
                [line for line in drawn if line.x],
                "" if len(pairs) == 1 else title,
                f"{mine[0].labelled}s (log scale)",
                mine[0].score,
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
        f"Bands: 95% intervals. n = {n} test {listed([f'{name}s' for name in dict.fromkeys(c.item for c in cells)])}.",
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
