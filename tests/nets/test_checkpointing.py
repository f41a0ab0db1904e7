"""engine.checkpointing: blocks that are computed twice give the same gradients, and less is kept for them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.errors import UsageError
from gssl.nets.backbone import Backbone, build_backbone, recompute
from gssl.nets.patch_encoder import patch_encoder

NAMES = ["vit_micro", "vit_tiny", "vit_small", "vit_base", "timm:test_vit?img_size=32&patch_size=4"]


def network(name: str, size: int = 32) -> Backbone:
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    return build_backbone(schemas.Backbone.model_construct(name=name, norm="none", width=48, patch=4), size)


def pooled(net: Backbone, x: Tensor) -> Tensor:
    return net(x)


def dense(net: Backbone, x: Tensor) -> Tensor:
    return torch.stack([m.square().mean() for m in net.dense(x)])


def masked(net: Backbone, x: Tensor) -> Tensor:
    patches = patch_encoder(net)
    assert patches is not None
    return patches.encode((patches.embed(x) + patches.embedding(8, 8))[:, ::3])


def kept(run: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What a forward pass gives, and the bytes that it keeps for the backward pass, beside the weights."""
    sizes: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        if not isinstance(x, nn.Parameter):
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = run()
    return out, sum(sizes.values())


@pytest.mark.parametrize("part", [pooled, dense, masked])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_same_to_the_bit_and_less_is_kept(name, part) -> None:
    if name.startswith("timm:") and part is dense:
        pytest.skip("timm's maps of stages are kept as they are")
    plain, again, x = network(name), network(name), torch.rand(4, 3, 32, 32)
    recompute(again, name)
    found = []
    for net in (plain, again):
        out, size = kept(lambda net=net: part(net, x))
        out.square().sum().backward()
        found.append((out.detach(), size, [p.grad for p in net.parameters()]))
    (one, much, gradients), (other, less, others) = found
    assert torch.equal(one, other)
    assert len(gradients) == len(others) and any(g is not None for g in gradients)
    for mine, theirs in zip(gradients, others, strict=True):
        assert (mine is None and theirs is None) or torch.equal(mine, theirs)
    assert less < much / 3


def test_nothing_is_computed_twice_without_gradients(monkeypatch) -> None:
    monkeypatch.setattr("gssl.nets.backbone.checkpoint", None)
    net = network("vit_micro")
    recompute(net, "vit_micro")
    with torch.no_grad():
        net(torch.rand(2, 3, 32, 32))
    with pytest.raises(TypeError):
        net(torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize("name", ["convnet", "resnet18", "timm:test_resnet"])
def test_batch_statistics_would_move_twice_so_such_networks_are_refused(name) -> None:
    width, norm = {"convnet": 4}.get(name, 64), "batch"
    net = build_backbone(schemas.Backbone.model_construct(name=name, norm=norm, width=width, patch=1), 32)
    with pytest.raises(UsageError, match=f"engine.checkpointing=true: {name} .*expected vit_micro"):
        recompute(net, name)
