"""BiGAN / ALI: an encoder learns beside the generator; the discriminator reads pairs of image and z.

Donahue, Krähenbühl, Darrell: Adversarial Feature Learning, ICLR 2017, arXiv:1605.09782; Dumoulin et al.: Adversarially
Learned Inference, ICLR 2017, arXiv:1606.00704. The encoder is the backbone. Values and the measured result:
conf/gan/bigan.yaml.
"""

from typing import Any

import torch
from torch import Tensor

from gssl.gan.adversarial import GAN
from gssl.method import Context
from gssl.nets.backbone import Backbone
from gssl.nets.convnet import ConvNet
from gssl.schemas import gan as schema

SHOWN = 10  # classes in a picture of reconstructions


class BiGAN(GAN):
    """(image, E(image)) against (G(z), z). E is trained with the generator, by its loss and its optimiser."""

    def __init__(self, cfg: schema.BiGAN, backbone: Backbone, context: Context) -> None:
        trunk: Any = ConvNet("gan.width_d", cfg.norm_d, cfg.width_d, 1, context.size)
        super().__init__(cfg, backbone, context, trunk=trunk)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, step: int) -> list[Tensor]:
        """The images and G(E(image)), (B, 3, S, S) each in [0, 1]. No loss but the adversarial one compares them.

        Where G is conditional: one G(E(image), class) for each of the first classes.
        """
        training = self.training
        self.eval()
        code = self.encode(images)
        assert code is not None
        kinds = range(min(self.generator.classes, SHOWN)) if self.generator.classes else [0]
        made = [self.sample(code, torch.full((len(code),), kind, device=code.device)) for kind in kinds]
        self.train(training)
        return [images, *made]
