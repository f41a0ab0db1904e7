"""timm's networks as backbones: `weights=timm:NAME`. timm is an optional extra, imported only when it is asked for."""

import logging
import sys
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.names import nearest
from gssl.nets.backbone import Backbone
from gssl.nets.foreign_names import split
from gssl.nets.inputs import IMAGENET, Inputs, resized
from gssl.schemas.ready_made import SHORT

PREFIX = "timm:"
STAGES = 4
MASKING = ("mask_token",)  # of pretraining alone
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
        """`name`: timm's, e.g. resnet18.a1_in1k, with options as `foreign_names` says; `size`: side of the images in
        pixels."""
        super().__init__()
        check(name, "backbone")
        self.net = _create(split(name)[0], False, **split(name)[1])
        self.patch = _patch(self.net)
        cfg: dict[str, Any] = getattr(self.net, "pretrained_cfg", None) or {}
        self.inputs = Inputs(cfg.get("mean", IMAGENET[0]), cfg.get("std", IMAGENET[1]))
        how = cfg.get("interpolation", "bicubic")
        self.how = how if how in ("bilinear", "bicubic") else "bicubic"
        own = int(split(name)[1].get("img_size") or (cfg.get("input_size") or [size])[-1])
        self.side: int | None = own if cfg.get("fixed_input_size") else None
        self.picked, self.normed = _picked(self.net), True
        try:
            maps, pooled = self._look(size)
        except UNFIT:
            if self.side is not None or not cfg.get("input_size"):
                raise
            self.side, self.normed = own, True
            maps, pooled = self._look(size)
        self.dims, self.dim = [m.shape[1] for m in maps], pooled.shape[1]
        self.to(memory_format=torch.channels_last)

    def recompute(self) -> bool:
        """As `Backbone.recompute`, by timm's own means; a network with batch norms would move its statistics twice."""
        ask: Any = getattr(self.net, "set_grad_checkpointing", None)
        if ask is None or any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.net.modules()):
            return False
        try:
            ask(True)
        except (AssertionError, NotImplementedError):  # timm's way of saying that a network cannot
            return False
        self.recomputing = True
        return True

    def fits(self, size: int) -> bool:
        """Whether it can read images of `size` pixels."""
        normed = self.normed
        try:
            self._look(size)
        except UNFIT:
            return False
        finally:
            self.normed = normed
        return True

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


def check(name: str, key: str = "weights") -> None:
    """Raises UsageError where timm is not installed or knows no network `name`. key: where the name was given."""
    timm, (name, options) = _timm(name, key), split(name)
    base, _, tag = name.partition(".")
    if timm.is_model(base) and (not tag or name in timm.list_pretrained()):
        return _check_options(name, options, key)
    known = timm.list_pretrained() if timm.is_model(base) else timm.list_models()
    near = nearest(name if timm.is_model(base) else base, known)
    hint = f"did you mean {PREFIX}{near}?" if near else "timm.list_models(pretrained=True) lists what there is"
    raise UsageError(f"{key}={PREFIX}{name}: timm has no such network; {hint}")


def _check_options(name: str, options: Mapping[str, Any], key: str) -> None:
    if options:
        try:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                _create(name, False, **options)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            given = "&".join(options)
            raise UsageError(f"{key}={PREFIX}{name}?{given}: timm cannot build it so ({error})") from error


def preprocessing(name: str) -> dict[str, Any]:
    """The network's own size of images and how they are brought to it: `gssl.data.preprocessing.Preprocessing`."""
    base, options = split(name)
    cfg: Any = _timm(base).get_pretrained_cfg(base)
    return of_config({} if cfg is None else cfg.to_dict(), options.get("img_size"))


def normalisation(name: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of the network's own configuration."""
    cfg: Any = _timm(name).get_pretrained_cfg(split(name)[0])
    return (list(cfg.mean), list(cfg.std)) if cfg is not None else IMAGENET


def of_config(cfg: Mapping[str, Any], size: int | None = None) -> dict[str, Any]:
    """The same of timm's configuration as a mapping; `size` in place of its own."""
    how = cfg.get("interpolation", "bicubic")
    return {
        "size": int(size or (cfg.get("input_size") or (3, 224, 224))[-1]),
        "fit": "squash" if cfg.get("crop_mode") == "squash" else "short",
        "crop": float(cfg.get("crop_pct") or 0.875),
        "interpolation": how if how in ("bilinear", "nearest") else "bicubic",
    }


def by_its_names(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under timm's names: as it is where it has them, else as timm itself reads such a file for `name`.

    timm knows the names of the first authors of many networks, such as DINOv2 and CLIP. What it does not know stays.
    """
    with torch.random.fork_rng(devices=[]):
        base, options = split(name)
        network = _create(base, False, **options)
    if all(key in state and state[key].shape == value.shape for key, value in network.state_dict().items()):
        return {key: value for key, value in state.items() if key not in MASKING}
    convert: Any = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(state)
    try:
        found: dict[str, Tensor] = convert(dict(state), network)
    except Exception:  # a file of something else: what does not fit is said by whoever loads it
        return dict(state)
    return {key: value for key, value in found.items() if key not in MASKING}


@lru_cache
def alternative(name: str) -> str | None:
    """timm's network whose tensors have the same names and shapes and which pads otherwise: `tf_NAME` beside NAME."""
    timm, (base, _) = _timm(name), split(name)
    arch = base.partition(".")[0]
    other = arch.removeprefix("tf_") if arch.startswith("tf_") else f"tf_{arch}"
    if not timm.is_model(other):
        return None
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        mine, its = (with_classifier(one).state_dict() for one in (arch, other))
    same = {key: value.shape for key, value in mine.items()} == {key: value.shape for key, value in its.items()}
    return other if same else None


def published(name: str) -> dict[str, Tensor]:
    """The weights that timm publishes for `name`, without a classifier. Raises UsageError where they cannot be had."""
    check(name)
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # one line of ours instead of one per attempt
    try:
        with torch.random.fork_rng(devices=[]):
            state: dict[str, Tensor] = _create(split(name)[0], True, **split(name)[1]).state_dict()
    except Exception as error:  # of whatever fetches, unpacks and checks
        line = " ".join(str(error).split()) or type(error).__name__
        given = next((short for short, known in SHORT.items() if known == name), PREFIX + name)
        raise UsageError(
            f"weights={given}: cannot load timm's weights ({line[:160]}); where there is no network, fetch "
            f"{_where(name)} elsewhere and give the file: weights={given}@FILE"
        ) from error
    finally:
        logger.setLevel(level)
    return state


def _timm(name: str, key: str = "weights") -> Any:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"{key}={PREFIX}{name}: needs timm; pip install 'gssl[timm]'") from error
    return timm


def _where(name: str) -> str:
    """What to download."""
    cfg: Any = _timm(name).get_pretrained_cfg(split(name)[0])
    if cfg is not None and cfg.hf_hub_id:
        return f"model.safetensors of https://huggingface.co/{str(cfg.hf_hub_id).rstrip('/')}"
    return str(cfg.url) if cfg is not None and cfg.url else "its weights"


def with_classifier(name: str) -> nn.Module:
    """timm's network `name` with random weights and the classifier that its published weights have."""
    base, options = split(name)
    network: nn.Module = _timm(name).create_model(base, pretrained=False, **options)
    return network


def _create(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """Without its classifier; positions that can be interpolated are."""
    create: Any = partial(_timm(name).create_model, name, pretrained=pretrained, num_classes=0, **options)
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
