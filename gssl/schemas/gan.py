"""Keys of `conf/gan/`. Values: conf/gan/dcgan.yaml."""

from typing import Literal

from pydantic import Field

from gssl.schemas.section import NonNegative, Section, Text
from gssl.schemas.training import Optim


class GAN(Section):
    """A generator against a discriminator; a recipe combines a loss, penalties, networks and tasks."""

    name: Text
    batch_size: int = Field(ge=2)
    generator: Literal["dcgan", "resnet", "unet", "residual", "text"] = Field(
        description="unet: of pairs, which gan=pix2pix alone has; residual: of two domains (gan=cyclegan, gan=cut);"
        " text: of gan=textgan alone"
    )
    latent: int = Field(ge=1, description="dimension of z")
    width: int = Field(ge=1, description="channels of the generator's last block (resnet: of all)")
    start: Literal["grey", "median"] = Field(
        description="colour of the first samples; median: that of the training images' pixels"
    )
    norm_g: Literal["batch", "instance", "none"] = Field(description="instance: of gan.generator=residual alone")
    attention: Literal["none", "g", "d", "both"]
    spectral_norm: Literal["none", "g", "d", "both"]
    loss: Literal["non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "relativistic"]
    penalty: Literal["none", "gp", "r1", "r2", "r1_r2"]
    penalty_every: int = Field(ge=1, description="steps; the penalty counts so many times more")
    gp_weight: float = Field(ge=0)
    r_weight: list[NonNegative] = Field(
        min_length=2, max_length=2, description="γ of r1 and r2 at the start and the end, along a cosine"
    )
    consistency: float = Field(ge=0, description="weight; 0: off")
    lecam: float = Field(ge=0, description="weight; 0: off")
    lecam_decay: float = Field(ge=0, le=1)
    augment: Literal["none", "diffaugment"]
    augment_p: float = Field(ge=0, le=1, description="fraction of images; not used where it adapts, from 0")
    augment_target: float | None = Field(
        ge=-1, le=1, description="of the mean sign of D on real images; null: p is fixed"
    )
    augment_ramp: int = Field(ge=1, description="images until an adapting p has gone from 0 to 1")
    condition: Literal["none", "generator", "projection"] = Field(
        description="which network is given the class; projection: both"
    )
    class_d: float = Field(ge=0, description="weight of classifying, discriminator on real images; 0: off")
    class_g: float = Field(ge=0, description="the same for the generator's images; needs a conditional generator")
    rotation_d: float = Field(ge=0, description="weight of predicting the rotation, on real images; 0: off")
    rotation_g: float = Field(ge=0)
    n_dis: int = Field(ge=1, description="discriminator updates per generator update")
    ema: float = Field(ge=0, le=1, description="decay of the generator's running average, per update of it")
    truncation: float | None = Field(gt=0, description="samples: |z| stays below; null: never cut")
    optim_g: Optim
    optim_d: Optim


class BiGAN(GAN):
    """With an encoder: the backbone. The discriminator of pairs has a trunk of its own."""

    width_d: int = Field(ge=1, description="of the discriminator's trunk")
    norm_d: Literal["batch", "group", "none"]


class VideoGAN(GAN):
    """Of clips: the generator of images is given a code per frame, the discriminator reads frames and differences."""

    frames: int = Field(ge=2, description="of a clip; at most data.frames")
    motion: int = Field(ge=1, description="dimension of the code that changes from frame to frame, a part of z")
    motion_head: int = Field(ge=1, description="hidden units of the discriminator's head on differences of features")


class Pix2Pix(GAN):
    """Of pairs: the generator makes one image of a pair from the other and reads no z."""

    l1: float = Field(ge=0, description="weight of the mean absolute difference on [-1, 1]; 0: off")
    adversarial: float = Field(ge=0, description="weight of the adversarial loss; 0: the generator never learns it")
    patch_head: int = Field(ge=1, description="hidden channels of the discriminator's head on maps of both images")


class Unpaired(GAN):
    """Of two domains: the generator makes an image of one from an image of the other and reads no z."""

    blocks: int = Field(ge=1, description="residual blocks of the generator")
    adversarial: float = Field(gt=0, description="weight of the generator's adversarial loss")
    patch_head: int = Field(ge=1, description="hidden channels of the discriminator's heads on maps of an image")


class CycleGAN(Unpaired):
    """Two generators, one each way, and two discriminators."""

    cycle: float = Field(ge=0, description="weight of the mean absolute difference after there and back, on [-1, 1]")
    identity: float = Field(ge=0, description="weight of the same of what is of the wanted domain already; 0: off")
    pool: int = Field(ge=0, description="images of earlier steps among which a discriminator's are drawn; 0: none")
    width_d: int = Field(ge=1, description="of the trunk of the discriminator of what is translated")


class CUT(Unpaired):
    """One generator, whose outputs are tied to their inputs place by place, by InfoNCE."""

    nce: float = Field(ge=0, description="weight of PatchNCE between input and output")
    nce_identity: float = Field(ge=0, description="weight of the same of what is of the wanted domain already; 0: off")
    patches: int = Field(ge=2, description="places of each layer; at most all that it has")
    nce_head: int = Field(ge=1, description="width of the heads on features, hidden and last")
    temperature: float = Field(gt=0)


def reads_labels(cfg: GAN) -> bool:
    """Whether this recipe reads the labels of all training images."""
    return cfg.condition != "none" or cfg.class_d > 0 or cfg.class_g > 0
