"""The queue against a list that is cut."""

import pytest
import torch
import torch.nn.functional as F

from gssl.ssl.queue import Queue


@pytest.mark.parametrize("batches", [[3, 3, 3], [5, 2, 4, 1], [7], [9, 4]])
def test_it_holds_exactly_the_last_that_were_pushed(batches):
    g = torch.Generator().manual_seed(sum(batches))
    start = torch.randn(7, 4, generator=g)
    queue, expected = Queue(start), list(F.normalize(start, dim=1))
    for count in batches:
        new = 5 * torch.randn(count, 4, generator=g)
        queue.push(new)
        expected = [*expected, *F.normalize(new, dim=1)][-7:]
        # the next place is that of the oldest
        held = queue.keys.roll(-int(queue.pushed), 0)
        torch.testing.assert_close(held, torch.stack(expected), rtol=0, atol=1e-6)


def test_what_is_in_it_takes_no_gradient_and_is_saved():
    queue = Queue(torch.randn(4, 3))
    z = torch.randn(2, 3, requires_grad=True)
    loss = queue(z).sum()
    queue.push(z)
    assert not queue.keys.requires_grad and not list(queue.parameters())
    other = Queue(torch.randn(4, 3))
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.keys, queue.keys) and other.pushed == 2
    assert loss.requires_grad


def test_products_are_with_every_key():
    queue, x = Queue(torch.randn(5, 3)), torch.randn(2, 3)
    torch.testing.assert_close(queue(x)[4, 1], (queue.keys[4] * x[1]).sum())
