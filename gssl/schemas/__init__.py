"""Types and meanings of every configuration key. Values live in `conf/`, never here: each field is MISSING.

Torch is not imported here: `--help` and configuration errors must come at once. What a field's metadata may carry:
`fields`.
"""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from gssl.schemas.classical import Classical
from gssl.schemas.fields import choice, number, numbers
from gssl.schemas.probes import Knn, Probes


@dataclass
class Views:
    """Random views of an image. Probabilities in [0, 1]; strengths as in torchvision's ColorJitter."""

    crop_scale: list[float] = numbers(above=0, max=1, length=2, ascending=True)  # share of the area
    crop_ratio: list[float] = numbers(above=0, length=2, ascending=True)  # width / height, [low, high]
    rotate: float = number(min=0, max=180)  # degrees, drawn from [-rotate, rotate]
    flip: float = number(min=0, max=1)  # probability of a horizontal flip
    jitter: float = number(min=0, max=1)  # probability that the colour jitter is applied
    brightness: float = number(min=0)
    contrast: float = number(min=0)
    saturation: float = number(min=0)
    hue: float = number(min=0, max=0.5)  # in turns
    grayscale: float = number(min=0, max=1)  # probability
    blur: float = number(min=0, max=1)  # probability
    blur_sigma: list[float] = numbers(above=0, length=2, ascending=True)  # pixels, [low, high]
    solarize: float = number(min=0, max=1)  # probability; inverts values above one half
    cutout: float = number(min=0, max=1)  # probability
    cutout_size: float = number(min=0, max=1)  # side of the erased square as a share of the image's side
    second_blur: float | None = number(min=0, max=1)  # blur of every second view (BYOL's asymmetry); null: as blur
    second_solarize: float | None = number(min=0, max=1)  # null: as solarize


@dataclass
class Data:
    """Where images come from and how they are split."""

    name: str = MISSING  # key of gssl.data.sources.SOURCES
    root: str | None = MISSING  # folder that holds the files; null: the source's usual place
    # side in pixels of the square images that networks read; segmentation: images are stored at this size, a number is
    # their shorter side, [h, w] their height and width
    size: Any = number(min=8)
    crop: int | None = number(min=8)  # segmentation: side of the square images of pretraining; null: the shorter side
    pretrain: str | None = MISSING  # imagefolder: folder of images for pretraining (labels not needed)
    train: str | None = MISSING  # imagefolder: labelled training folder; null: root/train or root
    test: str | None = MISSING  # imagefolder: labelled test folder; null: root/test or a split of train
    labels: str | None = MISSING  # imagefolder: a CSV (path,label[,split][,group]) instead of class folders
    masks: str | None = MISSING  # segmentation: a template such as '{stem}_mask.png'; null: folders images/ and masks/
    groups: str | None = MISSING  # segmentation: a pattern of names such as '{group}_*', or a CSV (path,group)
    val_fraction: float = number(above=0, max=0.9)  # of the labelled training images; choices are made on it
    test_fraction: float = number(above=0, max=0.9)  # where the source brings no test split
    split_seed: int = number(min=0)
    limit: int | None = number(min=2)  # at most so many images per split, stratified; null: all
    on_error: str = choice("stop", "skip")  # broken files
    workers: int = number(min=0)  # decoding threads; 0: one per core
    views: Views = MISSING

    @property
    def side(self) -> int:
        """Side in pixels of the square images that are made for pretraining, GANs and image features."""
        if isinstance(self.crop, int):
            return self.crop
        return min(self.size) if isinstance(self.size, list) else int(self.size)


@dataclass
class Backbone:
    """The network that is shared by both worlds: SSL encoder and discriminator trunk."""

    name: str = choice("convnet", "resnet18", "resnet50", "vit_micro", "vit_tiny")
    norm: str = choice("batch", "group", "none")
    width: int = number(min=1)  # channels of the first stage (ViT: embedding dimension)
    patch: int = number(min=1)  # ViT: side of a patch in pixels; unused elsewhere


@dataclass
class Budget:
    """When training ends: at the first of those given that is reached; none given: `default_epochs`."""

    steps: int | None = number(min=1)
    epochs: float | None = number(above=0)
    images: int | None = number(min=1)
    seconds: float | None = number(above=0)
    flops: float | None = number(above=0)
    default_epochs: float = number(above=0)


