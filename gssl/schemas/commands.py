"""The configuration of each command that Hydra composes."""

from typing import Any, Literal

from pydantic import Field

from gssl.schemas.classical import NAMES, Classical
from gssl.schemas.data import Data, Generated, Synthetic
from gssl.schemas.network import Backbone, Input
from gssl.schemas.probes import Probes
from gssl.schemas.ready_made import READY_MADE, SHORT
from gssl.schemas.section import Count, Fraction, Section, Text, Unique
from gssl.schemas.training import Budget, Continued, Diagnose, Engine, Eval

EVALUATORS = "the feature extractor: auto | classifier | random | inception | dinov2 | torchvision:NAME"
PLACES = ("torchvision", "timm:", "hf:")
FIRST_WEIGHTS = "random | efficientnet_lite0 | torchvision[:NAME] | timm:NAME[@FILE] | hf:ORG/NAME | a run | a file"

WHERE_IT_RUNS = "where runs, and parts of compare and curve, run: a section of conf/executor"


class PretrainSSL(Section):
    """Configuration of `gssl pretrain-ssl`."""

    seed: int = Field(ge=0, le=2**63 - 1)
    weights: Text = Field(description=FIRST_WEIGHTS, examples=["random", "torchvision"])
    continued: Continued
    generated: Synthetic
    data: Data
    backbone: Backbone
    ssl: Any = Field(description="the method: a section of conf/ssl")
    budget: Budget
    executor: Any = Field(description=WHERE_IT_RUNS)
    engine: Engine
    eval: Eval


class TrainGAN(Section):
    """Configuration of `gssl train-gan`."""

    seed: int = Field(ge=0, le=2**63 - 1)
    weights: Text = Field(description=FIRST_WEIGHTS, examples=["random", "torchvision"])
    data: Data
    backbone: Backbone
    gan: Any = Field(description="the method: a section of conf/gan")
    evaluator: Text = Field(description=EVALUATORS)
    export: Literal["best", "last"] = Field(
        description="which weights are exported: those of the best evaluation by KID, or the last"
    )
    budget: Budget
    executor: Any = Field(description=WHERE_IT_RUNS)
    engine: Engine
    eval: Eval


class Probing(Section):
    """What `gssl transfer` and `gssl curve` have in common."""

    seed: int = Field(ge=0, le=2**63 - 1)
    to: Unique[Text] = Field(
        description="data sets to evaluate on instead of `data`: names of conf/data or folders with classes, masks, …;"
        " NAME?size=64 gives one keys of data"
    )
    reach: float | None = Field(
        gt=0, le=1, description="accuracy to which fine-tuning is timed; null: where scratch ends"
    )
    allow_partial: bool = Field(description="accept a source that fills only a part of the backbone")
    input: Input
    labels_per_class: Unique[Count] = Field(description="e.g. [1, 10, 100]; may be empty")
    fractions: Unique[Fraction] = Field(description="of the labelled training images, in (0, 1]")
    images_labelled: Unique[Count] = Field(description="numbers of labelled images, for tasks whose unit is the image")
    draws: int = Field(ge=1, description="label subsets per label budget")
    draws_one_shot: int = Field(ge=1)
    diagnose: Diagnose
    data: Data
    backbone: Backbone = Field(description="used where the source does not bring its own")
    probe: Probes
    classical: Classical = Field(description="weights=pca, weights=kmeans and weights=tfidf")
    executor: Any = Field(description=WHERE_IT_RUNS)
    engine: Engine


class Transfer(Probing):
    """Configuration of `gssl transfer`."""

    weights: Text = Field(
        description=f"random, pixels, majority, position, {', '.join([*NAMES, *READY_MADE])}, torchvision[:NAME],"
        " timm:NAME[@FILE], hf:ORG/NAME or hf:FOLDER, a short name such as dinov2_vits14, a run, a checkpoint, a file",
        examples=["random", "pixels", "majority", "position", *NAMES, *READY_MADE, *SHORT, *PLACES],
    )
    generated: Generated


class OverFolds(Transfer):
    """What a comparison makes of transfer runs that are tested on one fold each."""

    of: list[Text] = Field(description="their directories, in the order of the folds")


