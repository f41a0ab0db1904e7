"""Keys of `conf/probe/`: one class per probe."""

from typing import Annotated, Literal

from pydantic import Field

from gssl.schemas.section import Count, Interval, NonNegative, Positive, Section, Text, Unique


class Knn(Section):
    """Cosine k-nearest neighbours with votes exp(s / T)."""

    k: int = Field(ge=1)
    temperature: float = Field(gt=0)


class Linear(Section):
    """ℓ2-regularised multinomial logistic regression on standardised features."""

    l2_low: float = Field(gt=0, description="smallest λ of the log grid")
    l2_high: float = Field(gt=0)
    l2_count: int = Field(ge=1)
    l2_one_shot: float = Field(gt=0, description="λ where one label per class leaves nothing to choose it on")
    max_iter: int = Field(ge=1)


class LinearMultilayer(Section):
    """Logistic regression on every stage's pooled features; λ as probe.linear says."""

    dim: int = Field(ge=1, description="principal components that are kept, the same number for every source")


class FewShot(Section):
    """Nearest class centroid of centred unit features (SimpleShot); label budgets and draws of its own."""

    shots: Unique[Count] = Field(min_length=1, description="labels per class")
    draws: int = Field(ge=1, description="label subsets for each of them")
    scale: float = Field(gt=0, description="of squared distances, for probabilities; changes no prediction")


class Cluster(Section):
    """k-means with as many clusters as classes, on images without labels."""

    n_init: int = Field(ge=1, description="starts; the one with the least inertia is kept")
    max_iter: int = Field(ge=1)


class FinetuneMasks(Section):
    """What is different in fine-tuning where a class per pixel is learned."""

    crop: int = Field(ge=8, description="side of the random square crops in pixels")
    channels: int = Field(ge=1, description="of the pyramid head")
    batch_size: int = Field(ge=1)
    lrs: list[Positive] = Field(min_length=1)


class FinetuneBoxes(Section):
    """What is different in fine-tuning where boxes of objects are learned."""

    channels: int = Field(ge=1, description="of the head")
    batch_size: int = Field(ge=1)
    lrs: list[Positive] = Field(min_length=1)
    upside_down: bool = Field(description="images are turned upside down, too, half of the time")
    brightness: float = Field(ge=0, lt=1, description="images become brighter or darker by at most this fraction")


class Finetune(Section):
    """The network trained on the labels, with the same grid and budget for every source."""

    train: Literal["all", "last", "lora"] = Field(
        description="all of it | its last stages | low-rank adapters, the rest frozen"
    )
    stages: int = Field(ge=1, description="train=last: how many")
    rank: int = Field(ge=1, description="train=lora: of the adapters")
    layer_decay: float = Field(
        gt=0, le=1, description="factor of the learning rate per stage towards the input; 1: none"
    )
    head_l2: float | None = Field(
        gt=0, description="λ of the linear probe that the head starts from; null: from near 0"
    )
    steps: int = Field(ge=1)
    colour: bool = Field(
        description="views change colours too, as data.views says; false: crops, rotations and flips only"
    )
    batch_size: int = Field(ge=2)
    lrs: list[Positive] = Field(min_length=1, description="grid, with weight_decays; chosen on validation")
    weight_decays: list[NonNegative] = Field(min_length=1)
    clip: float | None = Field(gt=0, description="largest gradient norm; null: no clipping")
    folds: int = Field(
        ge=1, description="of the labels, at most, that the chosen point is validated on; it is chosen on the first"
    )
    draws: int = Field(ge=1, description="label subsets per label budget that are fine-tuned")
    points: int = Field(ge=0, description="steps of the learning curve on validation images; 0: none")
    masks: FinetuneMasks
    boxes: FinetuneBoxes


