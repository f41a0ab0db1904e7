"""Types and meanings of the keys in `conf/probe/`: one class per probe, every field MISSING as in `schema`."""

from dataclasses import dataclass

from omegaconf import MISSING

from gssl.schemas.fields import choice, number, numbers


@dataclass
class Knn:
    """Cosine k-nearest neighbours with votes exp(s / T)."""

    k: int = number(min=1)
    temperature: float = number(above=0)


@dataclass
class Linear:
    """ℓ2-regularised multinomial logistic regression on standardised features."""

    l2_low: float = number(above=0)  # smallest λ of the log grid
    l2_high: float = number(above=0)
    l2_count: int = number(min=1)
    l2_one_shot: float = number(above=0)  # λ where one label per class leaves nothing to choose it on
    max_iter: int = number(min=1)


@dataclass
class LinearMultilayer:
    """Logistic regression on every stage's pooled features; λ as probe.linear says."""

    dim: int = number(min=1)  # principal components that are kept, the same number for every source


@dataclass
class FewShot:
    """Nearest class centroid of centred unit features (SimpleShot); amounts and draws of its own."""

    shots: list[int] = numbers(min=1, least=1)  # labels per class
    draws: int = number(min=1)  # label subsets for each of them
    scale: float = number(above=0)  # of squared distances, for probabilities; decides nothing


@dataclass
class Cluster:
    """k-means with as many clusters as classes, on images without labels."""

    n_init: int = number(min=1)  # starts; the one with the least inertia is kept
    max_iter: int = number(min=1)


@dataclass
class FinetuneMasks:
    """What is different in fine-tuning where a class per pixel is learned."""

    crop: int = number(min=8)  # side of the random square crops in pixels
    channels: int = number(min=1)  # of the pyramid head
    batch_size: int = number(min=1)
    lrs: list[float] = numbers(above=0, least=1)


@dataclass
class Finetune:
    """The network trained on the labels, with the same grid and budget for every source."""

    train: str = choice("all", "last", "lora")  # all of it | its last stages | low-rank adapters, the rest frozen
    stages: int = number(min=1)  # train=last: how many
    rank: int = number(min=1)  # train=lora: of the adapters
    layer_decay: float = number(above=0, max=1)  # factor of the learning rate per stage towards the input; 1: none
    head_l2: float | None = number(above=0)  # λ of the linear probe that the head starts from; null: from near 0
    steps: int = number(min=1)
    colour: bool = MISSING  # views change colours too, as data.views says; false: crops, turns and flips only
    batch_size: int = number(min=2)
    lrs: list[float] = numbers(above=0, least=1)  # grid, with weight_decays; chosen on validation
    weight_decays: list[float] = numbers(min=0, least=1)
    clip: float | None = number(above=0)  # largest gradient norm; null: no clipping
    folds: int = number(min=1)  # of the labels, at most, that the chosen point is validated on; the first chooses it
    draws: int = number(min=1)  # label subsets per amount that are fine-tuned
    points: int = number(min=0)  # steps of the learning curve on validation images; 0: none
    masks: FinetuneMasks = MISSING


@dataclass
class FixMatch:
    """Fine-tuning that also learns from unlabelled images, by confident guesses of its own."""

    steps: int = number(min=1)
    batch_size: int = number(min=2)  # labelled images
    ratio: int = number(min=1)  # unlabelled images per labelled one in a batch (μ)
    threshold: float = number(min=0, max=1)  # of confidence, above which a guess counts as a label (τ)
    weight: float = number(min=0)  # of the unlabelled loss (λ)
    weak_crop: float = number(above=0, max=1)  # smallest share of the area that a weak view shows
    cutout: float = number(min=0, max=1)  # side of the square that a strong view lacks, as a share of the image's
    lrs: list[float] = numbers(above=0, least=1)  # grid; chosen on validation
    weight_decay: float = number(min=0)
    clip: float | None = number(above=0)  # largest gradient norm; null: no clipping
    draws: int = number(min=1)


@dataclass
class Segment:
    """Logistic regression on frozen dense features, for tasks with a class per pixel."""

    positions: int = number(min=1)  # labelled pixels that it learns from at most, as many of each image
    l2_low: float = number(above=0)  # smallest λ of the log grid
    l2_high: float = number(above=0)
    l2_count: int = number(min=1)
    l2_one_shot: float = number(above=0)  # λ where one labelled image leaves nothing to choose it on
    max_iter: int = number(min=1)


@dataclass
class Adapted:
    """The better of several probes, chosen by validation on folds of the probes' own labels."""

    menu: list[str] = MISSING  # probes that choose on folds; equally good ones: the first
    one_shot: str = MISSING  # which, where one label per class leaves nothing to choose on


@dataclass
class Probes:
    """What a backbone is judged by; `use` names the ones that run."""

    use: list[str] = MISSING
    knn: Knn = MISSING
    linear: Linear = MISSING
    linear_multilayer: LinearMultilayer = MISSING
    fewshot: FewShot = MISSING
    cluster: Cluster = MISSING
    finetune: Finetune = MISSING
    fixmatch: FixMatch = MISSING
    segment: Segment = MISSING
    adapted: Adapted = MISSING
