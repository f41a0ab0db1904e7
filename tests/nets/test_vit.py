"""The ViT against torch's own transformer layer."""

import math

import pytest
import torch
from torch import nn

from gssl.nets.vit import HEADS, SHAPES, Block, ViT, position_embedding

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
        maps = net.dense(x)
        for i, block in enumerate(net.blocks, start=1):
            tokens = torchs(block, width)(tokens)
            if i in (3, 6, 9):
                expected = tokens.reshape(2, 3, 3, width).permute(0, 3, 1, 2)
                torch.testing.assert_close(maps[i // 3 - 1], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(net(x), net.norm(tokens).mean(1), rtol=1e-4, atol=1e-4)
    assert len(net.blocks) == SHAPES["vit_tiny"].depth == 12 and len(maps) == 4


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    table = position_embedding(8, 3)[0]
    row, column = 2, 1
    expected = [math.sin(row), math.sin(row / 100), math.cos(row), math.cos(row / 100)]
    expected += [math.sin(column), math.sin(column / 100), math.cos(column), math.cos(column / 100)]
    torch.testing.assert_close(table[row * 3 + column], torch.tensor(expected))
    assert len({tuple(position.tolist()) for position in table}) == 9


def test_vit_tiny_has_the_published_number_of_parameters() -> None:
    """Twelve blocks of 12 d² + 13 d, patches, final norm: 5.35 M (DeiT-Ti's 5.7 M has a classifier)."""
    net = ViT("vit_tiny", "none", 192, 4, 32)
    blocks = 12 * (12 * 192**2 + 13 * 192)
    assert sum(p.numel() for p in net.parameters()) == blocks + 192 * 48 + 192 + 2 * 192


def random_vit(name: str, size: int) -> ViT:
    torch.manual_seed(0)
    net = ViT(name, "none", 24, 4, size)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(0, 0.2)
    return net


@pytest.mark.parametrize("name", ["vit_micro", "vit_tiny"])
@pytest.mark.parametrize("size", [12, 20])  # the size it was made for, and another
def test_embed_places_and_encode_are_the_whole_network_in_parts(name: str, size: int) -> None:
    net, x = random_vit(name, 12), torch.rand(2, 3, size, size)
    side = size // 4
    with torch.no_grad():
        tokens = net.embed(x)
        assert tokens.shape == (2, side * side, 24)
        torch.testing.assert_close(net.embedding(side, side), position_embedding(24, side))
        out = net.encode(tokens + net.embedding(side, side))
        maps = net.dense(x)
        assert [tuple(m.shape) for m in maps] == [(2, 24, side, side)] * 4
        torch.testing.assert_close(out.transpose(1, 2).unflatten(2, (side, side)), maps[-1])
        torch.testing.assert_close(out.mean(1), net(x))
        # the earlier maps: as many blocks as they stand for, without the final norm
        tokens = tokens + net.embedding(side, side)
        for i, block in enumerate(net.blocks, start=1):
            tokens = block(tokens)
            if i == SHAPES[name].depth // 2:
                torch.testing.assert_close(tokens.transpose(1, 2).unflatten(2, (side, side)), maps[1])


def test_places_of_another_size_are_those_of_a_network_made_for_it() -> None:
    """Weights go from 12 to 20 pixels without a change."""
    small, large = random_vit("vit_micro", 12), ViT("vit_micro", "none", 24, 4, 20)
    large.load_state_dict(small.state_dict())
    x = torch.rand(2, 3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(small(x), large(x))
        assert not torch.allclose(small.embed(x).mean(1), small(x))


def test_patches_are_embedded_each_by_itself_and_encoded_in_any_order() -> None:
    net, x = random_vit("vit_micro", 12), torch.rand(2, 3, 12, 12)
    other = x.clone()
    other[:, :, 4:8, 8:12] = torch.rand(2, 3, 4, 4)  # row 1, column 2: patch 5
    with torch.no_grad():
        changed = (net.embed(x) != net.embed(other)).any(2).any(0)
        assert changed.nonzero().flatten().tolist() == [5]
        tokens = net.embed(x) + net.embedding(3, 3)
        shuffled = torch.tensor([4, 0, 8, 2, 7])
        torch.testing.assert_close(
            net.encode(tokens[:, shuffled]), net.encode(tokens[:, [0, 2, 4, 7, 8]])[:, [2, 0, 4, 1, 3]]
        )
        assert not torch.allclose(net.encode(tokens[:, shuffled])[:, 0], net.encode(tokens)[:, 4])


def test_vit_micro_is_a_third_as_deep() -> None:
    net = ViT("vit_micro", "none", 96, 4, 32)
    assert len(net.blocks) == SHAPES["vit_micro"].depth == 4
    assert sum(p.numel() for p in net.parameters()) == 4 * (12 * 96**2 + 13 * 96) + 96 * 48 + 96 + 2 * 96


def test_patches_start_as_loud_as_their_positions() -> None:
    """Else a random network knows where and not what, and a short run has to undo that first."""
    torch.manual_seed(0)
    net = ViT("vit_micro", "none", 96, 4, 32)
    with torch.no_grad():
        ratio = net.embed(torch.rand(8, 3, 32, 32)).std() / net.positions.std()
    assert 0.5 < ratio < 2
    assert all(not p.any() for name, p in net.named_parameters() if name.endswith("bias"))


def test_a_grid_that_is_not_square_has_the_waves_of_its_rows_and_columns() -> None:
    wide, square = position_embedding(24, 3, 5).view(3, 5, 24), position_embedding(24, 5).view(5, 5, 24)
    assert torch.equal(wide, square[:3])
    net, x = random_vit("vit_micro", 12), torch.rand(2, 3, 12, 20)
    with torch.no_grad():
        tokens = net.embed(x)
        assert tokens.shape == (2, 15, 24) and net.grid(x) == (3, 5)
        out = net.encode(tokens + net.embedding(3, 5))
        torch.testing.assert_close(net.dense(x)[-1], out.transpose(1, 2).unflatten(2, (3, 5)))
        torch.testing.assert_close(net.pooled(x), out.mean(1))


def test_a_border_is_repeated_where_the_patch_does_not_divide_a_side() -> None:
    net, x = random_vit("vit_micro", 12), torch.rand(2, 3, 10, 12)
    padded = torch.cat([x, x[:, :, -1:].expand(-1, -1, 2, -1)], dim=2)
    with torch.no_grad():
        assert torch.equal(net.dense(x)[-1], net.dense(padded)[-1])
