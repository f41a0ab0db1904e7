"""Tokenizers: what they encode comes back, and their JSON is all of them."""

import pytest

from gssl.data.tokens import Tokenizer, trained
from gssl.errors import UsageError
from gssl.vocabulary import FIRST, rows_of

TEXTS = ["The cat sat.", "the cat ran", "Ein Kätzchen saß ☕ 日本語", "\ufeff\r\n\t x\0y"]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_every_text_comes_back(kind):
    tokenizer = trained(kind, TEXTS[:2] * 5, rows_of(kind, 300 if kind == "bpe" else None), False)
    assert [tokenizer.decode(ids.tolist()) for ids in tokenizer.encode(TEXTS)] == TEXTS
    assert tokenizer.encode([""])[0].tolist() == []
    assert tokenizer.count <= rows_of(kind, 300 if kind == "bpe" else None)
    again = Tokenizer(tokenizer.json)
    assert again.hash == tokenizer.hash and (again.encode(TEXTS)[2] == tokenizer.encode(TEXTS)[2]).all()
    if kind == "byte":
        assert [len(ids) for ids in tokenizer.encode(TEXTS)] == [len(text.encode()) for text in TEXTS]
    else:
        assert len(tokenizer.encode(TEXTS)[1]) < len(TEXTS[1])
    assert trained(kind, TEXTS[:2] * 5, rows_of(kind, 300 if kind == "bpe" else None), False).hash == tokenizer.hash


def test_characters_that_were_not_seen_are_one_and_case_may_go():
    tokenizer = trained("char", ["Abc", "abd"], FIRST + 10, True)
    assert tokenizer.decode(tokenizer.encode(["ABXC"])[0].tolist()) == "ab\ufffdc"
    few = trained("char", ["aaaabbbcc"], FIRST + 3, False)
    assert few.decode(few.encode(["abc"])[0].tolist()) == "ab\ufffd"  # the most frequent ones are kept


def test_where_the_first_tokens_end():
    tokenizer = trained("byte", [], rows_of("byte", None), False)
    assert tokenizer.characters("abc", 2) == 2 and tokenizer.characters("", 2) == 0


def test_what_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(UsageError, match="smaller than the alphabet of 256 bytes"):
        trained("bpe", TEXTS, FIRST + 100, False)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="is no tokenizer.json"):
        rows_of(str(tmp_path / "tokenizer.json"), None)
    with pytest.raises(UsageError, match="expected byte, char, bpe, or a tokenizer.json"):
        rows_of("words", None)
    own = trained("bpe", TEXTS, FIRST + 280, False)
    (tmp_path / "tokenizer.json").write_text(own.json)
    assert rows_of(str(tmp_path), None) == own.count
    with pytest.raises(UsageError, match="has a vocabulary of its own"):
        rows_of(str(tmp_path), 300)
