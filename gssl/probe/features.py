"""Features of images: one deterministic view each, network in evaluation mode."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gssl.data import Images, centre, division, sequential
from gssl.data.preprocessing import Preprocessing
from gssl.errors import JobError
from gssl.method import Batch
from gssl.probe import sounds

PIXEL_SIDE = 8  # the `pixels` arm has images averaged to this side


@torch.no_grad()
def extract(
    encoder: nn.Module, images: Images, size: int | Preprocessing, batch_size: int, device: torch.device
) -> np.ndarray:
    """Features (n, d) float32 of `images`, in their order, brought to the network by `size`: of a number centre crops.

    `encoder` maps float (B, 3, size, size) in [0, 1] to (B, d) and is on `device`; it runs in evaluation mode
    and every module of it gets its former mode back. Raises JobError where a feature is not finite.
    """

    crop = Preprocessing.of(size)
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        features = divided(lambda batch: encoder(crop.read(batch)), images, batch_size, device)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not np.isfinite(features).all():
        raise JobError("features are not finite: the backbone has diverged; lower its learning rate")
    return features


def divided(
    compute: Callable[[Batch], torch.Tensor], images: Images, batch_size: int, device: torch.device
) -> np.ndarray:
    """`compute` of all batches of `images` in order, float32. Of several processes each takes consecutive batches."""
    own = division.part(len(images), batch_size)
    some = images if own is None else images.subset(own)
    parts = [compute(batch).float().cpu().numpy() for batch in sequential(some, batch_size, device)]
    return division.current.rows(np.concatenate(parts) if parts else None)


def pixels(images: Images, size: int, hop_ms: float | None = None) -> np.ndarray:
    """The reference without a network: centre crops averaged to 8×8, (n, 64·channels) float32 in [0, 1]; of sounds
    their spectrograms, `hop_ms` from one frame to the next (`gssl.probe.sounds`)."""
    if hop_ms is not None:
        return sounds.pixels(images, size, hop_ms)
    return np.concatenate(list(pixel_batches(images, size, PIXEL_SIDE)))


def pixel_batches(images: Images, size: int, side: int, channels: int | None = None) -> Iterator[np.ndarray]:
    """Centre crops averaged to side × side, in order: (at most 256, side² · channels) float32 in [0, 1].

    channels: as many as the images have where it is None; grey ones can be had with three.
    """
    for batch in sequential(images, 256, torch.device("cpu")):
        crop = centre(batch["image"], size, batch.get("extent"))[:, : channels or images.channels]
        yield F.adaptive_avg_pool2d(crop, side).flatten(1).numpy()
