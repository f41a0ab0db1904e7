"""data.size=auto: chosen from the images and said; a given size is left alone."""

import pytest
import yaml
from PIL import Image

from gssl.config import image_size
from gssl.config.composing import compose
from gssl.config.paths import conf_dir
from gssl.errors import UsageError


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(image_size, "_said", set())
    image_size._chosen.cache_clear()
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (300, 200 + 10 * i)).save(tmp_path / name / f"{i}.png")
    return tmp_path


def size_of(*overrides):
    return compose("pretrain-ssl", ["data=imagefolder", *overrides]).data.size


def test_it_is_chosen_and_said_once(photos, capsys):
    assert size_of(f"data.root={photos}", "engine.device=cpu") == 64
    said = capsys.readouterr().err
    assert "data.size=64 (the most without a GPU)" in said and "200 to 220, the middle one 210 px" in said
    assert "data.size=N changes it" in said
    size_of(f"data.root={photos}", "engine.device=cpu", "seed=1")
    assert capsys.readouterr().err == ""
    assert size_of(f"data.root={photos}", "engine.device=cuda") == 128


@pytest.mark.parametrize("name", ["segmentation", "detection", "anomaly"])
def test_where_parts_of_images_are_looked_for_they_may_be_larger_and_are_not_enlarged(photos, name):
    own = yaml.safe_load((conf_dir() / "data" / f"{name}.yaml").read_text())
    key = "good" if name == "anomaly" else "root"

    def chosen(**data):
        return image_size.resolve({"data": own | data, "engine": {"device": "cpu"}})

    assert chosen(**{key: str(photos)}) == 128
    assert chosen(size=[60, 80]) == [60, 80]
    small = photos / "small"
    small.mkdir()
    Image.new("RGB", (50, 40)).save(small / "a.png")
    assert chosen(**{key: str(small)}) == 32
    assert chosen() == 128  # whoever reads the folder says that there is none


def test_a_folder_below_the_root_is_looked_into(photos):
    for name in "ab":
        Image.new("RGB", (32, 32)).save(photos / name / "small.png")
    (photos / "more").mkdir()
    for i in range(20):
        Image.new("RGB", (32, 32)).save(photos / "more" / f"{i}.png")
    assert size_of(f"data.root={photos}", "data.pretrain=more", "engine.device=cpu") == 32


def test_a_given_size_is_left_alone_and_nothing_is_said(photos, capsys):
    assert size_of(f"data.root={photos}", "data.size=20") == 20
    assert compose("pretrain-ssl", []).data.size == 28
    assert capsys.readouterr().err == ""


def test_auto_is_for_folders():
    with pytest.raises(UsageError, match="data.size=auto: is for folders of images; data=mnist5k has"):
        compose("pretrain-ssl", ["data.size=auto"])
    with pytest.raises(UsageError, match="or auto; got 'big'"):
        compose("pretrain-ssl", ["data.size=big"])
