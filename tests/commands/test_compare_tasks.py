"""Comparisons of clips, boxes, defects and fakes from a folder to the model, in the words of each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gssl.commands import compare, export, inspect, predict, pretrain_ssl
from gssl.config.composing import compose
from gssl.config.folder import expanded
from gssl.engine.files import read_json
from gssl.errors import UsageError
from tests.data import films, sets

pytestmark = pytest.mark.long


def clips(root: Path) -> list[str]:
    """Twelve films of three groups in each part."""
    for part in ("train", "test"):
        for c, label in enumerate(("left", "right")):
            for i in range(6):
                frames = films.moving(start=i, seed=i + 50 * (part == "test"))
                films.folder(root / part / label / f"{part}{i % 3}_{i}", frames[::-1] if c == 0 else frames)
    groups = ["data.groups='{group}_*'", "images_labelled=[2]", "data.size=16", "probe.linear.l2_count=2"]
    return [*groups, "arms=[neighbours,random,pixels]", "+overrides.neighbours=['ssl.batch_size=8']"]


def boxes(root: Path) -> list[str]:
    sets.boxes(root, 10, 6)
    steps = ["probe.detect.steps=2", "probe.finetune.steps=2", "probe.finetune.lrs=[0.001]", "probe.finetune.folds=2"]
    few = ["data.size=[24,32]", "images_labelled=[4]", "probe.finetune.boxes.channels=8"]
    return [*steps, *few, "arms=[simclr,random,position]", "+overrides.simclr=['ssl.batch_size=8']"]


def defects(root: Path) -> list[str]:
    sets.defects(root, 10, 5)
    few = ["data.size=32", "probe.anomaly.bank=20", "probe.anomaly.patches=100", "probe.anomaly_gaussian.channels=6"]
    return [*few, "arms=[simclr,random,pixels]", "+overrides.simclr=['ssl.batch_size=8']"]


def fakes(root: Path) -> list[str]:
    random = np.random.default_rng(0)
    for folder, bright in (("real", 0), ("fake/a", 30), ("fake/b", 50)):
        (root / folder).mkdir(parents=True)
        for i in range(24):
            pixels = np.clip(random.normal(100 + bright, 12, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i:02}.png")
    few = ["data.size=16", "labels_per_class=[3]", "probe.linear.l2_count=2", "probe.use=[linear]"]
    return [*few, "arms=[simclr,random,pixels]", "+overrides.simclr=['ssl.batch_size=8']"]


def run(make: Callable[[Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Path:
    monkeypatch.setattr("gssl.metrics.tsne.ROUNDS", 250)
    words = make(tmp_path / "set")
    words += ["seeds=1", "budget.steps=2", "draws=1", "backbone.width=8", "eval.milestones=1"]
    words += ["generation.images=0", "engine.threads=1", "engine.device=cpu", "engine.progress=false", "jobs=1"]
    texts, _ = expanded("compare", [str(tmp_path / "set"), *words, f"parts={tmp_path / 'parts'}", *more], "folder")
    cfg = compose("compare", texts)
    compare.main(cfg, tmp_path / "run")
    return tmp_path / "run"


TASKS: dict[str, tuple[Callable[[Path], list[str]], dict[str, Any]]] = {
    "action": (clips, {"say": "2 labelled groups", "not": "test image", "learned": 24}),
    "detection": (boxes, {"say": "4 labelled images", "not": "test clip", "learned": 16}),
    "anomaly": (defects, {"say": "test images", "not": "labelled image", "learned": 10}),
    "fake": (fakes, {"say": "3 labels per class", "not": "test clip", "learned": 72}),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_becomes_a_report_and_a_model(task, tmp_path, monkeypatch, inline):
    make, about = TASKS[task]
    found = run(make, tmp_path, monkeypatch)
    report, result = read_json(found / "report.json"), read_json(found / "result.json")
    assert report["primary"]["task"] == task and not report["failed"] and not report["missing"]
    page, text = (found / "report.html").read_text(), (found / "report.md").read_text()
    said = text.split("## The command")[0]
    assert about["say"] in said and about["not"] not in said and about["say"] in page
    card = (found / "model" / "README.md").read_text()
    assert result["model"]["images"] == about["learned"] and "None" not in card
    folder = {"action": "set/test", "anomaly": "set/test", "fake": "set/real", "detection": "set/images/test"}[task]
    made = predict.predict(found, tmp_path / folder, tmp_path / "out.csv", "cpu")
    assert made["images"] == {"action": 12, "anomaly": 10, "fake": 24, "detection": 6}[task]
    written = export.export(found, tmp_path / "model.onnx", "onnx")
    assert written["check"]["relative"] < 1e-4 and (tmp_path / "model.onnx").is_file()


@pytest.mark.parametrize("task", TASKS)
def test_what_a_network_has_learned_of_it_is_shown(task, tmp_path):
    """A map of the rows that a run validates on, and their neighbours."""
    words = TASKS[task][0](tmp_path / "set")
    words = [word for word in words if word.startswith(("data.", "ssl."))]
    kind = {"action": "video"}.get(task, task)
    held = ["data.held_out=[b]"] if task == "fake" else []
    small = ["budget.steps=2", "ssl.batch_size=8", "backbone.width=8", "eval.images=2", "engine.threads=1"]
    own = [f"data={kind}", f"data.root={tmp_path / 'set'}", "data.val_fraction=0.6", *held]
    cfg = compose("pretrain-ssl", [*own, *words, *small, "engine.device=cpu", "engine.progress=false"])
    pretrain_ssl.main(cfg, tmp_path / "run")
    said = inspect.inspect(tmp_path / "run", tmp_path / "pictures")
    assert {"map.png", "neighbours.png"} <= {path.name for path in (tmp_path / "pictures").iterdir()}
    assert said["images"] >= 5 and (task in ("anomaly", "detection") or said["same_class"] is not None)


def test_nothing_is_searched_where_nothing_can_be_validated(tmp_path, monkeypatch, inline):
    space = ["search.trials=1", "+search.space.simclr=['ssl.temperature=0.1,0.2']"]
    with pytest.raises(UsageError, match="search.trials: validation images of data=anomaly"):
        run(defects, tmp_path, monkeypatch, *space)
