"""A folder as the first word: what it stands for, what the user's words change, and what is refused."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from gssl.cli import app
from gssl.config import folder
from gssl.config.composing import compose
from gssl.errors import UsageError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder, "installed", lambda name: False)
    for name, count in (("cat", 20), ("dog", 25)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (32, 32), (i, 0, 0)).save(tmp_path / "photos" / name / f"{i}.png")
    return "photos"


def expanded(*texts, command="compare", preset="folder"):
    return folder.expanded(command, list(texts), preset)


def test_a_folder_is_a_comparison_of_it(photos):
    texts, found = expanded(photos)
    assert found[0] == "photos: 45 images in 2 class folders (cat 20, dog 25)"
    assert "pip install 'gssl[lite0]'" in found[1]
    cfg = compose("compare", texts)
    assert (cfg.data.name, cfg.data.root, cfg.data.size) == ("imagefolder", "photos", 32)
    assert (cfg.minutes, cfg.seeds, cfg.labels_per_class, cfg.fractions) == (30, 6, [10], [1.0])
    assert cfg.arms == ["simclr", "dcgan", "scratch", "random", "pixels", "majority"] and cfg.jobs >= 1
    quick = compose("compare", expanded(photos, preset="try")[0])
    assert quick.minutes < 10 and quick.seeds < cfg.seeds and quick.generation.images == 0


def test_a_ready_made_network_and_the_same_continued_take_part_where_it_is_installed(photos, monkeypatch):
    monkeypatch.setattr(folder, "installed", lambda name: True)
    arms = compose("compare", expanded(photos)[0]).arms
    assert {"efficientnet_lite0", "simclr-from-efficientnet_lite0"} < set(arms)


@pytest.mark.long
def test_what_the_user_writes_wins(photos):
    texts, _ = expanded(
        photos, "arms=[simclr,random]", "labels_per_class=[5]", "jobs=1", "data.pretrain=null", "seeds=4"
    )
    cfg = compose("compare", texts)
    assert (cfg.arms, cfg.labels_per_class, cfg.jobs, cfg.seeds) == (["simclr", "random"], [5], 1, 4)
    cfg = compose("compare", expanded(photos, "budget.steps=5")[0])
    assert cfg.minutes is None and cfg.budget.steps == 5
    cfg = compose("compare", expanded(photos, "experiment=smoke")[0])
    assert cfg.minutes is None and cfg.seeds == 1 and cfg.data.root == "photos" and cfg.arms[0] == "simclr"


def test_few_labels_ask_for_fewer_per_class(photos, tmp_path):
    for i in range(10, 20):
        (tmp_path / "photos/cat" / f"{i}.png").unlink()
    assert compose("compare", expanded(photos)[0]).labels_per_class == [5]


def test_other_commands_take_a_folder_too(photos, tmp_path):
    assert expanded(photos, "seed=1", command="transfer")[0] == ["data=imagefolder", "data.root=photos", "seed=1"]
    (tmp_path / "loose").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "loose/a.png")
    assert expanded("loose", command="pretrain-ssl")[0] == ["data=imagefolder", "data.root=loose"]
    with pytest.raises(UsageError, match="1 images and no labels"):
        expanded("loose", command="transfer")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["photo"], "photo: there is no such folder; expected a folder of images, or key=value"),
        (["photos", "photos"], "one folder of images at a time"),
        (["photos", "data=cifar10"], "photos and data= both say which images"),
        (["photos", "data.root=others"], "photos and data.root= both say which images"),
    ],
)
def test_what_makes_no_sense_is_refused(photos, words, said):
    with pytest.raises(UsageError, match=said):
        expanded(*words)


def test_minutes_and_a_budget_exclude_each_other():
    with pytest.raises(UsageError, match="minutes: chooses budget.flops, and budget.steps is given"):
        compose("compare", ["minutes=5", "budget.steps=9"])


@pytest.mark.long
def test_the_commands_say_what_they_found_and_try_needs_a_folder(photos, tmp_path):
    done = CliRunner().invoke(app, ["compare", photos, "--minutes", "3", "--cfg", "job", "--json"])
    assert done.exit_code == 0 and '"minutes": 3.0' in done.stdout
    assert "found: photos: 45 images in 2 class folders" in done.stderr
    done = CliRunner().invoke(app, ["try"])
    assert done.exit_code == 2 and "try: needs a folder of images, such as gssl try photos/" in done.stderr
    done = CliRunner().invoke(app, ["try", photos, "--cfg", "job", "--json"])
    assert '"minutes": 4.0' in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]  # nothing else was made


def picture(path, *more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32)).save(path, **({"save_all": True, "append_images": list(more)} if more else {}))


def boxes(root):
    for i in range(3):
        picture(root / "images" / "train" / f"{i}.png")
        (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (root / "labels" / "train" / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2")
    (root / "data.yaml").write_text("names: [cell]")


def defects(root):
    for folder_ in ("train/good", "test/good", "test/crack"):
        picture(root / folder_ / "0.png")


def fakes(root):
    for folder_ in ("real", "fake/a", "fake/b"):
        picture(root / folder_ / "0.png")


def gifs(root):
    for label in "ab":
        picture(root / label / "0.gif", Image.new("RGB", (32, 32), "red"))


@pytest.mark.parametrize("preset", ["folder", "try"])
@pytest.mark.parametrize(
    ("make", "data", "arms"),
    [
        (boxes, "detection", ["simclr", "dcgan", "random", "position", "majority"]),
        (defects, "anomaly", ["simclr", "bigan", "random", "pixels"]),
        (fakes, "fake", ["simclr", "scratch", "random", "pixels"]),
        (gifs, "video", ["simclr", "neighbours", "dcgan", "random", "pixels", "majority"]),
    ],
)
def test_every_kind_of_folder_is_a_comparison_of_its_own(tmp_path, monkeypatch, preset, make, data, arms):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "set")
    texts, found = expanded("set", preset=preset)
    cfg = compose("compare", texts)
    assert found[0].startswith("set: ") and (cfg.data.name, cfg.data.root) == (data, "set")
    assert cfg.arms == arms or (preset == "folder" and set(arms) < set(cfg.arms))
    assert cfg.minutes and (cfg.fractions or cfg.images_labelled or cfg.labels_per_class)
    if data == "detection":  # heads of boxes need more steps than those of classes
        used = [getattr(cfg.probe, name).steps for name in cfg.probe.use if name in ("detect", "finetune")]
        assert min(used) >= 150
    if data == "fake":
        assert cfg.data.held_out == ["b"]
