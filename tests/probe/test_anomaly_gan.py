from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gssl.errors import UsageError
from gssl.probe.anomaly_gan import Discriminator, Errors, MethodSetting, Reconstruction, brought
from gssl.schemas.probes import AnomalyDiscriminator, AnomalyGan
from gssl.statistics.anomaly import image_auroc_of, pixel_auroc_of
from tests.probe.test_anomaly import waves

CPU = torch.device("cpu")


class Means:
    """A GAN whose code of an image is its middle colour of each column, so what is made again has no spots."""

    to_z: nn.Module | None = nn.Identity()
    generator = SimpleNamespace(classes=0)

    def __init__(self) -> None:
        self.discriminator = lambda images, label, z: SimpleNamespace(features=images.mean(dim=(1, 2)))
        self.discriminator.heads = SimpleNamespace(projection=0)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images.median(dim=2).values

    def sample(self, z: torch.Tensor) -> torch.Tensor:
        return z[:, :, None].expand(-1, -1, z.shape[2], -1)

    def discriminate(self, images: torch.Tensor) -> torch.Tensor:
        return images.amin(dim=(1, 2, 3))  # spots are dark


def test_what_cannot_be_made_again_is_an_anomaly_and_where():
    setting = MethodSetting(Means(), 16, 2, CPU)
    fit = Reconstruction(AnomalyGan(smooth=3)).fit(waves(20), setting)
    rows = fit.rows(waves(20, seed=1, spots=8)).astype(np.float64)
    assert image_auroc_of(rows, np.ones((1, 20)))[0] > 0.9 and pixel_auroc_of(rows.sum(axis=0)) > 0.9
    good = fit.rows(waves(20))[:, 2]
    assert good.mean() == pytest.approx(0, abs=1e-4)  # each error is standardised with these
    assert 0 < good.std() < 2.1


def test_errors_are_those_of_the_smaller_image():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    method = Means()
    pixels, features, map_ = Errors(method, 16, 1)(x)
    small = brought(x, 16)
    made = method.sample(method.encode(small))
    assert pixels == pytest.approx((small - made).abs().mean(dim=(1, 2, 3)).numpy(), rel=1e-5)
    assert features == pytest.approx((small.mean((1, 2)) - made.mean((1, 2))).abs().mean(1).numpy(), rel=1e-5)
    assert map_.shape == (2, 32, 32) and map_.mean().item() == pytest.approx(pixels.mean().item(), rel=1e-4)


def test_the_discriminator_scores_images_and_no_pixels():
    setting = MethodSetting(Means(), 32, 2, CPU)
    rows = Discriminator(AnomalyDiscriminator()).fit(waves(4), setting).rows(waves(20, seed=1, spots=8))
    assert image_auroc_of(rows, np.ones((1, 20)))[0] > 0.9
    assert rows[:, 3:].sum() == 0 and np.isnan(pixel_auroc_of(rows.sum(axis=0)))


def test_a_gan_that_cannot_score_is_refused():
    method = Means()
    method.to_z = None
    with pytest.raises(UsageError, match="no encoder; give a run of gan=bigan"):
        Reconstruction(AnomalyGan(smooth=3)).fit(waves(4), MethodSetting(method, 16, 2, CPU))
    method.generator = SimpleNamespace(classes=3)
    with pytest.raises(UsageError, match="a GAN that is given a class"):
        Discriminator(AnomalyDiscriminator()).fit(waves(4), MethodSetting(method, 16, 2, CPU))
