"""`data=hf`: Parquet and Arrow files give what the same images in folders give."""

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gssl.config.composing import compose
from gssl.data import load_data
from gssl.data.sources import hf_files
from gssl.errors import UsageError

pa = pytest.importorskip("pyarrow", reason="pip install 'gssl[hf]'")
pq = pytest.importorskip("pyarrow.parquet")

CLASSES = ["a", "b", "c"]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def config(root, *more, name="hf"):
    return compose("pretrain-ssl", [f"data={name}", f"data.root={root}", "data.size=16", *more]).data


def rows_of(folder):
    """The images of class folders as rows."""
    found = []
    for path in sorted(folder.rglob("*.png")):
        own = {"bytes": path.read_bytes(), "path": path.name}
        found.append({"image": own, "label": CLASSES.index(path.parent.name), "patient": f"p{len(found) // 4}"})
    return found


def table(rows, features=True, label=None):
    schema = pa.schema([("image", IMAGE), ("label", label or pa.int64()), ("patient", pa.string())])
    made = pa.Table.from_pylist(rows, schema)
    if features:
        about = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": about}})})
    return made


@pytest.fixture
def dataset(pictures, tmp_path):
    """data/train-*.parquet in two files and data/test-*.parquet, as the Hub has them."""
    root = tmp_path / "dataset"
    (root / "data").mkdir(parents=True)
    train, test = rows_of(pictures / "train"), rows_of(pictures / "test")
    pq.write_table(table(train[:70]), root / "data/train-00000-of-00002.parquet", row_group_size=32)
    pq.write_table(table(train[70:]), root / "data/train-00001-of-00002.parquet")
    pq.write_table(table(test), root / "data/test-00000-of-00001.parquet")
    return root


def contents(images):
    """(hash, class) of every image, sorted."""
    return sorted((h.tobytes(), images.classes[c]) for h, c in zip(images.image_hashes(), images.labels, strict=True))


def same(one, other):
    for part in ("train", "val", "_test"):
        assert contents(getattr(one, part)) == contents(getattr(other, part)), part


def test_the_same_images_in_folders_give_the_same_parts(dataset, pictures):
    found = load_data(config(dataset))
    theirs = load_data(config(pictures, name="imagefolder"))
    assert found.classes == theirs.classes == CLASSES and found.summary["counts"] == theirs.summary["counts"]
    same(found, theirs)


def test_messages_name_files_that_can_be_opened(dataset):
    images = load_data(config(dataset)).train
    assert all(Path(name).read_bytes().startswith(b"\x89PNG") for name in images.names)
    assert all(re.fullmatch(r"\d{7}-\d{3}\.png", Path(name).name) for name in images.names)  # its row and its name


def test_it_is_unpacked_once(dataset, monkeypatch):
    from gssl.data.sources import hf

    load_data(config(dataset))
    monkeypatch.setattr(hf, "_unpack", lambda *a: pytest.fail("unpacked again"))
    load_data(config(dataset, "data.size=8"))


@pytest.mark.parametrize("what", ["flipped", "replaced", "cut", "gone", "index", "empty index"])
def test_what_was_unpacked_and_changed_since_is_unpacked_anew(dataset, cache_folder, capsys, what):
    before = load_data(config(dataset))
    path = Path(before.train.names[3])
    index, data = path.parent / "rows.sealed", path.read_bytes()
    if "index" in what:
        changed = index.read_bytes().replace(b"abc", b"bac")  # the classes
        index.unlink()
        index.write_bytes(b"" if what == "empty index" else changed)
    elif what == "gone":
        path.unlink()
    else:
        other = Path(before.train.names[4]).read_bytes() if what == "replaced" else data[:20]
        path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:] if what == "flipped" else other)
    capsys.readouterr()
    same(load_data(config(dataset)), before)
    assert path.read_bytes() == data
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cache:")]
    assert len(lines) == 1 and lines[0].endswith("the images are unpacked anew")


def test_files_of_equal_size_and_time_are_told_by_their_content(dataset, pictures):
    before = load_data(config(dataset))
    (file,) = dataset.rglob("test*.parquet")
    times = file.stat()
    data = bytearray(file.read_bytes())
    at = data.index(b"IDAT") + 6  # in an image, not in a footer
    data[at] ^= 255
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UsageError, match=r"\d+ of 60 images cannot be read"):
        load_data(config(dataset))
    assert len(before._test) == 60


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_arrow_files_as_datasets_saves_them(kind, dataset, pictures, tmp_path):
    root = tmp_path / "saved"
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
        made = table(rows_of(pictures / part), features=False)
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with new(str(root / part / "data-00000-of-00001.arrow"), made.schema) as writer:
            writer.write_table(made, max_chunksize=50)
        about = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": CLASSES}}
        (root / part / "dataset_info.json").write_text(json.dumps({"features": about}))
    (root / "train/cache-123.arrow").write_bytes(b"what datasets writes for itself")
    same(load_data(config(root)), load_data(config(dataset)))


