"""Published vision transformers as files: weights of torchvision, timm, DeiT and DINO under the names of our ViT.

Only what computes the same is read: twelve blocks, a class token, learned positions on a square grid, and nothing more
(layer scale, registers, a norm before the blocks). What has anything else is left to timm's own network.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gssl import schemas
from gssl.nets.vit import SHAPES, ViT

NAMES = {384: "vit_small", 768: "vit_base"}  # by width; heads are 64 wide in all that is published so
HEAD = re.compile(r"(head|heads|head_dist|fc|pre_logits|heads\.head)\.")
ROOT = "encoder.pos_embedding"  # of torchvision
Rules = tuple[tuple[str, str], ...]
TIMM: Rules = (
    (r"cls_token", "cls_token"),
    (r"pos_embed", "pos_embed"),
    (r"patch_embed\.proj\.", "patch_embed."),
    (r"blocks\.(\d+)\.(norm[12]|attn\.qkv|attn\.proj)\.", r"blocks.\1.\2."),
    (r"blocks\.(\d+)\.mlp\.(fc[12])\.", r"blocks.\1.\2."),
    (r"norm\.", "norm."),
)
TORCHVISION: Rules = (
    (r"class_token", "cls_token"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"conv_proj\.", "patch_embed."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_", r"blocks.\1.attn.qkv."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.", r"blocks.\1.fc1."),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.", r"blocks.\1.fc2."),
    (r"encoder\.ln\.", "norm."),
)


def network(state: Mapping[str, Tensor]) -> tuple[schemas.Backbone, int] | None:
    """The backbone whose names and shapes `state` has, and the side in pixels that its positions are for."""
    if not {"token", "positions", "patch_embed.weight"} <= set(state):
        return None
    kernel, positions = state["patch_embed.weight"], state["positions"]
    name = NAMES.get(kernel.shape[0])
    depth = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    side = math.isqrt(positions.shape[1])
    if name is None or depth != SHAPES[name].depth or side**2 != positions.shape[1]:
        return None
    patch = kernel.shape[-1]
    values = {"name": name, "norm": "none", "width": kernel.shape[0], "patch": patch}
    return schemas.Backbone.model_validate(values), side * patch


def of_others(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str], str] | None:
    """`tensors` under our names, the keys of a classifier that were left out, and whose names they were.

    None where they are of no vision transformer that computes what ours does.
    """
    rules, author = (TORCHVISION, "torchvision") if ROOT in tensors else (TIMM, "timm")
    found, left = {}, []
    for key, value in tensors.items():
        named = next((re.sub(old, new, key, count=1) for old, new in rules if re.match(old, key)), None)
        if named is not None:
            found[named] = value
        elif HEAD.match(key) or key == "mask_token":
            left.append(key)
        else:
            return None
    token, positions = found.pop("cls_token", None), found.pop("pos_embed", None)
    if token is None or positions is None or token.ndim != 3 or positions.ndim != 3:
        return None
    if token.shape[-1] != positions.shape[-1] or math.isqrt(positions.shape[1] - 1) ** 2 != positions.shape[1] - 1:
        return None
    found |= {"token": token + positions[:, :1], "positions": positions[:, 1:]}
    known = network(found)
    return (found, left, author) if known is not None and _complete(found, known[0]) else None


def _complete(found: Mapping[str, Tensor], cfg: schemas.Backbone) -> bool:
    """Whether all of the network is there, in its shapes: the offsets of queries, keys and values, too."""
    side = math.isqrt(found["positions"].shape[1]) * cfg.patch
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        own = ViT(cfg.name, cfg.norm, cfg.width, cfg.patch, side).state_dict()
    return {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in found.items()}
