"""Sounds without a network: what every encoder of sounds has to beat, and what tells how much of a score is a shortcut.

| source | features |
|---|---|
| `pixels` | the log-mel spectrogram averaged to 16 × 25 |
| `mel_stats` | mean and deviation over time of each mel band |
| `mfcc` | the same of cepstral coefficients: the cosine transform of each frame |
| `loudness` | length and loudness of the file alone: what is left of a score is not in the sound |
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Images, sequential
from gssl.data.columns import AudioColumn
from gssl.errors import UsageError
from gssl.nets.log_mel import LEVELS, LogMel
from gssl.schemas import classical as schema

BATCH = 256
PIXELS = (16, 25)  # bands and frames
QUIET = 1e-4  # amplitude added before the logarithm
NAMES = ("mel_stats", "mfcc", "loudness")


@dataclass(frozen=True)
class Summaries:
    """Features of a fixed kind: nothing is learned, whatever images stand beside."""

    compute: Callable[[Images], np.ndarray]
    dims: int

    def features(self, images: Images) -> np.ndarray:
        """(n, dims) float32."""
        return self.compute(images)

    def record(self) -> dict[str, Any]:
        return {"dims": self.dims}


def check(name: str, cfg: schema.Classical, bands: int) -> None:
    """Raises UsageError where a spectrogram of so many bands is too small for the settings."""
    if name == "mfcc" and cfg.mfcc.coefficients > bands:
        raise UsageError(
            f"classical.mfcc.coefficients={cfg.mfcc.coefficients}: are of data.size={bands} mel bands; use as many at"
            " most"
        )


def of(name: str, cfg: schema.Classical, bands: int, hop_ms: float) -> Summaries:
    """The source `name`, one of `NAMES`."""
    if name == "loudness":
        return Summaries(lambda images: loudness(images, cfg.loudness.length), 2 + cfg.loudness.length)
    if name == "mfcc":
        transform = cosines(bands, cfg.mfcc.coefficients)
        return Summaries(
            lambda images: moments(images, bands, hop_ms, cfg.mfcc.padding, transform), 2 * cfg.mfcc.coefficients
        )
    return Summaries(lambda images: moments(images, bands, hop_ms, cfg.mel_stats.padding, torch.eye(bands)), 2 * bands)


def pixels(images: Images, bands: int, hop_ms: float) -> np.ndarray:
    """(n, 400) float32: log-mel spectrograms averaged to `PIXELS`."""
    parts = [F.adaptive_avg_pool2d(x, PIXELS).flatten(1) for x, _ in _spectrograms(images, bands, hop_ms)]
    return torch.cat(parts).numpy()


def moments(images: Images, bands: int, hop_ms: float, padding: bool, transform: Tensor) -> np.ndarray:
    """(n, 2k) float32: mean and deviation over time of `transform` (bands, k) of each frame.

    padding: whether the silence that sounds are padded with counts, too.
    """
    parts = []
    for x, own in _spectrograms(images, bands, hop_ms):
        frames = x[:, 0].transpose(1, 2) @ transform  # (B, frames, k)
        weight = torch.ones_like(own) if padding else own
        weight = (weight / weight.sum(1, keepdim=True))[..., None]
        mean = (weight * frames).sum(1, keepdim=True)
        variance = (weight * (frames - mean).square()).sum(1)
        parts.append(torch.cat([mean[:, 0], variance.clamp(min=0).sqrt()], dim=1))
    return torch.cat(parts).numpy()


def cosines(bands: int, coefficients: int) -> Tensor:
    """(bands, coefficients): the orthonormal cosine transform, DCT-II."""
    at = (torch.arange(bands, dtype=torch.float64)[:, None] + 0.5) / bands
    found = torch.cos(torch.pi * at * torch.arange(coefficients, dtype=torch.float64)) * (2 / bands) ** 0.5
    found[:, 0] *= 0.5**0.5
    return found.float()


def loudness(images: Images, length: bool) -> np.ndarray:
    """(n, 2 or 3) float32: the logarithms of root mean square and peak of what the row has of the file, and, if asked
    for, of the file's length."""
    column = _column(images)
    lengths = images.store.array("length")[images.rows]
    x = column.fetch(images.rows).astype(np.float64) / LEVELS
    own = np.minimum(lengths, x.shape[1])
    rms = np.sqrt(np.square(x).sum(axis=1) / np.maximum(own, 1))
    found = [np.log(rms + QUIET), np.log(np.abs(x).max(axis=1) + QUIET)]
    if length:
        found.append(np.log(lengths / column.rate))
    return np.stack(found, axis=1).astype(np.float32)


def _column(images: Images) -> AudioColumn:
    found = images.column_of(AudioColumn)
    assert found is not None
    return found


def _spectrograms(images: Images, bands: int, hop_ms: float) -> Iterator[tuple[Tensor, Tensor]]:
    """(B, 1, bands, frames) of all sounds in order, and (B, frames): 1 where a frame is of the sound and not of what it
    is padded with, in the middle frame in any case."""
    column, lengths = _column(images), images.store.array("length")[images.rows]
    log_mel, start = LogMel(column.rate, bands, hop_ms), 0
    for batch in sequential(images, BATCH, torch.device("cpu")):
        x = log_mel(batch["audio"])
        samples, count = batch["audio"].shape[1], x.shape[-1]
        at = torch.arange(count) * log_mel.hop - samples / 2
        reach = torch.from_numpy(lengths[start : start + len(x)]) / 2
        start += len(x)
        yield x, (at.abs() <= reach.clamp(min=log_mel.hop / 2)[:, None]).float()
