"""How well answers are predicted: counted by hand, other dialogues' questions, controls, and what is written."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gssl.data import Draws
from gssl.data.splits import load_data
from gssl.data.tokens import trained
from gssl.errors import UsageError
from gssl.experiment import dialogues, language, text_samples
from gssl.nets.text import TextTransformer
from gssl.vocabulary import ASSISTANT, BYTES, EOS, FIRST, PAD, USER

CPU = torch.device("cpu")


def network(seed=0):
    torch.manual_seed(seed)
    found = TextTransformer("text_small", "none", 16, FIRST + BYTES)
    found.causal.fill_(True)
    return found.eval()


@pytest.fixture
def splits(tmp_path):
    from gssl.config.composing import compose

    words = ["red", "green", "blue"]
    with (tmp_path / "d.jsonl").open("w") as out:
        for i in range(80):
            turns = [("user", f"say {words[i % 3]} {i}"), ("assistant", words[i % 3])] * (1 + i % 2)
            out.write(json.dumps({"messages": [{"role": r, "content": t} for r, t in turns]}) + "\n")
    given = [f"data.root={tmp_path / 'd.jsonl'}", "data.tokenizer=byte", "data.size=32"]
    return load_data(compose("pretrain-ssl", ["data=text", "ssl=chat", *given]).data)


def test_bytes_and_who_says_them():
    tokenizer = trained("byte", [], FIRST + BYTES, False)
    one, two = tokenizer.encode(["hé", "o"])
    ids = np.concatenate([[USER], one, [EOS, ASSISTANT], two, [EOS]])
    text, who = dialogues.rendered(tokenizer, ids)
    assert text == bytes([USER]) + "hé".encode() + bytes([EOS, ASSISTANT]) + b"o" + bytes([EOS])
    assert who.tolist() == [0, USER, USER, USER, 0, 0, ASSISTANT, 0]
    assert dialogues.rendered(tokenizer, one)[1].tolist() == [FIRST] * 3


def test_bits_are_those_of_each_row_by_itself():
    net = network()
    rows = [np.array([USER, 10, EOS, ASSISTANT, 11, 12, EOS]), np.array([ASSISTANT, 13, EOS]), np.array([USER, 9, EOS])]
    found = dialogues.bits(net, rows, CPU)
    for ids, (text, end) in zip(rows, found, strict=True):
        with torch.no_grad():
            nats = language.next_tokens(net, torch.from_numpy(ids)[None])[0].double().numpy() / np.log(2)
        start = ids.tolist().index(ASSISTANT) + 1 if ASSISTANT in ids else len(ids)
        np.testing.assert_allclose([text, end], [nats[start:-1].sum(), nats[-1] * (start < len(ids))], rtol=1e-5)


def test_questions_become_those_of_other_dialogues_and_answers_stay():
    rows = [np.array([USER, *[20 + i] * (1 + i % 3), EOS, ASSISTANT, 100 + i, EOS]) for i in range(9)]
    rows[1] = np.concatenate([rows[1], [USER, 60, EOS, ASSISTANT, 61, EOS]])
    of = np.arange(9)
    made = dialogues.with_other_questions(rows, of, Draws(0))
    for old, new in zip(rows, made, strict=True):
        asked = [ids[1 : ids.tolist().index(EOS)].tolist() for ids in (old, new)]
        assert set(asked[0]).isdisjoint(asked[1]) and 0 < len(asked[1]) <= len(asked[0])
        assert old[old >= 100].tolist() == new[new >= 100].tolist() and len(new) <= len(old)
        assert [i for i in new if i < FIRST] == [i for i in old if i < FIRST]
    assert all(
        np.array_equal(a, b) for a, b in zip(made, dialogues.with_other_questions(rows, of, Draws(0)), strict=True)
    )
    assert dialogues.with_other_questions(rows, np.zeros(9, int), Draws(0)) is None


def test_an_untrained_network_beside_its_controls(splits):
    found = dialogues.evaluate(network(), network(1), splits.val, splits.pretrain, 32, CPU, "val")
    rows, _ = dialogues.rows_of(splits.val)
    assert found["dialogues"] == len(set(splits.val.names))
    assert found["answers"] == sum((ids == ASSISTANT).sum() for ids in rows)
    assert (
        7.8 < found["bits_per_byte"]["low"] <= found["bits_per_byte"]["value"] <= found["bits_per_byte"]["high"] < 8.4
    )
    less, before = found["less_than_before"]["value"], found["before"]["value"]
    assert less == pytest.approx(found["bits_per_byte"]["value"] - before)
    more = found["other_questions"]["value"] - found["bits_per_byte"]["value"]
    assert more == pytest.approx(found["more_with_other_questions"]["value"])
    assert found["controls"]["ngrams"][4] < 1 and found["less_than_ngrams"]["low"] > 0  # it loses, and that is said


def test_a_network_that_copies_the_question_is_worse_with_others(splits):
    """Bits fall when the answer's first letter is taken from the question; then other questions cost bits."""
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    rows, _ = dialogues.rows_of(splits.train)
    tokens = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(ids) for ids in rows], batch_first=True)
    for _ in range(60):
        optimizer.zero_grad()
        dialogues.answer_nats(net, tokens).sum().div(len(rows)).backward()
        optimizer.step()
    found = dialogues.evaluate(net, None, splits.val, splits.pretrain, 32, CPU, "val")
    assert "before" not in found and found["more_with_other_questions"]["low"] > 0
    assert found["other_questions"]["value"] > found["bits_per_byte"]["value"] > 0


