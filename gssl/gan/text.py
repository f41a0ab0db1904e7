"""A GAN of short texts: the generator writes probabilities of letters, the discriminator reads them, or letters as rows
of one 1 each.

Gulrajani et al.: Improved Training of Wasserstein GANs, NeurIPS 2017, arXiv:1704.00028, its language model of
characters: nothing is drawn within the networks, so gradients go through. Only a critic whose slopes are held near 1
has something to say of rows that are not of one letter each. The trunk of the discriminator is the backbone, which
reads ids elsewhere. Values and the measured result: conf/gan/textgan.yaml.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.gan.adversarial import GAN
from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.discriminator import Discriminator, Heads, Seen
from gssl.nets.generator import Shape
from gssl.nets.text_conv import TextConv, TextGenerator, TextShape, written
from gssl.schemas import gan as schema
from gssl.vocabulary import FIRST, PAD

# keys of a recipe that are about images, and the value that leaves them out
IMAGES = {"augment": "none", "consistency": 0, "rotation_d": 0, "rotation_g": 0, "start": "grey", "attention": "none"}
IMAGES |= {"condition": "none", "class_d": 0, "class_g": 0, "spectral_norm": "none", "generator": "text"}
IMAGES |= {"norm_g": "none"}


class TextDiscriminator(Discriminator):
    """Probabilities of letters (B, L, T) → `Seen`; the logit is linear in the trunk's last map, place by place."""

    letters: Tensor

    def __init__(self, backbone: TextConv, heads: Heads, size: int, letters: tuple[int, ...]) -> None:
        super().__init__(backbone, heads, size)
        self.logit = nn.Linear(backbone.dim * size, 1)
        self.register_buffer("letters", torch.tensor(letters), persistent=False)

    def forward(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Seen:
        """`label` and `z` are not read."""
        assert isinstance(self.backbone, TextConv)
        last = self.backbone.read(images, self.letters)
        return Seen(self.logit(last.flatten(1)).squeeze(1).float(), last.mean(2))


class TextGAN(GAN):
    """The losses of `GAN`, of texts of at most `size` letters."""

    needs: Any = ("tokens",)
    unit = 1.0  # rows are in [0, 1] in the paper, too
    letters: Tensor

    def __init__(self, cfg: schema.GAN, backbone: Backbone, context: Context) -> None:
        """Raises UsageError for parts of recipes that are about images, and for a network that reads no letters."""
        for key, value in IMAGES.items():
            if getattr(cfg, key) != value:
                raise UsageError(f"gan.{key}={getattr(cfg, key)}: is not for texts; set gan.{key}={value}")
        if not isinstance(backbone, TextConv):
            raise UsageError(f"gan={cfg.name}: its discriminator reads letters; set backbone=text_conv")
        self.size = context.size
        self.ids = context.letters or (PAD, *range(FIRST, backbone.vocab))
        super().__init__(cfg, backbone, context)
        self.register_buffer("letters", torch.tensor(self.ids, device=context.device), persistent=False)

    @staticmethod
    def reads(cfg: schema.GAN) -> tuple[str, ...]:
        return ("tokens",)

    def _made_generator(self, shape: Shape) -> Any:
        return TextGenerator(TextShape(shape.latent, shape.width, self.size, self.ids))

    def _made_discriminator(self, trunk: Backbone, heads: Heads, size: int) -> Discriminator:
        assert isinstance(trunk, TextConv)
        return TextDiscriminator(trunk, heads, size, self.ids)

    def rows(self, tokens: Tensor) -> Tensor:
        """Ids (B, T) → (B, L, size): 1 for the letter that stands there. What is no letter of ours is 0 throughout."""
        tokens = F.pad(tokens, (0, self.size - tokens.shape[1]), value=PAD)
        return (tokens[:, None] == self.letters[:, None]).to(self.usual.dtype)

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return super().update({"real": self.rows(batch["tokens"])}, step)

    @torch.no_grad()
    def texts(self, z: Tensor) -> Tensor:
        """Ids (B, size) of the averaged generator, 0 from where a text ends on; `z` (B, latent)."""
        return written(self.sample(z), self.letters)