def test_a_readme_names_splits_and_classes(dataset, pictures, tmp_path):
    root = tmp_path / "other"
    root.mkdir()
    pq.write_table(table(rows_of(pictures / "train"), features=False), root / "x.parquet")
    pq.write_table(table(rows_of(pictures / "test"), features=False), root / "y.parquet")
    names = "\n".join(f"          '{i}': {name}" for i, name in enumerate(CLASSES))
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: x*\n  - split: test\n"
        "    path: y.parquet\n- config_name: small\n  data_files: z*\ndataset_info:\n  features:\n  - name: image\n"
        f"    dtype: image\n  - name: label\n    dtype:\n      class_label:\n        names:\n{names}\n---\n# Pictures\n"
    )
    found = load_data(config(root))
    same(found, load_data(config(dataset)))
    assert any("several configurations" in text for text in found.summary["warnings"])


def test_labels_of_text_a_column_of_bytes_and_a_column_by_name(pictures, tmp_path):
    rows = [{"picture": r["image"]["bytes"], "kind": CLASSES[r["label"]]} for r in rows_of(pictures / "train")]
    rows[0]["kind"] = None
    (tmp_path / "d").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d/0000.parquet")
    found = load_data(config(tmp_path / "d", "data.labels=kind"))
    assert found.classes == CLASSES
    bare = load_data(config(tmp_path / "d"))
    assert bare.classes == [] and "label" not in bare.columns
    assert any("where one of kind holds them: data.labels=COLUMN" in text for text in bare.summary["warnings"])
    assert not any("data.labels=COLUMN" in text for text in found.summary["warnings"])


def test_groups_are_a_column_and_never_torn(dataset):
    (dataset / "data/test-00000-of-00001.parquet").unlink()
    found = load_data(config(dataset, "data.groups=patient", "data.folds=null"))
    assert set(found.train.groups) | set(found.val.groups) | set(found._test.groups) == {f"p{i}" for i in range(30)}
    assert not set(found.train.groups) & set(found._test.groups)


def test_images_beside_the_table(pictures, tmp_path):
    root = tmp_path / "d"
    shutil.copytree(pictures / "train", root / "images")
    rows = [
        {"image": {"bytes": None, "path": f"images/{p.parent.name}/{p.name}"}, "label": p.parent.name}
        for p in sorted((root / "images").rglob("*.png"))
    ]
    pq.write_table(table(rows, False, pa.string()), root / "t.parquet")
    found = load_data(config(root, "data.folds=null"))
    assert found.classes == CLASSES and sum(found.summary["counts"][p] for p in ("train", "val", "test")) == 120


def test_a_test_part_without_labels_is_left_out(dataset, pictures):
    hidden = [row | {"label": -1} for row in rows_of(pictures / "test")]
    pq.write_table(table(hidden), dataset / "data/test-00000-of-00001.parquet")
    found = load_data(config(dataset, "data.folds=null"))
    assert any("the test images have no labels" in text for text in found.summary["warnings"])
    assert sum(found.summary["counts"][p] for p in ("train", "val", "test")) == 120


def test_a_broken_image_is_an_error_that_names_it_or_is_left_out(dataset, pictures):
    rows = rows_of(pictures / "test")
    rows[3]["image"] = {"bytes": b"no image", "path": "bad.png"}
    pq.write_table(table(rows), dataset / "data/test-00000-of-00001.parquet")
    with pytest.raises(UsageError, match=r"1 of 60 images cannot be read: .*bad\.img"):
        load_data(config(dataset))
    found = load_data(config(dataset, "data.on_error=skip"))
    assert found.summary["counts"]["test"] == 59 and len(found.summary["skipped"]) == 1


@pytest.mark.parametrize(
    ("make", "more", "says"),
    [
        (lambda root: None, ["data.labels=kind"], "data.labels=kind: .*its columns are image, label, patient"),
        (lambda root: None, ["data.groups=clip"], "data.groups=clip: .*no such column"),
        (lambda root: shutil.rmtree(root / "data"), [], "data.root: no .parquet or .arrow files below"),
        (lambda root: (root / "data/train-00000-of-00002.parquet").write_bytes(b"PAR1 broken"), [], "cannot be read"),
        (lambda root: [p.unlink() for p in root.glob("data/train*")] and shutil.copy(
            root / "data/test-00000-of-00001.parquet", root / "data/validation-0.parquet"), [], "and no train"),
    ],
)  # fmt: skip
def test_mistakes_are_named(dataset, make, more, says):
    make(dataset)
    with pytest.raises(UsageError, match=says) as error:
        load_data(config(dataset, *more))
    assert "\n" not in str(error.value)


def test_a_table_without_images_is_refused(tmp_path):
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"text": ["x"], "label": [0]}), tmp_path / "d/train.parquet")
    with pytest.raises(UsageError, match="no column of images; its columns are text, label"):
        load_data(config(tmp_path / "d"))


