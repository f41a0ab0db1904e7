"""Networks: backbones for every family of methods, heads, a generator, running averages, weights as files."""

from gssl.nets.backbone import build_backbone
from gssl.nets.ema import EMA
from gssl.nets.generator import Generator
from gssl.nets.heads import mlp
from gssl.nets.norms import recompute_batch_norm
from gssl.nets.weights import LoadReport, fold_spectral_norm, load_into, read_weights, save_weights

__all__ = [
    "EMA",
    "Generator",
    "LoadReport",
    "build_backbone",
    "fold_spectral_norm",
    "load_into",
    "mlp",
    "read_weights",
    "recompute_batch_norm",
    "save_weights",
]