class FixMatch(Section):
    """Fine-tuning that also learns from unlabelled images, by its own confident predictions."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2, description="labelled images")
    ratio: int = Field(ge=1, description="unlabelled images per labelled one in a batch (μ)")
    threshold: float = Field(ge=0, le=1, description="of confidence, above which a prediction counts as a label (τ)")
    weight: float = Field(ge=0, description="of the unlabelled loss (λ)")
    weak_crop: float = Field(gt=0, le=1, description="smallest fraction of the area that a weak view shows")
    cutout: float = Field(
        ge=0, le=1, description="side of the square that a strong view lacks, as a fraction of the image's"
    )
    lrs: list[Positive] = Field(min_length=1, description="grid; chosen on validation")
    weight_decay: float = Field(ge=0)
    clip: float | None = Field(gt=0, description="largest gradient norm; null: no clipping")
    draws: int = Field(ge=1)


class Segment(Section):
    """Logistic regression on frozen dense features, for tasks with a class per pixel."""

    positions: int = Field(ge=1, description="labelled pixels that it learns from at most, as many of each image")
    l2_low: float = Field(gt=0, description="smallest λ of the log grid")
    l2_high: float = Field(gt=0)
    l2_count: int = Field(ge=1)
    l2_one_shot: float = Field(gt=0, description="λ where one labelled image leaves nothing to choose it on")
    max_iter: int = Field(ge=1)


class Detect(Section):
    """A head of centre points on frozen dense features, for tasks with boxes; the rest as probe.finetune.boxes says."""

    steps: int = Field(ge=1)


class Anomaly(Section):
    """Distances of patches to the nearest of a bank of patches of good images (PatchCore)."""

    reductions: list[Interval[Positive]] = Field(
        min_length=1, description="menu of [low, high]: pixels per cell of the maps that are read"
    )
    choice: int = Field(ge=10, description="good images by which, with pieces pasted in, one of the menu is chosen")
    stride: int = Field(ge=1, description="pixels of an image per patch, down and across")
    patches: int = Field(ge=1, description="of good images that the bank is taken from, as many of each image")
    bank: int = Field(ge=1, description="patches that are kept")
    projection: int = Field(ge=1, description="dimensions of the random projection in which they are chosen")
    smooth: int = Field(ge=1, description="pixels, odd: side of the square over which a map is averaged")


class AnomalyGaussian(Section):
    """Mahalanobis distances of patches to a Gaussian of each position (PaDiM)."""

    reductions: list[Interval[Positive]] = Field(
        min_length=1, description="menu of [low, high]: pixels per cell of the maps that are read"
    )
    choice: int = Field(ge=10, description="good images by which, with pieces pasted in, one of the menu is chosen")
    stride: int = Field(ge=1, description="pixels of an image per patch, down and across")
    patches: int = Field(ge=1, description="of good images by which channels are standardised")
    channels: int = Field(ge=1, description="drawn at random, that are read")
    shrink: float = Field(gt=0, description="added to the diagonal of each covariance")
    smooth: int = Field(ge=1, description="pixels, odd: side of the square over which a map is averaged")


class AnomalyGan(Section):
    """Errors of a BiGAN that makes images again, in pixels and in the features of its discriminator."""

    smooth: int = Field(ge=1, description="pixels, odd: side of the square over which a map is averaged")


class AnomalyDiscriminator(Section):
    """How little real a GAN's discriminator takes an image for."""


class Adapted(Section):
    """The better of several probes, chosen by validation on folds of the probes' own labels."""

    menu: Unique[Text] = Field(description="probes that choose on folds; equally good ones: the first")
    one_shot: Text = Field(description="which, where one label per class leaves nothing to choose on")


Side = Annotated[int, Field(ge=8)]
Size = Literal["own", "data"] | Side


class Probes(Section):
    """What a backbone is evaluated by; `use` names the ones that run."""

    use: Unique[Text]
    sizes: Literal["auto"] | Annotated[Unique[Size], Field(min_length=1)] = Field(
        description="sides in pixels at which ready-made networks read images, chosen among on folds of the labels:"
        " own (the network's, with its preprocessing), data (data.size), numbers; auto: [own, data]"
    )
    size_one_shot: Size = Field(
        description="where labels leave nothing to choose on, and of cluster: own | data | a side"
    )
    size_trained: Literal["auto"] | Size = Field(
        description="of probes that train a ready-made network: own | data | a side; auto: as the folds of the linear"
        " probe choose on the same labels"
    )
    knn: Knn
    linear: Linear
    linear_multilayer: LinearMultilayer
    fewshot: FewShot
    cluster: Cluster
    finetune: Finetune
    fixmatch: FixMatch
    segment: Segment
    detect: Detect
    action_frame: Linear
    action_mean: Linear
    action_motion: Linear
    action_order: Linear
    action_shuffled: Linear
    anomaly: Anomaly
    anomaly_gaussian: AnomalyGaussian
    anomaly_gan: AnomalyGan
    anomaly_discriminator: AnomalyDiscriminator
    adapted: Adapted
