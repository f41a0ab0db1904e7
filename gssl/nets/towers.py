"""What a method of images and captions adds to an image encoder: a tower of texts, and heads to one space for both."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.nets.text import STD, TextTransformer
from gssl.vocabulary import PAD

TEXTS = ("bow", "transformer")  # towers of texts
LARGEST = math.log(100.0)  # of the logarithm of the scale (CLIP)


class BagOfWords(nn.Module):
    """Ids of tokens (B, T), 0 behind shorter texts → (B, width): the mean of their embeddings, whatever their order."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.dim = width
        self.embedding = nn.Embedding(vocab, width)
        nn.init.normal_(self.embedding.weight, std=STD)

    def pooled(self, x: Tensor) -> Tensor:
        """(B, T) ids → (B, width); 0 where there is no token."""
        there = (x != PAD)[..., None]
        out: Tensor = (self.embedding(x) * there).sum(1) / there.sum(1).clamp(min=1)
        return out


class Towers(nn.Module):
    """The tower of texts, a linear head for either side, and the scale and bias of their similarities.

    text: one of `TEXTS`; width: of the tower; dim: of the space that both sides are brought to; features: of the image
    encoder, `backbone.dim`; vocab: rows of the embedding. scale: e^log_scale, at first. bias: at first;
    None: there is none.
    """

    def __init__(
        self, text: str, width: int, dim: int, features: int, vocab: int, scale: float, bias: float | None
    ) -> None:
        super().__init__()
        self.text: BagOfWords | TextTransformer
        if text == "bow":
            self.text = BagOfWords(vocab, width)
        else:
            self.text = TextTransformer("text_small", "none", width, vocab)
        self.image_head = nn.Linear(features, dim, bias=False)
        self.text_head = nn.Linear(width, dim, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    def of_images(self, features: Tensor) -> Tensor:
        """(B, features) of the image encoder → (B, dim) of length 1."""
        return F.normalize(self.image_head(features).float(), dim=1)

    def of_texts(self, tokens: Tensor) -> Tensor:
        """(B, T) ids of tokens → (B, dim) of length 1."""
        return F.normalize(self.text_head(self.text.pooled(tokens)).float(), dim=1)

    @torch.no_grad()
    def limit(self) -> None:
        """Holds the scale between 1 and 100."""
        self.log_scale.clamp_(0.0, LARGEST)
