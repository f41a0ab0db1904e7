"""Random crops and flips that all columns of a row have in common: parameters are drawn once, applied to each.

    p = transform.draw(step, len(image), sides)
    x, y = transform.apply(p, batch["image"], "image"), transform.apply(p, batch["mask"], "mask")

Each kind of column has its file: images are resampled with antialiasing (`image`), masks by the nearest pixel (`mask`),
and boxes are clipped (`boxes`).
`RandomViews` (gssl/data/views.py), which distorts colours as well and makes square views, has the same two methods.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gssl.data.draws import Draws
from gssl.data.transforms import boxes, image, mask
from gssl.method import to_device

ATTEMPTS = 10  # boxes drawn per crop before the fallback, as in torchvision

# how a box of each is taken
KINDS: dict[str, Callable[..., Tensor]] = {"image": image.crop, "mask": mask.crop, "boxes": boxes.crop}


class Crop(NamedTuple):
    """What was drawn for a batch, on the CPU."""

    box: Tensor  # float32 (B, 4): top, left, height, width in whole pixels
    flip: Tensor  # bool (B,): left to right
    size: tuple[int, int]  # height and width of the result in pixels


class RandomCrop:
    """A random box of each row, flipped left to right half of the time, as large as `size` (h, w) in the end.

    scale None: boxes of `size` itself, nothing is resized; where an image is smaller, the largest box of that shape.
    scale (low, high): boxes that cover such a fraction of the area and have an aspect ratio (width / height) between
    `ratio`'s times that of `size`, log-uniform, resized to `size` (torchvision's RandomResizedCrop).
    """

    def __init__(
        self,
        size: tuple[int, int],
        draws: Draws,
        scale: tuple[float, float] | None = None,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        purpose: str = "crop",
    ) -> None:
        """flip: its probability. purpose: of the random numbers; transforms of other purposes are independent."""
        self.size, self.draws, self.scale, self.ratio, self.flip = size, draws, scale, ratio, flip
        self.purpose = purpose

    def draw(self, step: int, batch: int, sides: tuple[int, int] | Tensor) -> Crop:
        """Parameters for `batch` rows; sides: (height, width) of all, or int64 (batch, 2) of each (`extent`)."""
        own = torch.tensor(sides).expand(batch, 2) if isinstance(sides, tuple) else sides.cpu()
        height, width = own.long().unbind(1)
        position = self.draws.uniform(f"{self.purpose}/position", step, (batch, 2))
        flip = self.draws.uniform(f"{self.purpose}/flip", step, (batch,)) < self.flip
        if self.scale is None:
            box = self._fitting(height, width, position)
        else:
            from gssl.data.views import crop_boxes  # which imports colours, too

            drawn = self.draws.uniform(f"{self.purpose}/shape", step, (batch, 2 * ATTEMPTS))
            shape, ratio = self._shapes(drawn, (height * width).sqrt())
            box = crop_boxes(shape, position, ratio, height, width)
        return Crop(box, flip, self.size)

    def apply(self, drawn: Crop, column: Tensor, kind: str) -> Tensor:
        """The drawn box of each row of `column`, on its device; kind: a key of `KINDS`.

        image: uint8 (B, C, H, W) → float32 (B, 3, h, w) in [0, 1]; mask: uint8 (B, H, W) → uint8 (B, h, w); boxes:
        float32 (B, M, 6) in pixels of the one → of the other.
        """
        box, flip = (to_device(part, column.device) for part in (drawn.box, drawn.flip))
        return KINDS[kind](column, box, flip, drawn.size)

    def _fitting(self, height: Tensor, width: Tensor, position: Tensor) -> Tensor:
        """Boxes (B, 4) of the size of the result, or of its shape where the image is smaller."""
        goal = torch.tensor(self.size)
        least = torch.minimum(height / goal[0], width / goal[1]).clamp(max=1)
        h, w = ((goal[i] * least + 0.5).long().clamp(min=1) for i in (0, 1))
        h, w = torch.minimum(h, height), torch.minimum(w, width)
        room = torch.stack([height - h, width - w], dim=1)
        corner = torch.minimum((position * (room + 1)).long(), room)  # the product can round up to room + 1
        return torch.cat([corner, h[:, None], w[:, None]], dim=1).float()

    def _shapes(self, drawn: Tensor, side: Tensor) -> tuple[Tensor, tuple[float, float]]:
        """Candidates (B, 2 · ATTEMPTS), heights and then widths in pixels, and the permitted ratios."""
        assert self.scale is not None
        areas, ratios = drawn.split(ATTEMPTS, dim=1)
        shape = self.size[1] / self.size[0]
        low, high = (math.log(bound * shape) for bound in self.ratio)
        length = side[:, None] * (self.scale[0] + (self.scale[1] - self.scale[0]) * areas).sqrt()
        stretch = torch.exp((low + (high - low) * ratios) / 2)
        return torch.cat([length / stretch, length * stretch], dim=1), (math.exp(low), math.exp(high))
