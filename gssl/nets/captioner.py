"""What writes captions: an image's features as vectors before the tokens of a causal language model.

Mokady, Hertz, Bermano 2021, arXiv:2111.09734 (ClipCap); Desai, Johnson 2021, arXiv:2006.06666 (VirTex).
"""

from torch import Tensor, nn

from gssl.nets.text import STD, TextTransformer


class Captioner(nn.Module):
    """features: of the image encoder, `backbone.dim`; prefix: vectors per image; decoder: a name of
    `gssl.nets.text.SHAPES`; width: of the decoder; vocab: rows of its embedding."""

    def __init__(self, features: int, prefix: int, decoder: str, width: int, vocab: int) -> None:
        super().__init__()
        self.count = prefix
        self.decoder = TextTransformer(decoder, "none", width, vocab)
        self.decoder.causal.fill_(True)
        self.to_prefix = nn.Linear(features, prefix * width)
        nn.init.zeros_(self.to_prefix.bias)
        nn.init.normal_(self.to_prefix.weight, std=STD)

    def prefix(self, features: Tensor) -> Tensor:
        """(B, features) of the image encoder → (B, prefix, width), what `TextTransformer.stages` takes."""
        out: Tensor = self.to_prefix(features)
        return out.unflatten(1, (self.count, -1))
