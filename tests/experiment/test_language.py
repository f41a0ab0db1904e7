"""Bits per byte: every token is counted once, whatever the window, and a network that knows nothing has 8 or so."""

import numpy as np
import pytest
import torch

from gssl.data.splits import load_data
from gssl.experiment import language, text_samples
from gssl.nets.text import TextTransformer
from gssl.vocabulary import BYTES, FIRST

CPU = torch.device("cpu")


@pytest.fixture
def net():
    torch.manual_seed(0)
    found = TextTransformer("text_small", "none", 16, FIRST + BYTES)
    found.causal.fill_(True)
    return found


@pytest.fixture
def splits(tmp_path):
    from gssl.config.composing import compose

    (tmp_path / "t.txt").write_text("".join(f"line {i:04} of a text\n" for i in range(300)))
    words = [f"data.root={tmp_path / 't.txt'}", "data.tokenizer=byte", "data.size=16"]
    return load_data(compose("pretrain-ssl", ["data=text", "ssl=clm", *words]).data)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 24, 25, 100])
def test_windows_count_every_token_once_behind_half_a_window(length):
    ids, counted = np.arange(length), []
    for own, start in language.windows(ids, 16):
        assert len(own) <= 16 and (not counted or start >= 8)
        counted += own[start:].tolist()
    assert counted == ids.tolist()


def test_nats_are_those_of_each_window_by_itself(net):
    texts = [np.arange(40) % BYTES + FIRST, np.arange(5) + FIRST]
    found = language.nats(net, texts, 16, CPU)
    for ids, values in zip(texts, found, strict=True):
        own = []
        for window, start in language.windows(ids, 16):
            with torch.no_grad():
                own += language.next_tokens(net.eval(), torch.from_numpy(window)[None])[0, start:].tolist()
        np.testing.assert_allclose(values, own, rtol=1e-4)


def test_an_untrained_network_beside_its_controls(net, splits):
    assert language.serves(net, splits.val)
    found = language.evaluate(net, splits.val, splits.train, 16, CPU, "val")
    text = b"".join(language.documents(splits.val)[0].astype(np.uint8).tobytes() for _ in [0])
    assert found["bytes"] == found["tokens"] == len(text)
    low, value, high = (found["bits_per_byte"][key] for key in ("low", "value", "high"))
    assert 7.8 < low <= value + 1e-9 <= high + 2e-9 < 8.4
    assert found["controls"]["ngrams"][4] < found["controls"]["ngrams"][0] < 8
    assert found["less_than_ngrams"]["low"] > 0  # it loses to n-grams, and that is said
    np.testing.assert_allclose(
        found["nats_per_token"], found["bits_per_byte"]["value"] * np.log(2), rtol=1e-12
    )  # a byte is a token here


def test_only_causal_networks_predict(net, splits):
    net.causal.fill_(False)
    assert not language.serves(net, splits.val)


def test_samples_are_a_function_of_the_seed_and_take_no_special_token(net):
    start = torch.full((3, 2), FIRST + 65)
    made = [text_samples.generate(net.eval(), start, 16, 20, 1.0, seed) for seed in (0, 0, 1)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert (made[0] >= FIRST).all() and made[0].shape == (3, 22)
    cold = text_samples.generate(net, start, 16, 5, 0.0, 0)
    assert torch.equal(cold[0], cold[2])


def test_choices_follow_the_probabilities():
    logits = torch.full((1000, FIRST + 3), -1e9)
    logits[:, FIRST:] = torch.tensor([0.5, 0.3, 0.2]).log()
    logits[:, 0] = 100.0
    found = text_samples.chosen(logits, 1.0, torch.linspace(0, 0.999, 1000))
    assert [int((found == FIRST + i).sum()) for i in range(3)] == pytest.approx([500, 300, 200], abs=2)
