"""What is no regular file is never read: it would hang, or fill the memory."""

import os

import pytest
from PIL import Image

from gssl.data.decode import decode, estimate
from gssl.data.opening import opened


@pytest.mark.parametrize("kind", ["queue", "link to a queue", "device", "folder"])
def test_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "queue":
        os.mkfifo(path)
    elif kind == "link to a queue":
        os.mkfifo(tmp_path / "queue")
        path.symlink_to(tmp_path / "queue")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(OSError, match="regular file|directory"):
        decode(str(path), 16)
    assert estimate([str(path)], 16) == 0


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(Image.UnidentifiedImageError, match=r"x\.png"), opened(tmp_path / "x.png"):
        pass
