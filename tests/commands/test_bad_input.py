"""What a user may get wrong with transfer: one line on stderr, exit code 2, nothing left behind, nothing run."""

import os
import shutil

import pytest
import torch
from typer.testing import CliRunner

from gssl import schemas
from gssl.cli import app
from gssl.nets.backbone import build_backbone
from gssl.nets.weights import save_weights


class Bomb:
    """Pickled as a call of os.mkdir."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def files(tmp_path, pictures):
    """The bad things by name, in a working directory of their own."""
    text = tmp_path / "model.pth"
    text.write_text("hello, I am no checkpoint")
    torch.manual_seed(0)
    wide = build_backbone(schemas.Backbone(name="convnet", norm="batch", width=12, patch=1), 16)
    save_weights(wide, tmp_path / "wide.safetensors")
    torch.save({"state_dict": wide.state_dict(), "bomb": Bomb(tmp_path / "ran")}, tmp_path / "code.pth")
    shutil.copytree(pictures / "train" / "a", tmp_path / "single" / "a")
    shutil.copytree(pictures / "train" / "a", tmp_path / "two" / "train" / "a")
    return tmp_path


CASES = {
    "no checkpoint": ("weights={here}/model.pth", "model.pth"),
    "other shapes": ("weights={here}/wide.safetensors", "blocks.0.0.weight is (12, 3, 3, 3) in the file, (8"),
    "code in a pickle": ("weights={here}/code.pth", "never run"),
    "no such file": ("weights={here}/none.pth", "no such file"),
    "a folder that is no run": ("weights={here}/single", "not a run directory"),
    "one class": ("weights=random data.root={here}/single data.test=split", "1 class"),
    "one class over folds": ("weights=random data.root={here}/single", "1 class"),
    "fewer labels than classes": ("weights=random labels_per_class=[] fractions=[0.01]", "fewer labels than the 3"),
    "more labels than there are": ("weights=random labels_per_class=[41]", "smallest class has 40"),
    "more shots than there are": ("weights=random probe.use=[fewshot] probe.fewshot.shots=[41]", "probe.fewshot.shots"),
    "no labels at all": ("weights=random fractions=[0]", "fractions: expected"),
    "more than all labels": ("weights=random fractions=[1.5]", "fractions: expected"),
    "no labels per class": ("weights=random labels_per_class=[0]", "labels_per_class: expected"),
    "pixels cannot be trained": ("weights=pixels probe.use=[fixmatch]", "fixmatch needs a network"),
    "pixels have no stages": ("weights=pixels probe.use=[linear_multilayer]", "linear_multilayer needs a network"),
    "an unknown probe": ("weights=random probe.use=[linaer]", "did you mean 'linear'"),
    "an unknown target": ("weights=random to=[svnh]", "to: svnh"),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (i % 3 > 0)) for i, name in enumerate(CASES)]
)
def test_one_line_exit_2_and_nothing_left(name, files, pictures, monkeypatch):
    monkeypatch.chdir(files)
    words, message = CASES[name]
    given = words.format(here=files).split()
    base = ["data=imagefolder", "data.size=16", "backbone.width=8", "engine.device=cpu", "engine.progress=false"]
    if "labels_per_class" not in words:
        base.append("labels_per_class=[5]")
    if not any(word.startswith("data.root=") for word in given):
        base.append(f"data.root={pictures}")
    before = sorted(files.rglob("*"))
    done = CliRunner().invoke(app, ["transfer", *base, *given])
    assert done.exit_code == 2, done.output + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0], done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert sorted(files.rglob("*")) == before
    assert not (files / "ran").exists()
