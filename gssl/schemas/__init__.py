"""Types and meanings of every configuration key, as pydantic models. Values live in `conf/`, never here."""

from gssl.schemas.classical import Classical
from gssl.schemas.commands import (
    Compare,
    Curve,
    Evaluate,
    Generation,
    OverFolds,
    PretrainSSL,
    Primary,
    Probing,
    Search,
    TrainGAN,
    Transfer,
)
from gssl.schemas.data import Data, Generated, SoundViews, Synthetic, Views
from gssl.schemas.executors import LOCAL, Local, Ray, Slurm
from gssl.schemas.network import Backbone, Input
from gssl.schemas.probes import Knn, Probes
from gssl.schemas.section import Section, replace
from gssl.schemas.training import Budget, Continued, Diagnose, Engine, Eval, Optim

__all__ = [
    "LOCAL",
    "Backbone",
    "Budget",
    "Classical",
    "Compare",
    "Continued",
    "Curve",
    "Data",
    "Diagnose",
    "Engine",
    "Eval",
    "Evaluate",
    "Generated",
    "Generation",
    "Input",
    "Knn",
    "Local",
    "Optim",
    "OverFolds",
    "PretrainSSL",
    "Primary",
    "Probes",
    "Probing",
    "Ray",
    "Search",
    "Section",
    "Slurm",
    "SoundViews",
    "Synthetic",
    "TrainGAN",
    "Transfer",
    "Views",
    "replace",
]
