"""`gssl embed RUN FOLDER`: the features of every image in a folder, by a trained backbone."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.engine.device import pick_device
from gssl.experiment import weight_sources
from gssl.experiment.trained import BATCH, check_output, described_weights, images_in
from gssl.probe.features import extract


def embed(run: Path, folder: Path, out: Path, device: str = "auto") -> dict[str, Any]:
    """Write features (n, d) float32 and paths of all images below `folder` to `out` (.npz)."""
    described_weights(run, "backbone", "embed with a finished train-gan or pretrain-ssl run")
    check_output(out, ".npz")
    target = pick_device(device)
    source = weight_sources.find_weights(str(run))
    assert source.backbone is not None and source.size is not None
    images = images_in(folder, source.size)
    network, _ = weight_sources.build(source, source.backbone, source.size, 0)
    network.to(target).to(memory_format=torch.channels_last)
    features = extract(network, images, source.size, BATCH, target)
    paths = np.array([images.name(i) for i in range(len(images))])
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, features=features, paths=paths)
    return {"file": str(out), "images": len(images), "dim": int(features.shape[1])}