@dataclass
class Optim:
    """An optimiser and its schedule over progress in [0, 1]."""

    name: str = choice("sgd", "lars", "adam", "adamw")
    lr: float = number(above=0)
    weight_decay: float = number(min=0)
    momentum: float = number(min=0, max=1)  # SGD, LARS
    betas: list[float] = numbers(min=0, below=1, length=2)  # Adam, AdamW
    warmup: float = number(min=0, max=1)  # share of the budget with linearly rising lr
    schedule: str = choice("cosine", "linear", "constant")
    clip: float | None = number(above=0)  # largest gradient norm; null: no clipping


@dataclass
class Engine:
    """How a run runs: nothing here changes what is learnt except precision and accumulation."""

    device: str = MISSING  # auto | cpu | cuda | cuda:N | mps
    precision: str = choice("fp32", "bf16", "fp16")
    accumulate: int = number(min=1)  # micro-batches per update
    threads: int = number(min=0)  # CPU threads; 0: one per core
    on_collapse: str = choice("warn", "stop")  # what follows when the features lose their spread
    log_every: int = number(min=1)  # steps
    checkpoint_every: int = number(min=1)  # steps
    keep_checkpoints: int = number(min=1)
    resume: str = choice("no", "auto")
    tensorboard: bool = MISSING
    progress: bool = MISSING


@dataclass
class Eval:
    """Evaluation during and after training, on the validation split only."""

    every: int | None = number(min=1)  # steps; null: only at the end
    images: int = number(min=2)  # at most so many images of each side
    milestones: int = number(min=0, max=20)  # checkpoints kept for good, at 1/2, 1/4, 1/8 … of the budget
    knn: Knn = MISSING  # pretrain-ssl's measure


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Synthetic:
    """Images that a GAN made, to learn from instead of real ones."""

    run: str | None = MISSING  # directory of a finished train-gan run; null: real images
    images: int | None = number(min=2)  # how many; null: as many as there are real ones
    truncation: float | None = number(above=0)  # largest |z|; null: the run's own


@dataclass
class PretrainSSL:
    """Configuration of `gssl pretrain-ssl`."""

    seed: int = number(min=0)
    weights: str = MISSING  # random | a run directory | a .safetensors file | torchvision
    generated: Synthetic = MISSING
    data: Data = MISSING
    backbone: Backbone = MISSING
    ssl: Any = MISSING
    budget: Budget = MISSING
    engine: Engine = MISSING
    eval: Eval = MISSING


@dataclass
class TrainGAN:
    """Configuration of `gssl train-gan`."""

    seed: int = number(min=0)
    weights: str = MISSING
    data: Data = MISSING
    backbone: Backbone = MISSING
    gan: Any = MISSING
    evaluator: str = (
        MISSING  # auto | classifier | random | inception | dinov2 | torchvision:NAME: who sees fakes and reals
    )
    export: str = choice("best", "last")  # whose weights are handed on: of the best evaluation by KID, or of the end
    budget: Budget = MISSING
    engine: Engine = MISSING
    eval: Eval = MISSING


@dataclass
class Generated:
    """Images of a class-conditional generator, mixed into the labelled ones."""

    run: str | None = MISSING  # directory of a finished train-gan run, e.g. with gan=acgan; null: real images only
    per_real: float = number(above=0)  # generated images per real labelled one, class by class; at least one
    truncation: float | None = number(above=0)  # largest |z|; null: the run's own


@dataclass
class Input:
    """How a network wants its images, where neither it nor its file says so; each null: as they say."""

    mean: list[float] | None = numbers(length=3)  # of the channels, in the units of `range`
    std: list[float] | None = numbers(above=0, length=3)
    range: list[float] | None = numbers(length=2, ascending=True)  # of its pixels: [0, 1], [0, 255], [-1, 1]


@dataclass
class Diagnose:
    """What a transfer run tells beside its scores, about the fits with the most labels."""

    pictures: bool = MISSING  # confusion, mistakes, saliency, reliability, map, CKA
    map: bool = MISSING  # the map alone, where pictures is false
    corruptions: bool = MISSING  # accuracy on test images with noise, blur, less contrast, JPEG, large pixels


