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
