"""Very many names and hashes without an object for each: the same as lists, and hardly any memory."""

import pickle
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gssl.data import cache
from gssl.data.draws import digest
from gssl.data.index import BLOCK, Coded, Index, Names, Texts, together

TEXTS = ["a/1.jpg", "b/é.jpg", "", "/absolute/x.jpg", "b/\udcff.jpg", "long" * 20]


def test_names_are_a_list_of_texts() -> None:
    names = Names.of(TEXTS)
    assert list(names) == names.tolist() == TEXTS and len(names) == 6
    assert names[-1] == TEXTS[-1] and names[np.int64(1)] == TEXTS[1]
    with pytest.raises(IndexError):
        names[6]
    for chosen in (slice(1, 5, 2), slice(None, None, -1)):
        assert list(names[chosen]) == TEXTS[chosen] and list(names[chosen][1:]) == TEXTS[chosen][1:]
    some = names[np.array([4, 0, 4])]
    assert list(some) == [TEXTS[4], TEXTS[0], TEXTS[4]] and list(some[np.array([2, 1])]) == [TEXTS[4], TEXTS[0]]
    assert list(names[np.array([True, False, False, True, False, False])]) == [TEXTS[0], TEXTS[3]]
    assert np.isin(names, ["a/1.jpg", "x"]).tolist() == [True, *[False] * 5]
    assert list(pickle.loads(pickle.dumps(some))) == list(some)
    assert list(Names.of(["a", "/b"], "root/c")) == ["root/c/a", "/b"] == list(Names.of(["a", "/b"], "root/c")[:])


def test_many_names_are_read_in_blocks() -> None:
    texts = [f"{'é' * (i % 3)}{i}" for i in range(2 * BLOCK + 5)]
    names = Names.of(iter(texts))
    assert list(names) == texts and list(names[::-1]) == texts[::-1]
    odd = names[np.arange(1, len(texts), 2)]
    assert list(odd.compact()) == list(odd) == texts[1::2] and odd.compact().blob.nbytes < names.blob.nbytes
    assert list(odd + names[:2]) == [*texts[1::2], *texts[:2]] and (odd + names[:2]).blob is names.blob
    assert list(odd[:1] + Names.of(["x"], "r")) == [texts[1], "r/x"]
    for own in (names, odd, Names.of(odd, "root")):
        again = pickle.loads(pickle.dumps(own))
        assert list(again) == list(own) and again.blob.nbytes <= own.blob.nbytes


def test_texts_are_utf_8_whatever_file_systems_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsencode", None)
    monkeypatch.setattr("os.fsdecode", None)
    texts = ["ä", "", "\udcff", "日本"]
    assert list(Texts.of(texts)) == texts and list(Texts.of(Texts.of(texts))[np.array([3])]) == ["日本"]


def test_texts_that_come_again() -> None:
    rows = ["b", None, "a", "b", "c"]
    coded = Coded.of(iter(rows))
    assert list(coded) == rows and coded[2] == "a" and coded[np.int64(1)] is None and len(coded) == 5
    assert Coded.of(coded) is coded and list(coded[np.array([4, 1])]) == ["c", None] and list(coded[:2]) == rows[:2]
    assert coded.missing.tolist() == [False, True, False, False, False]
    assert coded.used() == ["a", "b", "c"] and coded[:2].used() == ["b"] and Coded.none(3).used() == []
    assert coded.among(["c", "b"]).tolist() == [1, -1, -1, 1, 0]
    assert Coded.none(2).among(["c"]).tolist() == [-1, -1]
    assert coded[np.array([3, 0, 2])].array().tolist() == ["b", "b", "a"]
    other = Coded.of(["d", "a", None])
    assert list(coded + other) == [*rows, "d", "a", None] and (coded + other).used() == ["a", "b", "c", "d"]
    assert (coded + coded[:1]).texts is coded.texts
    assert list(Coded.joined([Coded.none(1), other, Coded.none(0)])) == [None, "d", "a", None]
    packed = Coded(coded.codes, Texts.of(coded.texts))
    assert list(packed) == rows and packed.used() == ["a", "b", "c"] and packed.among(["a"]).tolist()[2] == 0


