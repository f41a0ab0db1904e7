"""Keys of a training: budget, optimiser, how a run runs, how often it is evaluated."""

from typing import Annotated, Literal

from pydantic import Field

from gssl.schemas.probes import Knn
from gssl.schemas.section import Section, Text, Unique


class Budget(Section):
    """When training ends: at the first of those given that is reached; none given: `default_epochs`."""

    steps: int | None = Field(ge=1)
    epochs: float | None = Field(gt=0)
    images: int | None = Field(ge=1)
    seconds: float | None = Field(gt=0)
    flops: float | None = Field(gt=0)
    default_epochs: float = Field(gt=0)


class Optim(Section):
    """An optimiser and its schedule over progress in [0, 1]."""

    name: Literal["sgd", "lars", "adam", "adamw"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    momentum: float = Field(ge=0, le=1, description="SGD, LARS")
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(min_length=2, max_length=2, description="Adam, AdamW")
    warmup: float = Field(ge=0, le=1, description="fraction of the budget with linearly rising lr")
    schedule: Literal["cosine", "linear", "constant"]
    clip: float | None = Field(gt=0, description="largest gradient norm; null: no clipping")


class Continued(Section):
    """How training goes on from given weights; without effect where `weights` is random."""

    layer_decay: float = Field(
        gt=0,
        le=1,
        description="factor of the learning rate from each stage of the backbone to the one before it; 1: all alike."
        " What the method adds has the whole rate, the last stage this fraction of it",
    )
    batch_statistics: Literal["auto", "trained", "kept"] = Field(
        description="of the backbone's batch norms. trained: of each batch, and recomputed at the end; kept: those it"
        " came with; auto: kept for published networks by name, trained for runs and files"
    )


class Engine(Section):
    """How a run runs: nothing here changes what is learnt except precision and accumulation."""

    device: Text = Field(pattern=r"^(auto|cpu|mps|cuda(:\d{1,2})?)$", examples=["auto", "cpu", "cuda", "cuda:N", "mps"])
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        description="auto: bf16 on a CUDA device that has it, else fp32; losses are float32 in all"
    )
    tf32: bool = Field(description="CUDA: products and convolutions of float32 round their factors to TF32's 10 bits")
    benchmark: bool = Field(description="CUDA: training tries cuDNN's kernels for each shape and keeps the quickest")
    compile: Literal["auto", "off", "on"] = Field(
        description="blocks of the networks, by torch.compile, which no budget counts; auto: on CUDA, for trainings of"
        " 10,000 steps or more without a budget of seconds; never with a gradient penalty"
    )
    accumulate: int = Field(ge=1, description="micro-batches per update")
    checkpointing: bool = Field(
        description="blocks of a ViT or of a network of timm without batch norms keep their input alone and are"
        " computed again in the backward pass: the same gradients with less memory"
    )
    processes: int = Field(ge=1, description="that do one job together; each takes its part of every batch")
    threads: int = Field(
        ge=0, le=4096, description="CPU threads of a process; 0: one per core, divided by the processes"
    )
    on_collapse: Literal["warn", "stop"] = Field(description="what follows when the features lose their spread")
    log_every: int = Field(ge=1, description="steps")
    checkpoint_every: int = Field(ge=1, description="steps")
    keep_checkpoints: int = Field(ge=1)
    resume: Literal["no", "auto", "extend"]
    loggers: Unique[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = Field(
        description="where numbers go beside metrics.jsonl; each is an extra of gssl: pip install 'gssl[wandb]'"
    )
    progress: bool
    progress_format: Literal["text", "json"] = Field(description="json: a gssl.progress/1 a line on stderr, for CI")


class Eval(Section):
    """Evaluation during and after training, on the validation split only."""

    every: int | None = Field(ge=1, description="steps; null: only at the end")
    images: int = Field(ge=2, description="at most so many real and so many generated images")
    milestones: int = Field(ge=0, le=20, description="checkpoints kept for good, at 1/2, 1/4, 1/8 … of the budget")
    knn: Knn = Field(description="pretrain-ssl's measure")


class Diagnose(Section):
    """What a transfer run records beside its scores, about the fits with the most labels."""

    pictures: bool = Field(description="confusion, mistakes, saliency, reliability, map, CKA")
    map: bool = Field(description="the map alone, where pictures is false")
    corruptions: bool = Field(description="accuracy on test images with noise, blur, less contrast, JPEG, large pixels")
