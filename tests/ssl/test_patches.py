"""Patches against lightly's helpers; masks hide exactly the fraction they should."""

import pytest
import torch
from lightly.models import utils as lightly

from gssl.errors import UsageError
from gssl.nets.convnet import ConvNet
from gssl.nets.vit import ViT
from gssl.ssl.patches import as_grid, hidden_count, need_vit, patchify, put, split_order, take, unpatchify


@pytest.mark.parametrize(("size", "patch"), [(8, 4), (28, 4), (12, 2), (6, 6)])
def test_patches_are_lightlys_and_go_back(size, patch):
    images = torch.rand(3, 3, size, size)
    patches = patchify(images, patch)
    assert torch.equal(patches, lightly.patchify(images, patch))
    assert torch.equal(unpatchify(patches, patch), images)


@pytest.mark.parametrize(("total", "ratio"), [(16, 0.75), (64, 0.75), (64, 0.5)])
def test_the_same_noise_hides_what_lightly_hides(total, ratio):
    torch.manual_seed(0)
    keep, mask = lightly.random_token_mask((5, total), ratio, mask_class_token=True)
    torch.manual_seed(0)
    visible, hidden = split_order(torch.rand(5, total), hidden_count(total, ratio))
    assert torch.equal(visible, keep) and torch.equal(hidden, mask)


@pytest.mark.parametrize(
    ("total", "ratio", "expected"), [(64, 0.75, 48), (49, 0.75, 37), (64, 0.6, 38), (16, 0.01, 1), (16, 0.99, 15)]
)
def test_the_share_of_hidden_patches_is_the_nearest_and_never_none_or_all(total, ratio, expected):
    assert hidden_count(total, ratio) == expected
    visible, hidden = split_order(torch.rand(6, total), expected)
    assert hidden.shape == (6, expected)
    assert torch.equal(torch.cat([visible, hidden], 1).sort(1).values, torch.arange(total).expand(6, -1))


def test_every_place_is_hidden_equally_often():
    hidden = split_order(torch.rand(4000, 16, generator=torch.Generator().manual_seed(0)), 12)[1]
    fraction = as_grid(hidden, 4).mean((0, 1))
    assert fraction.sub(0.75).abs().max() < 0.03  # four standard errors


def test_taking_and_putting_back():
    tokens, positions = torch.rand(2, 9, 5), torch.tensor([[3, 0, 8], [1, 2, 7]])
    assert torch.equal(take(tokens, positions), lightly.get_at_index(tokens, positions))
    new = torch.rand(2, 3, 5)
    changed = put(tokens, positions, new)
    assert torch.equal(take(changed, positions), new)
    rest = as_grid(positions, 3).flatten(1) == 0
    assert torch.equal(changed[rest], tokens[rest]) and rest.sum() == 12


def test_a_network_that_cannot_leave_patches_out_is_refused_with_a_way_out():
    vit = ViT("vit_micro", "none", 12, 4, 8)
    assert need_vit(vit, "mae", 16) is vit
    with pytest.raises(UsageError, match=r"^ssl=mae: .* ConvNet .* backbone=vit_micro"):
        need_vit(ConvNet("convnet", "batch", 8, 1, 16), "mae", 16)


def test_of_a_single_patch_nothing_can_be_hidden():
    with pytest.raises(UsageError, match="smaller patches"):
        hidden_count(1, 0.5)
