"""CLIP: every image of a batch must find its caption among all captions, and every caption its image.

Radford et al. 2021, arXiv:2103.00020. Where several captions of a batch are true of an image, each has its share of the
target. Values and the measured result: conf/ssl/clip.yaml.
"""

from torch import Tensor

from gssl.ssl.captioned import Captioned


def clip_loss(image: Tensor, text: Tensor, true: Tensor, scale: Tensor) -> Tensor:
    """½ (cross-entropy over rows + over columns) of scale · image · textᵀ; image, text: (B, d) of length 1.

    true: bool (B, B), the diagonal among it; what is true of a row (a column) has equal parts of its target.
    """
    logits, target = scale * image.float() @ text.float().T, true.float()
    rows = -(target / target.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    columns = -(target / target.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return (rows + columns) / 2


class CLIP(Captioned):
    """See the head of this file."""

    def contrast(self, image: Tensor, text: Tensor, true: Tensor) -> Tensor:
        return clip_loss(image, text, true, self.towers.log_scale.exp())
