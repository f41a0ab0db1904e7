"""Segmentation by a linear probe on frozen dense features: a class for every pixel.

Features stand at a quarter of the image's side (`gssl.probe.dense`). Multinomial logistic regression (`linear`) learns
from at most `positions` pixels, as many of each labelled image, at which features are read bilinearly; so logits that
are brought to the mask's size bilinearly are those of a classifier of pixels. λ is chosen on folds of whole images (or
of their groups), for pixels of one image are not independent, by mean IoU over the drawn pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Draws, Images
from gssl.errors import UsageError
from gssl.probe.dense import DenseSetting, views
from gssl.probe.folds import image_folds
from gssl.probe.linear import SMALL, Axes, Rows, cross_entropies, fixed, path
from gssl.schemas import probes as schema
from gssl.statistics.metric import IGNORE, mask_counts, mean_iou_of


@dataclass(frozen=True)
class Head:
    """Logits are x·weightᵀ + bias on raw features: weight (C, d), bias (C,), classes (C,) int64 of its rows."""

    weight: np.ndarray
    bias: np.ndarray
    classes: np.ndarray


@dataclass
class FittedSegment:
    """A head on dense features. `unselected`: per fold the statistics (m, k) of its validation images, whose masks were
    predicted with a λ that was chosen without them."""

    head: Head
    setting: DenseSetting
    chosen: dict[str, Any]
    unselected: list[np.ndarray]

    def masks(self, x: Tensor, size: tuple[int, int]) -> np.ndarray:
        """(B, 3, H, W) in [0, 1] → predicted classes (B, *size) uint8."""
        return masks_of([self.head], self.setting.maps(x), size)[0]

    def counts(self, images: Images) -> np.ndarray:
        """(n, k) statistics of the predicted masks of `images`."""
        return counts([self.head], images, self.setting)[0]


class Segment:
    """The probe by its configuration."""

    def __init__(self, cfg: schema.Segment) -> None:
        self.cfg = cfg
        grid = np.geomspace(cfg.l2_high, cfg.l2_low, cfg.l2_count)
        self.grid = [float(f"{l2:.6g}") for l2 in grid]

    def fit(self, images: Images, setting: DenseSetting) -> FittedSegment:
        """On labelled `images`. Classes without a labelled pixel are never predicted. Raises UsageError where there is
        no labelled pixel at all."""
        x, y, of = sampled(images, setting, self.cfg.positions)
        if not len(y):
            raise UsageError("data: no labelled pixel in the drawn images; give others, or look at the ignored class")
        folds = image_folds(len(images), images.groups, setting.seed)
        paths = [self._path(x, y, np.isin(of, fit)) for fit, _ in folds]
        pairs = list(zip(folds, paths, strict=True))
        trials = [self._trial(x, y, of, val, heads, setting.n_classes) for (_, val), heads in pairs]
        l2 = self.grid[best(trials)] if folds else self.cfg.l2_one_shot
        unselected = [
            self._unselected(images, val, heads, trials, fold, setting) for fold, ((_, val), heads) in enumerate(pairs)
        ]
        return FittedSegment(Head(*fixed(x, y, l2)), setting, {"l2": l2}, unselected)

    def _path(self, x: np.ndarray, y: np.ndarray, chosen: np.ndarray) -> list[Head]:
        """The heads of a fold's fit part, one per λ."""
        rows = Rows(x, np.flatnonzero(chosen))
        classes, own = np.unique(y[chosen], return_inverse=True)
        axes = Axes.of(rows, np.float64 if rows.size <= SMALL else np.float32)
        fits = path(axes.z, own, len(classes), self.grid, self.cfg.max_iter)
        return [Head(*axes.outward(w), classes) for w in fits]

    def _trial(
        self, x: np.ndarray, y: np.ndarray, of: np.ndarray, val: np.ndarray, heads: list[Head], n_classes: int
    ) -> "Trial":
        """Statistics and cross-entropy of each validation image's drawn pixels under each head."""
        stats = np.zeros((len(heads), len(val), 3 * n_classes), dtype=np.int64)
        entropy = np.zeros((len(heads), len(val)))
        for row, image in enumerate(val.tolist()):
            at = of == image
            for i, head in enumerate(heads):
                logits = x[at] @ head.weight.T + head.bias
                guess = head.classes[logits.argmax(axis=1)]
                stats[i, row] = mask_counts([y[at]], [guess], n_classes)[0]
                known = np.isin(y[at], head.classes)
                right = np.searchsorted(head.classes, y[at][known])
                entropy[i, row] = cross_entropies(logits[known].T, (right, np.arange(len(right)))).sum()
        return Trial(stats, entropy)

    def _unselected(
        self, images: Images, val: np.ndarray, heads: list[Head], trials: list["Trial"], fold: int,
        setting: DenseSetting,
    ) -> np.ndarray:  # fmt: skip
        """Statistics (m, k) of a fold's validation images, each with a λ that was chosen without it.

        It is the best of the other folds. Of a single fold two halves choose for each other.
        """
        others = [*trials[:fold], *trials[fold + 1 :]]
        if others:
            return counts([heads[best(others)]], images.subset(val), setting)[0]
        found = np.zeros((len(val), 3 * setting.n_classes), dtype=np.int64)
        point = halves(trials[fold])
        for i in np.unique(point):
            found[point == i] = counts([heads[i]], images.subset(val[point == i]), setting)[0]
        return found


