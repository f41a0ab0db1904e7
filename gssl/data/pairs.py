"""What an image is to be made from (the tensor `paired` of a batch): a second picture, its mask, or less of itself.

| data.pairs | input | channels |
|---|---|---|
| `files` | the other picture of the pair (column `paired`) | 3 |
| `files`, of images with masks | one-hot classes of the mask, cropped and resized by the nearest pixel | classes |
| `super_resolution` | the image shrunk by data.factor, and enlarged again bicubically | 3 |
| `colour` | the image's luma | 3 |
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gssl.data.columns import MaskColumn, PairedColumn
from gssl.data.images import Images
from gssl.data.transforms import mask as masks
from gssl.data.transforms import pairs as transforms
from gssl.data.views import RandomViews, centre
from gssl.errors import UsageError

MADE = ("super_resolution", "colour")  # from the image itself
LOOKED_AT = 64  # images in which a colour is sought


class Given(NamedTuple):
    """kind: files | masks | super_resolution | colour. channels: of the input. factor: of super_resolution."""

    kind: str
    channels: int = 3
    factor: int = 1

    def again(self, images: Tensor) -> Tensor:
        """The input that images (B, 3, S, S) in [0, 1] would have had, of a kind that is made from images."""
        if self.kind == "colour":
            return transforms.grey(images)
        assert self.kind == "super_resolution", self.kind
        return transforms.enlarged(transforms.shrunk(images, self.factor), self.factor)

    def cropped(self, raw: dict[str, Tensor], views: RandomViews, step: int) -> Tensor:
        """The inputs of a batch as it was fetched, by the crops and flips of `views`."""
        image, extent = raw["image"], raw.get("extent")
        if self.kind == "files":
            return views(raw["paired"].permute(0, 3, 1, 2), step, 0, extent)
        if self.kind == "masks":
            ids = views.apply(views.draw(step, image, 0, extent), raw["mask"], "mask", extent)
            return transforms.one_hot(ids, self.channels)
        return self.again(views(image, step, 0, extent))

    def still(self, raw: dict[str, Tensor], size: int | tuple[int, int]) -> Tensor:
        """The same of the views for evaluation (`gssl.data.centre`)."""
        extent = raw.get("extent")
        if self.kind == "files":
            return centre(raw["paired"].permute(0, 3, 1, 2), size, extent)
        if self.kind == "masks":
            assert isinstance(size, int)
            return transforms.one_hot(masks.centre(raw["mask"], size, extent), self.channels)
        return self.again(centre(raw["image"], size, extent))


def given(images: Images, kind: str | None, factor: int | None) -> Given | None:
    """How the inputs of `images` are made by data.pairs=`kind`; None where they are in no pairs."""
    if kind in MADE:
        return Given(kind, 3, factor or 1)
    if images.column_of(PairedColumn) is not None:
        return Given("files")
    if kind is not None and images.column_of(MaskColumn) is not None:
        return Given("masks", len(images.classes))
    return None


def check(images: Images, found: Given, size: int, data: str) -> None:
    """Raises UsageError where these images have nothing to be learned."""
    if found.kind == "super_resolution" and len(short := too_small(images, size)):
        raise UsageError(small_text(images, short, size))
    if found.kind == "colour" and not _coloured(images):
        raise UsageError(
            f"data.pairs=colour: the images of data={data} are grey, so there is no colour to learn; give images in"
            " colour, or data.pairs=super_resolution"
        )


def too_small(images: Images, size: int) -> np.ndarray:
    """int64: which images are smaller than `size` pixels, so that they have no details of that size."""
    return np.flatnonzero(images.store.shapes[images.rows].min(axis=1) < size)


def small_text(images: Images, short: np.ndarray, size: int) -> str:
    sides = images.store.shapes[images.rows[short]].min(axis=1)
    first, least = images.name(int(short[0])), int(sides.min())
    use = f"set data.size={least // 4 * 4}" if least >= 16 else "remove them"
    rest = "" if len(short) == len(images) else ", or leave them out with data.on_error=skip"
    return (
        f"data.size={size}: {len(short)} of {len(images)} images are smaller and have no details of that size, such as"
        f" {first} ({int(sides[0])} px); {use}{rest}"
    )


def _coloured(images: Images) -> bool:
    """Whether one of some images has a pixel whose channels differ."""
    if images.channels == 1:
        return False
    for i in np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int)):
        pixels = images.fetch(np.array([i]))["image"]
        if bool(torch.as_tensor(pixels[0][:1] != pixels[0][1:]).any()):
            return True
    return False
