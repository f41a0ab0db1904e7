"""Values of more than 8 bits: one range for a data set, from its training images; none of the levels is lost in it."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from gssl.config.composing import compose
from gssl.data import load_data, originals, values
from gssl.data.decode import decode
from gssl.data.joined import joined
from gssl.errors import UsageError

RAMP = np.arange(64 * 64).reshape(64, 64)  # 12 bits, each value once
DEEP = RAMP.astype(np.uint16)


def png(path: Path, pixels: np.ndarray) -> str:
    """A PNG of uint16 (h, w) or (h, w, 1 to 4), written by its specification."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, channels = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )
    return str(path)


def tiff(path: Path, pixels: np.ndarray, order: str = "<") -> str:
    """A TIFF without compression, written by its specification: (h, w) or (h, w, 3 or 4)."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, channels = pixels.shape
    bits = pixels.dtype.itemsize * 8
    form = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    more = struct.pack(f"{order}{2 * channels}H", *[bits] * channels, *[form] * channels)
    first = 8 + len(data)
    listed = [(256, 4, 1, width), (257, 4, 1, height), (259, 3, 1, 1), (262, 3, 1, 2 if channels > 1 else 1)]
    listed += [(273, 4, 1, 8), (277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data))]
    if channels > 1:
        listed += [(258, 3, channels, first), (339, 3, channels, first + 2 * channels)]
    else:
        listed += [(258, 3, 1, bits), (339, 3, 1, form)]
    if channels == 4:
        listed += [(338, 3, 1, 0)]
    entries = b""
    for tag, kind, count, value in sorted(listed):
        small = kind == 3 and count == 1
        cell = struct.pack(f"{order}HH", value, 0) if small else struct.pack(f"{order}I", value)
        entries += struct.pack(f"{order}HHI", tag, kind, count) + cell
    mark = b"II" if order == "<" else b"MM"
    table = struct.pack(f"{order}H", len(listed)) + entries + b"\0\0\0\0"
    path.write_bytes(mark + struct.pack(f"{order}HI", 42, first + len(more)) + data + more + table)
    return str(path)


def expected(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.floor((np.clip(pixels.astype(np.float64), low, high) - low) / (high - low) * 255 + 0.5).astype(np.uint8)


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal, but for halves that are rounded to the other side."""
    wanted = wanted if wanted.ndim == 3 else wanted[..., None]
    return found.shape == wanted.shape and int(np.abs(found.astype(int) - wanted).max()) <= 1


# ── single files ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "kind",
    ["png", "tiff", "tiff big-endian", "tiff_lzw", "tiff_adobe_deflate", "pgm", "jp2"]
    + ["int16", "int32", "uint32", "float"],
)
def test_no_level_of_twelve_bits_is_lost_that_eight_bits_can_hold(tmp_path, kind):
    low, high, path = 0, 4095, tmp_path / "x.tif"
    if kind == "png":
        name = png(tmp_path / "x.png", DEEP)
    elif kind in ("pgm", "jp2"):
        if kind == "jp2" and "JPEG2000" not in Image.SAVE:
            pytest.skip("this Pillow has no JPEG 2000")
        name = str(tmp_path / f"x.{kind}")
        Image.fromarray(DEEP if kind == "jp2" else RAMP.astype(np.int32)).save(name)
    elif kind.startswith("tiff"):
        if "_" in kind:
            name = str(path)
            Image.fromarray(DEEP).save(path, compression=kind)
        else:
            name = tiff(path, DEEP, ">" if "big" in kind else "<")
    else:
        low, high = {"int16": (-2048, 2047), "int32": (-10, 40940), "uint32": (3e9, 3e9 + 4095)}.get(kind, (-1.5, 7.25))
        spread = low + RAMP * ((high - low) / 4095)
        name = tiff(path, spread.astype({"float": np.float32}.get(kind, kind)))
    found = decode(name, 64, (low, high))
    assert close(found, expected(RAMP, 0, 4095)) and len(np.unique(found)) == 256
    assert found[0, 0] == 0 and found[-1, -1] == 255


@pytest.mark.parametrize(
    ("suffix", "channels"),
    [("png", 2), ("png", 3), ("png", 4), ("tiff", 3), ("tiff", 4), ("tiff big-endian", 3), ("tiff big-endian", 4)],
)
def test_colours_of_sixteen_bits_keep_both_bytes(tmp_path, channels, suffix):
    deep = np.random.default_rng(channels).integers(0, 4096, (20, 30, channels), dtype=np.uint16)
    if suffix == "png":
        if channels in (2, 4):
            deep[..., -1] = 65535  # alpha has the whole range
        name = png(tmp_path / "x.png", deep)
    else:
        name = tiff(tmp_path / "x.tif", deep, ">" if "big" in suffix else "<")
    seen = deep[..., : 1 if channels == 2 else 3]
    found = decode(name, 64, (0, 4095))
    assert close(found, expected(seen, 0, 4095)) and len(np.unique(found)) > 200
    with Image.open(name) as image:
        assert values.kind_of(image) == "16-bit colour"