class Curve(Probing):
    """Configuration of `gssl curve`."""

    sources: Unique[Text] = Field(
        description="a list such as [runs/pretrain_ssl/RUN, scratch, random]; NAME@weights gives one a name"
    )


class Evaluate(Section):
    """What a comparison asks of a generator; `gssl evaluate` has flags for it."""

    run: Text = Field(description="directory of a finished train-gan run")
    seed: int
    evaluator: Text
    images: int
    split: Text
    engine: Engine


class Primary(Section):
    """What carries the verdict of a comparison, fixed before anything runs; each null: by a rule over names."""

    probe: Text | None = Field(
        description="one of probe.use; null: adapted where it is among them, else linear, else the first"
    )
    labels: Text | None = Field(
        description="as claims write it: 10 (per class), 1%, all; null: 10 per class where it is among them"
    )
    pairs: list[Text] | None = Field(description="at most six, such as 'simclr vs dcgan'")
    metric: Text | None = Field(
        description="what is compared: accuracy, balanced_accuracy; of masks mean_iou, pixel_accuracy; of boxes"
        " ap, ap50, ap75, ar100. null: accuracy,"
        " but balanced_accuracy where the largest class is more than twice the smallest; of masks mean_iou; of boxes ap"
    )
    margin: float = Field(ge=0, le=100, description="smallest difference of interest, in points")


class Generation(Section):
    """How generated images are evaluated in a comparison, on test images."""

    evaluator: Text = Field(description=EVALUATORS)
    images: int = Field(
        ge=0, description="at most so many real and as many generated ones; 0: generation is not evaluated"
    )


class Search(Section):
    """Settings of arms that are chosen on validation images before the comparison, with the same number of trials."""

    trials: int = Field(ge=0, description="per arm of `space`; 0: no search")
    budget: float = Field(gt=0, le=1, description="of each trial, as a fraction of the comparison's")
    space: dict[Text, list[Text]] = Field(description="per arm, e.g. {simclr: ['ssl.temperature=0.1,0.2,0.5']}")


class Compare(Section):
    """Configuration of `gssl compare`."""

    seeds: int = Field(ge=1, le=1000)
    minutes: float | None = Field(
        gt=0,
        description="that the whole comparison may take here: chooses budget.flops, and fewer seeds where they do not"
        " fit; null: budget and seeds as they are",
    )
    arms: list[Text] = Field(description="see gssl/config/arms.py")
    primary: Primary
    search: Search
    generation: Generation
    runs: Text | list[Text] | None = Field(
        description="finished transfer runs, only read, nothing trained: a glob, or a list of globs and folders"
    )
    model: bool = Field(description="train what the report recommends on all labels: RUN/model, for gssl predict")
    check: list[Text] = Field(description="claims such as 'simclr.linear@10 > random.linear@10 + 5'")
    parts: Text = Field(description="directory of the parts, shared by all comparisons")
    jobs: int = Field(ge=1, description="parts side by side on this machine")
    executor: Any = Field(description=WHERE_IT_RUNS)
    labels_per_class: Unique[Count]
    fractions: Unique[Fraction]
    images_labelled: Unique[Count]
    draws: int = Field(ge=1)
    draws_one_shot: int = Field(ge=1)
    classical: Classical = Field(description="of the arms pca, kmeans and tfidf")
    transductive: bool = Field(
        description="with data.test=folds: methods without labels are trained once on all images, those that are tested"
        " on among them, and the report says so; false: once per fold"
    )
    allow_norm_diff: bool = Field(
        description="recipes made for a network without norm layers get one, and the verdict records it"
    )
    data: Data
    backbone: Backbone
    probe: Probes
    budget: Budget
    engine: Engine
    eval: Eval
    overrides: dict[Text, list[Text]] = Field(description="per arm, e.g. {simclr: ['ssl.temperature=0.2']}")


# The schema of each command.
COMMANDS: dict[str, type[Section]] = {
    "train-gan": TrainGAN,
    "pretrain-ssl": PretrainSSL,
    "transfer": Transfer,
    "curve": Curve,
    "compare": Compare,
}
