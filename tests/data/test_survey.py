import numpy as np
import pytest
from PIL import Image

from gssl.data import survey
from gssl.data.memory import in_memory
from gssl.data.pool import Pool


def test_heads_say_what_pillow_says_and_sizes_are_upright(tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg")
    about = Image.Exif()
    about[survey.ROTATED] = 6
    Image.new("L", (30, 10)).save(tmp_path / "b.jpg", exif=about)
    Image.new("RGBA", (8, 8)).save(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes(b"no image")
    a, b, c, d = survey.heads([str(tmp_path / name) for name in ("a.jpg", "b.jpg", "c.png", "d.jpg")])
    assert (a.width, a.height, a.mode, a.format, a.rotated) == (40, 20, "RGB", "JPEG", False)
    assert (b.width, b.height, b.rotated) == (10, 30, True)
    assert (c.mode, c.format, c.bytes) == ("RGBA", "PNG", (tmp_path / "c.png").stat().st_size)
    assert d is None
    found = survey.files([a, b, c])
    assert found["formats"] == {"JPEG": 2, "PNG": 1} and found["rotated"] == 1 and found["sizes"] == 3
    assert found["shorter"]["max"] == 20 and found["aspect"]["min"] == pytest.approx(1 / 3)


def test_values_are_those_of_numpy():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    pixels[4] = pixels[4, ..., :1]
    found = survey.values(Pool({"train": in_memory(pixels, np.full(5, -1), [])}))
    np.testing.assert_allclose(found.mean, pixels.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(found.low, pixels.min(axis=(1, 2, 3)))
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found.contrast[:4], grey.std(axis=(1, 2))[:4], rtol=1e-4)
    assert found.coloured.tolist() == [True] * 4 + [False]
    text = survey.pixels(found)
    np.testing.assert_allclose(text["mean"], pixels.mean(axis=(0, 1, 2)) / 255, rtol=1e-6)
    np.testing.assert_allclose(text["std"], pixels.std(axis=(0, 1, 2)) / 255, rtol=1e-5)


def test_what_is_remarkable_is_named_once_per_kind():
    pixels = np.random.default_rng(0).integers(60, 200, (5, 40, 40, 3), dtype=np.uint8)
    pixels[1], pixels[2], pixels[3] = 100, pixels[2] // 10, 238 + pixels[3] // 12
    values = survey.values(Pool({"train": in_memory(pixels, np.full(5, -1), [])}))
    sides = np.array([[40, 40], [40, 40], [40, 40], [31, 40], [40, 160]])
    found = {kind: which.tolist() for kind, (_, which) in survey.remarkable(sides, values).items()}
    assert found == {"small": [3], "long": [4], "blank": [1], "dark": [2], "bright": [3]}


def test_unused_files_are_counted_by_suffix(tmp_path):
    for name in ("a/1.png", "a/2.heic", "3.png", ".hidden/4.png", "notes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = survey.unused(tmp_path, [str(tmp_path / "a/1.png")])
    assert {suffix: len(names) for suffix, names in found.items()} == {".heic": 1, ".png": 1, "without a suffix": 1}


@pytest.mark.parametrize(
    ("name", "group"),
    [("clip_0012.png", "clip"), ("x/0016E5_00901.jpg", "0016E5"), ("0001.jpg", None), ("p3-slice-4.png", "p3-slice")],
)
def test_a_group_is_what_a_numbered_name_begins_with(name, group):
    assert survey.group_of(name) == group