def test_what_is_transparent_is_white_in_sixteen_bits_too(tmp_path):
    deep = np.full((4, 4, 4), 1000, dtype=np.uint16)
    deep[:2, :, 3], deep[2:, :, 3] = 0, 65535
    found = decode(png(tmp_path / "x.png", deep), 16, (0, 1000))
    assert (found[:2] == 255).all() and (found[2:] == 255).all()
    found = decode(png(tmp_path / "x.png", deep), 16, (1000, 2000))
    assert (found[:2] == 255).all() and (found[2:] == 0).all()


def test_what_is_no_number_and_what_means_nothing_is_black_and_not_counted(tmp_path):
    pixels = np.linspace(100, 200, 4096, dtype=np.float32).reshape(64, 64)
    pixels[0, :4] = [np.nan, np.inf, -np.inf, 9999]
    pixels[1] = 9999  # more than one in a thousand
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[values.NODATA] = "9999"
    tags.tagtype[values.NODATA] = 2
    path = tmp_path / "x.tif"
    Image.fromarray(pixels).save(path, tiffinfo=tags)
    mapping = values.Mapping()
    given = mapping.of("train", [str(path)], None, 1)
    assert given is not None and given != "full" and 100 <= given[0] < 101 and 199 < given[1] <= 200
    found = decode(str(path), 64, given)
    assert found[0, :4, 0].tolist() == [0, 255, 0, 0] and len(np.unique(found)) > 200


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_orientation_counts_in_sixteen_bits_too(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((4, 6), np.uint16)
    pixels[0, 0] = 4000
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", exif=exif)
    found = decode(str(tmp_path / f"x.{suffix}"), 16, (0, 4000))
    assert found.shape == (6, 4, 1) and found[0, -1] == 255 and found.sum() == 255


def test_a_cut_file_of_sixteen_bits_is_broken_and_not_half_read(tmp_path):
    whole = Path(png(tmp_path / "x.png", np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16)))
    whole.write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(OSError):
        decode(str(whole), 64, "full")
    assert values.Mapping().of("train", [str(whole)], None, 1) is not None  # of a head; nothing can be learned from it


# ── data sets ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def deep(tmp_path):
    """`deep(folder, count, high)`: class folders of 16-bit PNGs with values from 0 to `high`."""

    def make(folder: str, count: int = 8, high: int = 4095, suffix: str = "png") -> Path:
        for label in "ab":
            for i in range(count):
                seed = list(f"{folder}/{label}/{i}".encode())
                pixels = np.random.default_rng(seed).integers(0, high + 1, (24, 24), dtype=np.uint16)
                path = tmp_path / folder / label / f"{i}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if suffix == "png":
                    png(path, pixels)
                else:
                    Image.fromarray(pixels).save(path)
        return tmp_path / folder

    return make


def pixels_of(path: str) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(np.float64)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_auto_is_percentiles_of_the_training_images_and_the_range_of_all(deep, cfg, suffix):
    root = deep("photos/train", 8, 4095, suffix).parent
    deep("photos/val", 3, 2000, suffix), deep("photos/test", 3, 60000, suffix)
    splits = load_data(cfg(root=root))
    of_train = np.concatenate([pixels_of(name).ravel() for name in splits.train.names])
    low, high = splits.summary["range"]
    assert abs(low - np.percentile(of_train, 0.1)) <= 2 and abs(high - np.percentile(of_train, 99.9)) <= 2
    test = splits.open_test()
    for part in (splits.train, splits.val, test):
        assert part.range == (low, high)
        for i in range(len(part)):
            assert close(part.store.image(part.rows[i]), expected(pixels_of(part.name(i)), low, high))
    assert len(np.unique(splits.train.store.image(0))) > 200
    assert float(np.mean([test.store.image(row).mean() for row in test.rows])) > 230  # brighter than what is learned
    found = splits.summary["found"]
    assert (
        f"28 16-bit grey images: values {low:g} to {high:g} become black to white (0.1% and 99.9% of the train" in found
    )


def test_rows_for_testing_that_come_first_choose_nothing(deep, cfg):
    root = deep("photos", 8)
    test, names = deep("bright", 2, 65535), []
    names += [f"{path},{path.parent.name},test" for path in sorted(test.rglob("*.png"))]
    names += [f"{path},{path.parent.name},train" for path in sorted(root.rglob("*.png"))]
    (root / "labels.csv").write_text("path,label,split\n" + "\n".join(names) + "\n")
    assert load_data(cfg(root=root)).summary["range"][1] <= 4095


