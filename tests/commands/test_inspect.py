"""`gssl inspect`: two pictures of the validation split, with and without labels."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import pretrain_ssl
from gssl.commands.inspect import inspect, nearest
from gssl.config.composing import compose
from gssl.data.splits import Splits
from gssl.errors import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory, pictures):
    root = tmp_path_factory.mktemp("inspected")
    shutil.copytree(pictures, root / "photos")
    words = ["data=imagefolder", f"data.root={root / 'photos'}", "data.size=16", "backbone.width=8"]
    words += ["ssl.batch_size=16", "budget.steps=2", "engine.progress=false", "engine.device=cpu"]
    pretrain_ssl.main(compose("pretrain-ssl", words), root / "run")
    return root / "run"


def test_both_pictures_of_validation_images_only(run, tmp_path, monkeypatch):
    def opened(self):
        raise AssertionError("the test set was opened")

    monkeypatch.setattr(Splits, "open_test", opened)
    found = inspect(run, tmp_path / "pictures", images=20)
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["map.png", "neighbours.png"]
    assert 0 <= found["same_class"] <= 1
    with Image.open(tmp_path / "pictures" / "neighbours.png") as picture:
        assert picture.width == 11 * (2 * 16 + 4 + 2) - 2  # the image and ten neighbours, each in a frame


def test_nearest_is_by_cosine():
    bank = np.array([[1.0, 0.0], [10.0, 10.0], [0.0, 0.1], [-1.0, 0.0]])
    assert nearest(np.array([[0.0, 5.0], [3.0, 0.1]]), bank).tolist() == [[2, 1, 0, 3], [0, 1, 2, 3]]


def test_images_without_labels(pictures, tmp_path):
    shutil.copytree(pictures / "train" / "a", tmp_path / "all")
    words = [
        "data=imagefolder",
        f"data.pretrain={tmp_path / 'all'}",
        "data.val_fraction=0.5",
        "data.size=16",
        "backbone.width=8",
    ]
    words += ["ssl.batch_size=16", "budget.steps=2", "engine.progress=false", "engine.device=cpu"]
    pretrain_ssl.main(compose("pretrain-ssl", words), tmp_path / "run")
    found = inspect(tmp_path / "run", tmp_path / "pictures")
    assert found["same_class"] is None and (tmp_path / "pictures" / "map.png").is_file()


def test_mistakes_are_one_line_and_leave_nothing(run, tmp_path):
    (tmp_path / "file").write_text("")
    for words in ([str(tmp_path / "none")], [str(run), "-o", str(tmp_path / "file")]):
        result = CliRunner().invoke(app, ["inspect", *words])
        assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_other_images_are_refused(run, tmp_path):
    photos = run.parent / "photos"
    spare = tmp_path / "spare.png"
    shutil.move(photos / "train" / "a" / "000.png", spare)
    try:
        with pytest.raises(UsageError, match="not those"):
            inspect(run, tmp_path / "pictures")
        assert not (tmp_path / "pictures").exists()
    finally:
        shutil.move(spare, photos / "train" / "a" / "000.png")


def test_the_answer_as_json(run, tmp_path):
    result = CliRunner().invoke(app, ["inspect", str(run), "-o", str(tmp_path / "p"), "-n", "20", "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["files"] == ["neighbours.png", "map.png"]


def test_two_runs_are_compared_by_their_stages(run, tmp_path, monkeypatch):
    def opened(self):
        raise AssertionError("the test set was opened")

    monkeypatch.setattr(Splits, "open_test", opened)
    words = ["data=imagefolder", f"data.root={run.parent / 'photos'}", "data.size=8", "backbone.width=4", "seed=1"]
    words += ["ssl.batch_size=16", "budget.steps=1", "engine.progress=false", "engine.device=cpu"]
    pretrain_ssl.main(compose("pretrain-ssl", words), tmp_path / "other")
    words = [str(run), "-o", str(tmp_path / "p"), "-n", "20", "--json", "--against"]
    result = CliRunner().invoke(app, ["inspect", *words, str(tmp_path / "other")])
    assert json.loads(result.stdout)["files"] == ["neighbours.png", "map.png", "cka.png"]
    assert "on other images than" not in result.stderr
    found = json.loads(result.stdout)["cka"]
    assert found["against"] == str(tmp_path / "other") and found["method"] == "simclr"
    assert np.shape(found["stages"]) == (4, 4) and 0.001 < np.diag(found["stages"]).max() < 0.999
    assert (tmp_path / "p" / "cka.png").is_file()
    result = CliRunner().invoke(app, ["inspect", *words, str(tmp_path / "none")])
    assert result.exit_code == 2 and "no such run directory" in result.stderr and len(result.stderr.splitlines()) == 1


def test_too_few_clips_are_said_so(tmp_path):
    pytest.importorskip("av")
    from tests.data import films

    films.set_of_films(tmp_path / "films", per_class=4)
    words = ["data=video", f"data.root={tmp_path / 'films'}", "data.size=16", "data.val_fraction=0.3"]
    words += ["backbone.width=8", "ssl.batch_size=8", "budget.steps=1", "engine.progress=false", "engine.device=cpu"]
    pretrain_ssl.main(compose("pretrain-ssl", words), tmp_path / "run")
    with pytest.raises(UsageError, match=r"its validation split has \d clips?, a map needs 5 or more"):
        inspect(tmp_path / "run", tmp_path / "pictures")
