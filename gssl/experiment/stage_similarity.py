"""CKA between the stages of networks: how alike they arrange the same images."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gssl.data import Images
from gssl.engine.files import read_json
from gssl.experiment import weight_sources
from gssl.experiment.probing import Prober
from gssl.metrics.cka import cka_matrix
from gssl.probe.features import extract
from gssl.probe.multilayer import PooledStages

BATCH = 256
MOST = 1000  # images behind CKA
LEAST = 4  # fewer images have no unbiased CKA


def of_prober(prober: Prober) -> dict[str, Any] | None:
    """CKA of the backbone's stages with each other and, where it was trained, with those of a random one; None without
    a network, or with too few labelled training images."""
    few = np.sort(prober.draws.permutation("diagnose/cka", 0, len(prober.images))[:MOST])
    if prober.network is None or len(few) < LEAST:
        return None
    images, size = prober.images.subset(few), prober.cfg.data.side
    own = stage_features(prober.network, images, size, prober.device)
    found = {"n": len(few), "stages": listed(cka_matrix(own, own)), "random": None}
    if prober.origin.kind != "random":
        untrained = copy.copy(prober)
        untrained.origin = replace(prober.origin, kind="random", kept={})  # what was read and built stays behind
        untrained.network = None  # it would be copied
        random = stage_features(untrained.build(), images, size, prober.device)
        found["random"] = listed(cka_matrix(own, random))
    return found


def of_runs(network: nn.Module, size: int, images: Images, other: Path, device: torch.device) -> dict[str, Any]:
    """CKA of a backbone's stages (rows) with those of the run `other`, which reads `images` at its own size."""
    status, written = read_json(other / "status.json") or {}, read_json(other / "weights" / "backbone.json")
    origin = weight_sources.find_weights(str(other))
    assert origin.backbone is not None and written is not None
    its_size = origin.size or size
    its, _ = weight_sources.build(origin, origin.backbone, its_size, 0)
    its.to(device).to(memory_format=torch.channels_last)
    mine = stage_features(network, images, size, device)
    theirs = stage_features(its, images, its_size, device)
    found = {"against": str(other), "command": status.get("command"), "method": written["method"], "n": len(images)}
    found["images"] = (status.get("inputs") or {}).get("images")  # hash of what it was trained on
    return found | {"stages": listed(cka_matrix(mine, theirs))}


def stage_features(network: nn.Module, images: Images, size: int, device: torch.device) -> list[np.ndarray]:
    """Of each stage its maps averaged over their positions, (n, dims[i]) float32."""
    dims: Any = network.dims
    side_by_side = extract(PooledStages(network), images, size, BATCH, device)
    return np.split(side_by_side, np.cumsum(dims)[:-1], axis=1)


def listed(matrix: np.ndarray) -> list[list[float | None]]:
    """For JSON: nan is null."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
