"""How well targets are predicted and written: rows by themselves, other sources, controls, and what is put out."""

import numpy as np
import pytest
import torch

from gssl.config.composing import compose
from gssl.data import Draws, text_pairs
from gssl.data.splits import load_data
from gssl.data.tokens import Tokenizer, trained
from gssl.engine.feed import Feed
from gssl.errors import UsageError
from gssl.experiment import dialogues, seq2seq, text_samples
from gssl.nets.text import TextTransformer
from gssl.ssl.seq2seq import target_nats, targets
from gssl.vocabulary import BYTES, EOS, FIRST, SEP

CPU = torch.device("cpu")
LETTERS = "abcdef"


def network(seed=0, width=16):
    torch.manual_seed(seed)
    found = TextTransformer("text_small", "none", width, FIRST + BYTES)
    found.causal.fill_(True)
    return found.eval()


def table(path):
    """A word's target is its first letter, twice."""
    words = [f"{a}{b}{c}" for a in LETTERS for b in LETTERS for c in LETTERS if len({a, b, c}) == 3]
    path.write_text("text,text_b\n" + "".join(f"{word},{word[0] * 2}\n" for word in words))
    return path


@pytest.fixture
def splits(tmp_path):
    given = ["data=text", "ssl=seq2seq", f"data.root={table(tmp_path / 'p.csv')}", "data.tokenizer=byte", "data.size=8"]
    return load_data(compose("pretrain-ssl", given).data)


def test_bits_of_targets_and_of_their_ends(splits):
    net = network()
    rows, _ = dialogues.rows_of(splits.val)
    found = dialogues.bits(net, rows, CPU, target_nats)
    for ids, (text, end) in zip(rows, found, strict=True):
        with torch.no_grad():
            bits = target_nats(net, torch.from_numpy(ids)[None])[0].double().numpy() / np.log(2)
        np.testing.assert_allclose([text, end], [bits[ids >= FIRST].sum(), bits[ids == EOS].sum()], rtol=1e-5)
    each = seq2seq.bits_per_byte(net, splits.val, CPU)
    assert each == pytest.approx(found[:, 0].sum() / (2 * len(rows)))


def test_sources_become_those_of_other_pairs_and_targets_stay():
    rows = [np.array([*[20 + i] * (1 + i % 3), SEP, 100 + i // 2, EOS]) for i in range(9)]
    made = seq2seq.with_other_sources(rows, Draws(0))
    for old, new in zip(rows, made, strict=True):
        (a, b), (c, d) = text_pairs.halves(old), text_pairs.halves(new)
        assert np.array_equal(b, d) and not set(a) & set(c) and 0 < len(c) <= len(a) and new[-1] == EOS
        giver = next(own for own in rows if own[0] == c[0])
        assert text_pairs.halves(giver)[1][0] != b[0]  # whose target is another, too
    again = seq2seq.with_other_sources(rows, Draws(0))
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))
    assert seq2seq.with_other_sources([rows[0], rows[0]], Draws(0)) is None


def test_what_is_written_is_the_likeliest_token_after_token():
    """Sources of unlike lengths together, against each by itself with the whole read anew by `generate`."""
    net = network(3)
    for weight in net.parameters():
        weight.data *= 8
    sources = [np.array([30, 31, 32]), np.array([40]), np.array([50, 51, 52, 53, 54])]
    for end in (1.0, 30.0):
        net.embedding.weight.data[EOS] *= end
        found = seq2seq.written(net, sources, 12, CPU)
        for source, own in zip(sources, found, strict=True):
            start = torch.from_numpy(np.append(source, SEP))[None]
            alone = text_samples.generate(net, start, 12, 12 - start.shape[1], 0.0, 0, EOS)[0, start.shape[1] :]
            wanted = alone[: alone.tolist().index(EOS)] if EOS in alone else alone
            assert own.tolist() == wanted.tolist()


def test_the_nearest_source():
    known = ["a red bird", "the green tree", "the green trees", "xyz"]
    assert seq2seq.nearest(["green tree", "bird, red", "qqq"], known).tolist() == [1, 0, 0]


def test_an_untrained_network_beside_its_controls(splits, capsys):
    pytest.importorskip("sacrebleu")
    found = seq2seq.evaluate(network(), splits.val, splits.pretrain, 8, CPU, "val")
    own = found["bits_per_byte"]
    assert found["pairs"] == len(splits.val) and found["bytes"] == 2 * len(splits.val) and found["unit"] == "pair"
    assert 7 < own["low"] <= own["value"] <= own["high"] < 9
    more = found["other_sources"]["value"] - own["value"]
    assert more == pytest.approx(found["more_with_other_sources"]["value"])
    assert found["controls"]["ngrams"][4] < 4 and found["less_than_ngrams"]["low"] > 0
    scores = found["written"]["scores"]
    assert set(scores) == {"equal", "chrf"} and found["written"]["pairs"] == len(splits.val)
    assert scores["chrf"]["more_than"]["nearest"]["high"] < 0  # it loses, and that is said
    assert "warning: that of the nearest source scores higher than what the model writes" in capsys.readouterr().err
    assert [example["copy"] for example in found["examples"]] == [own["source"] for own in found["examples"]]


def test_a_network_that_has_learned_beats_its_controls(splits):
    net = network(width=32)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    rows, _ = dialogues.rows_of(splits.train)
    tokens = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(ids) for ids in rows], batch_first=True)
    for _ in range(60):
        optimizer.zero_grad()
        (target_nats(net, tokens).sum() / targets(tokens).sum()).backward()
        optimizer.step()
    found = seq2seq.evaluate(net, splits.val, splits.pretrain, 8, CPU, "val")
    equal = found["written"]["scores"]["equal"]
    assert equal["network"]["value"] > 80 and equal["more_than"]["frequent"]["low"] > 0
    assert equal["copy"]["value"] == 0 and found["more_with_other_sources"]["low"] > 1
    assert found["less_than_ngrams"]["high"] < 0


