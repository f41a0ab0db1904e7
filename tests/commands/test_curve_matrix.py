"""Classes and masks in one call: each target by its own probe and metric, and gains of all of them in one picture."""

import json

import numpy as np
import pytest
from PIL import Image

from gssl.cli import result_table
from gssl.commands import curve, transfer
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.statistics.metric import METRICS, replicates
from tests.probe.test_segment import CLASSES, rectangles

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder with train/ (8) and test/ (8) of images and masks."""
    root = tmp_path_factory.mktemp("matrix") / "scenes"
    for part, seed in (("train", 0), ("test", 1)):
        made = rectangles(8, seed)
        for kind, rows in (("images", made.store.pixels), ("masks", made.masks)):
            (root / part / kind).mkdir(parents=True)
            for i, row in enumerate(np.asarray(rows)):
                Image.fromarray(row).save(root / part / kind / f"{i:02}.png")
    (root / "classes.json").write_text(json.dumps({"names": CLASSES, "ignore": 255}))
    return root


@pytest.fixture
def both(tiny, pictures, scenes):
    def make(*words, command="curve", size="?size=[24,32]"):
        few = ["labels_per_class=[5]", "images_labelled=[3]", "probe.segment.positions=600", "probe.segment.l2_count=2"]
        few += ["probe.finetune.masks.crop=16", "probe.finetune.masks.channels=8", "probe.finetune.draws=2"]
        return tiny(command, *few, f'to=[{pictures}/,"{scenes}/{size}"]', *words)

    return make


def test_two_tasks_in_one_picture(both, tmp_path, capsys):
    run = tmp_path / "run"
    curve.main(both("sources=[pca,random,scratch]", "probe.use=[linear]"), run)
    text = read_json(run / "curve.json")
    assert {(c["source"], c["target"], c["probe"], c["metric"], c["label_budget"]) for c in text["cells"]} == {
        (source, target, probe, metric, budget)
        for source, target, probe, metric, budgets in (
            ("pca", "pictures0", "linear", "accuracy", ("5", "all")),
            ("random", "pictures0", "linear", "accuracy", ("5", "all")),
            ("scratch", "pictures0", "finetune", "accuracy", ("5", "all")),
            ("random", "scenes", "segment", "mean_iou", ("3i", "all")),
            ("scratch", "scenes", "finetune", "mean_iou", ("3i", "all")),
        )
        for budget in budgets
    }
    assert text["left_out"] == {"pca on scenes": "it has no features for segmentation"} and text["failed"] == {}
    tasks = {name: (t["task"], t["baseline"], t["size"]) for name, t in text["targets"].items()}
    assert tasks == {
        "pictures0": ("classification", "scratch", 16),
        "scenes": ("segmentation", "scratch", [24, 32]),
    }
    shown = [(c["target"], c["probe"], c["label_budget"], c["unit"], c["direction"]) for c in text["matrix"]]
    assert shown == [
        ("pictures0", "linear", "5", "fraction", "max"),
        ("pictures0", "linear", "all", "fraction", "max"),
        ("scenes", "segment", "3i", "fraction", "max"),
        ("scenes", "segment", "all", "fraction", "max"),
    ]
    gains = {(c["source"], c["target"], c["label_budget"]): c for c in text["cells"] if c["gain"] is not None}
    assert {key[:2] for key in gains} == {("pca", "pictures0"), ("random", "pictures0"), ("random", "scenes")}
    _is_paired(run, gains["random", "scenes", "all"])

    table = (run / "table.md").read_text()
    one = gains["random", "scenes", "3i"]
    assert f"{100 * one['gain']:+.1f} (".replace("-", "−") in table and "## scenes: test mean IoU, %" in table
    assert "## pictures0: test accuracy, %" in table and "| principal components |" in table
    result = read_json(run / "result.json")
    assert result["report"] == str(run / "matrix.png") and set(result["test_openings"].values()) == {1}
    for name in ("matrix.png", "curve.png"):
        picture = np.asarray(Image.open(run / name).convert("L"))
        assert picture.size > 1e5 and picture.std() > 10
    said = capsys.readouterr().err
    assert "scenes: segmentation by linear probe on dense features; label budgets: 3 labelled images, all" in said
    result_table.print_result(run, result)
    shown = capsys.readouterr().out
    assert "mean IoU" in shown and "accuracy" in shown
    json.dumps(text, allow_nan=False)


def _is_paired(run, cell):
    """A gain with one draw: the same resamples of the test images on both sides, computed here from the parts."""
    stats = {}
    for source, probe in (("random", "segment"), ("scratch", "finetune")):
        part = run / "parts" / f"{source}-scenes"
        scores = read_json(part / "result.json")["scores"]
        (row,) = (i for i, s in enumerate(scores) if s["probe"] == probe and s["fraction"] == 1)
        with np.load(part / "predictions.npz") as found:
            stats[source] = found["stats"][row]
    metric = METRICS["mean_iou"]
    assert cell["gain"] == pytest.approx(metric.value(stats["random"]) - metric.value(stats["scratch"]))
    both = replicates(stats["random"], metric) - replicates(stats["scratch"], metric)
    assert (cell["gain_low"], cell["gain_high"]) == pytest.approx(tuple(np.nanquantile(both, [0.025, 0.975])))
    assert cell["gain_over"] == "scratch" and cell["gain_interval"] == "bootstrap over test images"


def test_what_a_target_refuses_names_it_before_anything_runs(both, tmp_path):
    with pytest.raises(UsageError, match=r"^scenes: images_labelled: 30 asked for, but there are"):
        curve.main(both("sources=[random]", "images_labelled=[30]"), tmp_path / "run")
    with pytest.raises(UsageError, match="to: scenes: .*nothing of pca"):
        transfer.main(both("weights=pca", command="transfer"), tmp_path / "run")
    assert not list(tmp_path.rglob("status.json"))


def test_five_kinds_of_tasks_in_one_picture(tiny, pictures, scenes, tmp_path):
    pytest.importorskip("av")
    from tests.data import films
    from tests.data.test_anomaly import mvtec
    from tests.data.test_detection import coco

    cells, tiles, clips = coco(tmp_path / "cells"), mvtec(tmp_path / "tiles"), films.set_of_films(tmp_path / "clips")
    few = ["labels_per_class=[5]", "images_labelled=[3]", "draws=1", "probe.segment.positions=600"]
    few += ["probe.segment.l2_count=2", "probe.finetune.masks.crop=16", "probe.finetune.masks.channels=8"]
    few += ["probe.anomaly.bank=20", "probe.anomaly.patches=100", "probe.anomaly_gaussian.channels=4"]
    to = [
        f"{pictures}/",
        f'"{scenes}/?size=[24,32]"',
        f'"{cells}/?size=32"',
        f'"{tiles}/?size=32"',
        f'"{clips}/?size=16"',
    ]
    run = tmp_path / "run"
    words = [*few, "sources=[random,pixels,scratch]", f"to=[{','.join(to)}]", "probe.detect.steps=4"]
    curve.main(tiny("curve", *words), run)
    text = read_json(run / "curve.json")
    kinds = {name: own["task"] for name, own in text["targets"].items()}
    assert list(kinds.values()) == ["classification", "segmentation", "detection", "anomaly", "action"]
    assert text["failed"] == {} and text["left_out"].keys() == {"scratch on tiles", "scratch on clips"}
    over = {name: own["baseline"] for name, own in text["targets"].items()}
    assert [over[name] for name in kinds] == ["scratch"] * 3 + ["random"] * 2
    shown = [(own["target"], own["probe"]) for own in text["matrix"][::2]]
    probes = ["linear", "segment", "detect", "anomaly", "adapted"]
    assert shown == list(zip(kinds, probes, strict=True)) and len(text["matrix"]) == 10
    assert sum(cell["gain"] is not None for cell in text["cells"] if cell["probe"] in probes) == 16
    with Image.open(run / "matrix.png") as picture:
        assert picture.width > 2 * picture.height
