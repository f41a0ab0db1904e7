"""Images as networks read them, for pictures."""

import torch
from torch import Tensor

from gssl.data import Images, centre, sequential

BATCH = 256


def centre_crops(images: Images, size: int) -> Tensor:
    """Centre crops of all `images`, (n, 3, size, size) in [0, 1] on the CPU."""
    parts = [centre(b["image"], size, b.get("extent")) for b in sequential(images, BATCH, torch.device("cpu"))]
    return torch.cat(parts)