def test_groups_are_drawn_together(tmp_path):
    path = table(tmp_path / "p.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{lines[0]},group", *(f"{line},{line[1]}" for line in lines[1:])]))
    given = ["data=text", "ssl=seq2seq", f"data.root={path}", "data.tokenizer=byte", "data.size=8"]
    splits = load_data(compose("pretrain-ssl", given).data)
    found = seq2seq.evaluate(network(), splits.train, splits.pretrain, 8, CPU, "val")
    assert found["unit"] == "group" and found["units"] == len(set(splits.train.groups)) < found["pairs"]


def test_texts_without_targets_are_refused_in_a_line(tmp_path):
    (tmp_path / "t.csv").write_text("text\n" + "".join(f"line {i}\n" for i in range(40)))
    cfg = compose("pretrain-ssl", ["data=text", "ssl=seq2seq", f"data.root={tmp_path / 't.csv'}"])
    images = load_data(cfg.data).pretrain
    with pytest.raises(
        UsageError, match=r"learns from pairs, and the texts of pretraining have no text_b; give a .csv"
    ):
        Feed(None, images, ("pair",), cfg.data, Draws(0))  # type: ignore[arg-type]


def test_a_prompt_is_a_source(tmp_path, monkeypatch):
    net, tokenizer = network(), trained("byte", [], FIRST + BYTES, False)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "tokenizer.json").write_text(tokenizer.json)
    monkeypatch.setattr(text_samples, "method_of", lambda run: "seq2seq")
    monkeypatch.setattr(text_samples, "network_of", lambda run: (net, 16))
    rest = (0, CPU)
    text_samples.write(tmp_path, 1, tmp_path / "out.txt", *rest, "abc", 200, 0.0, False)
    own = seq2seq.written(net, tokenizer.encode(["abc"]), 16, CPU)[0]
    assert (tmp_path / "out.txt").read_text() == f"── 1 ──\n{Tokenizer(tokenizer.json).decode(own.tolist())}\n"
    for prompt, said in ((" ", "expected a source"), ("x" * 20, "is 21 tokens, and the network reads 16")):
        with pytest.raises(UsageError, match=said):
            text_samples.write(tmp_path, 1, tmp_path / "more.txt", *rest, prompt, 20, 0.0, False)
    assert not (tmp_path / "more.txt").exists()
