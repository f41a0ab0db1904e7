"""What can be said of translated images without pairs: what is kept of the input, and what a channel's moments can do.

Distance to the other domain alone is won by photographs that ignore the input, kept structure alone by the input
itself: read both.
"""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

WINDOW = 7  # side in pixels
STABLE = 0.03**2 / 2  # of SSIM's structure term, for values in [0, 1]
GREY = (0.299, 0.587, 0.114)
QUALITY = 90  # of JPEG


def structure(made: Tensor, given: Tensor) -> Tensor:
    """(B,) in [−1, 1]: how far light and dark lie where they lay, whatever their levels.

    The structure term of SSIM (Wang et al. 2004, eq. 10), (σxy + C) / (σx σy + C) with C = .03² / 2, of brightness in
    windows of 7×7 pixels, weighted by σx of the input, so that flat sky does not count. 1 for the same image and for
    every brighter or flatter one of it, about 0 for another image, below 0 where light and dark are exchanged. made,
    given: (B, 3, H, W) in [0, 1].
    """
    weights = torch.tensor(GREY, dtype=torch.float64, device=given.device)
    x, y = (torch.einsum("bchw,c->bhw", images.double(), weights)[:, None] for images in (given, made))

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, WINDOW, 1)

    own, other = mean(x), mean(y)
    sx, sy = ((mean(v * v) - m * m).clamp(min=0).sqrt() for v, m in ((x, own), (y, other)))
    term = (mean(x * y) - own * other + STABLE) / (sx * sy + STABLE)
    return (term * sx).sum((1, 2, 3)) / sx.sum((1, 2, 3)).clamp(min=1e-12)


class ChannelMatch:
    """Gives each channel the mean and deviation that it has in the other domain: three lines, no training."""

    def __init__(self, given: Tensor, wanted: Tensor) -> None:
        """Of training images (n, 3, H, W) of what is translated and of what it becomes."""
        self.mean, self.to_mean = (x.double().mean((0, 2, 3)).to(x)[:, None, None] for x in (given, wanted))
        own, other = (x.double().std((0, 2, 3), correction=0).clamp(min=1e-6) for x in (given, wanted))
        self.scale = (other / own).to(given)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        return ((images - self.mean) * self.scale + self.to_mean).clamp(0, 1)

    def back(self, images: Tensor) -> Tensor:
        """What undoes it, but for values that were cut off."""
        return ((images - self.to_mean) / self.scale + self.mean).clamp(0, 1)


def after_jpeg(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] on the CPU as they come back from a JPEG file of quality `QUALITY`."""
    found = []
    for pixels in (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
        found.append(np.array(Image.open(buffer)))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(images) / 255
