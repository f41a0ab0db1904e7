"""SigLIP: of every image and caption of a batch it is asked by itself whether they belong together.

Zhai, Mustafa, Kolesnikov, Beyer 2023, arXiv:2303.15343. Several true captions of an image need nothing else. Values and
the measured result: conf/ssl/siglip.yaml.
"""

import torch.nn.functional as F
from torch import Tensor

from gssl.ssl.captioned import Captioned


def siglip_loss(image: Tensor, text: Tensor, true: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """−Σ log σ(z (scale · image · textᵀ + bias)) / B; z is 1 of true pairs and −1 of others. image, text: (B, d)."""
    logits = scale * image.float() @ text.float().T + bias
    return -F.logsigmoid((2 * true.float() - 1) * logits).sum() / len(logits)


class SigLIP(Captioned):
    """See the head of this file."""

    def contrast(self, image: Tensor, text: Tensor, true: Tensor) -> Tensor:
        assert self.towers.bias is not None
        return siglip_loss(image, text, true, self.towers.log_scale.exp(), self.towers.bias)
