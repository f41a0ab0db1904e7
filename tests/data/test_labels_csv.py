"""The CSV of labels as spreadsheets and other tools write it: what is read, what is told, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gssl.data.sources import labels_csv
from gssl.data.sources.folders import Told
from gssl.data.splits import load_data
from gssl.errors import UsageError

ROWS = [("a/1.png", "cat"), ("a/2.png", "dog"), ("b c/3.png", "cat")]


def text(separator: str = ",", header: str = "path,label", end: str = "\n") -> str:
    lines = [header.replace(",", separator), *(separator.join(row) for row in ROWS)]
    return end.join(lines) + end


def check(path: Path) -> None:
    (rows,) = labels_csv.read(path).values()
    assert list(zip(rows.names, rows.labels, strict=True)) == ROWS


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", ", "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_line_ends_and_encodings(tmp_path, separator, end, encoding) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text(separator, end=end).encode(encoding))
    check(path)


def test_backslashes_capitals_and_empty_lines(tmp_path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\n" + text(header=" Path ,LABEL").replace("/", "\\") + ",\n\n")
    check(path)


def test_the_list_of_a_folder_of_hugging_face(tmp_path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text(text(header="file_name,label"))
    check(path)


def test_a_file_with_a_backslash_in_its_name_keeps_it(tmp_path) -> None:
    (tmp_path / "a\\b.png").touch()
    (tmp_path / "labels.csv").write_text("path,label\na\\b.png,x\nc\\d.png,y\n")
    assert labels_csv.read(tmp_path / "labels.csv")["train"].names == ["a\\b.png", "c/d.png"]


def test_other_columns_are_told(tmp_path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,path,width,label\n1,a.png,20,x\n2,b.png,30,y\n")
    told = Told()
    assert labels_csv.read(path, told)["train"].names == ["a.png", "b.png"]
    assert told.notes == [f"{path}: columns that are not read: id, width"]


@pytest.mark.parametrize("name", ["Training", "TRAIN", "valid", "Validation", "Testing", "unlabeled"])
def test_splits_by_any_of_their_names(tmp_path, name) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"path,label,split\na.png,x,train\nb.png,y,{name}\n")
    part = {"t": "test", "v": "val", "u": "pretrain"}[name[0].lower()] if "ain" not in name.lower() else "train"
    assert "b.png" in labels_csv.read(path)[part].names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\na,b.png,cat\n", 'line 2 has 3 cells and the header 2; put cells .* into "quotes"'),
        (b'path,label\na.png,"x\nb.png,y\n', "line 3: the label has a line break; close its quotes"),
        (b"path,label,groups\na.png,x,1\n", "columns path,label,groups"),
        (b"path,label,label\na.png,x,1\n", "columns path,label,label"),
        (b"path,label\na.png,x\n./a.png,y\n", r"line 3 lists ./a.png again"),
        (b"path,label\na.png,caf\xe9\n", "line 2: the label is no UTF-8; save the file as UTF-8"),
        (b"path,label\n\x00.png,x\n", "line 2 has a path with a zero byte|cannot be read"),
        (b"\xff\xfea", "cannot be read as UTF-8 CSV"),
        (b"", "has the columns none"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "has the columns|cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, content, message) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as error:
        labels_csv.read(path)
    assert str(error.value).startswith("data.labels: ") and "\n" not in str(error.value)


def test_a_foreign_list_can_be_switched_off(cfg: Callable, folders: Path) -> None:
    (folders / "labels.csv").write_text("patient,age\n1,50\n")
    with pytest.raises(UsageError, match="where it is no list of these images: data.labels=folders"):
        load_data(cfg(root=folders))
    assert load_data(cfg(root=folders, labels="folders")).classes == ["a", "b", "c"]


@pytest.mark.parametrize("split", ["", ",train"])
def test_rows_without_a_label_are_pretrained_on_beside_the_others(cfg: Callable, folders: Path, split: str) -> None:
    names = sorted(str(path.relative_to(folders)) for path in folders.rglob("*.png"))
    rows = [f"{name},{'' if i in (3, 17, 30) else 'xy'[i % 2]}{split}" for i, name in enumerate(names)]
    (folders / "labels.csv").write_text("\n".join([f"path,label{',split' if split else ''}", *rows]))
    splits = load_data(cfg(root=folders))
    blank = {str(folders / names[i]) for i in (3, 17, 30)}
    known = [set(map(str, part.names)) for part in (splits.train, splits.val, splits.open_test())]
    assert set().union(*known) == {str(folders / name) for name in names} - blank  # no label, no score
    assert set(map(str, splits.pretrain.names)) == known[0] | blank and set(splits.pretrain.labels) == {-1}
    assert all((part.labels >= 0).all() for part in (splits.train, splits.val))
    for part in (splits.pretrain, splits.train):  # pixels and names belong together
        for i in range(0, len(part), 5):
            again = load_data(cfg(root=folders, labels="folders"))
            (j,) = np.flatnonzero(np.asarray(again.labelled.names) == part.names[i]).tolist() or [None]
            if j is not None:
                assert (part.fetch(np.array([i]))["image"] == again.labelled.fetch(np.array([j]))["image"]).all()


def test_few_images_for_pretraining_are_warned_of(cfg: Callable, folders: Path, paint: Callable) -> None:
    for i in range(3):
        paint(folders / "unlabelled" / f"{i}.png")
    warnings = load_data(cfg(root=folders, pretrain="unlabelled")).summary["warnings"]
    (text,) = [text for text in warnings if text.startswith("pretraining has 3 images and not the")]
    assert "data.pretrain=null" in text


def test_what_was_found_is_one_line(cfg: Callable, folders: Path) -> None:
    (folders / "a/notes.txt").touch()
    (folders / "a/bad.png").touch()
    found = load_data(cfg(root=folders, on_error="skip")).summary["found"]
    assert found.startswith(f"{folders}: 3 classes (a 12, b 12, c 12): ") and "\n" not in found
    assert "1 file is no image that is read (1 .txt; the first is" in found
    assert "1 file cannot be used (the first is" in found and "bad.png" in found


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_list_of_groups_is_read_alike(tmp_path, separator) -> None:
    path = tmp_path / "groups.csv"
    rows = (("Path", "more", "group"), ("a\\1.png", "", "p1"), ("a/2.png", "x", "p1"), ("b.png", "", "p2"))
    path.write_text("\r\n".join(separator.join(row) for row in rows))
    assert labels_csv.groups(path, tmp_path) == {"a/1.png": "p1", "a/2.png": "p1", "b.png": "p2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,group\na.png\n", "line 2 lacks a path or a group"),
        ("path,group\na.png,1\na.png,2\n", "line 3 has two groups for a.png"),
        ("path,label\na.png,1\n", "has the columns path,label; expected the columns path,group"),
        ("", "has the columns none"),
    ],
)
def test_a_list_of_groups_that_is_wrong_is_one_line(tmp_path, content, message) -> None:
    path = tmp_path / "groups.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=message) as error:
        labels_csv.groups(path, tmp_path)
    assert str(error.value).startswith("data.groups: ") and "\n" not in str(error.value)
