"""What a method is, and what it is given. A GAN and an SSL method look alike here.

A method is an `nn.Module` that owns its networks and losses and knows how to make one update. The engine owns
time, the data room owns randomness.

    from gssl.method import Batch, Context, to_device
    from gssl.nets.backbone import Backbone
    from gssl.schemas import ssl as schema         # the method's keys: `class Shifted(Method)` in gssl/schemas/ssl.py

    class Shifted(nn.Module):                      # a toy: which way was the image moved?
        needs = ("view0",)                         # tensors of the batch, by name; see `gssl.engine.feed`

        def __init__(self, cfg: schema.Shifted, backbone: Backbone, context: Context) -> None:
            super().__init__()
            self.draws = context.draws
            self.backbone = backbone               # what is exported and evaluated; (B, 3, S, S) → (B, backbone.dim)
            self.head = nn.Linear(backbone.dim, 4)
            self.to(context.device)                # before the optimiser is made
            self.optimizer = context.optimizer(self.parameters(), cfg.optim)

        def loss(self, batch):                     # a scalar "loss", and other scalars to log
            logits = self.head(self.backbone(moved(batch["view0"], batch["way"])))
            return {"loss": F.cross_entropy(logits.float(), batch["way"])}

        def update(self, batch, step):             # one update of everything
            # random numbers are functions of (seed, purpose, step), drawn on the CPU; what the loss reads goes
            # into the batch, for `minimize` may cut it into micro-batches
            way = self.draws.integers("shift/way", step, (len(batch["view0"]),), 4)
            way = to_device(way, batch["view0"].device)
            return self.optimizer.minimize(self.loss, batch | {"way": way})

`gssl.ssl.simclr`, `gssl.ssl.supervised` and `gssl.gan.adversarial` (two optimisers, an average) are the templates to
copy.

Optional: `reads(cfg)` (a static method: `needs` where they depend on the configuration), `sample(z, label)` (a
generator's images in [0, 1]), `discriminate(images, label, z)` (a discriminator's logits), `latent` (dimension of z),
`generator`, `discriminator` and `ema` (exported beside the backbone), `exported()` (the network to export, where it is
not `backbone`: a teacher), `period` (steps until the same work comes again, so that FLOPs are counted over all of it),
`reconstruct(images, step)` (what a generative method makes of images: a list of columns for a picture, each
(B, 3, S, S) in [0, 1]), `second_derivatives` (whether a loss has gradients of gradients in it: no network is compiled
then), `check(batch)` (raises UsageError where the data cannot serve the method; called once, before
training).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from gssl import schemas

Batch = dict[str, Tensor]
LossFn = Callable[[Batch], dict[str, Tensor]]


class Optimizer(Protocol):
    """One optimiser: `minimize` computes the loss on a batch (in micro-batches), goes back and steps."""

    progress: float  # fraction of the budget that is spent: what a method's own schedules may depend on

    def minimize(self, loss: LossFn, batch: Batch) -> dict[str, Tensor]:
        """Step on `loss(batch)["loss"]`; returns the detached means of everything the loss returned."""


class Draws(Protocol):
    """Random numbers as a function of (seed, purpose, step), a row per image; see `gssl.data.draws`."""

    rank: int  # which part of every batch is this process's

    @property
    def shared(self) -> "Draws":
        """Numbers that belong to no image: the same in every process."""

    def normal(self, purpose: str, step: int, shape: tuple[int, ...]) -> Tensor: ...

    def integers(self, purpose: str, step: int, shape: tuple[int, ...], high: int) -> Tensor: ...

    def uniform(
        self, purpose: str, step: int, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
    ) -> Tensor: ...


class MakeOptimizer(Protocol):
    """Makes one optimiser.

    `steady`: those of `params` whose learning rate does not fall. `lr_scales`: factors of single parameters' learning
    rates. `factor`: the learning rate as a fraction of its peak by progress, in place of the schedule of `cfg`.
    """

    def __call__(
        self,
        params: Iterable[nn.Parameter],
        cfg: schemas.Optim,
        steady: Iterable[nn.Parameter] = (),
        lr_scales: Mapping[nn.Parameter, float] | None = None,
        factor: Callable[[float], float] | None = None,
    ) -> Optimizer: ...


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`, by a copy that the host does not wait for: it would, where memory is not pinned."""
    if device.type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def alone(x: Tensor) -> Tensor:
    """What a single process gathers: its own."""
    return x


@dataclass(frozen=True)
class Context:
    """What the engine hands to a method when it is built."""

    draws: Draws
    device: torch.device
    size: int  # side of the images in pixels
    channels: int  # of the stored images: 1 (grey) or 3
    classes: int  # number of classes; 0 where there are no labels
    optimizer: "MakeOptimizer"
    colour: tuple[float, ...] = (0.5, 0.5, 0.5)  # median red, green, blue in [0, 1] of training images; GANs only
    given: int = 3  # channels of `paired`, what images are to be made from
    changed: bool = False  # whether an image is its input with changes: super-resolution, colours
    shape: tuple[int, int] | None = None  # height and width of what is no square: bands and frames of spectrograms
    letters: tuple[int, ...] = ()  # ids of tokens that training texts have, 0 where one ends early; GANs of texts only
    vocab: int = 0  # ids of tokens of captions, where images have some
    caption_tokens: int = 0  # at most so many of a caption are read; one that has all of them may go on
    scale: Any = None  # `gssl.nets.log_mel.BandScale` of training sounds; GANs of sounds only
    teacher: nn.Module | None = None  # that `ssl.teacher` names: (B, 3, S, S) → (B, teacher.dim), frozen
    # Of all processes that train together; a batch is this one's part. A loss that compares images with one another
    # gathers what it compares, (B/N, …) → (B, …), with gradients; `mean` is over processes, with gradients.
    gather: Callable[[Tensor], Tensor] = alone
    mean: Callable[[Tensor], Tensor] = alone
    processes: int = 1


class Method(Protocol):
    """The interface that the engine relies on."""

    needs: ClassVar[tuple[str, ...]]
    backbone: nn.Module

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One update of all networks. Returns detached scalars; "loss" must be among them."""

    def state_dict(self) -> dict[str, Any]: ...
