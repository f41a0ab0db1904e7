"""A backbone as torchvision and timm build it: what to ask them for, and the weights by their names.

Neither normalises colours inside its networks, so whoever uses theirs does that first.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.errors import UsageError
from gssl.nets.vit import MLP_RATIO, SHAPES

ANYWHERE = "safetensors, onnx or torch-export"  # what every backbone can become

# what the numbers in a file of weights mean, for those who build the network themselves
ARCHITECTURE = {
    "convnet": "Four blocks: convolution 3×3 (padding 1), norm, leaky ReLU (slope 0.1). Before blocks 2, 3 and 4 the "
    "map is halved by averaging 2×2 positions (ceil_mode). Features: the last map's mean over its positions. Norms: "
    "batch (eps 1e-5), group (gcd(channels, min(32, channels ÷ 4)) groups, eps 1e-5), or none (an offset per channel).",
    "resnet": "torchvision's ResNet without fc; features are the mean over the positions of layer4. {stem}",
    "vit": "Patches by a convolution, plus fixed 2-D sine-cosine positions (not in the file: half of the width is the "
    "row's, half the column's, each sin then cos of position · 10000^(−i ÷ (width ÷ 4))); {depth} pre-norm blocks of "
    "{heads} heads and an MLP of {ratio} times the width with exact GELU; layer norms with eps 1e-6; no class token: "
    "features are the mean over the patches after the final norm.",
    "published vit": "The ViT of the paper: patches by a convolution, a class token before them (`token`, its position "
    "added to it), plus learned positions (`positions`); {depth} pre-norm blocks of {heads} heads and an MLP of {ratio}"
    " times the width with exact GELU; layer norms with eps 1e-6; features are the class token after the final norm.",
}
SMALL_STEM = "made for small images: conv1 is 3×3 with stride 1 and maxpool does nothing"


def architecture(cfg: schemas.Backbone, trunk: nn.Module) -> str:
    """A few sentences about the network, enough to build it without gssl."""
    if cfg.name.startswith("vit"):
        depth, heads, published = SHAPES[cfg.name]
        return ARCHITECTURE["published vit" if published else "vit"].format(depth=depth, heads=heads, ratio=MLP_RATIO)
    if cfg.name.startswith("resnet"):
        stem = f"This one is {SMALL_STEM}." if small_stem(trunk) else "conv1 and maxpool are torchvision's."
        return ARCHITECTURE["resnet"].format(stem=stem)
    if cfg.name.startswith("timm:"):
        return f"timm's {cfg.name.removeprefix('timm:')}; features are what would enter its classifier."
    return ARCHITECTURE["convnet"]


def small_stem(trunk: nn.Module) -> bool:
    """Whether a ResNet begins at full resolution, as torchvision's and timm's do not."""
    return isinstance(getattr(trunk, "maxpool", None), nn.Identity)


@dataclass(frozen=True)
class Form:
    """A network as `library` builds it: `model` with `arguments`, then `changes` (lines of Python) to it."""

    library: str  # torchvision | timm
    model: str
    arguments: dict[str, Any]
    changes: tuple[str, ...] = ()
    head: str = "fc"  # what its classifier is called
    small: bool = False  # the stem of small images

    @property
    def making(self) -> list[str]:
        """Lines of Python that make the model, without its weights."""
        words = "".join(f", {key}={value!r}" for key, value in self.arguments.items())
        if self.library == "timm":
            return ["import timm, torch", f"model = timm.create_model({self.model!r}{words})", *self.changes]
        made = f"model = torchvision.models.{self.model}(weights=None{words})"
        return ["import torch, torchvision", made, *self.changes]

    def build(self) -> nn.Module:
        """The model with the library's random weights."""
        model: Any
        if self.library == "timm":
            import timm

            model = timm.create_model(self.model, **self.arguments)
        else:
            from torchvision import models

            model = getattr(models, self.model)(weights=None, **self.arguments)
            if "num_classes" not in self.arguments:
                model.fc = nn.Identity()
        if self.small:
            model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
            model.maxpool = nn.Identity()
        built: nn.Module = model.eval()
        return built


