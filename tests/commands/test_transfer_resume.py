"""A transfer run that was killed while it fine-tuned ends as if it had not been."""

import numpy as np
import pytest

from gssl.commands import transfer
from gssl.engine.files import read_json, sha256
from tests.engine.test_fits import Killed, die_at, kill

# finetune: 4 steps on each of 2 folds and on all images of 2 label budgets, fixmatch 3 steps in the same places
WORDS = ["weights=random", "probe.use=[finetune,fixmatch,linear]", "labels_per_class=[5]", "fractions=[1.0]"]
WORDS += ["probe.finetune.folds=2", "probe.finetune.points=2", "engine.checkpoint_every=2", "engine.resume=auto"]


def found(run):
    result = read_json(run / "result.json")
    curves = [[(p["step"], p["val_accuracy"]) for p in c["points"]] for c in result["learning_curves"]]
    with np.load(run / "predictions.npz") as arrays:
        raw = {name: arrays[name].tobytes() for name in arrays}
    return result["scores"], curves, raw, sha256(run / "weights" / "finetuned.safetensors")


@pytest.mark.parametrize("count", [3, 8, 20, pytest.param(28, marks=pytest.mark.long)])
def test_a_killed_transfer_goes_on_to_the_same_bits(tiny, tmp_path, monkeypatch, count):
    cfg = tiny("transfer", *WORDS)
    with monkeypatch.context() as patch:
        steps = die_at(patch, 0, kill)
        transfer.main(cfg, tmp_path / "whole")
    with monkeypatch.context() as patch:
        die_at(patch, count, kill)
        with pytest.raises(Killed):
            transfer.main(cfg, tmp_path / "broken")
    assert (tmp_path / "broken" / "finetune").is_dir()
    with monkeypatch.context() as patch:
        made = die_at(patch, 0, kill)
        transfer.main(cfg, tmp_path / "broken")
    assert len(made) <= len(steps) - (count - 1) + 1  # at most the one step since the checkpoint is made again
    assert found(tmp_path / "broken") == found(tmp_path / "whole")
    for name in ("whole", "broken"):
        assert not (tmp_path / name / "finetune").exists()