def test_a_data_set_that_cannot_be_fetched_is_one_line(monkeypatch):
    import huggingface_hub

    def offline(name, **how):
        raise OSError("no route to\nthe host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UsageError, match=r"data\.root=org/name: .*cannot be fetched \(no route to the host\)"):
        load_data(config("org/name"))
    with pytest.raises(UsageError, match="is no folder"):
        load_data(config("nowhere"))


def test_a_data_set_of_the_hub_is_fetched_and_read(dataset, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **how: asked.append((name, how)) or dataset)
    assert load_data(config("org/name")).classes == CLASSES
    assert asked[0][0] == "org/name" and asked[0][1]["repo_type"] == "dataset"


def test_without_pyarrow_the_extra_is_named(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'gssl\[hf\]'"):
        load_data(config(dataset))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("default/test/0000.parquet", "test"),
        ("validation/data-00000-of-00001.arrow", "validation"),
        ("birds.parquet", "birds"),
    ],
)
def test_splits_by_names(name, split, tmp_path):
    assert hf_files._split_of(tmp_path.joinpath(name).relative_to(tmp_path)) == split


def test_splits_of_unknown_names_are_left_out_with_a_warning(tmp_path):
    for name in ("train-0.parquet", "extra-0.parquet", "dev-0.parquet", "unsupervised-0.parquet"):
        (tmp_path / name).write_bytes(b"")
    warnings = []
    found = hf_files.splits(tmp_path, warnings)
    assert set(found) == {"train", "val", "pretrain"} and "the split extra" in warnings[0]


def test_pixels_are_those_of_the_files(dataset, pictures):
    from PIL import Image

    images = load_data(config(dataset)).train
    own = np.array(Image.open(str(images.name(0))))
    np.testing.assert_array_equal(images.store.image(int(images.rows[0])), own)


def test_a_folder_of_tables_is_found_out_by_every_command(dataset, pictures):
    from gssl.data import layout

    assert layout.look(dataset).name == "hf" and layout.look(pictures).name == "imagefolder"
    (pictures / "notes.parquet").write_bytes(b"")
    try:
        assert layout.look(pictures).name == "imagefolder"
    finally:
        (pictures / "notes.parquet").unlink()


def test_few_labels_are_tested_on_in_folds(dataset):
    """Its own test images are left out, as of every source, and every labelled image is in one fold."""
    found = load_data(config(dataset, "data.test=folds", "data.folds=4", "data.fold=1"))
    assert sum(found.summary["counts"][p] for p in ("train", "val", "test")) == 120
    assert found.summary["counts"]["test"] == 30


BOMB = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    "head",
    [
        BOMB + "configs: *k",
        "configs: 3",
        "configs: [1, [2], null]",
        "configs: [{data_files: [3, {split: train}, {path: x}, {split: train, path: 5}]}]",
        "configs: [{data_files: {split: train, path: x}}]",
        "configs: [{data_files: [{split: train, path: '../../*.parquet'}, {split: x, path: '/etc/*'}]}]",
        "configs: [{data_files: [{split: train, path: '**x'}]}]",
        "dataset_info: 7",
        "dataset_info: [3]",
        "dataset_info: {features: [1, {name: label, dtype: {class_label: {names: {'a': b}}}}]}",
        "dataset_info: {features: {label: x}}",
        "[" * 5000,
        ": : :\n\t- x",
        "\x00\x01",
    ],
)
def test_a_readme_that_is_wrong_says_nothing(dataset, head):
    (dataset / "README.md").write_text(f"---\n{head}\n---\n")
    started = time.process_time()
    assert set(hf_files.splits(dataset, [])) == {"train", "test"}
    hf_files.features(dataset, dataset / "data/train-00000-of-00002.parquet", None)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "text", ["3", "[" * 100_000, '{"info": 3}', '{"info": {"features": {"label": 3}}}', "{", "\xff"]
)
def test_a_description_that_is_wrong_says_nothing(dataset, text):
    (dataset / "dataset_info.json").write_text(text, encoding="latin-1")
    hf_files.features(dataset, dataset / "data/train-00000-of-00002.parquet", None)
    assert load_data(config(dataset)).classes == CLASSES  # the files describe themselves


def test_a_row_names_no_file_outside(pictures, tmp_path):
    root = tmp_path / "outside"
    root.mkdir()
    secret = next(pictures.rglob("*.png"))
    rows = rows_of(pictures / "train")
    for row, path in zip(rows, (str(secret), os.path.relpath(secret, root), "/dev/zero"), strict=False):
        row["image"] = {"bytes": None, "path": path}
    pq.write_table(table(rows), root / "train.parquet")
    with pytest.raises(UsageError, match=f"3 of {len(rows)} images cannot be read"):
        load_data(config(root))
