"""Boxes, anomalies and clips by two processes: what one process says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data import films, sets
from tests.engine.several import by_one_and_two

pytestmark = pytest.mark.long


def boxes(root: Path) -> list[str]:
    sets.boxes(root, 8, 4)
    steps = ["probe.detect.steps=4", "probe.finetune.steps=4", "probe.finetune.boxes.channels=8"]
    return ["data=detection", "data.size=[24,32]", "probe.use=[detect,finetune]", "images_labelled=[4]", *steps]


def anomalies(root: Path) -> list[str]:
    sets.defects(root, 6, 3)
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
    words += ["diagnose.pictures=false", *make(tmp_path / "set")]
    one, two = by_one_and_two(words, tmp_path)
    for mine, other in zip(one["scores"], two["scores"], strict=True):
        assert (mine["probe"], mine["chosen"]) == (other["probe"], other["chosen"])
        assert other["metrics"] == pytest.approx(mine["metrics"], abs=0.02)  # of float32 sums in another order
