"""Texts as data: files of every kind, bad ones in a line, splits by document, a tokenizer of training texts alone."""

import json

import numpy as np
import pytest

from gssl.data.splits import load_data
from gssl.data.tokens import Tokenizer
from gssl.errors import UsageError
from gssl.vocabulary import BOS, FIRST, PAD

WORDS = ("red", "green", "blue", "seven", "eleven")


@pytest.fixture
def texts(cfg):
    def make(root, **changes):
        return cfg(**{"name": "text", "root": root, "tokenizer": "byte", "lowercase": False, "size": 16} | changes)

    return make


def table(path, rows, header="text,label"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def many(count=40):
    return [f"{WORDS[i % 5]} {i},{'odd' if i % 2 else 'even'}" for i in range(count)]


def read(images):
    """What is in the rows, as text."""
    tokenizer = Tokenizer(images.store.meta["tokenizer"])
    ids = images.fetch(np.arange(len(images)))["text"]
    return [tokenizer.decode(row.tolist()) for row in ids]


def test_a_table_becomes_texts_with_classes(tmp_path, texts):
    splits = load_data(texts(table(tmp_path / "t.csv", many())))
    assert splits.columns == ("label", "text") and splits.classes == ["even", "odd"]
    own = {name: read(part) for name, part in (("train", splits.train), ("val", splits.val), ("test", splits._test))}
    assert sorted(sum(own.values(), [])) == sorted(row.partition(",")[0] for row in many())
    assert all(int(t.split()[1]) % 2 == label for t, label in zip(own["train"], splits.train.labels, strict=True))
    assert len(splits.labelled) == len(splits.train) + len(splits.val)
    again = load_data(texts(table(tmp_path / "t.csv", many()[::-1])))
    assert set(read(again._test)) == set(own["test"])  # by content, wherever a row stands


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "folders", "parts"])
def test_other_layouts_say_the_same(kind, tmp_path, texts):
    rows = [row.split(",") for row in many()]
    root = tmp_path / "data"
    if kind == "tsv":
        root = table(tmp_path / "t.tsv", ["\t".join(row) for row in rows], "text\tlabel")
    elif kind == "jsonl":
        root = tmp_path / "t.jsonl"
        root.write_text("\n".join(json.dumps({"text": t, "label": c}) for t, c in rows), encoding="utf-8")
    elif kind == "folders":
        for i, (text, label) in enumerate(rows):
            (root / label).mkdir(parents=True, exist_ok=True)
            (root / label / f"{i}.txt").write_text(text)
    else:
        root.mkdir()
        for name, part in (("train", rows[:20]), ("dev", rows[20:30]), ("test", rows[30:])):
            table(root / f"{name}.csv", [",".join(row) for row in part])
    splits = load_data(texts(root))
    found = {**dict(zip(read(splits.train), splits.train.labels.tolist(), strict=True))}
    assert all(int(text.split()[1]) % 2 == label for text, label in found.items())
    counts = splits.summary["counts"]
    assert counts["train"] + counts["val"] + counts["test"] == 40
    if kind == "parts":
        assert (counts["train"], counts["val"], counts["test"]) == (20, 10, 10) and len(splits.labelled) == 20


def test_what_pandas_would_lose_is_kept(tmp_path, texts):
    rows = ["NA,01", "null,1", "None,01", '"nan",1', "a,01", "b,1", "c,01", "d,1"]
    splits = load_data(texts(table(tmp_path / "t.csv", ["\ufefftext,label"][:0] + rows)))
    assert splits.classes == ["01", "1"]
    assert {"NA", "null", "None", "nan"} <= set(read(splits.labelled) + read(splits._test))


def test_marks_line_ends_and_long_fields(tmp_path, texts):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbftext,label\r\n" + "".join(
        f"{'x' * 200_000 if not i else WORDS[i % 5]}{i},{i % 2}\r\n" for i in range(20)).encode())  # fmt: skip
    splits = load_data(texts(tmp_path / "t.csv", tokenizer="bpe"))
    assert splits.classes == ["0", "1"] and "longer than data.size=16 tokens and cut off" in splits.summary["found"]
    (tmp_path / "u.txt").write_bytes(b"\xef\xbb\xbf" + b"one\r\ntwo\r\n" * 40)
    assert "\ufeff" not in read(load_data(texts(tmp_path / "u.txt")).train)[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,label\n\xe9t\xe9,a\n", r"t.csv is not UTF-8 \(byte 11\); .*data.encoding=cp1252"),
        ("text,label\na,b\n".encode("utf-16"), "is UTF-16; add data.encoding=utf-16"),
        (b"text,label\na\0b,c\n", "has a zero byte"),
        (b"words,label\na,b\n", "has the columns words, label; expected a header with text"),
        (b"text,label\na,b,c\n", "line 2 has 3 cells and the header 2"),
        (b"text,label\n,b\n ,c\n", "no training texts that are not empty"),
        (b'text,label\n"a,b\n', "correct its quotes"),
        (b"text,label,split\na,b,tomorrow\n", "split=tomorrow: expected train, val, test or pretrain"),
        (b"text,label\n" + b"".join(b"t%d,id%d\n" % (i, i) for i in range(30)), "an id and no class"),
        (b"text,label,split\na,b,\nc,d,\ne,f,test\n", "labels that training texts do not have: f"),
        (b"text,label,split\na,b,\nc,d,\ne,,test\n", "a test text has no label"),
    ],
)
def test_bad_files_are_refused_in_a_line(content, said, tmp_path, texts):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        load_data(texts(tmp_path / "t.csv"))


