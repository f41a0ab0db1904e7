"""A comparison of another task than classification: intervals by bootstrap over images, its own metric everywhere."""

import html
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gssl.data.findings import _imbalance
from gssl.data.targets import TARGETS
from gssl.report.claims import check, over_text
from gssl.report.collect import read_runs
from gssl.report.document import build
from gssl.report.explain import explain
from gssl.report.model import Report
from gssl.report.page import write
from gssl.report.scores import Cell, Predictions, cells, gap, of_arm
from gssl.report.verdict import over
from gssl.report.views import intervals
from gssl.statistics.metric import METRICS

CLASSES, IMAGES, PIXELS = 4, 60, 200
NAMES = ["road", "sky", "car", "pole|x"]
BUDGETS = (5, None)
LEVELS = {"simclr": (0.7, 0.85), "scratch": (0.55, 0.8), "position": (0.3, 0.32), "pixels": (0.25, 0.3)}


def stats(level: float, seed: int) -> np.ndarray:
    """int (images, 3 · classes): pixels that are correct, predicted, labelled; the same images are hard for all."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    labelled = shared.multinomial(PIXELS, [0.6, 0.25, 0.1, 0.05], IMAGES)
    hard = shared.normal(0, 0.08, (IMAGES, 1))
    part = np.clip(level + hard + own.normal(0, 0.02, (IMAGES, CLASSES)) + own.normal(0, 0.01), 0, 1)
    correct = np.round(labelled * part).astype(int)
    wrong = (labelled - correct).sum(axis=1, keepdims=True)
    predicted = correct + np.round(wrong * [[0.4, 0.3, 0.2, 0.1]]).astype(int)
    return np.concatenate([correct, predicted, labelled], axis=1).astype(np.int32)


def run(fake: ModuleType, root: Path, arm: str, seed: int, groups: int | None = None) -> Path:
    """A transfer run directory as the tool writes it for masks."""
    path = root / f"{arm}-{seed}"
    finding = _imbalance({"test": [60, 25, 10, 5], "train": [50, 30, 10, 10]}, NAMES, TARGETS["mask"])
    fake.status(path, "transfer")
    fake.config(path, f"seed: {seed}\ndata: {{name: segmentation}}\n")
    fake.part(path, arm, seed, "transfer", f"gssl transfer weights={arm}")
    found, entries = [], []
    for budget, level in zip(BUDGETS, LEVELS[arm], strict=True):
        for draw in range(2 if budget else 1):
            one = stats(level, 100 * seed + 10 * draw + len(arm))
            values = {name: METRICS[name].value(one) for name in ("mean_iou", "pixel_accuracy")}
            of = {"labels_per_class": None, "fraction": None if budget else 1.0, "images_labelled": budget}
            entry = {"probe": "segment", "task": "segmentation", **of, "draw": draw, "n_test": IMAGES}
            entry |= {"n_train": budget or 100, "metrics": values, "validation": {"mean_iou": 0.5}, "chosen": {"l2": 1}}
            entry["components"] = {"mean_iou": METRICS["mean_iou"].components(one, NAMES)}
            found.append(one)
            entries.append(entry)
    data = {"hash": "e" * 16, "train": 100, "val": 10, "test": IMAGES, "classes": CLASSES, "findings": finding}
    source = {"kind": arm if arm in ("position", "pixels") else "random", "path": None, "method": None, "sha256": None}
    result = {"command": "transfer", "seed": seed, "source": source, "scores": entries, "test_openings": 1}
    fake.write(path / "result.json", {"schema": "gssl.result/2", **result, "data": data, "spent": {"seconds": 1.0}})
    metric = np.array(["mean_iou", "pixel_accuracy"])
    more = {} if groups is None else {"groups": np.arange(IMAGES) % groups}
    np.savez(path / "predictions.npz", stats=np.array(found), metric=metric, items=np.array("images"), **more)
    return path


@pytest.fixture(scope="module")
def made(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Report, Path]:
    root = tmp_path_factory.mktemp("masks")
    runs = read_runs([run(fake, root, arm, seed) for arm in LEVELS for seed in range(3)])
    report = build(runs, {"arms": list(LEVELS), "seeds": 3, "data": "street scenes", "budget": None})
    write(report, root / "report")
    return runs, report, root / "report"


def test_rows_are_of_the_task_and_its_metric(made: tuple[list[Any], Report, Path]) -> None:
    _, report, _ = made
    assert {(r.task, r.metric, r.probe) for r in report.table} == {("segmentation", "mean_iou", "segment")}
    assert [(b.key, b.label) for b in report.label_budgets] == [("5i", "5 labelled images"), ("all", "all labels")]
    assert (report.primary.task, report.primary.metric, report.primary.label_budget) == (
        "segmentation",
        "mean_iou",
        "5i",
    )
    row = report.row("simclr")
    assert row and row.interval and (row.interval.kind, row.interval.items, row.interval.n) == ("two_way", IMAGES, 3)
    assert row.interval.low < row.mean < row.interval.high and set(row.metrics) == {"mean_iou", "pixel_accuracy"}
    assert row.validation == 0.5
    d = next(d for d in report.differences if d.family == "primary")
    assert d.interval and d.simultaneous and d.interval.width <= d.simultaneous.width and d.interval.items == IMAGES
    assert report.needs and report.advice and report.advice.use == "simclr"


def test_pairs_on_the_same_images_are_known_better_than_each_alone(made: tuple[list[Any], Report, Path]) -> None:
    found = cells(made[0])
    one, two = found["simclr", "segment", "5i"], found["scratch", "segment", "5i"]
    between = gap(one, two, "mean_iou")
    alone = of_arm(one, "mean_iou")
    assert between and between.spread and alone
    both = between.interval()
    assert both and both.width < alone.width  # images that are hard for both cancel
    assert between.spread.item_share < 0.5


def test_an_interval_over_images_is_the_bootstraps(made: tuple[list[Any], Report, Path]) -> None:
    one = Cell()
    rows = stats(0.6, 1)
    one.scores[0] = [{"probe": "segment", "n_test": IMAGES, "metrics": {"mean_iou": METRICS["mean_iou"].value(rows)}}]
    one.add(0, Predictions(None, None, None, rows[None], "images", ("mean_iou",)), [0])
    found = of_arm(one, "mean_iou")
    draws = np.random.default_rng(3).integers(IMAGES, size=(2000, IMAGES))
    values = [METRICS["mean_iou"].value(rows[i]) for i in draws]
    assert found and found.over == "test images"
    assert found.width == pytest.approx(2 * 1.96 * np.std(values), rel=0.12)


def test_what_an_interval_is_over_is_named_where_images_belong_together(
    fake: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("groups")
    paths = [run(fake, root, arm, seed, groups=12) for arm in LEVELS for seed in range(2)]
    report = build(read_runs(paths), {"arms": list(LEVELS), "seeds": 2, "data": "street scenes", "budget": None})
    row, d = report.row("simclr"), next(d for d in report.differences if d.family == "primary")
    assert row and row.interval and row.interval.grouped and row.interval.items == 12
    assert d.interval and over(d.interval) == "over 2 seeds and 12 groups of test images"
    assert intervals(report).endswith("over 2 seeds and 12 groups of test images")
    assert over_text(row.interval, 2) == "over 2 seeds and 12 groups of test images"
    assert "and 12 test images" not in report.text() and "now 12 test images" not in report.text()


def test_no_form_speaks_of_accuracy(made: tuple[list[Any], Report, Path]) -> None:
    _, report, folder = made
    page = (folder / "report.html").read_text(encoding="utf-8")
    shown = html.unescape(re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL))
    for text in (shown, (folder / "report.md").read_text(), (folder / "report.tex").read_text()):
        assert "mean IoU" in text
        found = re.search(r"(?<!pixel )accurac|classified|labels? per class|/class", text, re.IGNORECASE)
        assert not found, text[found.start() - 80 : found.end() + 40]
    for words in (shown, (folder / "report.md").read_text().split("## Words")[1]):
        assert "How many of 100 labelled pixels" in words and "How many of 100 test images" not in words
    assert "pixel accuracy is mostly about the largest class" in shown
    assert "bootstrap over test images, with seeds" in shown and "analysis of variance" not in shown
    assert "5 labelled images" in shown and "percentage points of test mean IoU" in report.verdict.headline


def test_each_class_has_its_own_figure_beside_the_mean(made: tuple[list[Any], Report, Path]) -> None:
    _, report, folder = made
    row = report.row("simclr")
    assert row and list(row.components) == NAMES
    # the mean over classes of what is a mean over draws and seeds is the table's mean
    assert np.mean(list(row.components.values())) == pytest.approx(row.mean)
    assert row.components["road"] > row.components["pole|x"]
    page, text = (folder / "report.html").read_text(encoding="utf-8"), (folder / "report.md").read_text()
    assert "IoU per class (4 classes)" in page and "## IoU per class, % (5 labelled images)" in text
    assert re.search(rf"\| sky \|[^\n]*\b{100 * row.components['sky']:.1f}\b", text) and "pole\\|x" in text


def test_it_is_explained_and_claimed_like_any_other(made: tuple[list[Any], Report, Path]) -> None:
    runs, report, folder = made
    for key in ("simclr.segment@5i", "simclr.segment@5i - scratch.segment@5i", "verdict"):
        found = explain(key, folder / "report.json")
        assert found["agrees"] is True, found
    assert "mean IoU, percent" in " ".join(explain("simclr.segment@5i", folder / "report.json")["how"])
    for key, method in (
        ("simclr.segment@5i", "(bootstrap over test images, with seeds, Wilson's form)"),
        ("simclr.segment@5i - scratch.segment@5i", "(bootstrap over test images, with seeds)"),
    ):
        text = " ".join(explain(key, folder / "report.json")["how"])
        assert f"Interval {method}, 95%" in text and "analysis of variance" not in text
    assert explain("simclr.segment@5i", folder / "report.json")["files"][0]["key"] == (
        "scores[probe=segment, images_labelled=5].mean_iou"
    )
    holds, line = check("simclr.segment@5i > scratch.segment@5i + 5", report, cells(runs))
    assert holds and "over 3 seeds and 60 test images" in line
    changed = json.loads((folder / "report.json").read_text())
    assert Report.model_validate(changed).as_json() == changed
