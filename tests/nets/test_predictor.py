"""The predictor of hidden patches."""

import pytest
import torch

from gssl.errors import UsageError
from gssl.nets.predictor import Predictor
from gssl.nets.vit import position_embedding


@pytest.fixture
def net() -> Predictor:
    torch.manual_seed(0)
    net = Predictor(dim=10, width=24, depth=2, out=7, side=4)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.3)
    return net


def test_it_equals_a_whole_sequence_in_the_images_order(net) -> None:
    """Patches back in their positions with a token in every gap, as the MAE paper draws it."""
    visible = torch.randn(3, 5, 10)
    order = torch.rand(3, 16).argsort(1)
    at, hidden = order[:, :5], order[:, 5:]
    with torch.no_grad():
        x = net.token.expand(3, 16, 24).clone()
        for i in range(3):
            x[i, at[i]] = net.enter(visible[i])
        x = x + position_embedding(24, 4)
        for block in net.blocks:
            x = block(x)
        x = net.leave(net.norm(x))
        expected = torch.stack([x[i, hidden[i]] for i in range(3)])
        torch.testing.assert_close(net(visible, at, hidden), expected, rtol=1e-4, atol=1e-5)


def test_what_it_says_depends_on_where_and_not_on_the_order(net) -> None:
    visible, at, hidden = torch.randn(2, 3, 10), torch.tensor([[0, 1, 2]] * 2), torch.tensor([[7, 9]] * 2)
    with torch.no_grad():
        out = net(visible, at, hidden)
        torch.testing.assert_close(net(visible.flip(1), at.flip(1), hidden.flip(1)), out.flip(1))
        assert not torch.allclose(net(visible, at, hidden + 1), out)
        assert not torch.allclose(net(visible, at + 3, hidden), out)
    assert out.shape == (2, 2, 7)


def test_a_width_that_positions_do_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ssl\.width=50"):
        Predictor(8, 50, 1, 3, 4)
