"""Building one recipe outside the engine, as the engine would."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from gssl.config import registry
from gssl.config.composing import compose
from gssl.data import Draws
from gssl.engine.device import Precision
from gssl.engine.optim import Optimizer
from gssl.method import Batch, Context
from gssl.nets.backbone import build_backbone
from gssl.nets.log_mel import BandScale, SoundInputs
from gssl.schemas import replace
from gssl.vocabulary import FIRST, PAD

CPU = torch.device("cpu")
CLIPS = ["data=video", "gan.motion=2", "gan.frames=4", "gan.motion_head=8"]
FRAMES = 4
DOMAINS = ["data=unpaired", "gan.blocks=2"]
SOUNDS, RATE, HOP = ["data=audio"], 8000, 160
TEXTS = ["data=text", "data.tokenizer=byte"]
composed = lru_cache(lambda *overrides: compose("train-gan", list(overrides)))


def replaced(gan: Any, overrides: list[str]) -> Any:
    """The recipe with "gan.key=value" applied: composing takes a hundred times as long."""
    for text in overrides:
        path, _, value = text.removeprefix("gan.").partition("=")
        key, _, inner = path.partition(".")
        new = yaml.safe_load(value)
        gan = replace(gan, **{key: replace(getattr(gan, key), **{inner: new}) if inner else new})
    return gan


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """`build("sngan", "gan.n_dis=2", size=16, classes=4)` → the method in training mode, both networks narrow.

    A convnet is narrowed to width 4, a ViT to width 24, the generator to width 4. Learning rates are constant.
    """

    def make(
        name: str, *overrides: str, size: int = 16, channels: int = 3, classes: int = 4, seed: int = 0,
        accumulate: int = 1,
    ) -> Any:  # fmt: skip
        own = next((o.partition("=")[2] for o in overrides if o.startswith("backbone=")), "")
        base = [f"gan={name}", "gan.width=4", "gan.latent=6", f"backbone.width={24 if own.startswith('vit') else 4}"]
        base += [f"gan.optim_{who}.schedule=constant" for who in "gd"] + (["gan.width_d=4"] if name == "bigan" else [])
        base += ["data=paired"] if registry.GAN[name].column == "paired" else []
        base += DOMAINS if registry.GAN[name].column == "domain" else []
        base += CLIPS if registry.GAN[name].column == "video" else []
        base += SOUNDS if registry.GAN[name].column == "audio" else []
        base += TEXTS if registry.GAN[name].column == "text" else []
        mine = [o for o in overrides if o.startswith("gan.")]
        cfg = composed(*base, *(o for o in overrides if o not in mine))
        gan = replaced(cfg.gan, mine)
        torch.manual_seed(seed)
        backbone = build_backbone(cfg.backbone, size)

        def optimizer(params: Any, optim: Any, steady: Any = ()) -> Optimizer:
            precision = Precision("fp32", CPU)
            return Optimizer(params, optim, device=CPU, precision=precision, accumulate=accumulate, steady=steady)

        scale = None
        if registry.GAN[name].column == "audio":  # spectrograms that are as wide as high, of values like the images'
            backbone.inputs = SoundInputs(size, 20.0, RATE, HOP * (size - 1), 0.5, 0.25)
            scale = BandScale(RATE, 20.0, HOP * (size - 1), [0.5] * size, [0.25] * size)
        context = Context(Draws(seed), CPU, size, channels, classes, optimizer, scale=scale)
        method = registry.load(registry.GAN[name].where)(gan, backbone, context)
        method.to(memory_format=torch.channels_last)
        return method.train()

    return make


@pytest.fixture(scope="session")
def batch() -> Callable[..., Batch]:
    """`batch(8)` → smooth random images, their labels, clips of which they are the first frames, pairs, two domains,
    and texts."""

    def make(count: int = 8, size: int = 16, classes: int = 4, seed: int = 0) -> Batch:
        g = torch.Generator().manual_seed(seed)
        base = torch.rand(count, 3, 4, 4, generator=g)
        smooth = nn.functional.interpolate(base, size=(size, size), mode="bilinear")
        noise = 0.05 * torch.randn(count, 3, size, size, generator=g)
        real = (smooth + noise).clamp(0, 1).contiguous(memory_format=torch.channels_last)
        frames = {f"frame{t}": real.roll(t, 3) for t in range(FRAMES)}  # to recipes of clips
        pairs = {"crop0": real, "paired": real.flip(1), "domain0": real.flip(1), "domain1": real}
        letters = torch.randint(FIRST, FIRST + 20, (count, size), generator=g)
        tokens = letters.where(torch.arange(size) < size // 2 + torch.arange(count)[:, None], PAD)
        return pairs | {"tokens": tokens, "real": real, "label": torch.arange(count) % classes} | frames

    return make


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all parameters and buffers."""
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def moved(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """Names of the parameters and buffers that changed since `before`."""
    return {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}
