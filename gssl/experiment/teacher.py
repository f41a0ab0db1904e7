"""The network that a method learns from, by `ssl.teacher`: frozen, in evaluation mode, at its own image size."""

import hashlib
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.experiment.weight_sources import LARGE, WeightSource, build, find_weights
from gssl.nets.backbone import Backbone
from gssl.nets.inputs import resized
from gssl.nets.weights import as_stored

KEY = "ssl.teacher"


class Teacher(nn.Module):
    """Images (B, 3, S, S) in [0, 1], resized to `size` → features (B, dim), without gradients."""

    def __init__(self, network: Backbone, size: int) -> None:
        super().__init__()
        self.network, self.size, self.dim = network, size, network.dim
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """It stays in evaluation mode, whoever trains what holds it."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.network(resized(x, self.size, "bicubic"))
        return features


def find(method_cfg: Any) -> WeightSource | None:
    """Where the teacher of a method comes from; None where the method has none. Raises UsageError."""
    name = getattr(method_cfg, "teacher", None)
    if name is None:
        return None
    try:
        source = find_weights(name)
    except UsageError as error:
        raise UsageError(str(error).replace("weights=", f"{KEY}=")) from error
    if source.backbone is None:
        raise UsageError(
            f"{KEY}={name}: does not say what network it is; give a ready-made one by name, torchvision:resnet18,"
            " timm:NAME or a finished run"
        )
    if source.tokenizer is not None:
        raise UsageError(f"{KEY}={name}: reads texts, and a teacher reads images; give a network of images")
    return source


def made(source: WeightSource, method_cfg: Any, device: torch.device) -> tuple[Teacher, str]:
    """The teacher on `device`, and the sha256 of its weights. torch's generator is left as it was.

    `source`: as `find` gave it; of a checkpoint, with its weights at hand.
    """
    assert source.backbone is not None
    given: int | None = method_cfg.teacher_size
    with torch.random.fork_rng(devices=[]):
        network, _ = build(source, source.backbone, source.size or given or LARGE, seed=0)
    teacher = Teacher(network, given or own_size(source))
    digest = source.sha256 or hashlib.sha256(save(as_stored(network))).hexdigest()
    teacher.to(device)
    teacher.to(memory_format=torch.channels_last)
    return teacher, digest


def own_size(source: WeightSource) -> int:
    """Side in pixels of the images that the source learned from; of a file that does not say, ImageNet's."""
    assert source.backbone is not None
    own = source.own(source.backbone)
    return own.size if own else source.size or LARGE
