from pathlib import Path

import torch

from gssl.config.composing import compose
from gssl.engine.device import Precision
from gssl.engine.fits import Fits

CPU = torch.device("cpu")


def fits(folder: Path | None = None, precision: str = "fp32", **engine) -> Fits:
    """How the engine trains the fits of a probe, on the CPU and in silence."""
    cfg = compose("transfer", ["weights=random", "engine.progress=false"]).engine
    for key, value in engine.items():
        setattr(cfg, key, value)
    return Fits(cfg, CPU, Precision(precision, CPU), folder)
