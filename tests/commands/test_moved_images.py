"""A run's images are found from every working directory, and where they were moved to: data.root=FOLDER."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import train_gan
from gssl.config.composing import compose


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(home, run): a GAN that was trained in `home` on photos/, a relative path."""
    home = tmp_path_factory.mktemp("home")
    draws = np.random.default_rng(0)
    for label in "ab":
        (home / "photos" / label).mkdir(parents=True)
        for i in range(30):
            pixels = draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(home / "photos" / label / f"{i}.png")
    before = os.getcwd()
    os.chdir(home)
    try:
        words = ["data=imagefolder", "data.root=photos", "data.size=16", "backbone.width=8", "budget.steps=1"]
        words += ["gan=dcgan", "evaluator=random", "engine.progress=false", "engine.device=cpu", "eval.milestones=1"]
        words += ["data.test=split", "data.val_fraction=0.3"]
        cfg = compose("train-gan", words)
        run = home / "run"
        run.mkdir()
        train_gan.main(cfg, run)
    finally:
        os.chdir(before)
    return home, run


def invoke(*words):
    ended = CliRunner().invoke(app, [str(word) for word in words])
    assert not ended.exception or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.output


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_another_directory(trained, elsewhere):
    code, said = invoke("evaluate", trained[1], "--evaluator", "random", "-o", elsewhere / "e.json", "--device", "cpu")
    assert code == 0, said


@pytest.mark.long
def test_after_a_move(trained, elsewhere):
    home, run = trained
    shutil.move(home / "photos", elsewhere / "moved")
    try:
        asked = ("evaluate", run, "--evaluator", "random", "-o", elsewhere / "e.json", "--device", "cpu")
        code, said = invoke(*asked)
        assert code == 2 and f"{home}/photos is not a folder" in said and "data.root=FOLDER" in said
        code, said = invoke(*asked, "data.root=moved")
        assert code == 0, said
        code, said = invoke("inspect", run, "data.root=moved", "-o", elsewhere / "pictures", "--device", "cpu")
        assert code == 0, said
        (elsewhere / "moved/a/0.png").unlink()
        code, said = invoke(*asked, "data.root=moved")
        assert code == 2 and "are not those that it was trained on" in said
    finally:
        shutil.move(elsewhere / "moved", home / "photos")


@pytest.mark.parametrize("words", [["data.size=3"], ["data.root="], ["data.root=a", "data.root=b"], ["photos"]])
def test_other_overrides_are_refused(trained, words):
    for command in ("evaluate", "inspect"):
        code, said = invoke(command, trained[1], *words)
        assert code == 2 and "expected data.root=FOLDER alone" in said
