"""Images as networks read them, for pictures."""

import torch
from torch import Tensor

from gssl.data import Images, sequential
from gssl.data.preprocessing import Preprocessing

BATCH = 256


def centre_crops(images: Images, size: int | Preprocessing) -> Tensor:
    """All `images` as a network reads them, (n, 3, size, size) in [0, 1] on the CPU; of a number centre crops."""
    crop = Preprocessing.of(size)
    parts = [crop.read(b) for b in sequential(images, BATCH, torch.device("cpu"))]
    return torch.cat(parts)
