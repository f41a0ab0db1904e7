"""`data=webdataset`: archives of samples give what the same images in folders give, and nothing is unpacked."""

import io
import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.config.composing import compose
from gssl.data import cache as kept
from gssl.data import layout, load_data, originals, tars
from gssl.data.sources import places, samples, shards
from gssl.data.sources.folders import Told
from gssl.errors import UsageError
from gssl.experiment import data_report
from gssl.probe.feature_cache import image_ids
from tests.conftest import draw_pictures
from tests.data.test_tars import add, pack


@cache
def base():
    return compose("pretrain-ssl", ["data=webdataset", "data.root=x", "data.size=16"]).data


def config(root, name="webdataset", **keys):
    return base().model_copy(update={"name": name, "root": root and str(root), **keys})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with train/ (3 × 10) and test/ (3 × 4)."""
    root = tmp_path_factory.mktemp("few")
    draw_pictures(root / "train", dict.fromkeys("abc", 10))
    draw_pictures(root / "test", dict.fromkeys("abc", 4), seed=1)
    return root


def members(folder, *kinds):
    """Class folders as members: an image and its labels of some kinds each."""
    classes = sorted({path.parent.name for path in folder.rglob("*.png")})
    found = []
    for path in sorted(folder.rglob("*.png")):
        label, key = path.parent.name, f"{path.parent.name}/{path.stem}"
        own = {"png": path.read_bytes(), "cls": str(classes.index(label)).encode(), "txt": f"{label}\n".encode()}
        own["json"] = json.dumps({"label": label, "number": classes.index(label), "more": [1]}).encode()
        found += [(f"{key}.{kind}", own[kind]) for kind in ("png", *kinds)]
    return found


@pytest.fixture
def archives(pictures, tmp_path):
    """`archives("txt")`: shards/train-{0..2}.tar and test-0.tar with the images of the folder in its order."""

    def make(*kinds, suffix="tar"):
        (root := tmp_path / "shards").mkdir()
        rows, step = members(pictures / "train", *kinds), 10 * (1 + len(kinds))
        for i in range(3):
            pack(root / f"train-{i}.{suffix}", rows[i * step : (i + 1) * step], "w" if suffix == "tar" else "w:gz")
        pack(root / f"test-0.{suffix}", members(pictures / "test", *kinds), "w" if suffix == "tar" else "w:gz")
        return root

    return make


def small(tmp_path, rows, name="x.tar"):
    """Ten images of two classes and what else is given, in one archive."""
    root = tmp_path / "small"
    root.mkdir(exist_ok=True)
    more = []
    for i in range(10):
        path = root / "image.png"
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)
        more += [(f"{i}.png", path.read_bytes()), (f"{i}.cls", str(i % 2).encode())]
        path.unlink()
    pack(root / name, more + rows)
    return root


def png(seed=99):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


# ── parity with folders ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
@pytest.mark.parametrize("store", ["pixels", "jpeg"])
def test_the_same_images_in_folders_have_the_same_hash(archives, pictures, monkeypatch, tmp_path, suffix, store):
    root = archives("txt", suffix=suffix)
    found = load_data(config(root, store=store))
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "another"))  # else the folder would be given the archives' entry
    theirs = load_data(config(pictures, store=store, name="imagefolder"))
    assert found.hash == theirs.hash and found.classes == theirs.classes == ["a", "b", "c"]
    a, b = (part.fetch(np.arange(5))["image"] for part in (found.train, theirs.train))
    np.testing.assert_array_equal(a, b)
    assert found.train.name(0) == f"{root}/train-0.{suffix}/a/000.png"


def test_nothing_is_unpacked(archives, cache_folder):
    load_data(config(archives("txt")))
    assert not [path for path in cache_folder.rglob("*") if path.suffix in (".png", ".img")]
    assert {path.name for path in cache_folder.iterdir()} <= {"images", "tars", "near", "ranges"}


def test_native_jpeg_files_go_in_byte_for_byte(tmp_path):
    rows = []
    for i in range(12):
        path = tmp_path / "image.jpg"
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
        rows += [(f"{i}.jpg", path.read_bytes()), (f"{i}.cls", str(i % 2).encode())]
    (tmp_path / "d").mkdir()
    pack(tmp_path / "d/x.tgz", rows, "w:gz")
    found = load_data(config(tmp_path / "d", store="jpeg", folds=None)).train
    kept = [found.store.encoded(int(row)).tobytes() for row in found.rows]
    assert kept == [dict(rows)[Path(str(name)).name] for name in found.names]


def test_larger_images_are_read_from_the_archive_again(tmp_path, paint):
    for i in range(8):
        paint(tmp_path / f"photos/{'ab'[i % 2]}/{i}.png", (90, 80))
    (tmp_path / "d").mkdir()
    pack(tmp_path / "d/x.tgz", members(tmp_path / "photos", "txt"), "w:gz")
    both = [
        load_data(config(root, folds=None, name=name)).train
        for name, root in (("webdataset", tmp_path / "d"), ("imagefolder", tmp_path / "photos"))
    ]
    large = [originals.at(images, 64, 16) for images in both]
    assert all(isinstance(images, originals.Originals) for images in large)
    assert image_ids(large[0]) == image_ids(large[1])
    for a, b in zip(*(images.fetch(np.arange(len(images)))["image"].images for images in large), strict=True):
        np.testing.assert_array_equal(a, b)
    stored = [originals.at(images, 64, 16, stored=True) for images in both]
    assert stored[0].hash == stored[1].hash and stored[0].store.shapes.min() == 80


def test_sixteen_bits_keep_their_levels(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        (path := tmp_path / f"scans/{'ab'[i % 2]}/{i}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(100, 4000, (12, 14), dtype=np.uint16)).save(path)
    (tmp_path / "d").mkdir()
    pack(tmp_path / "d/x.tgz", members(tmp_path / "scans", "txt"), "w:gz")
    found = load_data(config(tmp_path / "d", folds=None))
    assert found.hash == load_data(config(tmp_path / "scans", folds=None, name="imagefolder")).hash
    assert "8 16-bit grey images" in found.summary["found"]


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kinds", "labels", "classes"),
    [
        (["cls", "txt"], None, ["0", "1", "2"]),
        (["txt"], None, ["a", "b", "c"]),
        (["cls", "txt"], "txt", ["a", "b", "c"]),
        (["json"], "json.label", ["a", "b", "c"]),
        (["json"], "json.number", ["0", "1", "2"]),
        ([], "folders", ["a", "b", "c"]),
    ],
)
def test_labels(archives, kinds, labels, classes):
    found = load_data(config(archives(*kinds), labels=labels))
    assert found.classes == classes and not any("label" in text for text in found.summary["warnings"])
    folder = [Path(str(name)).parent.name for name in found.train.names]
    assert [classes.index(classes["abc".index(own)]) for own in folder] == found.train.labels.tolist()


def test_a_file_beside_the_archives_names_the_classes(archives):
    root = archives("cls")
    (root / "classnames.txt").write_text("ant\nbee\ncat\n")
    assert load_data(config(root)).classes == ["ant", "bee", "cat"]
    (root / "classnames.txt").write_text("ant\nbee\n")
    with pytest.raises(UsageError, match=r"14 samples cannot be used: .*has the class 2, and classnames.txt has 2 li"):
        load_data(config(root))
    assert load_data(config(root, on_error="skip")).classes == ["ant", "bee"]


@pytest.mark.parametrize(
    ("kinds", "hint"),
    [(["json"], r"data\.labels=json\.KEY or folders"), ([], r"data\.labels=folders")],
)
def test_archives_without_labels_are_pretrained_on(archives, kinds, hint):
    found = load_data(config(archives(*kinds)))
    assert found.classes == [] and any(re.search(hint, text) for text in found.summary["warnings"])


def test_captions_are_no_classes(tmp_path):
    (tmp_path / "d").mkdir()
    rows = [row for i in range(12) for row in ((f"{i}.png", png(i)), (f"{i}.txt", f"picture {i}".encode()))]
    pack(tmp_path / "d/x.tar", rows)
    found = load_data(config(tmp_path / "d"))
    assert found.classes == [] and any("data.labels=txt" in text for text in found.summary["warnings"])
    pack(tmp_path / "d/x.tar", [*rows, ("12.png", png(12)), ("12.txt", b"two\nlines")])
    with pytest.raises(UsageError, match="x.tar/12 has a txt that is no name of a class, one line of at most 200"):
        load_data(config(tmp_path / "d", labels="txt"))


def test_samples_without_a_label_are_pretrained_on_beside_the_others(archives, pictures):
    root = archives("cls")
    extra = [(f"more/{i}.png", png(i)) for i in range(5)] + [("x.png", png(7)), ("x.cls", b"-1")]
    pack(root / "train-3.tar", extra)
    pack(root / "test-1.tar", extra[:1])
    found = load_data(config(root, folds=None))
    assert found.summary["counts"]["pretrain"] == found.summary["counts"]["train"] + 6
    assert found.summary["counts"]["test"] == 12
    assert any("1 test samples have no label: left out" in text for text in found.summary["warnings"])


# ── parts ────────────────────────────────────────────────────────────────────────────────────────


def test_archives_are_in_the_order_in_which_people_count(tmp_path):
    for name in ("train-10.tar", "train-2.tar", "train-1.tar", ".train-0.tar", "notes.txt", "a.tar.xz"):
        (tmp_path / name).touch()
    told = Told()
    assert [path.name for path in shards.below(tmp_path, told)] == ["train-1.tar", "train-2.tar", "train-10.tar"]
    assert "a.tar.xz is not read" in told.warnings[0]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("x-{0..2}.tar", ["x-0.tar", "x-1.tar", "x-2.tar"]),
        ("{08..10}", ["08", "09", "10"]),
        ("{000..002}", ["000", "001", "002"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{train,val}-{0..1}", ["train-0", "train-1", "val-0", "val-1"]),
        ("{a}", ["{a}"]),
        ("plain", ["plain"]),
    ],
)
def test_patterns(pattern, names):
    assert shards.expanded(pattern) == names and shards.is_pattern(pattern) == (names != [pattern])


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train-0000.tar", "train"),
        ("imagenet-train-000000.tgz", "train"),
        ("imagenet1k-validation-07.tar.gz", "val"),
        ("test/0.tar", "test"),
        ("cc3m/unlabelled/1.tar", "pretrain"),
        ("00000.tar", None),
        ("contest.tar", None),
    ],
)
def test_parts_by_names(name, part):
    assert shards._part_of(Path(name)) == part


def test_parts_by_keys_patterns_and_folders(archives, pictures):
    root = archives("txt")
    whole = load_data(config(root))
    (root / "held").mkdir()
    shutil.move(root / "test-0.tar", root / "held/0.tar")
    for given in (
        {"root": f"{root}/train-{{0..2}}.tar", "test": "held"},
        {"root": root, "train": f"{root}/train-{{0..2}}.tar", "test": "held/0.tar"},
        {"root": root, "train": "train-{0..2}.tar", "test": f"{root}/held"},
        {"root": None, "train": str(root), "test": f"{root}/held"},  # which is not trained on, too
    ):
        assert load_data(config(**given)).hash == whole.hash, given


def test_unlabelled_archives_are_for_pretraining(archives, tmp_path):
    root = archives("txt")
    (root / "unlabelled").mkdir()
    pack(root / "unlabelled/0.tar", [(f"{i}.png", png(i)) for i in range(40)])
    assert load_data(config(root)).summary["counts"]["pretrain"] == 40
    only = load_data(config(None, pretrain=f"{root}/unlabelled")).summary
    assert sum(only["counts"][part] for part in ("train", "val", "test")) == 40


def test_what_is_not_read_is_told(tmp_path):
    root = small(tmp_path, [("0.json", b"{}"), ("README.md", b""), ("._0.png", b"x"), ("__MACOSX/0.png", b"x")])
    with tars.tarfile.open(root / "y.tar", "w") as archive:
        add(archive, "l.png", type=tars.tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "l.cls", type=tars.tarfile.LNKTYPE, linkname="../0.cls")
    found = load_data(config(root, folds=None)).summary["found"]
    assert "2 members that are links, or no files, are not read" in found
    assert "4 other members are not read (2 hidden, 1 .json, 1 .md)" in found


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("k.cls", b"1")], "1 samples cannot be used: .*x.tar/k has no image; mend the archives, or leave"),
        ([("d/k.jpg", b"1"), ("d/k.png", b"1")], r"x.tar/d/k has 2 images \(k.jpg, k.png\)"),
        ([("k.a.png", b"1"), ("k.b.png", b"2")], "x.tar/k has 2 images"),
        ([("k.png", b"1"), ("k.cls", b"cat")], r"x.tar/k has a cls that is no integer \(cat\); names of classes are"),
        ([("k.png", b"1"), ("k.cls", b"1.5\n2")], r"no integer \(1.5 2\)"),
        ([("k.png", b"1"), ("k.cls", "\u0663".encode())], "no integer"),
        ([("0.png", b"1")], "x.tar holds 0.png twice; give each sample a key of its own"),
        ([("./0.cls", b"1")], "x.tar holds 0.cls twice"),
        ([("k.png", b"no image"), ("k.cls", b"1")], r"1 of 11 images cannot be read: .*x.tar/k.png \("),
        ([("../../k.png", b"no image"), ("../../k.cls", b"1")], "x.tar/__/__/k.png"),
    ],
)
def test_what_is_wrong_in_an_archive_is_one_line(tmp_path, rows, says):
    root = small(tmp_path, rows)
    with pytest.raises(UsageError, match=says) as error:
        load_data(config(root))
    assert "\n" not in str(error.value) and str(error.value).startswith("data.root: ")
    if "twice" not in says:
        found = load_data(config(root, on_error="skip", folds=None)).summary
        assert len(found["skipped"]) == 1 and sum(found["counts"][p] for p in ("train", "val", "test")) == 10


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "has a json that cannot be read"),
        (b"[" * 100_000, "has a json that cannot be read"),
        (b'{"a": [1]}', r"has a json whose a is no integer and no name \(\[1\]\)"),
        (b'{"a": 1.5}', "no integer and no name"),
        (b'{"a": true}', "no integer and no name"),
        (b'{"a": "x\\ny"}', "json whose a that is no name of a class"),
    ],
)
def test_json_that_is_wrong_is_one_line(tmp_path, raw, says):
    rows = [(f"{i}.json", b'{"a": %d}' % (i % 2)) for i in range(10)]
    root = small(tmp_path, [*rows, ("k.png", png()), ("k.json", raw)])
    with pytest.raises(UsageError, match=f"x.tar/k {says}" if says.startswith("has") else says) as error:
        load_data(config(root, labels="json.a"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "more", "says"),
    [
        (lambda root: (root / "test-0.tar").write_bytes((root / "test-0.tar").read_bytes()[:5000]), {},
         "test-0.tar ends early; fetch it again or remove it"),
        (lambda root: (root / "train-1.tar").write_bytes(b"?" * 2000), {}, "train-1.tar is no tar archive, or damaged"),
        (lambda root: [path.unlink() for path in root.glob("*.tar")], {}, "no .tar or .tar.gz or .tgz archives below"),
        (lambda root: [path.unlink() for path in root.glob("train*")] and pack(root / "val-0.tar", []), {},
         "has archives for test and val and none for train"),
        (lambda root: [pack(path, []) for path in root.glob("train*")], {}, "no images in the archives of .* to train"),
        (lambda root: None, {"labels": "kind"}, "data.labels=kind: expected cls .integers., txt .* or folders"),
        (lambda root: None, {"labels": "json."}, "data.labels=json.: expected"),
        (lambda root: None, {"test": "nowhere"}, "data.test: there is no nowhere; expected a folder of .tar"),
        (lambda root: None, {"test": "test-{0..3}.tar"}, "data.test: 3 archives of .* are not there: .*test-1.tar"),
        (lambda root: None, {"test": "test-{0..999999999}.tar"}, "stands for more than 100,000 archives"),
        (lambda root: (root / "x.zip").touch(), {"test": "x.zip"}, "x.zip is no archive that is read; expected .tar"),
        (lambda root: pack(root / "test-1.tar", [("d/1.png", png()), ("d/1.txt", b"dog")]), {},
         "classes that the training images in .* do not have: dog"),
    ],
)  # fmt: skip
def test_mistakes_are_named(archives, change, more, says):
    root = archives("txt")
    change(root)
    with pytest.raises(UsageError, match=says) as error:
        load_data(config(root, **more))
    assert "\n" not in str(error.value)


def test_keys_that_are_wrong():
    with pytest.raises(UsageError, match="data.root must be given: the folder of your tar archives"):
        compose("pretrain-ssl", ["data=webdataset"])
    with pytest.raises(UsageError, match="data.groups is for data=segmentation"):
        compose("pretrain-ssl", ["data=webdataset", "data.root=x", "data.groups=x"])


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


def old(root):
    """As if the archives had been there for long."""
    for path in root.rglob("*.tar"):
        os.utime(path, ns=(0, 10**18))


def test_an_archive_is_read_once_and_a_change_is_noticed(archives, monkeypatch):
    root = archives("txt")
    monkeypatch.setattr(kept, "FRESH", 0)
    before = load_data(config(root))
    read = []
    own = tars.members
    monkeypatch.setattr(tars, "members", lambda path, take: read.append(Path(path).name) or own(path, take))
    assert load_data(config(root)).hash == before.hash and read == []
    stat = (path := root / "train-1.tar").stat()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"b\n", b"c\n", 1))  # one label, of equal size and with its time put back
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = load_data(config(root))
    assert read == ["train-1.tar"] and after.hash != before.hash
    other = root / "other"
    other.write_bytes(data)
    os.replace(other, path)
    assert load_data(config(root)).hash == before.hash and read == ["train-1.tar"] * 2


def test_an_archive_that_was_written_lately_is_read_again(archives, cache_folder, monkeypatch):
    monkeypatch.setattr(kept, "FRESH", 10**15)
    load_data(config(archives("txt")))
    assert not (cache_folder / "tars").exists()


def test_an_archive_that_changes_between_its_reading_and_decoding_is_told(archives, monkeypatch):
    root = archives("txt")
    own = tars.know

    def changed(path, places):
        own(path, places)
        os.utime(path, ns=(0, 0))

    monkeypatch.setattr(tars, "know", changed)
    with pytest.raises(UsageError, match="images cannot be read: .*was changed since it was read first"):
        load_data(config(root))


def test_what_is_kept_and_damaged_is_made_again(archives, cache_folder, monkeypatch, capsys):
    root = archives("txt")
    monkeypatch.setattr(kept, "FRESH", 0)
    before = load_data(config(root))
    for file in (cache_folder / "tars").glob("*.sealed"):  # of each archive, and of each part
        file.write_bytes(file.read_bytes().replace(b'"txt"', b'"cls"'))
    assert load_data(config(root)).hash == before.hash
    assert "is damaged (its checksum does not hold); it is computed anew" in capsys.readouterr().err


def test_a_process_that_read_no_archive_finds_members_too(archives, monkeypatch):
    root = archives("txt")
    found = load_data(config(root)).train
    monkeypatch.setattr(tars, "_known", {})
    tars._places.cache_clear()
    known = samples.shard(root / "train-0.tar", "root", "txt").contents.tolist()
    assert kept.content_hash(tars.read(found.name(3))).encode() in known


# ── around it ────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_archives_is_recognised(archives, pictures, tmp_path):
    root = archives("txt")
    found = layout.look(root)
    assert (found.name, found.keys, found.smallest) == ("webdataset", {"root": str(root)}, None)
    assert "4 tar archives of samples, as WebDataset has them (3 for train, 1 for test; 0 MB)" in found.lines[0]
    shutil.copytree(pictures / "train", tmp_path / "both")
    shutil.copy(root / "test-0.tar", tmp_path / "both")
    assert layout.look(tmp_path / "both").name == "imagefolder"


def test_where_archives_lie_is_recorded(archives, monkeypatch, tmp_path):
    archives("txt")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "txt").touch()
    given = {"name": "webdataset", "root": "shards/train-{0..2}.tar", "test": "shards/test-0.tar", "labels": "txt"}
    found = places.recorded(given)
    assert found["root"] == f"{tmp_path}/shards/train-{{0..2}}.tar" and found["labels"] == "txt"
    assert found["test"] == f"{tmp_path}/shards/test-0.tar"


@pytest.mark.long
def test_a_report_of_archives(archives):
    found = data_report.look(config(archives("txt")), "shards", 5, torch.device("cpu")).text
    assert found["files"]["formats"] == {"PNG": 42} and not found["unused"]
