"""data=imagetext: which captions belong to which image, in which part, and what is refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from gssl.data import load_data
from gssl.data.columns import CaptionColumn, joined_captions
from gssl.data.tokens import Tokenizer
from tests.data.captioned import picture, set_of_captioned

HEADER = "path,caption\n"


@pytest.fixture
def load(cfg):
    def make(root, **changes):
        own = {"name": "imagetext", "size": 16, "tokenizer": "byte", "lowercase": True, "caption_tokens": 32}
        return load_data(cfg(root=root, **own | changes))

    return make


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """20 images without a table."""
    for i in range(20):
        picture(tmp_path / f"{i:02}.png", ["red", "green", "blue"][i % 3], i % 2 == 1, i)
    return tmp_path


def table(root: Path, rows: list[str], header: str = HEADER) -> Path:
    (root / "captions.csv").write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    return root


def rows_of(count: int = 20) -> list[str]:
    return [f"{i:02}.png,caption number {i}" for i in range(count)]


def texts(images) -> list[list[str]]:
    tokenizer, column = Tokenizer(images.store.meta["tokenizer"]), images.column_of(CaptionColumn)
    return [[tokenizer.decode(ids.tolist()) for ids in column.texts(row)] for row in images.rows.tolist()]


def test_a_table_gives_every_image_its_captions_part_group_and_class(tmp_path, load):
    splits = load(set_of_captioned(tmp_path))
    assert splits.columns == ("image", "label", "caption") and splits.classes == ["high", "low"]
    assert [len(splits.train), len(splits.val), len(splits._test)] == [36, 12, 12]
    own = texts(splits.train)
    for at, captions in enumerate(own):
        number = int(Path(splits.train.name(at)).stem)
        colour = ["red", "green", "blue"][number % 3]
        place = "low" if number // 3 % 2 else "high"
        assert captions == [f"a {colour} square, {place}", colour]
        assert splits.train.groups[at] == f"g{number // 2}" and splits.classes[splits.train.labels[at]] == place
    batch = splits.train.fetch(np.array([0, 1]))
    assert batch["caption"].shape[:2] == (2, 2) and batch["image"].shape[0] == 2
    assert splits.pretrain.column_of(CaptionColumn) is not None
    assert splits.train.unlabelled().columns == ("image", "caption")


def test_files_beside_each_other_are_pairs_and_folders_are_parts(tmp_path, load):
    for part, count in (("train", 12), ("val", 3), ("test", 3)):
        for i in range(count):
            path = picture(tmp_path / part / f"{i}.jpg".replace("jpg", "png"), "red", False, i)
            path.with_suffix(".txt").write_text(f"{part} {i}\n\n and a second one \n")
    splits = load(tmp_path)
    assert texts(splits.val) == [[f"val {i}", "and a second one"] for i in range(3)]
    assert splits.summary["counts"] == {"pretrain": 12, "train": 12, "val": 3, "test": 3} and not splits.classes
    assert "18 empty captions are left out" in splits.summary["found"]


def test_the_tokenizer_has_read_training_captions_alone(tmp_path, load):
    root = set_of_captioned(tmp_path)
    file = root / "captions.csv"
    before = load(root, tokenizer="bpe", vocab=300)
    file.write_text(file.read_text().replace(",red,test", ",zebra zebra zebra,test"))
    after = load(root, tokenizer="bpe", vocab=300)
    known, same = (splits.train.store.meta["tokenizer_hash"] for splits in (before, after))
    assert same == known and after.hash != before.hash and after.train.hash == before.train.hash
    file.write_text(file.read_text().replace(",red,train", ",zebra zebra zebra,train"))
    assert load(root, tokenizer="bpe", vocab=300).train.store.meta["tokenizer_hash"] != known


def test_what_is_not_split_is_split_by_images_and_groups(tmp_path, load):
    splits = load(set_of_captioned(tmp_path, split=False))
    sides = [set(part.groups) for part in (splits.train, splits.val, splits._test)]
    assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    names = [splits.train.name(i) for i in range(len(splits.train))]
    assert len(set(names)) == len(names)  # two captions, one row


def test_groups_that_the_split_tears_are_divided_anew(tmp_path, load):
    root = set_of_captioned(tmp_path)
    file = root / "captions.csv"
    file.write_text(file.read_text().replace(",g9,", ",g0,"))  # g0 is in training, g9 in the validation part
    splits = load(root)
    assert any("tears 1 of 29 groups (g0)" in text for text in splits.summary["warnings"])
    assert not set(splits.train.groups) & set(splits._test.groups)


def test_ids_of_another_tokenizer_are_other_data(tmp_path, load):
    root = set_of_captioned(tmp_path)
    one, other = (load(root, lowercase=lower) for lower in (True, False))
    assert texts(one.train) == texts(other.train)  # nothing has a capital
    assert one.train.hash != other.train.hash


def test_captions_are_read_as_they_are(few, load):
    rows = rows_of()
    rows[:4] = ["00.png,NA", "01.png,null", "02.png,  two   words ", '03.png,"a, b"']
    table(few, ["", *rows], "\ufeffPath,Caption\r\n")
    splits = load(few, lowercase=False)
    found = {}
    for part in (splits.train, splits.val, splits._test):
        found |= {Path(part.name(i)).name: own for i, own in enumerate(texts(part))}
    assert [found[f"0{i}.png"] for i in range(4)] == [["NA"], ["null"], ["two words"], ["a, b"]]


@pytest.mark.parametrize(("separator", "said"), [("\t", "tabs"), (";", "semicolons")])
def test_other_separators_are_read_and_said(few, load, separator, said):
    table(few, [row.replace(",", separator) for row in rows_of()], HEADER.replace(",", separator))
    assert f"captions.csv is separated by {said}" in load(few).summary["found"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("gone.png,a", "1 of 21 images of {}/captions.csv are not there: gone.png ({}/captions.csv line 22); paths"),
        ("/etc/x.png,a", "line 22: /etc/x.png is an absolute path; give paths below {}"),
        ("C:\\x.png,a", "line 22: C:\\x.png is an absolute path; give paths below {}"),
        ("a/../../x.png,a", "line 22: a/../../x.png leaves {}; give paths below it"),
        (",a", "line 22 has no path; expected a header with path,caption"),
        ("01.png,a,b", "line 22 has 3 cells and the header 2; put captions that hold a separator into"),
        ('01.png,"a', "correct its quotes"),
    ],
)
def test_rows_that_are_wrong_are_named(few, refused, row, said):
    assert said.replace("{}", str(few)) in refused(table(few, [*rows_of(), row]))


def test_an_image_has_one_part_one_group_and_one_class(few, refused):
    rows = [f"{row},train,x" for row in rows_of()]
    for row, said in (("00.png,again,test,x", "the split test, and"), ("00.png,again,train,y", "the class y, and")):
        table(few, [*rows, row], "path,caption,split,class\n")
        assert said in refused(few)
    table(few, [*rows, "01.png,again,best,x"], "path,caption,split,class\n")
    assert "has split best; expected train, val, test or pretrain" in refused(few)


def test_classes_are_of_all_images_or_of_none(few, refused):
    table(few, [f"{row},{'x' if i else ''}" for i, row in enumerate(rows_of())], "path,caption,class\n")
    assert "1 of 20 images have no class (00.png," in refused(few)
    rows = [f"{row},{'xy'[i == 3]},{'test' if i in (3, 4) else 'train'}" for i, row in enumerate(rows_of())]
    table(few, rows, "path,caption,class,split\n")
    assert "no training image has the class y" in refused(few)


def test_images_without_a_caption_and_the_reverse(few, refused, load):
    table(few, [*rows_of(19), "19.png,  "])
    said = refused(few)
    assert "1 of 20 images and texts have no counterpart" in said and "19.png has no caption" in said
    assert "data.on_error=skip" in said
    splits = load(few, on_error="skip")
    assert sum(splits.summary["counts"][part] for part in ("train", "val", "test")) == 19
    table(few, rows_of(18))
    assert "2 images below" in load(few).summary["found"]
    (few / "captions.csv").unlink()
    for i in range(18):
        (few / f"{i:02}.txt").write_text(f"number {i}")
    (few / "other.txt").write_text("of nothing")
    assert "3 of 21 images and texts have no counterpart: 18.png has no 18.txt" in refused(few)
    (few / "00.jpg").write_bytes((few / "00.png").read_bytes())
    assert "have one 00.txt; rename one of them" in refused(few)


def test_tables_that_are_none(few, refused):
    table(few, rows_of(), "file,title\n")
    assert "has the columns file, title; expected a header with path,caption" in refused(few)
    (few / "captions.csv").write_bytes("path,caption\n01.png,é\n".encode("cp1252"))
    assert "is not UTF-8" in refused(few) and "data.encoding=cp1252" in refused(few)
    (few / "captions.csv").write_bytes("path,caption\n01.png,a\n".encode("utf-16"))
    assert "data.encoding=utf-16" in refused(few)
    (few / "captions.csv").unlink()
    assert "has no image with a caption; expected captions.csv (path,caption" in refused(few)
    assert "data.root: no folder given" in refused(None)


def test_broken_images_are_refused_or_left_out(few, refused, load):
    (few / "05.png").write_bytes(b"no image")
    table(few, rows_of())
    assert "1 of 20 images cannot be read" in refused(few)
    assert sum(load(few, on_error="skip").summary["counts"][part] for part in ("train", "val", "test")) == 19


def test_a_caption_of_most_images_is_warned_of(few, load):
    table(few, [f"{i:02}.png,the same" if i < 11 else f"{i:02}.png,number {i}" for i in range(20)])
    assert any("11 of 20 images have the caption 'the same'" in text for text in load(few).summary["warnings"])


def test_long_captions_are_cut_off_and_counted(few, load):
    table(few, [*rows_of(19), f"19.png,{'x' * 40}"])
    splits = load(few)
    assert "1 of 20 captions (5.0%) are longer than data.caption_tokens=32 and cut off" in splits.summary["found"]
    assert splits.train.column_of(CaptionColumn).most == (1, 32)


def test_test_images_are_needed(few, refused):
    table(few, [f"{row},train" for row in rows_of(1)], "path,caption,split\n")
    assert "cannot be divided" in refused(few)


def test_captions_of_the_column_are_those_that_were_stored():
    rng = np.random.default_rng(0)
    images = [[rng.integers(8, 99, rng.integers(1, 6)) for _ in range(rng.integers(1, 4))] for _ in range(7)]
    stored = [joined_captions(own) for own in images]
    flat = np.concatenate(stored).view(np.uint8)
    counts = np.array([[len(own)] for own in stored], np.int32)
    column = CaptionColumn(flat, counts, np.zeros((7, 16), np.uint8))
    batch = column.fetch(np.arange(7))
    for row, own in enumerate(images):
        assert all((a == b).all() for a, b in zip(column.texts(row), own, strict=True))
        for line, ids in zip(batch[row], own, strict=False):
            assert (line[: len(ids)] == ids).all() and not line[len(ids) :].any()
        assert not batch[row, len(own) :].any()