def test_pretraining_images_choose_where_training_ones_have_eight_bits(deep, cfg, folders):
    splits = load_data(cfg(root=folders, pretrain=deep("more")))
    assert splits.pretrain.range == tuple(splits.summary["range"]) and splits.train.range is None
    assert any("16 of 52 images have more than 8 bits a value" in text for text in splits.summary["warnings"])


def test_a_range_that_was_given_is_used_and_part_of_hashes_and_keys(deep, cfg):
    root = deep("photos")
    found = {str(given): load_data(cfg(root=root, range=given)) for given in ("auto", "full", [0.0, 1000.0])}
    assert len({splits.hash for splits in found.values()}) == 3
    assert len({splits.train.store.path for splits in found.values()}) == 3
    assert found["full"].summary["range"] == "full" and found["[0.0, 1000.0]"].summary["range"] == [0, 1000]
    assert found["full"].train.store.image(0).max() < 17  # what the files' type can hold, and 12 bits of it are used
    assert "(data.range=full)" in found["full"].summary["found"]
    image = found["[0.0, 1000.0]"].train
    assert close(image.store.image(image.rows[0]), expected(pixels_of(image.name(0)), 0, 1000))
    # one that changes no pixel is another data set, too: what is trained on it expects another one
    first = load_data(cfg(root=root, range=[5000.0, 6000.0]))
    other = load_data(cfg(root=root, range=[7000.0, 8000.0]))
    assert first.train.hash == other.train.hash and first.hash != other.hash


def test_images_to_be_tested_choose_no_range_of_their_own(folders, deep, cfg):
    splits = load_data(cfg(train=folders, test=deep("bright", 4)))
    assert splits.summary["range"] == "full" and splits.open_test().store.image(0).max() < 17
    assert any("so full is used" in text for text in splits.summary["warnings"])


def test_a_pgm_has_the_scale_that_it_names(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 64 64 4095\n" + RAMP.astype(">u2").tobytes())
    assert close(decode(str(tmp_path / "x.pgm"), 64, "full"), expected(RAMP, 0, 4095))


def test_eight_bits_are_never_mapped(folders, cfg):
    found = [load_data(cfg(root=folders, range=given)) for given in ("auto", [10.0, 20.0])]
    assert found[0].hash == found[1].hash and "range" not in found[0].summary
    assert not any("data.range" in text for text in found[0].summary["warnings"])
    assert any("data.range: all images have 8 bits a value" in text for text in found[1].summary["warnings"])
    first = found[0].train
    assert np.array_equal(first.store.image(first.rows[0]), np.asarray(Image.open(first.name(0))))


def test_mixed_folders_map_what_has_more_bits_and_say_so(deep, cfg, paint):
    root = deep("photos")
    eight = [paint(root / label / f"small{i}.png", (24, 24), grey=True) for label in "ab" for i in range(4)]
    splits = load_data(cfg(root=root))
    assert any("16 of 24 images have more than 8 bits a value" in text for text in splits.summary["warnings"])
    whole = splits.labelled
    rows = {whole.name(i): whole.store.image(whole.rows[i]) for i in range(len(whole))}
    for path in map(str, eight):
        if path in rows:
            assert np.array_equal(rows[path][..., 0], np.asarray(Image.open(path)))
    Image.fromarray(np.full((24, 24), 0.5, np.float32)).save(root / "a" / "f.tif")
    warnings = load_data(cfg(root=root)).summary["warnings"]
    assert any("one range for 16-bit grey and floating-point images" in text for text in warnings)


def test_one_value_everywhere_is_an_image_and_no_division_by_nothing(tmp_path, cfg):
    for label, high in (("a", 0), ("b", 7)):
        for i in range(6):
            pixels = np.zeros((16, 16), np.uint16)
            pixels[i, : 4 + i] = high
            png(tmp_path / "photos" / label / f"{i}.png", pixels)
    splits = load_data(cfg(root=tmp_path / "photos"))
    assert splits.summary["range"] == [0, 7]
    for name in ("x", "y"):
        png(tmp_path / "one" / f"{name}.png", np.full((16, 16), 300, np.uint16))
    assert values.Mapping().of("train", [str(p) for p in (tmp_path / "one").iterdir()], None, 1) == (300, 301)


def test_masks_have_images_of_sixteen_bits(tmp_path, cfg):
    for part, high in (("train", 4095), ("val", 4095), ("test", 30000)):
        for i in range(6):
            rng = np.random.default_rng([i, high])
            png(tmp_path / part / "images" / f"{i}.png", rng.integers(0, high + 1, (24, 24), dtype=np.uint16))
            (tmp_path / part / "masks").mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 2, (24, 24), dtype=np.uint8)).save(tmp_path / part / "masks" / f"{i}.png")
    (tmp_path / "classes.json").write_text(json.dumps(["sky", "road"]))
    splits = load_data(cfg(name="segmentation", root=tmp_path, size=24))
    low, high = splits.summary["range"]
    assert low < 20 and 4070 < high <= 4095 and splits.open_test().range == (low, high)
    assert len(np.unique(splits.train.store.image(0))) > 200
    other = load_data(cfg(name="segmentation", root=tmp_path, size=24, range="full"))
    assert other.hash != splits.hash and other.train.store.path != splits.train.store.path


