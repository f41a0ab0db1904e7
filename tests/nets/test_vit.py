"""The ViT against torch's own transformer layer."""

import math

import torch
from torch import nn

from gssl.nets.vit import DEPTH, HEADS, Block, ViT, position_embedding

RENAMED = {
    "attn.qkv.weight": "self_attn.in_proj_weight",
    "attn.qkv.bias": "self_attn.in_proj_bias",
    "attn.proj": "self_attn.out_proj",
    "fc": "linear",
}


def torchs(block: Block, width: int) -> nn.TransformerEncoderLayer:
    """torch's pre-norm encoder layer with the weights of `block`."""
    layer = nn.TransformerEncoderLayer(
        width, HEADS, 4 * width, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    state = {}
    for key, value in block.state_dict().items():
        for ours, theirs in RENAMED.items():
            key = key.replace(ours, theirs)
        state[key] = value
    layer.load_state_dict(state)
    return layer


def test_the_whole_network_equals_patches_positions_and_torchs_layers() -> None:
    torch.manual_seed(0)
    width, patch, size = 24, 4, 12
    net = ViT("vit_tiny", "none", width, patch, size)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.2)
        x = torch.rand(2, 3, size, size)
        patches = (x * 2 - 1).unfold(2, patch, patch).unfold(3, patch, patch)  # (B, 3, h, w, patch, patch)
        tokens = patches.permute(0, 2, 3, 1, 4, 5).reshape(2, 9, -1)
        tokens = tokens @ net.patch_embed.weight.reshape(width, -1).T + net.patch_embed.bias
        tokens = tokens + position_embedding(width, 3)
        maps = net.stages(x)
        for i, block in enumerate(net.blocks, start=1):
            tokens = torchs(block, width)(tokens)
            if i in (3, 6, 9):
                expected = tokens.reshape(2, 3, 3, width).permute(0, 3, 1, 2)
                torch.testing.assert_close(maps[i // 3 - 1], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(net(x), net.norm(tokens).mean(1), rtol=1e-4, atol=1e-4)
    assert len(net.blocks) == DEPTH == 12 and len(maps) == 4


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    table = position_embedding(8, 3)[0]
    row, column = 2, 1
    expected = [math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100)]
    expected += [math.sin(column), math.sin(column / 100), math.cos(column), math.cos(column / 100)]
    torch.testing.assert_close(table[row * 3 + column], torch.tensor(expected))
    assert len({tuple(place.tolist()) for place in table}) == 9


def test_vit_tiny_has_the_published_number_of_parameters() -> None:
    """Twelve blocks of 12 d² + 13 d, patches, final norm: 5.35 M (DeiT-Ti's 5.7 M has a classifier)."""
    net = ViT("vit_tiny", "none", 192, 4, 32)
    blocks = 12 * (12 * 192**2 + 13 * 192)
    assert sum(p.numel() for p in net.parameters()) == blocks + 192 * 48 + 192 + 2 * 192
