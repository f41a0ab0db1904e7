"""Weights of a ready-made network by the names that timm gives to its parts."""

import torch
from torch import Tensor

from gssl.errors import UsageError
from gssl.nets import foreign
from gssl.nets.weights import COUNTER
from gssl.schemas.ready_made import READY_MADE, weights_file


def tensors(name: str) -> dict[str, Tensor]:
    """The weights of `name`, its ImageNet classifier included, under timm's names.

    The file's tensors stand in the order of timm's network. Names and shapes alone do not tell which of timm's
    networks is meant: `efficientnet_lite0` has the same ones and pads otherwise, which costs accuracy. The network of
    `READY_MADE` was chosen by what it recognises. Raises UsageError where the file does not fit.
    """
    made = READY_MADE[name]
    state = torch.load(weights_file(name), map_location="cpu", weights_only=True)
    values = [value for key, value in state.items() if not key.endswith(COUNTER)]
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        wanted = foreign.with_classifier(made.timm).state_dict()
    wanted = {key: value for key, value in wanted.items() if not key.endswith(COUNTER)}
    if [value.shape for value in values] != [value.shape for value in wanted.values()]:
        raise UsageError(f"weights={name}: the tensors of {made.file} do not fit timm's {made.timm}")
    return dict(zip(wanted, values, strict=True))
