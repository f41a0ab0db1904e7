"""timm's vision transformers patch by patch."""

import pytest
import torch

from gssl.nets.convnet import ConvNet
from gssl.nets.foreign import TimmBackbone
from gssl.nets.patch_encoder import TimmPatches, patch_encoder
from gssl.nets.vit import ViT

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3", "deit_tiny_patch16_224"])
def test_all_patches_together_are_timms_own_features(name):
    torch.manual_seed(0)
    net = TimmBackbone(name, 160).eval()
    with torch.no_grad():
        for p in net.net.parameters():
            p.add_(0.05 * torch.randn_like(p))  # class token and positions of their own
    found = patch_encoder(net)
    assert isinstance(found, TimmPatches) and found.dim == net.dim
    x = torch.rand(2, 3, net.side, net.side)
    with torch.no_grad():
        tokens = found.encode(found.embed(x) + found.embedding(*found.grid(x)))
        whole = net.net.forward_features(net.inputs(x))[:, net.net.num_prefix_tokens :]
        whole = net.net.fc_norm(whole) if isinstance(net.net.norm, torch.nn.Identity) else whole
    torch.testing.assert_close(tokens, whole, rtol=1e-4, atol=1e-4)
    assert tokens.shape[1] == (net.side // found.patch) ** 2


def test_some_patches_know_nothing_of_the_others():
    net = TimmBackbone("test_vit", 160).eval()
    found = patch_encoder(net)
    x = torch.rand(1, 3, 160, 160)
    other = x.clone()
    other[:, :, :, 80:] = 0  # the right half
    left = torch.arange(100).view(10, 10)[:, :5].flatten()
    with torch.no_grad():
        a, b = (found.encode((found.embed(y) + found.embedding(10, 10))[:, left]) for y in (x, other))
    torch.testing.assert_close(a, b)


def test_ours_is_itself_and_what_has_no_patches_is_none():
    vit = ViT("vit_micro", "none", 12, 4, 8)
    assert patch_encoder(vit) is vit
    assert patch_encoder(ConvNet("convnet", "batch", 8, 1, 16)) is None
    assert patch_encoder(TimmBackbone("test_resnet", 32)) is None
    assert patch_encoder(TimmBackbone("test_efficientnet", 64)) is None
