"""What is no regular file is never read: it would hang, or fill the memory."""

import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from gssl.data.decode import decode, estimate
from gssl.data.opening import Refused, opened


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


def test_a_broken_file_is_said_without_a_descriptor(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(Image.UnidentifiedImageError, match="^cannot identify image file$"), opened(tmp_path / "x.png"):
        pass


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("before", [True, False])
def test_long_texts_in_a_png_are_no_error(tmp_path, kind, before, monkeypatch):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1 << 20)
    path, pixels = tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    raw, long = path.read_bytes(), b"x" * (2 << 20)  # what Pillow refuses
    text = {"tEXt": long, "zTXt": b"\0" + zlib.compress(long), "iTXt": b"\1\0\0\0" + zlib.compress(long)}[kind]
    at = raw.index(b"IDAT") - 4 if before else raw.index(b"IEND") - 4
    path.write_bytes(raw[:at] + chunk(kind.encode(), b"note\0" + text) + raw[at:])
    with pytest.raises(ValueError, match="large|memory"), Image.open(path) as image:
        image.load()
    assert np.array_equal(decode(str(path), 16), pixels)


def test_what_pillow_gives_to_another_program_is_not_read(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with Image.open(path) as image:
        assert image.format == "EPS"
    with pytest.raises(Image.UnidentifiedImageError):
        decode(str(path), 16)


def test_a_jpeg_that_would_take_long_is_refused_and_one_of_usual_scans_is_not(tmp_path):
    path = tmp_path / "x.jpg"
    Image.new("RGB", (2000, 1500), (9, 90, 200)).save(path, progressive=True)
    assert decode(str(path), 16).shape[:2] == (32, 43)
    raw = path.read_bytes()
    scans = [match.start() for match in re.finditer(b"\xff\xda", raw)]
    last = raw[scans[-1] : -2]
    path.write_bytes(raw[:-2] + last * 100 + raw[-2:])
    with pytest.raises(Refused, match=f"a JPEG of {len(scans) + 100} scans would take long"):
        decode(str(path), 16)


def test_more_pixels_than_fit_into_memory_are_refused_by_the_head_alone(tmp_path):
    path = tmp_path / "x.png"
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )
    with pytest.raises(Refused, match="more than 357,913,940 pixels; shrink it"):
        decode(str(path), 16)
