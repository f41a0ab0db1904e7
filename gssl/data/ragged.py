"""Images of different sizes as one tensor whose canvas is made where it is needed.

A batch of photographs on one canvas takes three times the memory of its pixels, because the canvas is as high as its
highest and as wide as its widest image. On a CPU nothing needs the canvas: boxes are cut from each image by itself
(`gssl.data.resampling`), before anything is padded.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only


class Ragged(Tensor):
    """uint8 (B, C, H, W), channels last: images in the upper left corner, zeros around them.

    Holds the images alone. Whatever torch computes from it, it computes from the canvas, made for that and forgotten.
    """

    images: list[np.ndarray]  # uint8 (h, w, 1 or C) each

    @staticmethod
    def __new__(cls, images: Sequence[np.ndarray], channels: int) -> "Ragged":
        height, width = (max((image.shape[axis] for image in images), default=1) for axis in (0, 1))
        shape = (len(images), channels, height, width)
        strides = (height * width * channels, 1, width * channels, channels)
        found: Ragged = torch.Tensor._make_wrapper_subclass(cls, shape, strides=strides, dtype=torch.uint8)
        found.images = list(images)
        return found

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Ragged({tuple(self.shape)})"

    def padded(self, out: Tensor | None = None) -> Tensor:
        """The canvas, in `out` where that is given."""
        batch, channels, height, width = self.shape
        if out is None:
            out = torch.from_numpy(np.empty((batch, height, width, channels), dtype=np.uint8)).permute(0, 3, 1, 2)
        canvas = out.permute(0, 2, 3, 1).numpy()
        for place, image in zip(canvas, self.images, strict=True):
            h, w = image.shape[:2]
            place[:h, :w], place[h:], place[:h, w:] = image, 0, 0
        return out

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        args, kwargs = tree_map_only(Ragged, Ragged.padded, (args, kwargs or {}))
        return func(*args, **kwargs)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # results are no Ragged


def pictures(image: Tensor) -> list[np.ndarray]:
    """The images of a batch (B, C, H, W) on the CPU, (h, w, C) each; of a canvas with what is around them."""
    return image.images if isinstance(image, Ragged) else list(image.permute(0, 2, 3, 1).numpy())
