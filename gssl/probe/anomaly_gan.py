"""Anomaly detection by a GAN that has learnt from good images: what it cannot make, or what it takes for made.

`Reconstruction` needs an encoder (BiGAN): the error of G(E(x)) and that of the discriminator's features of both, as in
Zenati et al.: Efficient GAN-Based Anomaly Detection, 2018, arXiv:1802.06222. There, one weight balances the two; here
each is standardised with the good training images, and they are added. `Discriminator` is the control: how little real
the discriminator takes an image for. Whole images are brought to the side at which the GAN learnt. Nothing is chosen.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Images
from gssl.errors import UsageError
from gssl.probe.anomaly import FittedAnomaly, Scores
from gssl.probe.patches import smoothed, views
from gssl.schemas import probes as schema

LEAST = 1e-12  # standard deviation of an error below which it is taken for constant


@dataclass(frozen=True)
class MethodSetting:
    """What a probe on a whole method is given beside good images.

    method: a GAN in evaluation mode on the device (`gssl.gan.adversarial`). size: side in pixels of its images.
    """

    method: Any
    size: int
    n_classes: int
    device: torch.device


class Errors:
    """Two errors of images (B, 3, H, W), (B,) each, and where images differ from what is made again (B, H, W)."""

    def __init__(self, method: Any, size: int, smooth: int) -> None:
        self.method, self.size, self.smooth = method, size, smooth

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        small = brought(x, self.size)
        code = self.method.encode(small)
        made = self.method.sample(code)
        apart = (small - made).abs().mean(dim=1)
        of_real, of_made = (self.method.discriminator(images, None, code).features for images in (small, made))
        map_ = F.interpolate(apart[:, None], size=x.shape[-2:], mode="bilinear", align_corners=False)
        return apart.mean(dim=(1, 2)), (of_real - of_made).abs().mean(dim=1), smoothed(map_, self.smooth)[:, 0]


class Reconstruction:
    """The probe `anomaly_gan` by its configuration."""

    def __init__(self, cfg: schema.AnomalyGan) -> None:
        self.cfg = cfg

    def fit(self, images: Images, setting: MethodSetting) -> FittedAnomaly:
        """On good `images`. Raises UsageError where the GAN has no encoder."""
        _check(setting.method)
        if setting.method.to_z is None:
            raise UsageError(
                "probe.use: anomaly_gan makes images again from their code, and this GAN has no encoder; give a run of"
                " gan=bigan, or use anomaly_discriminator"
            )
        errors = Errors(setting.method, setting.size, self.cfg.smooth)
        known = [errors(x)[:2] for x, _ in views(images, setting.device)]
        pixels, features = (torch.cat(part) for part in zip(*known, strict=True))
        usual = [(part.mean(), part.std(unbiased=False).clamp(min=LEAST)) for part in (pixels, features)]

        def scores(x: Tensor) -> tuple[Tensor, Tensor | None]:
            of_pixels, of_features, map_ = errors(x)
            parts = zip((of_pixels, of_features), usual, strict=True)
            return sum(((own - mean) / std for own, (mean, std) in parts), of_pixels.new_zeros(())), map_

        return _fitted(scores, setting, {"pixel_error": round(float(usual[0][0]), 4)})


class Discriminator:
    """The probe `anomaly_discriminator` by its configuration: minus the logit of an image; it knows of no places."""

    def __init__(self, cfg: schema.AnomalyDiscriminator) -> None:
        self.cfg = cfg

    def fit(self, images: Images, setting: MethodSetting) -> FittedAnomaly:
        """Nothing is fitted."""
        _check(setting.method)

        def scores(x: Tensor) -> tuple[Tensor, Tensor | None]:
            return -setting.method.discriminate(brought(x, setting.size)), None

        return _fitted(scores, setting, {})


def brought(x: Tensor, size: int) -> Tensor:
    """Whole images (B, 3, H, W) → (B, 3, size, size), antialiased."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def _check(method: Any) -> None:
    if method.generator.classes or method.discriminator.heads.projection:
        raise UsageError(
            "probe.use: a GAN that is given a class cannot score images that have none; give a run of a GAN without"
            " classes, such as gan=bigan"
        )


def _fitted(scores: Scores, setting: MethodSetting, chosen: dict[str, Any]) -> FittedAnomaly:
    return FittedAnomaly(scores, setting.device, setting.n_classes, chosen)
