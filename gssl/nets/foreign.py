"""timm's networks as backbones: `weights=timm:NAME`. timm is an optional extra, imported only when it is asked for."""

import logging
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.names import nearest
from gssl.nets.backbone import Backbone
from gssl.nets.inputs import IMAGENET, Inputs, resized

PREFIX = "timm:"
STAGES = 4
# of images too small for the kernels, of sides that are no multiple of the windows
UNFIT = (RuntimeError, ValueError, AssertionError)


class TimmBackbone(Backbone):
    """`net`, a network of timm with random weights, behind the interface of a backbone.

    Pooled features are what would enter its classifier (of many ViTs the class token), `dim` their number. The maps of
    `dense` are the last four of a network that gets coarser from stage to stage, else the ends of the quarters of its
    blocks, normed where it can be; where timm offers no maps, the features alone as one position. Colours are
    normalised as timm's configuration of the name says. Images are resized (antialiased, as that configuration says)
    where the network cannot take their size: most ViTs take one size only. For `dense`, a network whose learned
    positions timm interpolates (bicubic, antialiased) keeps the shape of images that are not square: their shorter side
    becomes its own size, the longer one the nearest multiple of the patch; others see them squeezed to a square, and
    the maps stand for the whole image all the same. Raises UsageError for an unknown name, and where timm is not
    installed.
    """

    def __init__(self, name: str, size: int) -> None:
        """`name`: timm's, e.g. resnet18.a1_in1k; `size`: side of the images in pixels."""
        super().__init__()
        check(name)
        self.net = _create(name, pretrained=False)
        self.patch = _patch(self.net)
        cfg: dict[str, Any] = getattr(self.net, "pretrained_cfg", None) or {}
        self.inputs = Inputs(cfg.get("mean", IMAGENET[0]), cfg.get("std", IMAGENET[1]))
        how = cfg.get("interpolation", "bicubic")
        self.how = how if how in ("bilinear", "bicubic") else "bicubic"
        self.side: int | None = int(cfg["input_size"][-1]) if cfg.get("fixed_input_size") else None
        self.picked, self.normed = _picked(self.net), True
        try:
            maps, pooled = self._look(size)
        except UNFIT:
            if self.side is not None or not cfg.get("input_size"):
                raise
            self.side, self.normed = int(cfg["input_size"][-1]), True
            maps, pooled = self._look(size)
        self.dims, self.dim = [m.shape[1] for m in maps], pooled.shape[1]
        self.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def _look(self, size: int) -> tuple[list[Tensor], Tensor]:
        training = self.net.training
        self.net.eval()
        x = torch.zeros(1, 3, size, size)
        try:
            maps = self.dense(x)
        except AssertionError:  # Hiera and others offer no normed maps
            self.normed = False
            maps = self.dense(x)
        pooled = self(x)
        self.net.train(training)
        return maps, pooled

    def _input(self, x: Tensor, grid: bool = False) -> Tensor:
        """The images as the network takes them; `grid`: not squeezed to a square where that can be avoided."""
        if self.side is None:
            return self.inputs(x)
        height, width = x.shape[-2:]
        if not grid or self.patch is None or height == width:
            return self.inputs(resized(x, self.side, self.how))
        scale = self.side / min(height, width)
        return self.inputs(resized(x, tuple(self._whole(scale * side) for side in (height, width)), self.how))

    def _whole(self, side: float) -> int:
        assert self.patch is not None and self.side is not None
        return max(self.side, round(side / self.patch) * self.patch)

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] → maps (B, dims[i], h, w), at most four."""
        if not self.picked:
            return [self(x)[:, :, None, None]]
        look: Any = self.net.forward_intermediates
        maps: list[Tensor] = look(
            self._input(x, grid=True),
            indices=self.picked,
            norm=self.normed,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Weights from input to output, in as many lists as there are stages, by timm's own order of layers."""
        group: Any = getattr(self.net, "group_matcher", None)
        if group is None:
            return [list(self.net.parameters())]
        from timm.models import group_parameters

        layers = group_parameters(self.net, group(coarse=False))
        named = dict(self.net.named_parameters())
        ordered = [[named[name] for name in layers[key] if name in named] for key in sorted(layers)]
        count = min(len(self.dims), len(ordered))
        ends = [round(len(ordered) * (i + 1) / count) for i in range(count)]
        return [[w for layer in ordered[a:b] for w in layer] for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    def pooled(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, dim)."""
        features: Tensor = self.net(self._input(x))
        return features


def check(name: str) -> None:
    """Raises UsageError where timm is not installed or knows no network `name`."""
    timm = _timm(name)
    base, _, tag = name.partition(".")
    if timm.is_model(base) and (not tag or name in timm.list_pretrained()):
        return
    known = timm.list_pretrained() if timm.is_model(base) else timm.list_models()
    near = nearest(name if timm.is_model(base) else base, known)
    hint = f"did you mean {PREFIX}{near}?" if near else "timm.list_models(pretrained=True) lists what there is"
    raise UsageError(f"weights={PREFIX}{name}: timm has no such network; {hint}")


def published(name: str) -> dict[str, Tensor]:
    """The weights that timm publishes for `name`, without a classifier. Raises UsageError where they cannot be had."""
    check(name)
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # one line of ours instead of one per attempt
    try:
        with torch.random.fork_rng(devices=[]):
            state: dict[str, Tensor] = _create(name, pretrained=True).state_dict()
    except Exception as error:  # of whatever fetches, unpacks and checks
        line = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"weights={PREFIX}{name}: cannot load timm's weights ({line[:160]}); where there is no network, give the "
            f"file: weights={PREFIX}{name}@FILE"
        ) from error
    finally:
        logger.setLevel(level)
    return state


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"weights={PREFIX}{name}: needs timm; pip install 'gssl[timm]'") from error
    return timm


def with_classifier(name: str) -> nn.Module:
    """timm's network `name` with random weights and the classifier that its published weights have."""
    network: nn.Module = _timm(name).create_model(name, pretrained=False)
    return network


def _create(name: str, pretrained: bool) -> nn.Module:
    """Without its classifier; positions that can be interpolated are."""
    create: Any = partial(_timm(name).create_model, name, pretrained=pretrained, num_classes=0)
    try:
        network: nn.Module = create(dynamic_img_size=True)
    except TypeError:  # no such option: of most networks without learned positions
        network = create()
    return network


def _patch(net: nn.Module) -> int | None:
    """The side of a patch in pixels where positions are interpolated to any grid of them, else None."""
    if not getattr(net, "dynamic_img_size", False):
        return None
    size: Any = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    return int(size[0]) if size and size[0] == size[-1] else None


def _picked(net: nn.Module) -> list[int]:
    """Which of timm's maps are our stages; none where it has no maps."""
    known: Any = getattr(net, "feature_info", None)
    if known is None or not hasattr(net, "forward_intermediates"):
        return []
    sides = [entry["reduction"] for entry in known]
    count = min(STAGES, len(sides))
    if len(set(sides)) > 1:
        return list(range(len(sides) - count, len(sides)))
    return [len(sides) * (i + 1) // count - 1 for i in range(count)]
