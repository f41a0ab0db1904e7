"""Unsupervised learning as a source of features: principal components, k-means on patches, TF-IDF of texts. No labels.

What a network's pretraining has to beat: both learn from the same images in seconds to a minute of one core.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Draws, Images, centre, sequential
from gssl.errors import JobError, UsageError
from gssl.probe import sounds
from gssl.probe.cluster import TooAlike, kmeans
from gssl.probe.features import pixel_batches
from gssl.probe.tfidf import Tfidf
from gssl.schemas import classical as schema

BLOCK = 1 << 21  # numbers per temporary array
BATCH = 256
SCALED = ("tfidf",)  # whose features are on one scale: standardised, rare words would count as much as frequent ones


@dataclass(frozen=True)
class Learnt:
    """A source that has learnt; `record` is for result.json."""

    features: Callable[[Images], np.ndarray]  # → (n, d) float32
    record: dict[str, Any]


def learn(
    name: str,
    cfg: schema.Classical,
    images: Images,
    size: int,
    seed: int,
    device: torch.device,
    hop_ms: float | None = None,
) -> Learnt:
    """What `name`, one of `schema.NAMES`, makes of the images' pixels; nothing else of them is read.

    `size`: side of the centre crops; of sounds the mel bands, and `hop_ms` from one frame to the next. The same
    arguments give the same features, whatever is asked of them together.
    Raises JobError where the images do not differ enough.
    """
    start = time.perf_counter()
    if name == "pca":
        pca = Pca.fit(cfg.pca, images, size)
        features, record = pca.features, pca.record()
    elif name == "tfidf":
        words = Tfidf.fit(cfg.tfidf, images)
        features, record = words.features, words.record()
    elif name in sounds.NAMES:
        assert hop_ms is not None
        known = sounds.of(name, cfg, size, hop_ms)
        features, record = known.features, known.record()
    else:
        means = Kmeans.fit(cfg.kmeans, images, size, Draws(seed), device)
        features, record = means.features, means.record()
    seconds = round(time.perf_counter() - start, 3)
    return Learnt(features, {"method": name, "images": len(images), **record, "seconds": seconds})


def check(name: str, cfg: schema.Classical, size: int) -> None:
    """Raises UsageError where images of `size` are too small for the settings."""
    sounds.check(name, cfg, size)
    if name == "pca" and cfg.pca.side > size:
        raise UsageError(
            f"classical.pca.side={cfg.pca.side}: images are averaged to data.size={size} at most; lower it"
        )
    if name == "kmeans" and _places(cfg.kmeans, size) < 2:
        most = size - cfg.kmeans.stride
        raise UsageError(
            f"classical.kmeans.patch={cfg.kmeans.patch}: every quadrant of an image of data.size={size} needs a patch"
            f" of its own; expected at most {most}, or a smaller classical.kmeans.stride"
        )


# ── principal components ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Pca:
    """The leading principal components of images averaged to side × side pixels."""

    size: int
    side: int
    channels: int
    mean: np.ndarray  # (d,)
    basis: np.ndarray  # (d, r), columns by falling variance; orthonormal, or divided by the deviation they give
    explained: float  # proportion of the variance

    @classmethod
    def fit(cls, cfg: schema.Pca, images: Images, size: int) -> "Pca":
        """From `images`, of which at least two are needed. A component's largest weight is positive."""
        d = images.channels * cfg.side**2
        shift, total, square = None, np.zeros(d), np.zeros((d, d))
        for part in pixel_batches(images, size, cfg.side):
            x = part.astype(np.float64)
            shift = x.mean(axis=0) if shift is None else shift  # what is near the mean squares without cancellation
            x -= shift
            total += x.sum(axis=0)
            square += x.T @ x
        assert shift is not None
        n = len(images)
        off = total / n
        values, vectors = np.linalg.eigh((square - n * np.outer(off, off)) / max(n - 1, 1))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        real = int((values > 1e-10 * values[0]).sum())  # the others are rounding errors
        if real == 0:
            raise JobError(f"weights=pca: all {n} images are the same; give other images, or weights=pixels")
        keep = min(cfg.dim, real)
        basis = vectors[:, :keep]
        basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(keep)])
        if cfg.whiten:
            basis = basis / np.sqrt(values[:keep])
        explained = float(values[:keep].sum() / values.sum())
        return cls(size, cfg.side, images.channels, shift + off, basis, explained)

    def features(self, images: Images) -> np.ndarray:
        """(n, r) float32: centre crops in the components."""
        parts = pixel_batches(images, self.size, self.side, self.channels)
        return np.concatenate([((x - self.mean) @ self.basis).astype(np.float32) for x in parts])

    def record(self) -> dict[str, Any]:
        return {"dims": self.basis.shape[1], "of": len(self.mean), "explained_variance": self.explained}