def test_other_encodings_are_read_when_they_are_named(tmp_path, texts):
    rows = [f"été {i},{i % 2}" for i in range(20)]
    (tmp_path / "t.csv").write_bytes(("text,label\n" + "\n".join(rows)).encode("cp1252"))
    assert read(load_data(texts(tmp_path / "t.csv", encoding="cp1252")).train)[0].startswith("été")


def test_empty_texts_are_counted_and_texts_without_a_label_are_for_pretraining(tmp_path, texts):
    splits = load_data(texts(table(tmp_path / "t.csv", [*many(), ",odd", "spare one,", "spare two,"])))
    assert "1 empty text is left out" in splits.summary["found"]
    assert splits.summary["counts"]["pretrain"] == splits.summary["counts"]["train"] + 2
    assert {"spare one", "spare two"} <= set(read(splits.pretrain)) and "label" not in splits.pretrain.columns


def test_the_tokenizer_has_read_training_texts_alone(tmp_path, texts):
    """Characters that only test and validation texts have are unknown to it."""
    for name, letter in (("train", "a"), ("val", "v"), ("test", "t")):
        table(tmp_path / f"{name}.csv", [f"{letter * 3} {i},{i % 2}" for i in range(10)])
    splits = load_data(texts(tmp_path, tokenizer="char"))
    assert read(splits.train)[0] == "aaa 0" and read(splits._test)[0] == "\ufffd\ufffd\ufffd 0"
    other = load_data(texts(tmp_path, tokenizer="byte"))
    assert other.hash != splits.hash and other.train.hash != splits.train.hash  # its hash is part of theirs
    table(tmp_path / "train.csv", [f"{'b' * 3} {i},{i % 2}" for i in range(10)])
    assert load_data(texts(tmp_path, tokenizer="char"))._test.hash != splits._test.hash


def test_a_single_text_is_cut_by_position_and_read_in_pieces(tmp_path, texts):
    lines = "".join(f"line {i:03}\n" for i in range(100))
    (tmp_path / "t.txt").write_text(lines)
    splits = load_data(texts(tmp_path / "t.txt"))
    parts = ["".join(read(part)) for part in (splits.train, splits.val, splits._test)]
    assert "".join(parts) == lines and all(part.endswith("\n") for part in parts)
    assert abs(len(parts[2]) - 0.25 * len(lines)) < 10
    column = splits.train.store.columns["text"]
    wide = column.windows(np.array([0, 1]), np.array([3, 0]), np.array([20, 8]))
    assert Tokenizer(splits.train.store.meta["tokenizer"]).decode(wide[0].tolist()) == lines[3:23]
    assert (wide[1, 8:] == PAD).all()
    last = column.windows(np.array([len(splits.train) - 1]), np.array([0]), np.array([500]))
    assert last.shape[1] == column.counts[len(splits.train) - 1]  # no further than its document


def test_long_texts_are_cut_split_or_refused(tmp_path, texts):
    rows = [f"{'word ' * (3 + i)},{i % 2}" for i in range(20)]
    file = table(tmp_path / "t.csv", rows)
    cut, split = load_data(texts(file)), load_data(texts(file, long="split"))
    assert len(cut.labelled) + len(cut._test) == 20 and split.summary["counts"]["train"] > 20
    assert split.train.groups is not None and not set(split.train.groups) & set(split._test.groups)
    with pytest.raises(UsageError, match="data.long=refuse: .* tokens, and data.size=16"):
        load_data(texts(file, long="refuse"))


def test_groups_are_not_torn_and_copies_are_found(tmp_path, texts):
    rows = [f"{WORDS[i % 5]} {i},{i % 2},g{i // 4}" for i in range(80)]
    splits = load_data(texts(table(tmp_path / "t.csv", rows, "text,label,group")))
    assert not set(splits.train.groups) & set(splits._test.groups)
    table(tmp_path / "train.csv", many())
    table(tmp_path / "test.csv", ["RED 0!,even", "red 0,even", "new,odd"])
    (tmp_path / "t.csv").unlink()
    found = load_data(texts(tmp_path)).summary["findings"]
    kinds = {f["kind"]: f["images"] for f in found if "images" in f}
    assert kinds["test_in_training"] == 1 and kinds["near_duplicates"] == 1
    assert not any("image" in f["text"] or "pixel" in f["text"] for f in found)


def test_a_users_text_holds_no_special_token(tmp_path, texts):
    rows = [f"<pad> <s> [MASK] <|eos|> {i},{i % 2}" for i in range(20)]
    splits = load_data(texts(table(tmp_path / "t.csv", rows), tokenizer="bpe", size=64))
    ids = splits.train.fetch(np.arange(len(splits.train)))["text"]
    assert ((ids == PAD) | (ids >= FIRST)).all() and not (ids == BOS).any()
    assert read(splits.train)[0].startswith("<pad> <s> [MASK] <|eos|> ")


@pytest.mark.parametrize("key", ["folds", "split"])
def test_folds_are_refused(key, tmp_path):
    from gssl.config.composing import compose

    with pytest.raises(UsageError, match=f"data.test={key}: is for images"):
        compose("transfer", ["data=text", "data.root=x", f"data.test={key}", "weights=random"])
