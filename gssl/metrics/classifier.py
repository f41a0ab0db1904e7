"""A small convnet and one frozen recipe to train it: the classifier evaluator, and both sides of GAN-train.

Nothing here is chosen on validation images, and the network of the last step is the one that is used: no epoch is
picked. What trains it is a function from a step to a labelled batch, real or generated.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gssl.data import Batches, Draws, Images, cache, centre, checksums, sequential
from gssl.errors import JobError
from gssl.nets import updates

RECIPE = 2  # raise it with any change below: figures of two recipes do not compare
WIDTHS = (32, 64, 96, 128)
STEPS = 400
BATCH = 64
RATE = 4e-3  # AdamW's, after 20 steps of warm-up; falls to 0 over the second half
DECAY = 0.01
SIDE = 32  # pixels that the network looks at: larger images are read in strides, so that they cost the same

Side = int | tuple[int, int]  # of square images, or height and width of those that are none
Watch = Callable[[int, int], None]  # (steps done, of how many)
Source = Callable[[int], tuple[Tensor, Tensor]]


class Classifier(nn.Module):
    """Four convolutions with batch norm and a linear head; `dim` = 128 features per image."""

    def __init__(self, classes: int, size: Side) -> None:
        """`size`: side of the images in pixels, at least 8; or height and width."""
        super().__init__()
        self.dim, self.classes = WIDTHS[-1], classes
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            for i, (before, width) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
                stride = 1 if i else max(1, (size if isinstance(size, int) else min(size)) // SIDE)
                conv = nn.Conv2d(before, width, 2 * stride + 1, stride, padding=stride, bias=False)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
                layers += [nn.MaxPool2d(2)] if i < 3 else []
            self.trunk = nn.Sequential(*layers)
            self.head = nn.Linear(self.dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to penultimate features (B, dim); `head` makes logits of them."""
        return self.trunk((x - 0.5) / 0.25).mean(dim=(2, 3))


def train_classifier(
    source: Source,
    classes: int,
    size: Side,
    seed: int,
    device: torch.device,
    steps: int | None = None,
    watch: Watch | None = None,
) -> Classifier:
    """A classifier trained by the frozen recipe; frozen, in evaluation mode, on `device`.

    `source`: step (0, 1, …) → images (B, 3, size, size) in [0, 1] and labels int64 (B,), both on `device`; B should
    be `BATCH`. `seed` decides the first weights. `steps`: `STEPS` unless a test wants fewer. `watch`: called after each
    step. The same arguments, source and number of threads give the same network. Raises JobError where the loss is no
    longer finite.
    """
    steps = STEPS if steps is None else steps
    network = Classifier(classes, size)
    draws = Draws(seed)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            fan = parameter[0].numel()
            weight = draws.generator(f"judge/{name}").standard_normal(tuple(parameter.shape)) * (2 / fan) ** 0.5
            parameter.data.copy_(torch.from_numpy(weight.astype(np.float32)))
    network.head.bias.data.zero_()
    network.to(device).to(memory_format=torch.channels_last)
    optimizer = _adamw(network, device)
    loss = torch.zeros(())
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / 20, (steps - step) / (0.5 * steps))
            images, labels = source(step)
            loss = F.cross_entropy(network.head(network(images)), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if watch:
                watch(step + 1, steps)
    if not bool(torch.isfinite(loss)):
        raise JobError(f"the small classifier's loss is {loss.item()} after {steps} steps: the images are not finite")
    return network.eval().requires_grad_(False)


def _adamw(network: Classifier, device: torch.device) -> Any:
    if device.type == "cpu":
        return updates.Adam(updates.of(network, DECAY), RATE, fused=False, decoupled=True)
    return torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)


def train_on(images: Images, size: Side, seed: int, device: torch.device, watch: Watch | None = None) -> Classifier:
    """A classifier trained on labelled `images` (their centre crops), unlabelled ones left out."""
    images = images.subset(np.flatnonzero(images.labels >= 0))
    batches = Batches(images, min(BATCH, len(images)), Draws(seed), device)

    def source(step: int) -> tuple[Tensor, Tensor]:
        batch = batches(step)
        return centre(batch["image"], size, batch.get("extent")), batch["label"]

    return train_classifier(source, len(images.classes), size, seed, device, watch=watch)


def cached_classifier(
    images: Images, size: Side, seed: int, device: torch.device, watch: Watch | None = None
) -> Classifier:
    """`train_on`, once: kept in `$GSSL_CACHE/evaluators` by recipe, content of the images, size and seed.

    Other machines or numbers of threads may train another one, so print a hash of its weights beside what it says.
    Raises UsageError where the cache cannot be written.
    """
    file = kept_at(images, size, seed)
    with cache.alone(file.parent, file.stem):  # a second process waits and finds the first one's
        network = Classifier(len(images.classes), size)
        try:
            network.load_state_dict(load(checksums.read(file)))
            checksums.touch(file)
        except (*cache.BROKEN, SafetensorError, RuntimeError) as error:
            if not isinstance(error, FileNotFoundError):
                cache.say(f"cache: {file}: is damaged ({checksums.reason(error)}); the evaluator is trained again")
            network = train_on(images, size, seed, device, watch)
            state = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
            with cache.optional(file):
                checksums.write(file, save(state))
    network.to(device).to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def kept_at(images: Images, size: Side, seed: int) -> Path:
    """Where `cached_classifier` keeps it."""
    return cache.cache_root() / "evaluators" / f"classifier{RECIPE}-{images.hash}-{_written(size)}-{seed}.sealed"


def _written(size: Side) -> str:
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


@torch.no_grad()
def predict(network: Classifier, batches: Iterable[Tensor]) -> np.ndarray:
    """int64 (n,): the class that `network` gives each image of `batches`, (B, 3, S, S) in [0, 1] on its device."""
    return np.concatenate([network.head(network(x)).argmax(dim=1).cpu().numpy() for x in batches])


def crops(images: Images, size: Side, device: torch.device, batch_size: int = 256) -> Iterable[Tensor]:
    """Centre crops (B, 3, size, size) in [0, 1] of `images`, in order, on `device`."""
    for batch in sequential(images, batch_size, device):
        yield centre(batch["image"], size, batch.get("extent"))
