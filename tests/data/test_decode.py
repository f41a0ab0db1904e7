"""Decoding: upright, sensible in every mode, shrunk to twice the training size and never enlarged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.data.decode import bar, decode, estimate


def test_exif_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: turn by 90 degrees clockwise
    for suffix in ("png", "tiff"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(pixels).save(path, exif=exif)
        image = decode(str(path), 16)
        assert image.shape == (6, 4, 3)
        assert (image[0, -1] == 255).all() and image.sum() == 255 * 3


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, [255]),
        ("L", 100, [100]),
        ("LA", (100, 255), [100]),
        ("I;16", 100 * 256 + 7, [100]),
        ("I", 100 * 2**23, [100]),
        ("F", 0.5, [128]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 255), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 0), [255, 255, 255]),
        ("CMYK", (0, 0, 0, 255), [0, 0, 0]),
    ],
)
def test_modes(tmp_path: Path, mode: str, colour: object, expected: list[int]) -> None:
    suffix = {"CMYK": "tiff", "F": "tiff", "I": "tiff"}.get(mode, "png")
    path = tmp_path / f"a.{suffix}"
    Image.new(mode, (3, 2), colour).save(path)
    image = decode(str(path), 16)
    assert image.dtype == np.uint8 and image.shape == (2, 3, len(expected))
    assert image[0, 0].tolist() == expected


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "a.png")
    assert decode(str(tmp_path / "a.png"), 16)[0, 0].tolist() == [10, 20, 30]
    image.save(tmp_path / "b.png", transparency=1)
    assert decode(str(tmp_path / "b.png"), 16)[0, 0].tolist() == [255, 255, 255]


def test_size_rule(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        for size, stored in (
            ((40, 20), (20, 40)),
            ((200, 100), (32, 64)),
            ((100, 200), (64, 32)),
            ((9, 900), (900, 9)),
        ):
            path = tmp_path / f"a.{suffix}"
            Image.new("RGB", size, (10, 200, 30)).save(path)
            image = decode(str(path), 16)
            assert image.shape[:2] == stored
            assert np.abs(image.astype(int) - [10, 200, 30]).max() < 4


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    """One-pixel stripes become grey; picking pixels would keep them black and white."""
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    image = decode(str(tmp_path / "a.png"), 16)
    assert image.shape == (32, 32, 1) and np.abs(image.astype(int) - 128).max() < 12


def test_malformed_exif_keeps_the_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), (9, 9, 9)).save(tmp_path / "a.png", exif=b"Exif\0\0junk")
    assert (decode(str(tmp_path / "a.png"), 16) == 9).all()


def test_estimate_is_near_and_above(tmp_path: Path) -> None:
    paths = []
    for i in range(4):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (300, 200)).save(paths[-1])
    (tmp_path / "broken.png").write_bytes(b"no image")
    need = 4 * 32 * 48 * 3
    assert need < estimate([*paths, str(tmp_path / "broken.png")], 16) < 2 * need + 2**24


def test_bar_writes_to_stderr_only_when_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for wanted in (False, True):
        with bar("decoding 3 images", 3, wanted) as advance:
            advance(3)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "decoding 3 images\n"
