"""Convolutions of letters: ids and their rows are read alike, and what stands behind a text changes nothing."""

import pytest
import torch

from gssl.errors import UsageError
from gssl.nets.text_conv import BLOCKS, TextConv, TextGenerator, TextShape, written

LETTERS = (0, 9, 12, 30)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return TextConv("text_conv", "none", 6, 64, 6).eval()


def rows(ids):
    return (ids[:, None] == torch.tensor(LETTERS)[:, None]).float()


def test_rows_of_one_letter_each_are_read_as_ids_are(net):
    ids = torch.tensor([[9, 12, 30, 9, 0, 0], [30, 30, 9, 12, 12, 9]])
    last = net.read(rows(ids), torch.tensor(LETTERS))
    assert last.shape == (2, 6, 6)
    maps = net.dense(ids)[-1][:, :, 0]
    assert not maps[0, :, 4:].any()
    torch.testing.assert_close(maps[0, :, :4], last[0, :, :4])
    torch.testing.assert_close(maps[1], last[1])
    torch.testing.assert_close(last[0, :, :4].mean(1), net.pooled(ids)[0])


def test_features_do_not_depend_on_the_other_texts_of_a_batch(net):
    ids = torch.tensor([[9, 12, 30]])
    longer = torch.nn.functional.pad(ids, (0, 3))
    torch.testing.assert_close(net(ids), net(longer))
    maps = net.dense(longer)
    assert len(maps) == len(net.dims) == BLOCKS and maps[0].shape == (1, 6, 1, 6)
    assert torch.isfinite(net(torch.zeros(1, 3, dtype=torch.long))).all()


def test_every_weight_is_in_one_layer_group(net):
    grouped = [id(weight) for group in net.layer_groups() for weight in group]
    assert sorted(grouped) == sorted(id(weight) for weight in net.parameters())


@pytest.mark.parametrize(
    ("change", "why"),
    [({"norm": "batch"}, "backbone.norm=batch: text_conv has no norm"), ({"vocab": None}, "backbone=text_conv: reads")],
)
def test_what_it_cannot_be_is_a_line(change, why):
    with pytest.raises(UsageError, match=why):
        TextConv(**{"name": "text_conv", "norm": "none", "width": 6, "vocab": 64, "size": 6} | change)


def test_a_generator_makes_probabilities_and_texts_end_at_the_first_gap():
    made = TextGenerator(TextShape(3, 4, 7, LETTERS))(torch.randn(2, 3))
    assert made.shape == (2, 4, 7) and (made >= 0).all()
    torch.testing.assert_close(made.sum(1), torch.ones(2, 7))
    ids = torch.tensor([[9, 30, 0, 12, 9], [12, 12, 12, 12, 9], [0, 9, 9, 9, 9]])
    assert written(rows(ids), torch.tensor(LETTERS)).tolist() == [[9, 30, 0, 0, 0], [12, 12, 12, 12, 9], [0] * 5]