class Trial(NamedTuple):
    """What the λ of a grid made of a fold's validation images: statistics (λ, m, k), sums of cross-entropy (λ, m)."""

    stats: np.ndarray
    entropy: np.ndarray


def best(trials: Sequence[Trial]) -> int:
    """The λ with the highest mean IoU over all folds; ties by cross-entropy, then by order. The first of none."""
    if not trials:
        return 0
    value = mean_iou_of(sum(trial.stats.sum(axis=1) for trial in trials).astype(np.float64))
    entropy = sum(trial.entropy.sum(axis=1) for trial in trials)
    return int(np.lexsort((entropy, -np.nan_to_num(value)))[0])


def halves(trial: Trial) -> np.ndarray:
    """int64 (m,): the best point for each image of a single fold by the half of the images that it is not in."""
    second = np.arange(trial.entropy.shape[1]) % 2 == 1
    found = np.zeros(len(second), dtype=np.int64)
    for one, other in ((second, ~second), (~second, second)):
        found[one] = best([Trial(trial.stats[:, other], trial.entropy[:, other])]) if other.any() else 0
    return found


class Majority:
    """The control that looks at no image: the most frequent class of all labelled pixels, everywhere."""

    def fit(self, images: Images, setting: DenseSetting) -> FittedSegment:
        assert images.masks is not None
        folds = image_folds(len(images), images.groups, setting.seed)
        pixels = np.array([np.bincount(m.ravel(), minlength=IGNORE + 1) for m in images.masks])[:, : setting.n_classes]

        def head(chosen: np.ndarray) -> Head:
            most = int(pixels[chosen].sum(axis=0).argmax())
            return Head(np.zeros((1, 1)), np.zeros(1), np.array([most]))

        kept = [counts([head(fit)], images.subset(val), setting)[0] for fit, val in folds]
        whole = head(np.arange(len(images)))
        return FittedSegment(whole, setting, {"class": int(whole.classes[0])}, kept)


# ── features at drawn pixels, and masks from heads ───────────────────────────────────────────────


def sampled(images: Images, setting: DenseSetting, positions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d) float32 at labelled pixels, their classes (n,) and images (n,); the same number of each image, at
    most `positions` in all. Which pixels is a function of the setting's draws and an image's index alone."""
    quota = max(1, positions // len(images))
    xs, ys, of, first = [], [], [], 0
    for x, masks in views(images, setting.device):
        maps = setting.maps(x)
        for i, mask in enumerate(masks.numpy()):
            y, column = drawn(mask, quota, setting.draws, first + i)
            where = np.stack([(column + 0.5) / mask.shape[1], (y + 0.5) / mask.shape[0]], axis=1) * 2 - 1
            grid = torch.from_numpy(where.astype(np.float32)).to(setting.device)[None, None]
            at = F.grid_sample(maps[i : i + 1], grid, padding_mode="border", align_corners=False)
            xs.append(at[0, :, 0].T.cpu().numpy())
            ys.append(mask[y, column].astype(np.int64))
            of.append(np.full(len(y), first + i))
        first += len(masks)
    return np.ascontiguousarray(np.concatenate(xs)), np.concatenate(ys), np.concatenate(of)


def drawn(mask: np.ndarray, quota: int, draws: Draws, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of `quota` labelled pixels of a mask (h, w), fewer where there are fewer."""
    there = np.flatnonzero(mask.ravel() != IGNORE)
    random = draws.generator("segment/positions", image)
    chosen = there if len(there) <= quota else np.sort(random.choice(there, quota, replace=False))
    return np.divmod(chosen, mask.shape[1])


def masks_of(heads: Sequence[Head], maps: Tensor, size: tuple[int, int]) -> list[np.ndarray]:
    """Predicted classes (B, *size) uint8 of each head: logits are brought to the size, not classes."""
    weight = torch.from_numpy(np.concatenate([head.weight for head in heads])).float().to(maps.device)
    bias = torch.from_numpy(np.concatenate([head.bias for head in heads])).float().to(maps.device)
    logits = F.conv2d(maps, weight[:, :, None, None], bias)
    found = []
    for head, own in zip(heads, logits.split([len(head.bias) for head in heads], dim=1), strict=True):
        row = F.interpolate(own, size=size, mode="bilinear", align_corners=False).argmax(dim=1).cpu().numpy()
        found.append(head.classes.astype(np.uint8)[row])
    return found


@torch.no_grad()
def counts(heads: Sequence[Head], images: Images, setting: DenseSetting) -> list[np.ndarray]:
    """Statistics (n, k) of the masks that each head predicts, in one pass over the images."""
    found: list[list[np.ndarray]] = [[] for _ in heads]
    for x, masks in views(images, setting.device):
        true = masks.numpy()
        for rows, guess in zip(found, masks_of(heads, setting.maps(x), true.shape[1:]), strict=True):
            rows.append(mask_counts(true, guess, setting.n_classes))
    return [np.concatenate(rows) for rows in found]