def form(library: str, cfg: schemas.Backbone, trunk: Any, size: int, classes: int = 0) -> Form:
    """How `library` builds `trunk`, a backbone `cfg` for images of `size` pixels, with a linear head for `classes`.

    Raises UsageError where it has no such network, and says what can be had instead.
    """
    kind = cfg.name.partition("_")[0].partition(":")[0]
    if library == "timm" and kind == "timm":
        return _of_timm(cfg.name.removeprefix("timm:"), trunk, size, classes)
    if library == "timm" and kind == "vit":
        depth, heads, published = SHAPES[cfg.name]
        arguments = {"img_size": size, "patch_size": cfg.patch, "embed_dim": cfg.width, "depth": depth}
        arguments |= {"num_heads": heads, "mlp_ratio": MLP_RATIO, "num_classes": classes}
        if published:
            return Form(library, f"{cfg.name}_patch16_224", arguments, head="head")
        # the final norm comes before the mean over the patches, as ours does: by itself timm would swap the two
        more: dict[str, Any] = {"class_token": False, "global_pool": "avg", "fc_norm": False}
        return Form(library, "vit_tiny_patch16_224", arguments | more, head="head")
    if not kind.startswith("resnet"):
        other = "timm, " if kind in ("vit", "timm") else ""
        raise UsageError(f"--to {library}: {library} has no {cfg.name}; use --to {other}{ANYWHERE}")
    if cfg.norm != "batch":
        raise UsageError(
            f"--to {library}: {library}'s {cfg.name} has batch norm, this one backbone.norm={cfg.norm}; "
            f"use --to {ANYWHERE}"
        )
    small, changes = small_stem(trunk), []
    if small:
        changes += ["model.conv1 = torch.nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)"]
        changes += ["model.maxpool = torch.nn.Identity()"]
    if library == "torchvision" and not classes:
        changes += ["model.fc = torch.nn.Identity()"]
    head = {"num_classes": classes} if library == "timm" or classes else {}
    return Form(library, cfg.name, head, tuple(changes), small=small)


def _of_timm(name: str, trunk: Any, size: int, classes: int) -> Form:
    """Of a network that was timm's from the beginning."""
    if trunk.side not in (None, size):
        raise UsageError(
            f"--to timm: {name} takes images of {trunk.side} pixels, this run's have {size} and are resized "
            f"first; use --to {ANYWHERE}"
        )
    head = (getattr(trunk.net, "pretrained_cfg", None) or {}).get("classifier")
    if classes and not isinstance(head, str):
        raise UsageError(f"--to timm: {name} has not one classifier but several; use --to {ANYWHERE}")
    return Form("timm", name, {"num_classes": classes}, head=str(head))


def renamed(made: Form, trunk: Any, head: nn.Linear | None = None) -> dict[str, Tensor]:
    """The weights of `trunk` and `head` by the names of `made`: contiguous, on the CPU, float32."""
    if "embed_dim" in made.arguments:  # ours
        state = {_vit_name(key): value for key, value in trunk.state_dict().items()}
        side = made.arguments["img_size"] // made.arguments["patch_size"]
        state["pos_embed"] = trunk.embedding(side, side)
        if trunk.token is not None:  # its position is a part of it
            state["cls_token"] = state.pop("token")
            positions = state.pop("pos_embed")
            state["pos_embed"] = torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)
            del state["positions"]
    else:
        state = dict(getattr(trunk, "net", trunk).state_dict())
    if head is not None:
        state |= {f"{made.head}.{key}": value for key, value in head.state_dict().items()}
    return {
        key: value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype).contiguous()
        for key, value in state.items()
    }


def _vit_name(key: str) -> str:
    for ours, theirs in (("patch_embed.", "patch_embed.proj."), (".fc1.", ".mlp.fc1."), (".fc2.", ".mlp.fc2.")):
        key = key.replace(ours, theirs)
    return key
