"""What a model says of images: features, probabilities, masks, and how unlike its training images they are.

How unlike: the mean cosine distance d of an image's features to those of the k nearest of `bank`, n images that the
model was trained on. `unknown` is the fraction of reference images whose own distance is at most d: images of the same
kind that were kept apart when these distances were measured. It is uniform on [0, 1] for new images of that kind, and 1
for what is farther away than all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl.data import Images, sequential
from gssl.data.preprocessing import Preprocessing
from gssl.experiment.models import Model
from gssl.nets.backbone import Backbone

BATCH = 128
NEIGHBOURS = 5
BANK = 1000  # training images whose features a model carries, at most
QUANTILES = 101
SAME = 1e-4  # of a feature's length: what the same image's features differ by, computed in other batches, and more
THRESHOLD = 0.95  # of `unknown`, from which an image is called unlike the training images


@torch.no_grad()
def features(network: Backbone | nn.Module, images: Images, view: Preprocessing, device: torch.device) -> np.ndarray:
    """(n, d) float32; `network` on `device`, in eval mode."""
    return np.concatenate([network(x).float().cpu().numpy() for x in views(images, view, device)])


@torch.no_grad()
def both(model: Model, images: Images, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) float32 and calibrated probabilities (n, classes) float64, in one pass where a head is linear."""
    held: list[np.ndarray] = []
    given: list[np.ndarray] = []
    network: Any = model.network
    for x in views(images, model.preprocessing, device):
        found = network.backbone(x)
        held.append(found.float().cpu().numpy())
        logits = network.head(found).double() / model.temperature
        given.append(logits.softmax(dim=1).cpu().numpy())
    return np.concatenate(held), np.concatenate(given)


def views(images: Images, view: Preprocessing, device: torch.device) -> Iterator[Tensor]:
    """(B, 3, S, S) in [0, 1], in order."""
    for batch in sequential(images, BATCH, device):
        yield view.read(batch)


# ── unlike the training images ───────────────────────────────────────────────────────────────────


def distances(x: np.ndarray, bank: np.ndarray, own: bool = False) -> np.ndarray:
    """(n,) mean cosine distances of x (n, d) to the k nearest of `bank` (m, d); own: x is the bank, and no image is its
    own neighbour."""
    similarity = unit(x) @ unit(bank).T
    if own:
        np.fill_diagonal(similarity, -np.inf)
    k = min(NEIGHBOURS, len(bank) - own)
    nearest = np.partition(similarity, similarity.shape[1] - k, axis=1)[:, similarity.shape[1] - k :]
    found: np.ndarray = 1 - nearest.mean(axis=1)
    return found


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of unit length in float64; rows of zeros stay zero."""
    x = x.astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def quantiles(reference: np.ndarray) -> list[float]:
    """Of the distances of reference images: their 0%, 1%, …, 100% points."""
    return [float(f"{value:.6g}") for value in np.quantile(reference, np.linspace(0, 1, QUANTILES))]


def unknown(model: Model, x: np.ndarray) -> np.ndarray | None:
    """(n,) in [0, 1] of features x (n, d); None where the model has no reference."""
    text = model.text.get("unknown")
    if model.bank is None or not text:
        return None
    points = np.array(text["quantiles"])
    found = distances(x, model.bank.numpy())
    # equal points make a step: its upper end
    return np.interp(found, points + np.arange(len(points)) * 1e-12, np.linspace(0, 1, len(points)))


def trained_on(model: Model, x: np.ndarray) -> int:
    """How many of the images with features x (n, d) the model has learnt from, by the features that it carries of at
    most `BANK` of its training images: no fewer than this."""
    if model.bank is None:
        return 0
    a, b = x.astype(np.float64), model.bank.numpy().astype(np.float64)
    apart = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return int((apart.min(axis=1) <= (SAME**2) * (b**2).sum(axis=1)[apart.argmin(axis=1)]).sum())


# ── masks ────────────────────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def mask(model: Model, image: np.ndarray, size: tuple[int, int], device: torch.device) -> np.ndarray:
    """Class ids (h, w) uint8 of an image (H, W, C) uint8 as the network reads it; `size`: h and w of the result."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float().div_(255)
    logits = model.network(x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)).float()
    if logits.shape[-2:] != size:
        logits = nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    found: np.ndarray = logits.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
    return found


def relative(name: str, folder: Path) -> str:
    """The name of an image below `folder`, with forward slashes."""
    path = Path(name)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else name
