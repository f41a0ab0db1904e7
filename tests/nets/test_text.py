"""The trunk of texts: rotary positions by complex numbers, what each position reads, what is behind a text."""

import pytest
import torch

from gssl.errors import UsageError
from gssl.nets.text import TextTransformer, rotary, rotated, second
from gssl.vocabulary import BOS, EOS, FIRST, PAD, SEP


@pytest.fixture
def net():
    torch.manual_seed(0)
    return TextTransformer("text_small", "none", 16, 64).eval()


@pytest.fixture
def tokens():
    return torch.randint(FIRST, 64, (3, 10), generator=torch.Generator().manual_seed(1))


def test_rotary_positions_are_turns_in_the_complex_plane():
    """Independently: a pair of features is a complex number, multiplied by exp(i · position · rate)."""
    x = torch.randn(2, 3, 7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = rotated(x, *rotary(7, 12, x.device, x.dtype))
    rates = torch.tensor([10_000.0 ** (-2 * i / 12) for i in range(6)], dtype=torch.float64)
    turn = torch.polar(torch.ones(7, 6, dtype=torch.float64), torch.arange(7, dtype=torch.float64)[:, None] * rates)
    turned = torch.complex(x[..., :6], x[..., 6:]) * turn
    torch.testing.assert_close(found, torch.cat([turned.real, turned.imag], dim=-1))


def test_products_of_rotated_vectors_depend_on_their_distance_alone():
    q, k = (torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    cos, sin = rotary(20, 8, q.device, q.dtype)
    products = [float(rotated(q, cos[i], sin[i]) @ rotated(k, cos[i + 5], sin[i + 5])) for i in range(15)]
    assert max(products) - min(products) < 1e-12 and abs(products[0] - float(q @ k)) > 1e-3


def test_a_causal_network_does_not_see_what_comes_and_another_one_does(net, tokens):
    other = tokens.clone()
    other[:, 6] = (other[:, 6] - FIRST + 1) % (64 - FIRST) + FIRST
    for causal in (True, False):
        net.causal.fill_(causal)
        with torch.no_grad():
            same = (net.encode(tokens) - net.encode(other)).abs().amax((0, 2)) < 1e-6  # the mark, then 10 tokens
        assert same[:7].all() == causal and not same[7:].any()


def test_what_is_behind_a_text_changes_nothing(net, tokens):
    with torch.no_grad():
        alone = net(tokens[:1, :4])
        padded = tokens.clone()
        padded[0, 4:] = PAD
        torch.testing.assert_close(net(padded)[:1], alone)
        assert not net.dense(padded)[-1][0, :, 0, 4:].any()
        torch.testing.assert_close(net.dense(padded)[-1][:1, :, 0].sum(2) / 4, alone)


def test_which_way_it_reads_goes_with_its_weights(net):
    net.causal.fill_(True)
    again = TextTransformer("text_small", "none", 16, 64)
    again.load_state_dict(net.state_dict())
    assert bool(again.causal)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm": "batch"}, "has its own norm"),
        ({"width": 18}, "needs a multiple of 4"),
        ({"vocab": None}, "reads texts; use data=text"),
    ],
)
def test_what_does_not_fit_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        TextTransformer(**{"name": "text_small", "norm": "none", "width": 16, "vocab": 64} | change)


def test_the_second_text_of_a_pair_has_the_embedding_of_the_mark_between_added(net):
    """What stands before the mark, and single texts, are read as ever; and the two texts are not exchangeable."""
    pair = torch.tensor([[10, 11, SEP, 12, 13, EOS, PAD], [10, 11, 12, 13, 14, 15, 16]])
    assert second(pair).int().tolist() == [[0, 0, 0, 1, 1, 1, 1], [0] * 7]
    seen = []
    own = net.blocks[0].attend
    net.blocks[0].attend = lambda x, *rest: seen.append(x) or own(x, *rest)
    with torch.no_grad():
        net.encode(pair)
        weight = net.embedding.weight
        plain = torch.cat([weight[BOS][None], weight[pair[0]]])
        plain[4:] += weight[SEP]
        wanted = net.blocks[0].norm1(torch.nn.functional.rms_norm(plain, plain.shape[-1:]))
    torch.testing.assert_close(seen[0][0], wanted)
    del net.blocks[0].attend
    with torch.no_grad():
        turned = torch.tensor([[12, 13, SEP, 10, 11, EOS, PAD]])
        assert not torch.allclose(net(pair[:1]), net(turned), atol=1e-3)