# ── k-means on patches ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Kmeans:
    """Coates, Ng & Lee (2011), "An analysis of single-layer networks in unsupervised feature learning", AISTATS."""

    cfg: schema.Kmeans
    size: int
    channels: int
    mean: Tensor  # (d,), of normalised patches; d = channels · patch²; all three float32 on the device
    whiten: Tensor  # (d, d), symmetric
    centres: Tensor  # (K, d), among whitened patches
    fitted: dict[str, Any]

    @classmethod
    def fit(cls, cfg: schema.Kmeans, images: Images, size: int, draws: Draws, device: torch.device) -> "Kmeans":
        """Whitening and centres from `cfg.patches` patches at random positions of random images, on the CPU."""
        patches = normalised(random_patches(cfg, images, size, draws), cfg.contrast).double().numpy()
        mean = patches.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False))
        whiten = (vectors / np.sqrt(np.maximum(values, 0) + cfg.epsilon)) @ vectors.T
        white = ((patches - mean) @ whiten).astype(np.float32)
        start = int(draws.generator("plain/kmeans").integers(2**31))
        try:
            found = kmeans(white, cfg.centres, 1, cfg.iterations, start)
        except TooAlike:
            raise JobError(
                f"classical.kmeans.centres={cfg.centres}: there are fewer different patches; give fewer centres, or"
                " more of classical.kmeans.patches"
            ) from None
        kept = [torch.tensor(a, dtype=torch.float32, device=device) for a in (mean, whiten, found.cluster_centers_)]
        fitted = {"iterations": int(found.n_iter_), "inertia": float(found.inertia_) / len(white)}
        return cls(cfg, size, images.channels, kept[0], kept[1], kept[2], fitted)

    @torch.no_grad()
    def features(self, images: Images) -> np.ndarray:
        """(n, 4·K) float32: quadrants upper left, upper right, lower left, lower right, each with all centres."""
        per_image = _places(self.cfg, self.size) ** 2 * (len(self.centres) + 2 * len(self.mean))
        batches = sequential(images, max(1, min(BATCH, BLOCK // per_image)), self.mean.device)
        crops = (centre(b["image"], self.size, b.get("extent"))[:, : self.channels] for b in batches)
        return np.concatenate([self.pooled(crop).cpu().numpy() for crop in crops])

    def pooled(self, x: Tensor) -> Tensor:
        """(B, C, S, S) in [0, 1] → (B, 4·K). Of an odd number of rows or columns the lower right has one more."""
        rows = _places(self.cfg, self.size)
        patches = F.unfold(x, self.cfg.patch, stride=self.cfg.stride).transpose(1, 2)  # (B, rows², d)
        near = self.triangle((normalised(patches, self.cfg.contrast) - self.mean) @ self.whiten)
        grid = near.unflatten(1, (rows, rows))
        half = rows // 2
        down, across = (slice(half), slice(half, None)), (slice(half), slice(half, None))
        return torch.cat([grid[:, i, j].mean((1, 2)) for i in down for j in across], dim=1)

    def triangle(self, white: Tensor) -> Tensor:
        """Whitened patches (B, L, d) → (B, L, K): how much nearer than the average centre each centre is, or 0."""
        squares = self.centres.square().sum(1)
        length = white.square().sum(2, keepdim=True)
        distance = (white @ self.centres.T).mul_(-2).add_(squares).add_(length).clamp_(min=0).sqrt_()
        return (distance.mean(2, keepdim=True) - distance).clamp_(min=0)

    def record(self) -> dict[str, Any]:
        dims = 4 * len(self.centres)
        return {"dims": dims, "centres": len(self.centres), "patches": self.cfg.patches, **self.fitted}


def random_patches(cfg: schema.Kmeans, images: Images, size: int, draws: Draws) -> Tensor:
    """(cfg.patches, channels · patch²) in [0, 1]: each of a random image's centre crop, at a random position in it."""
    random = draws.generator("plain/patches")
    chosen = np.sort(random.integers(len(images), size=cfg.patches))
    corner = torch.from_numpy(random.integers(size - cfg.patch + 1, size=(cfg.patches, 2)))
    each, first, count = np.unique(chosen, return_index=True, return_counts=True)
    reach = torch.arange(cfg.patch)
    parts = []
    for batch in sequential(images.subset(each), BATCH, torch.device("cpu")):
        crop = centre(batch["image"], size, batch.get("extent"))[:, : images.channels]
        own = batch["index"].numpy()
        image = torch.from_numpy(np.repeat(np.arange(len(own)), count[own]))[:, None, None]
        at = corner[first[own[0]] : first[own[-1]] + count[own[-1]], :, None] + reach  # (m, 2, patch)
        found = crop[image, :, at[:, 0, :, None], at[:, 1, None, :]]  # (m, patch, patch, C)
        parts.append(found.permute(0, 3, 1, 2).flatten(1))
    return torch.cat(parts)


def normalised(patches: Tensor, contrast: float) -> Tensor:
    """Each patch (…, d) less its mean, over the root of its variance + `contrast` (for values of 0 to 255)."""
    off = patches - patches.mean(-1, keepdim=True)
    variance = off.square().sum(-1, keepdim=True) / (patches.shape[-1] - 1)
    return off / (variance + contrast / 255**2).sqrt()


def _places(cfg: schema.Kmeans, size: int) -> int:
    """Patches per side."""
    return (size - cfg.patch) // cfg.stride + 1
