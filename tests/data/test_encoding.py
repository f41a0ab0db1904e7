"""JPEG files in the store: the user's own bytes, decoded to Pillow's pixels; what else is saved anew is said."""

import io
import pickle
import tracemalloc
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gssl import schemas
from gssl.data import Images, cache, checksums, decode, encoding, jpeg, load_data
from gssl.data.batches import Batches, sequential
from gssl.data.draws import Draws
from gssl.data.joined import joined
from gssl.data.originals import Originals
from gssl.data.ragged import Ragged
from gssl.data.store import EncodedStore, EncodedWriter
from gssl.errors import UsageError

CPU = torch.device("cpu")
Cfg = Callable[..., schemas.Data]


def photo(seed: int, width: int = 40, height: int = 30, channels: int = 3) -> Image.Image:
    """A smooth picture, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    image = Image.fromarray(small[:, :, 0] if channels == 1 else small)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def folder(root: Path) -> dict[str, Path]:
    """Files of every kind, in two classes that are as large."""
    made = {}
    for i in range(6):
        for label in "ab":
            made[f"{label}{i}"] = root / label / f"{i}.jpg"
    made |= {"grey": root / "a" / "grey.jpg", "large": root / "a" / "large.jpg", "png": root / "a" / "z.png"}
    made |= {"cmyk": root / "b" / "cmyk.jpg", "turned": root / "b" / "turned.jpg", "odd": root / "b" / "odd.JPEG"}
    for i, (name, path) in enumerate(made.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        image = photo(i, *((200, 150) if name == "large" else (40, 30 + i)), 1 if name == "grey" else 3)
        exif = Image.Exif()
        if name == "turned":
            exif[decode.ORIENTATION] = 6
        options = {"exif": exif, "progressive": name == "odd"} if path.suffix != ".png" else {}
        (image.convert("CMYK") if name == "cmyk" else image).save(path, quality=80, **options)
    return made


def of(store: EncodedStore, images: Images, path: Path) -> int:
    assert images.names is not None
    return int(images.rows[[str(name) for name in images.names].index(str(path))])


@pytest.fixture
def images(tmp_path: Path, cfg: Cfg) -> tuple[dict[str, Path], Images, EncodedStore]:
    made = folder(tmp_path / "photos")
    splits = load_data(cfg(root=tmp_path / "photos", size=24, store="jpeg"))
    whole = joined([splits.train, splits.val, splits.open_test()])
    assert isinstance(whole.store, EncodedStore) and len(whole) == len(made)
    return made, whole, whole.store


def test_files_go_in_byte_for_byte_and_come_out_as_pillow_has_them(
    images: tuple[dict[str, Path], Images, EncodedStore],
) -> None:
    made, whole, store = images
    assert store.channels == 3
    for name, path in made.items():
        row = of(store, whole, path)
        same = bytes(store.encoded(row)) == path.read_bytes()
        assert same == (name not in ("large", "png", "cmyk"))
        with Image.open(path) as file:
            wanted = np.array(ImageOps.exif_transpose(file).convert("RGB"))
        found = store.image(row)
        assert found.shape[:2] == tuple(store.shapes[row]) and store.hashes[row].tobytes() == cache.image_hash(found)
        if same:
            assert np.array_equal(found, wanted)
        elif name == "large":
            assert min(found.shape[:2]) == 48  # twice data.size
        else:
            assert found.shape == wanted.shape and np.abs(found - wanted.astype(int)).mean() < 6


def test_what_is_saved_anew_is_said_with_its_loss(tmp_path: Path, cfg: Cfg) -> None:
    folder(tmp_path / "photos")
    found = load_data(cfg(root=tmp_path / "photos", size=24, store="jpeg")).summary["found"]
    assert "images are kept as JPEG files (0 MB), 3 of 18 saved anew at quality 95 (other formats, or large)" in found
    assert "JPEG" not in load_data(cfg(root=tmp_path / "photos", store="pixels")).summary["found"]


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_pillows(turn: int) -> None:
    image = photo(0, 7, 5)
    exif = Image.Exif()
    exif[decode.ORIENTATION] = turn
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    data = np.frombuffer(file.getvalue(), np.uint8)
    with Image.open(file) as own:
        assert np.array_equal(jpeg.decoded(data, 3, turn), np.array(ImageOps.exif_transpose(own)))


@pytest.mark.parametrize("decoder", [jpeg._simplejpeg, pytest.param(jpeg._torchvision, marks=pytest.mark.long)])
@pytest.mark.parametrize("channels", [1, 3])
def test_decoders_have_the_same_pixels(decoder: Callable[[], Callable[..., np.ndarray]], channels: int) -> None:
    if decoder is jpeg._simplejpeg:
        pytest.importorskip("simplejpeg")
    for i, options in enumerate(({"quality": 30}, {"subsampling": 0}, {"progressive": True}, {"subsampling": 1})):
        for own in {1, channels}:
            file = io.BytesIO()
            photo(i, 61, 47, own).save(file, "JPEG", **options)
            data = np.frombuffer(file.getvalue(), np.uint8)
            assert np.array_equal(decoder()(data, channels), jpeg.by_pillow(data.tobytes(), channels))


def test_what_a_decoder_refuses_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: np.ndarray, channels: int) -> np.ndarray:
        raise RuntimeError("unknown marker")

    monkeypatch.setattr(jpeg, "_decoder", lambda: refuse)
    data = np.frombuffer(jpeg.encoded(np.array(photo(0))), np.uint8)
    assert np.array_equal(jpeg.decoded(data, 3), jpeg.by_pillow(data.tobytes(), 3))
    with pytest.raises(Exception, match="cannot identify"):
        jpeg.decoded(np.zeros(9, np.uint8), 3)


def test_broken_files_are_found_while_the_store_is_built(tmp_path: Path, cfg: Cfg) -> None:
    made = folder(tmp_path / "photos")
    made["a0"].write_bytes(made["a0"].read_bytes()[:-200])  # its header is whole
    with pytest.raises(UsageError, match="1 of 18 images cannot be read: .*0.jpg"):
        load_data(cfg(root=tmp_path / "photos", size=24, store="jpeg"))
    splits = load_data(cfg(root=tmp_path / "photos", store="jpeg", on_error="skip"))
    assert sum(splits.summary["counts"][part] for part in ("train", "val", "test")) == 17


def test_small_jpeg_files_are_the_same_data_in_both_kinds(tmp_path: Path, cfg: Cfg) -> None:
    for name, path in folder(tmp_path / "photos").items():
        if name in ("large", "png", "cmyk", "turned", "odd"):
            path.unlink()
    both = [load_data(cfg(root=tmp_path / "photos", store=kind, size=24)) for kind in ("pixels", "jpeg")]
    assert [splits.train.store.kind for splits in both] == ["pixels", "jpeg"]
    assert both[0].hash == both[1].hash
    streams = [Batches(splits.train, 4, Draws(1), CPU) for splits in both]
    for step in (0, 1, 5, 2):
        one, other = (stream(step) for stream in streams)
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    one, other = (list(sequential(splits.open_test(), 3, CPU)) for splits in both)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True))


def test_subsets_pickles_and_the_order_of_steps(images: tuple[dict[str, Path], Images, EncodedStore]) -> None:
    _, whole, _ = images
    part = whole.subset(np.array([3, 1, 7]))
    again = pickle.loads(pickle.dumps(part))
    assert again.hash == part.hash and again.store.kind == "jpeg"
    assert torch.equal(again.fetch(np.array([2]))["image"], whole.fetch(np.array([7]))["image"])
    assert len({part.hash, whole.hash, whole.subset(np.array([1, 3, 7])).hash}) == 3
    straight, jumping = Batches(whole, 4, Draws(5), CPU), Batches(whole, 4, Draws(5), CPU)
    wanted = [straight(step) for step in range(8)]
    for step in (6, 0, 7, 2, 2, 5):  # as after a resume
        assert all(torch.equal(value, wanted[step][name]) for name, value in jumping(step).items())
    ranks = [Batches(whole, 4, Draws(5, rank, 2), CPU) for rank in range(2)]
    assert torch.equal(torch.cat([rank(3)["index"] for rank in ranks]), wanted[3]["index"])


def test_images_of_one_size_are_one_array(tmp_path: Path, cfg: Cfg) -> None:
    for i in range(12):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(path)
    train = load_data(cfg(root=tmp_path / "photos", store="jpeg")).train
    batch = train.fetch(np.array([1, 0, 1]))
    assert train.store.uniform and type(batch["image"]) is torch.Tensor and "extent" not in batch
    for place, row in enumerate((1, 0, 1)):
        own = train.store.image(int(train.rows[row]))
        assert np.array_equal(batch["image"][place].permute(1, 2, 0).numpy(), own)


# ── which kind ───────────────────────────────────────────────────────────────────────────────────


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("need", "free", "kind"),
    [(5e8, 2e8, "pixels"), (2e9, 30e9, "pixels"), (4e9, 30e9, "jpeg"), (19e9, 1e12, "pixels"), (21e9, 1e12, "jpeg")],
)
def test_auto_is_jpeg_where_pixels_would_take_too_much(
    monkeypatch: pytest.MonkeyPatch, need: float, free: float, kind: str
) -> None:
    monkeypatch.setattr(encoding.shutil, "disk_usage", lambda path: Usage(0, 0, free))
    keys = {"pixels": "0" * 32, "jpeg": "1" * 32}
    assert encoding.kind_of("auto", keys, lambda: int(need)) == kind
    assert [encoding.kind_of(wanted, keys, lambda: 0) for wanted in ("pixels", "jpeg")] == ["pixels", "jpeg"]


def test_auto_takes_what_is_there_and_one_kind_for_all_parts(
    tmp_path: Path, cfg: Cfg, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        for i in range(12):
            path = tmp_path / "photos" / part / "ab"[i % 2] / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo(i + 20 * (part == "test"), 40 + i).save(path)
    auto = cfg(root=tmp_path / "photos")
    asked = []

    def free(path: Path) -> Usage:
        asked.append(path)
        return Usage(0, 0, 1e12)

    monkeypatch.setattr(encoding, "LEAST", 0)
    monkeypatch.setattr(
        encoding, "MOST", decode.estimate([str(p) for p in (tmp_path / "photos").rglob("*.jpg")], 16) - 1
    )
    monkeypatch.setattr(encoding.shutil, "disk_usage", free)
    first = load_data(auto)
    assert [first.train.store.kind, first.open_test().store.kind] == ["jpeg", "jpeg"]  # by both parts together
    asked.clear()
    monkeypatch.setattr(encoding, "MOST", 1e12)
    assert load_data(auto).train.store.kind == "jpeg"  # it is there
    assert load_data(cfg(root=tmp_path / "photos", store="pixels")).train.store.kind == "pixels"


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_of_photographs_takes_hardly_more_than_its_pixels(tmp_path: Path) -> None:
    """Counted by NumPy's and Python's memory: 32 photographs whose canvas is three times their pixels."""

    def build(writer: EncodedWriter) -> None:
        for i in range(32):
            writer.add_file(*encoding.made(np.array(photo(i, *((500, 160) if i % 2 else (160, 500))))))
        writer.finish({}, {})

    store = cache.entry("k", lambda: 1, build, writer=EncodedWriter)
    images = Images(store, np.arange(32), np.zeros(32), ["a"])
    images.fetch(np.arange(2))  # decoders are imported, threads are there
    tracemalloc.start()
    try:
        batch = images.fetch(np.arange(32))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(batch["image"], Ragged) and batch["image"].nbytes > 3 * images.nbytes
    assert images.nbytes <= most < 1.5 * images.nbytes


@pytest.mark.parametrize("how", ["out of order", "not from 0", "too few", "too far", "no turn"])
def test_starts_of_a_stranger_are_built_anew(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    def build(writer: EncodedWriter) -> None:
        for i in range(3):
            writer.add_file(*encoding.made(np.full((4, 4, 1), i, dtype=np.uint8)))
        writer.finish({}, {})

    store = cache.entry("k", lambda: 1, build, writer=EncodedWriter)
    assert isinstance(store, EncodedStore)
    zero, one, two, end = store.starts.tolist()
    wrong = {"out of order": [zero, two, one, end], "not from 0": [7, one, two, end], "too few": [zero, one, end]}
    values = wrong.get(how, [zero, one, two, 10**12])
    file, array = (
        ("turns.npy", np.ones(2, np.uint8)) if how == "no turn" else ("starts.npy", np.array(values, np.int64))
    )
    np.save(store.path / file, array)
    for file in (checksums.CHECKSUMS, checksums.VERIFIED):
        (store.path / file).unlink()
    checksums.close(store.path)  # the checksums hold
    again = cache.entry("k", lambda: 1, build, writer=EncodedWriter)
    assert len(again) == 3 and (again.image(2) == 2).all() and "built anew" in capsys.readouterr().err


# ── what changed since ───────────────────────────────────────────────────────────────────────────


def test_bytes_that_changed_unseen_are_one_line(images: tuple[dict[str, Path], Images, EncodedStore]) -> None:
    _, whole, store = images
    with open(store.path / "bytes.bin", "r+b") as file:  # mapped already
        file.write(bytes(int(store.starts[1])))
    with pytest.raises(UsageError, match="GSSL_CACHE: image 0 of .* is damaged") as error:
        whole.fetch(np.arange(len(whole)))
    assert "\n" not in str(error.value)


def test_files_that_changed_are_told_from_what_is_stored(
    images: tuple[dict[str, Path], Images, EncodedStore],
) -> None:
    made, whole, store = images
    store.opened = 0  # all files count as changed since
    lazy = Originals.of(whole, 24, 24)
    for index in range(len(lazy)):
        lazy.check(index)
    photo(99).save(made["b3"])
    assert whole.names is not None
    with pytest.raises(UsageError, match="has another picture"):
        lazy.check([str(name) for name in whole.names].index(str(made["b3"])))
