"""Methods that learn from clips: their losses against definitions written out, and what they start from."""

import numpy as np
import torch
import torch.nn.functional as F

from gssl.ssl.frame_order import arranged
from gssl.ssl.next_frame import change_error
from gssl.ssl.tube_mae import FRAMES, TubeDecoder


def test_the_error_of_a_change_is_that_of_the_frame():
    before, last, following = torch.rand(3, 5, 3, 8, 8)
    change = torch.randn(5, 3, 8, 8) / 9
    found = change_error(change, last, following)
    torch.testing.assert_close(found["loss"], F.mse_loss(last + change, following))
    torch.testing.assert_close(found["persistence"], torch.tensor(np.mean((following - last).numpy() ** 2)))


def squares(count: int, g: torch.Generator) -> dict[str, torch.Tensor]:
    """Three frames each of a square that moves on by its width, 3 pixels, from a place of its own."""
    clip = torch.zeros(3, count, 3, 12, 12)
    for i, first in enumerate(torch.randint(0, 4, (count,), generator=g).tolist()):
        for t in range(3):
            clip[t, i, :, 4:8, first + 3 * t : first + 3 * t + 3] = 1
    return {f"frame{t}": clip[t] for t in range(3)}


def test_next_frame_starts_at_persistence_and_gets_better_than_it(build):
    method, g = build("next_frame", "ssl.optim.lr=0.01", size=12), torch.Generator().manual_seed(0)
    moved = squares(16, g)
    assert torch.equal(method.following(moved["frame0"], moved["frame1"]), moved["frame1"])
    first = method.update(moved, 0)
    assert first["loss"] == first["persistence"]
    for step in range(1, 40):
        last = method.update(squares(16, g), step)
    assert last["loss"] < 0.5 * last["persistence"]


def test_two_frames_are_exchanged_where_they_should_be():
    a, b, c = (torch.full((2, 1), float(v)) for v in (1, 2, 3))
    found = arranged([a, b, c], torch.tensor([0, 1]))
    assert found.tolist() == [[1, 2, 3], [1, 3, 2]]


def test_frame_order_learns_which_frames_were_exchanged(build):
    method, g = build("frame_order", "ssl.optim.lr=0.01", size=12), torch.Generator().manual_seed(0)
    right = [float(method.update(squares(16, g), step)["order_accuracy"]) for step in range(60)]
    assert np.mean(right[-10:]) > 0.9


def test_neighbours_have_the_loss_of_simclr(build, batch):
    ours, simclr = build("neighbours"), build("simclr", "ssl.temperature=0.5", "ssl.head=[256,128]")
    simclr.load_state_dict(ours.state_dict())
    x = batch(ours, 8)
    theirs = simclr.loss({"view0": x["near0"], "view1": x["near1"]})
    torch.testing.assert_close(ours.loss(x)["loss"], theirs["loss"])


def test_tubes_hide_the_same_patches_in_every_frame(build, batch):
    """What the loss reads of a clip beyond its visible patches is the target alone: hidden pixels change no token."""
    method = build("tube_mae")
    x = batch(method, 6)
    seen = {}
    method.decoder.register_forward_hook(lambda _, args, out: seen.update(args=args, out=out))
    method.update(x, 0)
    visible, at, hidden = seen["args"]
    assert visible.shape[:3] == (6, FRAMES, at.shape[1]) and seen["out"].shape[:3] == (6, FRAMES, hidden.shape[1])
    both = torch.cat([at, hidden], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(method.total).expand(6, -1))

    def tokens(frame: torch.Tensor) -> torch.Tensor:
        return method.encode(frame, at)

    frame, p, side = x["frame2"].clone(), method.patch, int(method.total**0.5)
    before = tokens(frame)
    for i, places in enumerate(hidden.tolist()):
        for place in places:
            y, column = divmod(place, side)
            frame[i, :, y * p : (y + 1) * p, column * p : (column + 1) * p] = 0.123
    assert torch.equal(tokens(frame), before)


def test_times_meet_in_the_decoder():
    """What is painted at one time depends on what is visible at another, and on which time it is."""
    torch.manual_seed(0)
    decoder = TubeDecoder(8, 12, 1, 5, 4).eval()
    visible, at, hidden = torch.randn(2, FRAMES, 4, 8), torch.arange(4).expand(2, -1), torch.arange(4, 16).expand(2, -1)
    out = decoder(visible, at, hidden)
    assert out.shape == (2, FRAMES, 12, 5)
    other = visible.clone()
    other[:, 3] += 1
    assert not torch.allclose(decoder(other, at, hidden)[:, 0], out[:, 0])
    still = decoder(visible[:, :1].expand(-1, FRAMES, -1, -1), at, hidden)
    assert not torch.allclose(still[:, 0], still[:, 1])