@dataclass
class Probing:
    """What `gssl transfer` and `gssl curve` share."""

    seed: int = number(min=0)
    to: list[str] = MISSING  # data sets to judge on instead of `data`: names of conf/data or image folders
    reach: float | None = number(above=0, max=1)  # accuracy to which fine-tuning is timed; null: where scratch ends
    allow_partial: bool = MISSING  # accept a source that fills only a part of the backbone
    input: Input = MISSING
    labels_per_class: list[int] = numbers(min=1)  # e.g. [1, 10, 100]; may be empty
    fractions: list[float] = numbers(above=0, max=1)  # of the labelled training images, in (0, 1]
    images_labelled: list[int] = numbers(min=1)  # numbers of labelled images, for tasks whose unit is the image
    draws: int = number(min=1)  # label subsets per amount
    draws_one_shot: int = number(min=1)
    diagnose: Diagnose = MISSING
    data: Data = MISSING
    backbone: Backbone = MISSING  # used where the source does not bring its own
    probe: Probes = MISSING
    classical: Classical = MISSING  # weights=pca and weights=kmeans
    engine: Engine = MISSING


@dataclass
class Transfer(Probing):
    """Configuration of `gssl transfer`."""

    # random | pixels | majority | pca | kmeans | torchvision | timm:NAME | a run, checkpoint or file
    weights: str = MISSING
    generated: Generated = MISSING


@dataclass
class Curve(Probing):
    """Configuration of `gssl curve`."""

    sources: list[str] = MISSING  # each as transfer's weights, or scratch, or NAME@weights to give it a name


@dataclass
class Evaluate:
    """What a comparison asks of a generator; `gssl evaluate` has flags for it."""

    run: str = MISSING  # directory of a finished train-gan run
    seed: int = MISSING
    evaluator: str = MISSING
    images: int = MISSING
    split: str = MISSING
    engine: Engine = MISSING


@dataclass
class Primary:
    """What carries the verdict of a comparison, fixed before anything runs; each null: by a rule over names."""

    probe: str | None = MISSING  # one of probe.use; null: adapted where it is among them, else linear, else the first
    labels: str | None = MISSING  # as claims write it: 10 (per class), 1%, all; null: 10 per class where it is judged
    pairs: list[str] | None = MISSING  # at most six, such as 'simclr vs dcgan'
    # what is compared; null: balanced_accuracy where the largest class is more than twice the smallest, else accuracy
    metric: str | None = choice("accuracy", "balanced_accuracy")
    margin: float = number(min=0, max=100)  # smallest difference of interest, in points


@dataclass
class Generation:
    """How generated images are judged in a comparison, on test images."""

    evaluator: str = MISSING  # auto | classifier | random | inception | dinov2 | torchvision:NAME
    images: int = number(min=0)  # at most so many real and as many generated ones; 0: generation is not judged


@dataclass
class Search:
    """Settings of arms that are chosen on validation images before the comparison, with the same number of trials."""

    trials: int = number(min=0)  # per arm of `space`; 0: no search
    budget: float = number(above=0, max=1)  # of each trial, as a share of the comparison's
    space: dict[str, list[str]] = MISSING  # per arm, e.g. {simclr: ['ssl.temperature=0.1,0.2,0.5']}


@dataclass
class Compare:
    """Configuration of `gssl compare`."""

    seeds: int = number(min=1)
    arms: list[str] = MISSING  # as gssl/config/arms.py says
    primary: Primary = MISSING
    search: Search = MISSING
    generation: Generation = MISSING
    runs: str | None = MISSING  # a glob of finished transfer runs: only read, nothing trained
    check: list[str] = MISSING  # claims such as 'simclr.linear@10 > random.linear@10 + 5'
    parts: str = MISSING  # directory of the parts, shared by all comparisons
    jobs: int = number(min=1)  # parts side by side
    labels_per_class: list[int] = numbers(min=1)
    fractions: list[float] = numbers(above=0, max=1)
    images_labelled: list[int] = numbers(min=1)
    draws: int = number(min=1)
    draws_one_shot: int = number(min=1)
    classical: Classical = MISSING  # of the arms pca and kmeans
    allow_norm_diff: bool = MISSING  # recipes made for a network without norm layers get one, and the verdict says so
    data: Data = MISSING
    backbone: Backbone = MISSING
    probe: Probes = MISSING
    budget: Budget = MISSING
    engine: Engine = MISSING
    eval: Eval = MISSING
    overrides: dict[str, list[str]] = MISSING  # per arm, e.g. {simclr: ['ssl.temperature=0.2']}