def test_a_pickle_has_the_names_that_were_chosen_and_no_others() -> None:
    assert len(pickle.dumps(Names.of([f"{i:060}" for i in range(10_000)])[np.array([5])])) < 1000


def test_names_of_several_parts() -> None:
    names = Names.of(TEXTS, "r")
    both = together([names[:2], names[np.array([5])]])
    assert isinstance(both, Names) and both.blob is names.blob
    assert list(both) == ["r/a/1.jpg", "r/b/é.jpg", f"r/{TEXTS[5]}"]
    assert list(together([names[:2], Names.of(["q"])])) == ["r/a/1.jpg", "r/b/é.jpg", "q"]
    assert list(together([names[:1], np.array(["z"])])) == ["r/a/1.jpg", "z"]
    assert together([np.array(["y"]), np.array(["z"])]).tolist() == ["y", "z"]


@pytest.mark.parametrize("texts", [["ab", "cd"], ["ab", "", "c"], [], ["abcd"] * 5])
def test_an_array_of_bytes_is_hashed_as_its_elements(texts: list[str]) -> None:
    assert digest("x", np.array(texts, dtype="S4"), 3) == digest("x", *texts, 3)


def index_of(names: list[str]) -> Index:
    own = Index.empty()
    signatures = np.arange(4 * len(names)).reshape(-1, 4)
    contents = np.array([f"{i:032x}" for i in range(len(names))], dtype="S32")
    return own.merged(names, signatures, contents, own.rows(names))


def test_an_index_comes_back_and_is_merged(tmp_path: Path) -> None:
    file = tmp_path / "k.sealed"
    index_of(TEXTS).write(file)
    found = Index.read(file)
    assert list(Names(found.blob, found.starts)) == TEXTS and (found.signatures == np.arange(24).reshape(6, 4)).all()
    assert found.rows(TEXTS).tolist() == list(range(6)) and found.rows(["x", TEXTS[4]]).tolist() == [-1, 4]
    rows = found.rows(["new", TEXTS[1]])
    more = found.merged(["new", TEXTS[1]], np.full((2, 4), 7), np.array([b"n", b"m"], "S32"), rows)
    assert list(Names(more.blob, more.starts)) == ["new", TEXTS[1], TEXTS[0], *TEXTS[2:]]
    assert more.contents[:3].tolist() == [b"n", b"m", f"{0:032x}".encode()] and more.signatures[1].tolist() == [7] * 4


def test_one_file_more_or_less_leaves_what_is_known_of_the_others(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    known = {name: cache.content_hash(name.encode()).encode() for name in "abcd"}
    time.sleep(0.06)  # else a file may change again without another time
    for names in ("abc", "abc", "ac", "cab", "abcd", "abc"):
        if names == "abcd":
            (tmp_path / "d").write_text("d")
        paths, hashes = cache.looked_up(tmp_path, list(names))
        assert hashes.tolist() == [known[name] for name in names]
        assert list(paths) == [f"{tmp_path}/{name}" for name in names]
    (tmp_path / "b").unlink()
    assert cache.looked_up(tmp_path, list("abc"))[1].tolist() == [known["a"], b"", known["c"]]


def test_what_was_read_is_there_when_the_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "k.sealed"
    index_of(TEXTS).write(file)
    found = Index.read(file)
    index_of(["other"]).write(file)
    assert list(Names(found.blob, found.starts)) == TEXTS


@pytest.mark.long
def test_names_of_files_are_mapped(tmp_path: Path) -> None:
    """20,000 files: what remains of looking them up is a small part of what lists of their paths and hashes take."""
    names = [f"{i:05}-{'x' * 60}" for i in range(4_000)]
    for name in names[:50]:
        (tmp_path / name).write_text(name)
    cache.looked_up(tmp_path, names)
    tracemalloc.start()
    try:
        paths, hashes = cache.looked_up(tmp_path, names)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert paths[7] == f"{tmp_path}/{names[7]}" and hashes[7] == cache.content_hash(names[7].encode()).encode()
    assert kept < 4_000 * 60
