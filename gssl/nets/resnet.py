"""ResNet-18 and ResNet-50 (He et al., 1512.03385): torchvision's own, so that its weights fit key by key."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.backbone import Backbone
from gssl.nets.inputs import IMAGENET, Inputs
from gssl.nets.norms import norm2d

SMALL = 64  # up to this many pixels a 7×7 stem with stride 4 would leave nothing to see
_LAYERS = ("layer1", "layer2", "layer3", "layer4")


class ResNet(Backbone):
    """torchvision's ResNet without `fc`, with feature maps per stage and ImageNet's colour statistics inside.

    `size` ≤ 64: a 3×3 stem with stride 1 and no max-pooling (as SimCLR does for CIFAR-10, 2002.05709 B.9), so
    torchvision's `conv1.weight` does not fit; above, its state dict loads without a missing key, and only
    `fc` is left over. `norm`: batch, group, or none (an offset per channel; the last convolution of each
    residual branch starts at 1/√blocks of its scale, so that depth does not explode: 2010.12859).
    `width` must be 64, torchvision's only one; `patch` is unused.
    """

    def __init__(self, name: str, norm: str, width: int, patch: int, size: int, channels: int = 3) -> None:
        super().__init__()
        if width != 64:
            raise UsageError(f"backbone.width={width}: {name} starts with 64 channels; set backbone.width=64")
        from torchvision.models import resnet  # takes seconds: only who uses it pays

        build: Callable[..., Any] = getattr(resnet, name)
        net = build(weights=None, norm_layer=partial(norm2d, norm))
        self.inputs = Inputs(*IMAGENET)
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        if size <= SMALL:
            self.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.maxpool = nn.Identity()
        elif channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.layer1, self.layer2, self.layer3, self.layer4 = (getattr(net, layer) for layer in _LAYERS)
        blocks = [block for layer in _LAYERS for block in getattr(self, layer)]
        last = "conv2" if isinstance(blocks[0], resnet.BasicBlock) else "conv3"
        expansion = blocks[0].expansion
        self.dims = [width * 2**i * expansion for i in range(4)]
        self.dim = self.dims[-1]
        if norm == "none":
            with torch.no_grad():
                for block in blocks:
                    getattr(block, last).weight.mul_(len(blocks) ** -0.5)
        self.to(memory_format=torch.channels_last)

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] → four maps (B, dims[i], h, w), each half as high and wide as the one before."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.inputs(x)))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Weights of each stage, from input to output; the stem's are with the first."""
        stages = [list(getattr(self, layer).parameters()) for layer in _LAYERS]
        return [[*self.conv1.parameters(), *self.bn1.parameters(), *stages[0]], *stages[1:]]


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """torchvision's newest ImageNet weights of `name` (resnet18, vit_b_16 …), from its cache or the network.

    The download is checked against the hash in its name. Raises UsageError where there are none or they
    cannot be had.
    """
    if not name.startswith(("resnet", "vit_b_16")):
        raise UsageError(
            f"weights=torchvision: no weights for backbone {name}; use backbone=resnet18, resnet50 or vit_base"
        )
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).DEFAULT
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise UsageError(
            f"weights=torchvision: cannot fetch {weights.url} ({error}); where there is no network, "
            f"put that file into {folder}"
        ) from error
    return state
