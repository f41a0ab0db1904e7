"""How good images are that were made from others, pair by pair, and what makes such images for nothing.

Three questions, which no single number answers: is the output near the true one (PSNR, SSIM: a grey mean is), does it
look like the true ones (KID: any photograph does), does it show its input (`Reader`: a map of flat colours does)?
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.metrics.forecast import RESAMPLES, psnr_of, ratio_interval, ssim
from gssl.statistics.metric import mean_iou_of

COLOURS, ROUNDS = 16, 10  # of a palette, and rounds of k-means
PIXELS = 50_000  # from which it is made
SIDES = (3, 7, 15)  # windows of a reader, in pixels
HIDDEN, PER_IMAGE, RIDGE = 128, 200, 1e-3
SEED = 0x5EED


class Pairwise(NamedTuple):
    """Of images (B,): peak signal-to-noise ratio in dB, structural similarity, mean absolute difference."""

    psnr: Tensor
    ssim: Tensor
    l1: Tensor


def pairwise(made: Tensor, true: Tensor) -> Pairwise:
    """Of images (B, C, H, W) in [0, 1]; L1 on that scale."""
    mse = (made - true).square().flatten(1).mean(1)
    return Pairwise(psnr_of(mse), ssim(made, true), (made - true).abs().flatten(1).mean(1))


def mean_interval(values: np.ndarray) -> dict[str, float | int]:
    """The mean of values (n,) of images, and its 95% interval by a bootstrap over images."""
    value, low, high = ratio_interval(values.astype(np.float64), np.ones(len(values)), None)
    return {"value": value, "low": low, "high": high, "n": len(values)}


def miou_interval(counts: np.ndarray) -> dict[str, float | int]:
    """Mean IoU of `gssl.statistics.metric.mask_counts` (n, 3 · classes) of images, summed over all of them, and its 95%
    interval by a bootstrap over images."""
    random = np.random.Generator(np.random.Philox(key=SEED))
    times = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
    low, high = np.nanpercentile(mean_iou_of((times @ counts).astype(np.float64)), [2.5, 97.5])
    value = float(mean_iou_of(counts.sum(0).astype(np.float64)))
    return {"value": value, "low": float(low), "high": float(high), "n": len(counts)}


def label_colours(inputs: Tensor, targets: Tensor) -> Tensor:
    """(K, 3): the mean colour of training photos (n, 3, S, S) where the one-hot inputs (n, K, S, S) have each class; of
    a class that is nowhere that of all photos."""
    sums = torch.einsum("nkhw,nchw->kc", inputs.double(), targets.double())
    counts = inputs.double().sum((0, 2, 3))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), targets.double().mean((0, 2, 3))).float()


def painted(inputs: Tensor, colours: Tensor, other: Tensor) -> Tensor:
    """(n, 3, S, S): each class of one-hot inputs in its colour (K, 3), the rest in `other` (3,)."""
    rest = (1 - inputs.sum(1, keepdim=True)) * other[:, None, None]
    return torch.einsum("nkhw,kc->nchw", inputs, colours) + rest


class MeanTint:
    """Grey inputs with the mean colour that training photos have where they are so bright: what colouring can be had
    without looking at anything but one pixel. Brightness is cut into `COLOURS` equal parts."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        """Of training pairs (n, 3, S, S) in [0, 1]."""
        own = _pixels(targets - inputs)
        self.tints = _means(own, self._part(inputs).flatten(), own.mean(0).expand(COLOURS, 3))

    def _part(self, inputs: Tensor) -> Tensor:
        return (inputs[:, 0] * COLOURS).long().clamp(max=COLOURS - 1)

    def __call__(self, inputs: Tensor) -> Tensor:
        return (inputs + self.tints[self._part(inputs)].permute(0, 3, 1, 2)).clamp(0, 1)


class Lookup:
    """The mean colour of true images where their inputs have one of `COLOURS` colours: of label maps the mean colour of
    each label. Colours are the centres of k-means on pixels of training inputs, from the farthest ones on."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        """Of training pairs (n, 3, S, S) in [0, 1]."""
        pixels = _pixels(inputs)
        some = pixels[torch.linspace(0, len(pixels) - 1, min(len(pixels), PIXELS), device=pixels.device).long()]
        centres = some.median(0).values[None]
        for _ in range(COLOURS - 1):
            far = torch.cdist(some, centres).amin(1)
            centres = torch.cat([centres, some[far.argmax()][None]])
        for _ in range(ROUNDS):
            centres = _means(some, torch.cdist(some, centres).argmin(1), centres)
        self.centres = centres
        own = _pixels(targets)
        self.colours = _means(own, self._nearest(inputs).flatten(), own.mean(0).expand(COLOURS, 3))

    def _nearest(self, inputs: Tensor) -> Tensor:
        """int64 (B, S, S): which colour each pixel has."""
        return torch.cat([torch.cdist(_pixels(x[None]), self.centres).argmin(1) for x in inputs]).view(
            len(inputs), *inputs.shape[-2:]
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.colours[self._nearest(inputs)].permute(0, 3, 1, 2)


def _pixels(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _means(values: Tensor, of: Tensor, other: Tensor) -> Tensor:
    """(k, 3): means of values (n, 3) of each kind `of` (n,); `other` (k, 3) where there is none."""
    counts = torch.bincount(of, minlength=len(other))[:, None]
    sums = torch.zeros_like(other).index_add_(0, of, values)
    return torch.where(counts > 0, sums / counts.clamp(min=1), other)


class Reader:
    """Reads the input back from an output, as ridge regression learned to from true training pairs.

    Each pixel has the colour, means and deviations of windows around it, and random ReLU features of these; the same
    weights serve all places, so it does not know where things usually are. It is small: read its answer of true images
    beside any other.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        """Of training pairs (n, 3, S, S) in [0, 1]."""
        random = torch.Generator().manual_seed(SEED)
        size = inputs.shape[-2] * inputs.shape[-1]
        own, wanted = [], []
        for given, true in zip(inputs, targets, strict=True):
            at = torch.randperm(size, generator=random)[:PER_IMAGE].to(given.device)
            own.append(_windows(true[None]).flatten(2)[0].t()[at])
            wanted.append(given.flatten(1).t()[at])
        x = torch.cat(own).double()
        self.mean, self.std = x.mean(0), x.std(0).clamp(min=1e-6)
        self.weight = torch.randn(x.shape[1], HIDDEN, generator=random).to(x) / x.shape[1] ** 0.5
        self.offset = torch.randn(HIDDEN, generator=random).to(x)
        x, y = self._expanded(x), torch.cat(wanted).double()
        ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        self.solution = torch.linalg.solve(x.t() @ x + ridge, x.t() @ y)

    def _expanded(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        hidden = F.relu(x @ self.weight + self.offset)
        return torch.cat([x, hidden, torch.ones_like(x[:, :1])], dim=1)

    def __call__(self, images: Tensor) -> Tensor:
        """What it takes for the inputs, (B, 3, S, S), of outputs of that shape."""
        maps = []
        for image in images:
            x = _windows(image[None]).flatten(2)[0].t().double()
            maps.append((self._expanded(x) @ self.solution).t().reshape(3, *image.shape[1:]))
        return torch.stack(maps).to(images)

    def agreement(self, images: Tensor, inputs: Tensor) -> Tensor:
        """(B,) in [−1, 1]: correlation of what is read from each output with its input, over pixels and colours, each
        colour less its mean over the image. 0 where nothing varies."""
        read, true = (x.double() - x.double().mean((2, 3), keepdim=True) for x in (self(images), inputs))
        above = (read * true).sum((1, 2, 3))
        below = read.square().sum((1, 2, 3)) * true.square().sum((1, 2, 3))
        return torch.where(below > 1e-8, above / below.clamp(min=1e-12).sqrt(), 0.0)


def _windows(images: Tensor) -> Tensor:
    """(B, 3 + 6 · windows, S, S): colours, and their means and deviations in windows around each pixel."""
    found = [images]
    for side in SIDES:
        around = F.pad(images, [side // 2] * 4, mode="replicate")
        mean = F.avg_pool2d(around, side, 1)
        square = F.avg_pool2d(around.square(), side, 1)
        found += [mean, (square - mean.square()).clamp(min=0).sqrt()]
    return torch.cat(found, dim=1)
