"""One figure in all its formats: markup whose colours are variables, files in the light theme's colours."""

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.figures import curve, dots, lines, style
from gssl.figures.figure import Data, Figure, Mark

ROWS = [
    dots.Row("$a_1$ <b>", style.look(0), 50.0, "a: mean 50", (45.0, 55.0), {"0": 48.0, "1": 52.0}),
    dots.Row("c", style.look(1), 60.0, "c: mean 60", baseline=40.0, group="other"),
]


@pytest.fixture
def rows() -> Figure:
    return dots.figure("some", [dots.Panel(ROWS, "{:.1f}".format)], "two rows", "caption", Data([], []))


def series(n: int) -> list[lines.Line]:
    x = [1.0, 10.0, 100.0]
    return [
        lines.Line(f"line {i}", style.look(i), x, [v + i for v in (1.0, 2.0, 3.0)], said={2: f"end of {i}"})
        for i in range(n)
    ]


def test_markup_has_variables_for_colours_and_marks_for_a_pointer(rows: Figure) -> None:
    svg = rows.svg()
    ET.fromstring(svg)
    assert not re.search(r"#[0-9a-f]{6}", re.sub(r"#(000000|ffffff)", "", svg))
    assert "var(--s0)" in svg and "var(--s1)" in svg and "currentColor" in svg
    assert re.findall(r"<title>([^<]*)", svg) == ["a: mean 50", "c: mean 60", "$a_1$ &lt;b&gt;, seed 0: 48.0",
                                                 "$a_1$ &lt;b&gt;, seed 1: 52.0"]  # fmt: skip
    assert "$a_1$ &lt;b&gt;</text>" in svg  # no formula, no markup


def test_it_is_painted_once_for_each_format(tmp_path: Path) -> None:
    painted: list[int] = []

    def paint(canvas: object) -> list[Mark]:
        painted.append(1)
        canvas.subplots().plot([0, 1], color=style.LIGHT.series[0])
        return []

    figure = Figure("f", paint, (4, 2), "caption", heading="heading")
    for count, name in enumerate(("f.png", "f.pdf", "f.svg"), 1):
        figure.save(tmp_path / name)
        assert len(painted) == count and (tmp_path / name).stat().st_size > 1000
    figure.svg()
    assert len(painted) == 4
    with Image.open(tmp_path / "f.png") as picture:
        colours = {c for _, c in picture.convert("RGB").getcolors(1 << 24)}
    assert style.rgb(style.LIGHT.series[0]) in colours and (255, 255, 255) in colours


def test_the_same_figure_gives_the_same_bytes(rows: Figure, tmp_path: Path) -> None:
    assert rows.svg() == rows.svg()
    rows.save(tmp_path / "a.png")
    rows.save(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_lines_of_one_panel_are_named_beside_their_ends_and_several_have_one_legend() -> None:
    one = lines.figure("one", [lines.Panel(series(3), y_axis="score", log=True)], "").svg()
    two = lines.figure("two", [lines.Panel(series(3), f"panel {i}") for i in range(2)], "").svg()
    for svg in (one, two):
        ET.fromstring(svg)
        assert [svg.count(f">line {i}</text>") for i in range(3)] == [1, 1, 1]
    assert re.findall(r"<title>([^<]*)", one) == ["end of 0", "end of 1", "end of 2"]


def test_panels_that_share_an_axis_show_every_point() -> None:
    low, high = lines.Line("a", style.look(0), [0, 1], [0, 10]), lines.Line("a", style.look(0), [0, 1], [80, 99])
    figure = lines.figure("s", [lines.Panel([low]), lines.Panel([high]), lines.Panel([low])], "", share_y=True)
    with figure._canvas() as canvas:
        figure.paint(canvas)
        assert all(ax.get_ylim()[0] <= 0 and ax.get_ylim()[1] >= 99 for ax in canvas.axes)


def test_names_do_not_overlap() -> None:
    placed = lines.spread([1.0, 1.01, 1.02, 5.0], 0.5, 0.0, 6.0)
    assert all(b - a >= 0.5 - 1e-6 for a, b in itertools.pairwise(sorted(placed)))
    assert np.argsort(placed).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("targets", "probes", "width"), [(1, 1, 7.4), (1, 4, 3 * 4.3), (2, 2, 2 * 4.3)])
def test_a_curve_has_a_panel_for_each_probe_and_data_set(targets: int, probes: int, width: float) -> None:
    names = ("test accuracy, %", "image", "labelled image")
    cells = [
        curve.Cell(s, f"data {t}", f"probe {p}", n, 50 + n / 10, 45, 70, 100, *names)
        for s, t, p, n in itertools.product(("a", "b"), range(targets), range(probes), (10, 100))
    ]
    figure = curve.figure(cells)
    assert figure.size[0] == pytest.approx(width)
    with figure._canvas() as canvas:
        figure.paint(canvas)
        shown = [ax for ax in canvas.axes if ax.get_visible()]
        assert len(shown) == targets * probes and all(len(ax.get_lines()) == 2 for ax in shown)


def test_a_curve_of_unlike_tasks_has_the_probes_and_the_axis_of_each() -> None:
    found = [("photos", ("knn", "linear"), "test accuracy, %", "image"), ("films", ("motion",), "test F1", "clip")]
    cells = [
        curve.Cell("a", target, probe, n, 50, 45, 70, 100, score, item, f"labelled {item}")
        for target, probes, score, item in found
        for probe in probes
        for n in (10, 100)
    ]
    figure = curve.figure(cells)
    with figure._canvas() as canvas:
        figure.paint(canvas)
        shown = [ax for ax in canvas.axes if ax.get_visible()]
        assert [ax.get_title(loc="left") for ax in shown] == ["photos: knn", "photos: linear", "films: motion"]
        assert [ax.get_ylabel() for ax in shown] == ["test accuracy, %", "", "test F1"]
        assert shown[2].get_xlabel() == "labelled clips (log scale)"
    assert "100 test images and clips" in figure.caption
