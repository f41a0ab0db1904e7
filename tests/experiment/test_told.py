"""What was found and what is left out is said in one line each, with counts by reason and the first path."""

import numpy as np
import pytest
from PIL import Image

from gssl.data.sources.folders import Told
from gssl.errors import UsageError
from gssl.experiment import told
from gssl.experiment.trained import images_in


def test_a_data_set_is_said_once(capsys):
    summary = {"found": "photos: 2 classes (test_told)", "warnings": ["w"]}
    for _ in range(2):
        told.found_and_warnings(summary)
    said = capsys.readouterr().err.splitlines()
    assert said == ["data: photos: 2 classes (test_told)", "warning: w", "warning: w"]
    told.found({"warnings": []})  # digits and other data sets by name
    assert capsys.readouterr().err == ""


def test_what_a_folder_holds_beside_images(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    (folder / "@eaDir").mkdir(parents=True)
    for i in range(5):
        Image.fromarray(np.full((16, 16, 3), i, dtype=np.uint8)).save(folder / f"{i}.png")
    for name in ("a.png", "b.png", "c.heic", "d.txt"):
        (folder / name).write_bytes(b"no image")
    skipped: list[str] = []
    images = images_in(folder, 16, skipped)
    said = capsys.readouterr().err.splitlines()
    assert len(images) == 5 and len(skipped) == 2
    (note,) = [line for line in said if line.startswith("note: ")]
    assert "2 files are no images that are read (1 .heic, 1 .txt; the first is" in note and "@eaDir" in note
    heic, broken = [line for line in said if line.startswith("warning: ")]
    assert "1 .heic file is left out" in heic
    assert broken.startswith("warning: 2 of 7 images cannot be read and are left out (2 ")
    assert f"the first is {folder}/a.png (" in broken


def test_nothing_is_said_of_a_folder_of_images_alone(capsys):
    told.left_out(Told())
    told.skipped([], 5)
    assert capsys.readouterr().err == ""


def test_a_folder_of_broken_images_alone_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"")
    with pytest.raises(UsageError, match="1 of 1 images cannot be read"):
        images_in(tmp_path / "photos", 16, [])
    (tmp_path / "photos/a.png").rename(tmp_path / "photos/a.heic")
    with pytest.raises(UsageError, match="no images in it; .*1 file is no image that is read"):
        images_in(tmp_path / "photos", 16, [])


def test_new_images_are_mapped_by_the_range_on_record_and_not_by_their_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "new").mkdir()
    bright = np.random.default_rng(0).integers(3500, 4001, (16, 16), dtype=np.uint16)
    Image.fromarray(bright).save(tmp_path / "new" / "x.png")
    images = images_in(tmp_path / "new", 16, [], [0.0, 4095.0])
    assert np.abs(images.store.image(0)[..., 0] - bright / 4095 * 255).max() <= 0.51
    said = capsys.readouterr().err
    assert "note: 1 16-bit grey image: values 0 to 4095 become black to white (as this network was trained)" in said
    assert "warning" not in said
    own = images_in(tmp_path / "new", 16, [])  # by a network of 8 bits
    assert own.store.image(0).min() == 0 and own.store.image(0).max() == 255
    assert "this network learned from images of 8 bits a value" in capsys.readouterr().err


def test_weights_of_another_range_are_said_and_how_to_have_the_same(capsys):
    told.other_range("runs/a", [0.0, 4095.0], {"range": [10.0, 3000.0]})
    said = capsys.readouterr().err
    assert "0 to 4095 became black to white, here 10 to 3000 do" in said and "data.range=[0,4095]" in said
    for known, own in (([0.0, 1.0], [0.0, 1.0]), (None, [0.0, 1.0]), ([0.0, 1.0], None)):
        told.other_range("runs/a", known, {} if own is None else {"range": own})
    assert capsys.readouterr().err == ""


def test_many_runs_on_the_same_data_warn_once(capsys):
    told.warnings(["few", "few"])
    with told.each_once():
        told.warnings(["few", "fewer"])
        with told.each_once():
            told.found_and_warnings({"warnings": ["few", "fewest"]})
    told.warnings(["few"])
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines == [f"warning: {text}" for text in ("few", "few", "few", "fewer", "fewest", "few")]
