"""Types and meanings of the keys in `conf/gan/`: one class per method, every field MISSING as in `schema`."""

from dataclasses import dataclass

from omegaconf import MISSING

from gssl.config.schema import Optim, choice, number


@dataclass
class DCGAN:
    """See conf/gan/dcgan.yaml."""

    name: str = MISSING
    batch_size: int = number(min=2)
    loss: str = choice("non_saturating")
    latent: int = number(min=1)  # dimension of z
    width: int = number(min=1)  # channels of the generator's last block
    n_dis: int = number(min=1)  # discriminator updates per generator update
    ema: float = number(min=0, max=1)  # decay of the generator's running average, per step
    optim_g: Optim = MISSING
    optim_d: Optim = MISSING
