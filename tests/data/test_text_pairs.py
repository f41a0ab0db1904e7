"""Pairs of texts: files of every kind, bad ones in a line, rows that fit, splits that keep them together."""

import json

import numpy as np
import pytest

from gssl.data import text_pairs
from gssl.data.splits import load_data
from gssl.data.tokens import Tokenizer
from gssl.errors import UsageError
from gssl.vocabulary import EOS, FIRST, SEP

WORDS = ("red", "green", "blue", "seven", "eleven")


@pytest.fixture
def texts(cfg):
    def make(root, **changes):
        return cfg(**{"name": "text", "root": root, "tokenizer": "byte", "lowercase": False, "size": 32} | changes)

    return make


def table(path, rows, header="text,text_b,label"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def many(count=40):
    return [f"{WORDS[i % 5]} {i},{WORDS[i // 5 % 5]} {i} b,{'odd' if i % 2 else 'even'}" for i in range(count)]


def read(images):
    """Both texts of each row."""
    tokenizer = Tokenizer(images.store.meta["tokenizer"])
    rows = images.fetch(np.arange(len(images)))["text"].numpy()
    return [tuple(tokenizer.decode(half.tolist()) for half in text_pairs.halves(ids)) for ids in rows]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parts"])
def test_pairs_of_every_kind_of_file(kind, tmp_path, texts):
    rows = [row.split(",") for row in many()]
    root = tmp_path / "data"
    if kind == "jsonl":
        root = tmp_path / "t.jsonl"
        keys = ("text", "text_b", "label")
        root.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows), encoding="utf-8")
    elif kind == "parts":
        root.mkdir()
        for name, part in (("train", rows[:20]), ("val", rows[20:30]), ("test", rows[30:])):
            table(root / f"{name}.csv", [",".join(row) for row in part])
    else:
        mark = "," if kind == "csv" else "\t"
        root = table(tmp_path / f"t.{kind}", [mark.join(row) for row in rows], mark.join(("text", "text_b", "label")))
    splits = load_data(texts(root))
    assert splits.train.store.meta["pairs"] and splits.classes == ["even", "odd"]
    found = sum((read(part) for part in (splits.train, splits.val, splits._test)), [])
    assert sorted(found) == sorted((a, b) for a, b, _ in rows)
    ids = splits.train.fetch(np.arange(len(splits.train)))["text"].numpy()
    assert ((ids == SEP).sum(1) == 1).all() and ((ids == EOS).sum(1) == 1).all()


def by_one(a, b, room):
    """Lengths after cutting the longer text by one until both fit; of equally long ones the first keeps more."""
    while a + b > room:
        a, b = (a - 1, b) if a > b else (a, b - 1)
    return a, b


def test_the_longer_text_is_cut_first():
    for a in range(1, 14):
        for b in range(1, 14):
            first, second = np.arange(a) + 100, np.arange(b) + 200
            ids, cut = text_pairs.joined(first, second, 12)
            own = text_pairs.halves(ids)
            assert (len(own[0]), len(own[1])) == by_one(a, b, 10) and len(ids) <= 12
            assert np.array_equal(own[0], first[: len(own[0])]) and np.array_equal(own[1], second[: len(own[1])])
            assert cut == (a + b > 10) and (ids[-1] == EOS) == (len(own[1]) == b)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "text,text,label\na,b,c\n", "has the column text twice; the second text of a pair is text_b"),
        ("t.csv", "text,label,label\na,b,c\n", "has the column label twice; rename or remove one"),
        ("t.csv", "text_b,label\na,c\n", r"has the columns text_b, label; expected a header with text\[,text_b\]"),
        ("t.csv", "text,text_b,label\na,,c\nb,,d\n", "there are no training texts that are not empty"),
        ("t.jsonl", '{"text": "a", "text_b": 3}', 'line 1: "text_b": expected a text beside "text"; correct it'),
        ("t.jsonl", '{"text": "a", "text_b": null}', 'line 1: "text_b": expected a text beside "text"; correct it'),
        (
            "t.jsonl",
            '{"messages": [{"role": "assistant", "content": "x"}], "text_b": "a"}',
            'line 1: "text_b": expected a text beside "text"; correct it',
        ),
        (
            "t.jsonl",
            '{"text": "a", "text_b": "b"}\n{"text": "c"}',
            "t.jsonl:1 has text_b and .*t.jsonl:2 has none; give pairs and single texts apart",
        ),
    ],
)
def test_bad_pairs_are_refused_in_a_line(name, content, said, tmp_path, texts):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=said):
        load_data(texts(tmp_path / name))


def test_pairs_with_an_empty_text_are_left_out_and_counted(tmp_path, texts):
    splits = load_data(texts(table(tmp_path / "t.csv", [*many(), "one,,odd", ",two,even"])))
    assert "2 pairs are left out" not in splits.summary["found"]
    assert "2 empty pairs are left out" in splits.summary["found"] and len(splits.labelled) + len(splits._test) == 40


def test_long_pairs_are_cut_or_refused_and_never_split(tmp_path, texts):
    file = table(tmp_path / "t.csv", [f"{'word ' * (i % 9)}{i},short {i},{i % 2}" for i in range(40)])
    splits = load_data(texts(file))
    assert "pairs are longer than data.size=32 tokens and cut off, the longer text first" in splits.summary["found"]
    assert len(splits.labelled) + len(splits._test) == 40
    assert all(b.startswith("short ") for _, b in read(splits.train))
    with pytest.raises(UsageError, match="data.long=refuse: .* tokens, and data.size=32"):
        load_data(texts(file, long="refuse"))
    with pytest.raises(UsageError, match="data.long=split: is for single texts, and data.root has pairs"):
        load_data(texts(file, long="split"))


def test_a_pair_and_its_mirror_are_on_one_side_and_shared_texts_are_told(tmp_path, texts):
    rows = [f"left {i},right {i},{i % 2}" for i in range(60)] + [f"right {i},left {i},{i % 2}" for i in range(60)]
    splits = load_data(texts(table(tmp_path / "t.csv", rows), val_fraction=0.2))
    sides = [{tuple(sorted(own)) for own in read(part)} for part in (splits.train, splits.val, splits._test)]
    assert not (sides[0] & sides[2]) and "have a text that a training pair has" not in splits.summary["found"]
    rows = [f"same,right {i},{i % 2}" for i in range(60)]
    splits = load_data(texts(table(tmp_path / "t.csv", rows)))
    count = len(splits._test)
    assert f"{count} of {count} test pairs have a text that a training pair has, too" in splits.summary["found"]


def test_single_texts_may_be_for_pretraining_beside_pairs(tmp_path, texts):
    table(tmp_path / "t.csv", many())
    table(tmp_path / "more.csv", [f"alone {i}" for i in range(20)], "text")
    splits = load_data(texts(tmp_path / "t.csv", pretrain=str(tmp_path / "more.csv")))
    assert splits.train.store.meta["pairs"] and not splits.pretrain.store.meta["pairs"] and len(splits.pretrain) == 20


def test_a_users_text_is_no_mark(tmp_path, texts):
    splits = load_data(texts(table(tmp_path / "t.csv", [f"<sep> {i},[SEP] </s>,{i % 2}" for i in range(20)])))
    ids = splits.train.fetch(np.arange(len(splits.train)))["text"].numpy()
    assert ((ids == SEP).sum(1) == 1).all() and (np.sort(ids, 1)[:, ::-1][:, :10] >= FIRST).all()
    assert all(b == "[SEP] </s>" for _, b in read(splits.train))