def test_files_that_are_read_again_are_mapped_as_the_store_is(deep, cfg, tmp_path):
    root = tmp_path / "large"
    for label in "ab":
        for i in range(4):
            rng = np.random.default_rng([i, ord(label)])
            png(root / label / f"{i}.png", rng.integers(0, 4096, (80, 70), dtype=np.uint16))
    images = load_data(cfg(root=root, range=[0.0, 4095.0])).labelled
    assert images.store.shapes.max() < 70  # shrunk for networks of 16 px
    for stored in (False, True):
        again = originals.at(images, 60, 16, stored)
        assert again is not images and again.range == images.range
        batch = again.fetch(np.array([1]))
        assert close(batch["image"][0].permute(1, 2, 0).numpy(), expected(pixels_of(images.name(1)), 0, 4095))
    other = load_data(cfg(root=root, range="full")).labelled
    assert originals.at(other, 60, 16, True).store.path != originals.at(images, 60, 16, True).store.path


def test_parts_of_several_stores_keep_their_range(deep, cfg):
    splits = load_data(cfg(root=deep("photos"), pretrain=deep("more", 4)))
    parts = [splits.train.unlabelled(), splits.pretrain.unlabelled()]
    assert parts[0].store is not parts[1].store
    assert joined(parts).range == splits.train.range is not None


@pytest.mark.parametrize(
    "given", ["[3,1]", "[1,1]", "[1]", "[1,2,3]", "most", "5", "null", "[a,b]", "[0,.inf]", "{a: 1}"]
)
def test_what_is_no_range_is_one_line(given):
    with pytest.raises(UsageError) as caught:
        compose("pretrain-ssl", ["data=imagefolder", "data.root=x", "data.size=16", f"data.range={given}"])
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("data.range: expected one of auto, full or a list of 2 numbers, the smaller first; got ")


# ── trained networks ─────────────────────────────────────────────────────────────────────────────


def mapping(given: object, tmp_path: Path, low: int, high: int) -> values.Mapping:
    pixels = np.linspace(low, high, 1024).astype(np.uint16).reshape(32, 32)
    found = values.Mapping(given)
    found.of("new", [png(tmp_path / "x.png", pixels)], None, 1)
    return found


def test_what_a_network_learned_from_is_compared_with_new_images(tmp_path, paint):
    assert mapping([0, 4095], tmp_path, 3500, 4000).against("it") == []  # one bright image is what it knows
    assert mapping([0, 4095], tmp_path, 10, 3000).against("it") == []
    assert "other units, or another number of bits?" in mapping([0, 4095], tmp_path, 0, 65000).against("it")[0]
    assert "other units, or another number of bits?" in mapping([0, 65535], tmp_path, 0, 4000).against("it")[0]
    assert "learned from images of 8 bits a value" in mapping(None, tmp_path, 0, 4000).against("it")[0]
    eight = values.Mapping([0, 4095])
    assert eight.of("new", [str(paint(tmp_path / "y.png"))], None, 1) is None
    assert "these have 8" in eight.against("it")[0]
    assert values.Mapping().against("it") == []


@pytest.mark.parametrize(
    "given", [[1], [2, 1], [1, 1], ["a", 2], [True, 2], [0, float("nan")], "auto", {}, 3, [0, None]]
)
def test_a_document_with_another_range_is_no_range(given):
    with pytest.raises(ValueError):
        values.recorded(given)


def test_a_range_on_record_is_the_same_when_it_is_read():
    for given in (None, "full", (0.25, 4095.0)):
        assert values.recorded(json.loads(json.dumps(values.stored(given)))) == given


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
def test_files_of_several_pages_are_counted(folders, cfg, suffix):
    pages = [Image.fromarray(np.full((12, 12), 40 * k, np.uint8)) for k in (1, 2, 3)]
    for name, more in (("one", []), ("several", pages[1:])):
        pages[0].save(folders / "a" / f"{name}.{suffix}", save_all=bool(more), append_images=more)
    warnings = load_data(cfg(root=folders)).summary["warnings"]
    assert [text for text in warnings if "several pages or frames" in text] == [
        "1 file has several pages or frames, of which the first alone is read"
    ]