def test_an_answer_ends_at_its_mark():
    net = network()
    net.embedding.weight.data[EOS] *= 40
    start = torch.tensor([[USER, 50, EOS, ASSISTANT]] * 4)
    made = text_samples.generate(net, start, 64, 30, 1.0, 0, EOS)
    assert made.shape[1] <= 34
    for row in made[:, 4:].tolist():
        if EOS in row:
            assert set(row[row.index(EOS) + 1 :]) <= {PAD}
    plain = text_samples.generate(net, start, 64, 5, 1.0, 0)
    assert (plain[:, 4:] >= FIRST).all()


def test_a_prompt_is_what_a_user_says(tmp_path, monkeypatch):
    net, seen = network(), {}
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tokenizer.json").write_text(trained("byte", [], FIRST + BYTES, False).json)
    monkeypatch.setattr(text_samples, "method_of", lambda run: "chat")
    monkeypatch.setattr(text_samples, "network_of", lambda run: (net, 32))

    def generate(network, start, *rest):
        seen["start"], seen["end"] = start, rest[-1]
        return torch.cat([start, start[:, 1:3], torch.full((len(start), 1), EOS)], 1)

    monkeypatch.setattr(text_samples, "generate", generate)
    ask = SimpleNamespace(rest=(0, CPU), more=(20, 1.0, False))
    text_samples.write(tmp_path, 2, tmp_path / "out.txt", *ask.rest, "hi", *ask.more)
    assert seen["start"][0, [0, 3, 4]].tolist() == [USER, EOS, ASSISTANT] and seen["end"] == EOS
    assert (tmp_path / "out.txt").read_text() == "── 1 ──\nhi\n── 2 ──\nhi\n"
    for prompt, said in ((" ", "expected what the user says"), ("x" * 40, "is 43 tokens, and the network reads 32")):
        with pytest.raises(UsageError, match=said):
            text_samples.write(tmp_path, 1, tmp_path / "more.txt", *ask.rest, prompt, *ask.more)


def test_marks_count_neither_in_bits_nor_in_bytes_of_a_language_model(splits):
    net = network()
    found = language.evaluate(net, splits.val, splits.pretrain, 32, CPU, "val")
    texts = language.documents(splits.val)
    assert found["bytes"] == found["tokens"] == sum(int((ids >= FIRST).sum()) for ids in texts)
    nats = sum(v[ids >= FIRST].sum() for v, ids in zip(language.nats(net, texts, 32, CPU), texts, strict=True))
    assert found["bits_per_byte"]["value"] == pytest.approx(nats / np.log(2) / found["bytes"])
    assert found["controls"]["ngrams"][4] < found["controls"]["ngrams"][0] < 8
