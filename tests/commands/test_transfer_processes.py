"""Boxes, anomalies and clips by two processes: what one process says."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.engine.files import read_json
from tests.data import films
from tests.probe.test_boxes import CLASSES, rectangles

pytestmark = pytest.mark.long


def boxes(root: Path) -> list[str]:
    for part, n, seed in (("train", 8, 0), ("test", 4, 1)):
        made = rectangles(n, seed)
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for i, (pixels, own) in enumerate(zip(made.store.pixels, made.boxes, strict=True)):
            Image.fromarray(pixels).save(root / "images" / part / f"{i}.png")
            rows = [f"{int(c)} {(a + x) / 64} {(b + y) / 48} {(x - a) / 32} {(y - b) / 24}" for a, b, x, y, c, _ in own]
            (root / "labels" / part / f"{i}.txt").write_text("\n".join(rows))
    (root / "data.yaml").write_text(f"names: [{', '.join(CLASSES)}]")
    steps = ["probe.detect.steps=4", "probe.finetune.steps=4", "probe.finetune.boxes.channels=8"]
    return ["data=detection", "data.size=[24,32]", "probe.use=[detect,finetune]", "images_labelled=[4]", *steps]


def anomalies(root: Path) -> list[str]:
    random = np.random.default_rng(0)
    for folder, count in (("train/good", 6), ("test/good", 3), ("test/spot", 3)):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(100, 140, (32, 32, 3), dtype=np.uint8)
            pixels[: 8 * folder.endswith("spot")] = 20
            Image.fromarray(pixels).save(root / folder / f"{i}.png")
    few = ["probe.anomaly.bank=20", "probe.anomaly.patches=100", "probe.anomaly_gaussian.channels=6"]
    return ["data=anomaly", "data.size=32", *few]


def clips(root: Path) -> list[str]:
    for part in ("train", "test"):
        for c, label in enumerate(("left", "right")):
            for i in range(4):
                frames = films.moving(start=i, seed=i + 50 * (part == "test"))
                films.folder(root / part / label / str(i), frames[::-1] if c == 0 else frames)
    probes = ["probe.use=[action_motion,action_order]", "probe.linear.l2_count=2"]
    return ["data=video", "data.size=16", "images_labelled=[4]", *probes]


@pytest.mark.parametrize("make", [boxes, anomalies, clips])
def test_two_processes_say_what_one_says(make: Callable[[Path], list[str]], tmp_path: Path) -> None:
    words = ["transfer", "weights=random", f"data.root={tmp_path / 'set'}", "backbone.width=8", "draws=1"]
    words += ["engine.threads=1", "engine.device=cpu", "engine.progress=false", "diagnose.pictures=false"]
    words += make(tmp_path / "set")
    found = []
    for processes in (1, 2):
        path = tmp_path / str(processes)
        subprocess.run(
            [sys.executable, "-m", "gssl", *words, f"engine.processes={processes}", f"hydra.run.dir={path}"],
            check=True, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE,
        )  # fmt: skip
        found.append(read_json(path / "result.json"))
    one, two = found
    for mine, other in zip(one["scores"], two["scores"], strict=True):
        assert (mine["probe"], mine["chosen"]) == (other["probe"], other["chosen"])
        assert other["metrics"] == pytest.approx(mine["metrics"], abs=0.02)  # of float32 sums in another order
    assert two["test_openings"] == 1
