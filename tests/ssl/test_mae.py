"""MAE: what the encoder reads, what the loss asks for, what the pictures show."""

import pytest
import torch
from lightly.models import utils as lightly

from gssl.errors import UsageError
from gssl.ssl.mae import hidden_mse, standardised
from gssl.ssl.patches import patchify, put, take


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("total", "length", "hidden"), [(16, 48, 12), (9, 12, 1), (49, 48, 37)])
def test_the_loss_is_torchs_on_lightlys_targets(normalise, total, length, hidden):
    patches, positions = torch.rand(4, total, length), torch.rand(4, total).argsort(1)[:, :hidden]
    ours, theirs = (torch.zeros(4, hidden, length).fill_(0.3).requires_grad_() for _ in range(2))
    target = lightly.get_at_index(patches, positions)
    expected = torch.nn.MSELoss()(theirs, lightly.normalize_mean_var(target) if normalise else target)
    loss = hidden_mse(ours, patches, positions, normalise)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    loss.backward(), expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def test_an_even_patch_is_no_division_by_zero():
    patches = torch.full((1, 2, 48), 0.7)
    out, mean, std = standardised(patches)
    assert out.abs().max() < 1e-3
    torch.testing.assert_close(out * std + mean, patches)


def test_the_encoder_sees_no_hidden_pixel_and_the_loss_no_visible_one(build, batch):
    method = build("mae", "ssl.normalise=false")
    mask = method.mask("test", 0, torch.empty(8, 3, 16, 16))
    assert mask["visible"].shape == (8, 4) and mask["hidden"].shape == (8, 12)
    images = batch(method)["crop0"]
    noise = torch.rand(8, 16, 48)
    # `put` along the hidden positions, so that only those pixels change
    changed = lightly.unpatchify(put(patchify(images, 4), mask["hidden"], take(noise, mask["hidden"])), 4)
    assert not torch.equal(changed, images)
    before, after = (method.encode(x, mask["visible"]) for x in (images, changed))
    assert before.shape == (8, 4, method.backbone.dim)
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert method.loss({"crop0": images, **mask})["loss"] != method.loss({"crop0": changed, **mask})["loss"]
    guess = torch.rand(8, 12, 48)
    moved = put(patchify(images, 4), mask["visible"], take(noise, mask["visible"]))
    kept = hidden_mse(guess, patchify(images, 4), mask["hidden"], False)
    assert torch.equal(kept, hidden_mse(guess, moved, mask["hidden"], False))


def test_visible_tokens_are_those_of_a_network_that_is_shown_only_them(build, batch):
    """All patches visible, in order: the encoder is the backbone."""
    method = build("mae")
    images = batch(method)["crop0"]
    everything = torch.arange(16).expand(8, -1)
    torch.testing.assert_close(method.encode(images, everything).mean(1), method.backbone(images))


def test_masks_are_a_function_of_purpose_and_step(build):
    method, images = build("mae"), torch.empty(8, 3, 16, 16)
    first, again, later = (method.mask("mae/mask", step, images)["hidden"] for step in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert not torch.equal(first[0].sort().values, first[1].sort().values)  # every image has its own


@pytest.mark.parametrize("normalise", ["true", "false"])
def test_the_pictures_paste_visible_patches_and_paint_the_others(build, batch, normalise):
    method = build("mae", f"ssl.normalise={normalise}")
    images = batch(method)["crop0"]
    given, made, original = method.reconstruct(images, 3)
    assert torch.equal(original, images) and method.training
    mask = method.mask("mae/show", 3, images)
    for column in (given, made):
        assert column.shape == images.shape and column.min() >= 0 and column.max() <= 1 and not column.requires_grad
        assert torch.equal(take(patchify(column, 4), mask["visible"]), take(patchify(images, 4), mask["visible"]))
    assert (take(patchify(given, 4), mask["hidden"]) == 0.5).all()
    assert not torch.equal(made, given)


def test_a_perfect_decoder_paints_the_original(build, batch):
    """So the picture of standardised patches is put back with the right mean and contrast."""
    method = build("mae")
    images = batch(method)["crop0"]

    def oracle(seen, positions, hidden):
        return standardised(take(patchify(images, 4), hidden))[0]

    method.decoder.forward = oracle
    torch.testing.assert_close(method.reconstruct(images, 0)[1], images)


def test_impossible_settings_are_refused_with_a_way_out(build):
    with pytest.raises(UsageError, match="backbone=vit_micro"):
        build("mae", "backbone=convnet")
    with pytest.raises(UsageError, match=r"ssl\.width=50: must be a multiple of 12"):
        build("mae", "ssl.width=50")
