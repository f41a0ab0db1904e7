"""Types and meanings of the keys in `conf/gan/`: every field MISSING as in `schema`. Values: conf/gan/dcgan.yaml."""

from dataclasses import dataclass

from omegaconf import MISSING

from gssl.schemas import Optim
from gssl.schemas.fields import choice, number, numbers


@dataclass
class GAN:
    """A generator against a discriminator; a recipe combines a loss, penalties, networks and tasks."""

    name: str = MISSING
    batch_size: int = number(min=2)
    generator: str = choice("dcgan", "resnet")
    latent: int = number(min=1)  # dimension of z
    width: int = number(min=1)  # channels of the generator's last block (resnet: of all)
    start: str = choice("grey", "median")  # colour of the first samples; median: that of the training images' pixels
    norm_g: str = choice("batch", "none")
    attention: str = choice("none", "g", "d", "both")
    spectral_norm: str = choice("none", "g", "d", "both")
    loss: str = choice("non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic")
    penalty: str = choice("none", "gp", "r1", "r2", "r1_r2")
    penalty_every: int = number(min=1)  # steps; the penalty counts so many times more
    gp_weight: float = number(min=0)
    r_weight: list[float] = numbers(min=0, length=2)  # γ of r1 and r2 at the start and the end, along a cosine
    consistency: float = number(min=0)  # weight; 0: off
    lecam: float = number(min=0)  # weight; 0: off
    lecam_decay: float = number(min=0, max=1)
    augment: str = choice("none", "diffaugment")
    augment_p: float = number(min=0, max=1)  # share of images; not used where it adapts, from 0
    augment_target: float | None = number(min=-1, max=1)  # of the mean sign of D on real images; null: p is fixed
    augment_ramp: int = number(min=1)  # images until an adapting p has gone from 0 to 1
    condition: str = choice("none", "generator", "projection")  # who is told the class; projection: both players
    class_d: float = number(min=0)  # weight of telling classes apart, discriminator on real images; 0: off
    class_g: float = number(min=0)  # the same for the generator's images; needs a conditional generator
    rotation_d: float = number(min=0)  # weight of telling quarter turns apart, on real images; 0: off
    rotation_g: float = number(min=0)
    n_dis: int = number(min=1)  # discriminator updates per generator update
    ema: float = number(min=0, max=1)  # decay of the generator's running average, per update of it
    truncation: float | None = number(above=0)  # samples: |z| stays below; null: never cut
    optim_g: Optim = MISSING
    optim_d: Optim = MISSING


@dataclass
class BiGAN(GAN):
    """With an encoder: the backbone. The discriminator of pairs has a trunk of its own."""

    width_d: int = number(min=1)  # of the discriminator's trunk
    norm_d: str = choice("batch", "group", "none")


def reads_labels(cfg: GAN) -> bool:
    """Whether this recipe reads the labels of all training images."""
    return cfg.condition != "none" or cfg.class_d > 0 or cfg.class_g > 0
