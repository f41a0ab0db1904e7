"""Images of a folder one by one: what cannot be read is told and never stops the others."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gssl.errors import UsageError
from gssl.experiment.new_pictures import NewPictures

MODEL = SimpleNamespace(range=None)


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 9, 3), value, np.uint8)).save(path)


def test_every_name_has_its_image_and_what_cannot_be_read_is_told(tmp_path, capsys):
    picture(tmp_path / "b.png", 7)
    picture(tmp_path / "sub" / "c.png", 9)
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("not an image")
    found = NewPictures(MODEL.range, tmp_path)
    assert found.names == ["a.png", "b.png", "sub/c.png"]
    seen = {name: image and (image.size, image.getpixel((0, 0))) for name, image in found}
    assert seen == {"a.png": None, "b.png": ((9, 6), (7, 7, 7)), "sub/c.png": ((9, 6), (9, 9, 9))}
    assert len(found.skipped) == 1 and found.skipped[0].startswith(f"{tmp_path / 'a.png'} (")
    said = capsys.readouterr().err
    assert "notes.txt" in said and "a.png" in said and "1 of 3" in said


def test_where_nothing_can_be_read_it_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="none of its 1 images can be read"):
        list(NewPictures(MODEL.range, tmp_path))
    (tmp_path / "a.png").unlink()
    with pytest.raises(UsageError, match="no images in it; expected files that end in"):
        NewPictures(MODEL.range, tmp_path)
    with pytest.raises(UsageError, match="no such folder of images"):
        NewPictures(MODEL.range, tmp_path / "none")
