"""Log-mel spectrograms against a slow computation in NumPy, and what a network of images makes of them."""

import json
import math

import numpy as np
import pytest
import torch

from gssl import schemas
from gssl.errors import UsageError
from gssl.nets.backbone import build_backbone
from gssl.nets.log_mel import FLOOR, SILENCE, BandScale, LogMel, SoundInputs, filters, inputs_of

RATE = 8000
SHAPES = {"convnet": (8, "batch", 1), "resnet18": (64, "batch", 1), "vit_micro": (24, "none", 4)}


def sound(count=2, samples=4000, seed=0):
    x = torch.randn(count, samples, generator=torch.Generator().manual_seed(seed))
    return (3000 * x).round().clamp(-32768, 32767).to(torch.int16)


def network(name="convnet", size=16):
    width, norm, patch = SHAPES[name]
    torch.manual_seed(0)
    cfg = schemas.Backbone(name=name, norm=norm, width=width, patch=patch, hop_ms=20.0)
    return build_backbone(cfg, size).eval()


def slowly(x, bands, hop, length, size):
    """The same of one sound, frame by frame and band by band: windows, a transform, triangles in Hz between points that
    are equally far apart on the mel scale."""
    x = np.pad(x.astype(np.float64) / 32768, size // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    window = np.pad(window, ((size - length) // 2, size - length - (size - length) // 2))
    mels = np.linspace(2595 * np.log10(1 + 40 / 700), 2595 * np.log10(1 + RATE / 2 / 700), bands + 2)
    points = 700 * (10 ** (mels / 2595) - 1)
    rows = []
    for start in range(0, len(x) - size + 1, hop):
        energy = np.abs(np.fft.rfft(window * x[start : start + size])) ** 2
        row = []
        for low, mid, high in zip(points, points[1:], points[2:], strict=False):
            total = 0.0
            for line, value in enumerate(energy):
                hertz = line * RATE / size
                if low < hertz <= mid:
                    total += value * (hertz - low) / (mid - low)
                elif mid < hertz < high:
                    total += value * (high - hertz) / (high - mid)
            row.append(math.log(total + FLOOR))
        rows.append(row)
    return np.array(rows).T


def test_it_equals_a_slow_computation():
    x = sound(1, 2000)
    log_mel = LogMel(RATE, 20, 20)
    found = log_mel(x)
    assert found.shape == (1, 1, 20, log_mel.frames(2000)) == (1, 1, 20, 13)
    assert (log_mel.length, log_mel.hop, log_mel.size) == (200, 160, 256)
    np.testing.assert_allclose(found[0, 0], slowly(x[0].numpy(), 20, 160, 200, 256), atol=1e-4)


def test_it_equals_torchaudio():
    torchaudio = pytest.importorskip("torchaudio")
    other = torchaudio.transforms.MelSpectrogram(RATE, 256, 200, 160, f_min=40.0, n_mels=20)
    x = sound(3)
    torch.testing.assert_close(LogMel(RATE, 20, 20)(x)[:, 0], torch.log(other(x / 32768) + FLOOR), atol=1e-4, rtol=1e-4)


def test_silence_tones_and_full_scale():
    log_mel = LogMel(RATE, 32, 20)
    assert torch.allclose(log_mel(torch.zeros(1, 4000, dtype=torch.int16)), torch.tensor(SILENCE))
    for hertz in (300, 1000, 3000):
        tone = torch.sin(2 * math.pi * hertz * torch.arange(4000) / RATE)[None]
        loudest = int(log_mel(tone)[0, 0, :, 10].argmax())
        middle = float(700 * (10 ** ((loudest + 1) / 33 * (2146.06 - 60.0) / 2595 + 60.0 / 2595) - 1))
        assert abs(middle - hertz) < 0.1 * hertz + 40
    whole = torch.full((1, 4000), -32768, dtype=torch.int16)
    assert log_mel(whole).isfinite().all() and log_mel(sound(1, 50)).isfinite().all()  # shorter than a window


def test_bands_that_are_narrower_than_lines_are_refused():
    filters(RATE, 256, 40)
    with pytest.raises(UsageError, match="data.size=128: .* of so many mel bands are narrower"):
        LogMel(RATE, 128, 20)


def test_mean_and_deviation_are_of_what_was_fitted():
    inputs = SoundInputs(16, 20.0)
    with pytest.raises(AssertionError):
        inputs(sound())
    inputs.fit(sound(5), RATE)
    x = inputs(sound(5))
    assert abs(float(x.mean())) < 1e-4 and abs(float(x.std()) - 1) < 1e-4
    again = inputs_of(inputs.record())
    torch.testing.assert_close(again(sound(3, seed=1)), inputs(sound(3, seed=1)))
    assert torch.equal(inputs(inputs.pictured(sound())), inputs(sound()))  # a spectrogram is taken as one
    assert set(inputs_of({"mean": [0.5] * 3, "std": [0.5] * 3}).record()) == {"mean", "std"} and not inputs.state_dict()


@pytest.mark.parametrize("name", SHAPES)
def test_networks_of_images_read_one_channel_that_is_no_square(name):
    net = network(name)
    net.inputs.fit(sound(4), RATE)
    x = sound(3)
    maps = net.dense(x)
    assert net.takes == ("audio", 1) and net.pooled(x).shape == (3, net.dim)
    assert [m.shape[1] for m in maps] == net.dims and maps[0].shape[-1] > maps[0].shape[-2]
    torch.testing.assert_close(net(net.inputs.pictured(x)), net(x))
    louder = net((2 * x.int()).clamp(-32768, 32767).to(torch.int16))
    assert not torch.allclose(louder, net(x))
    assert next(iter(net.parameters())).shape[1] in (1, 24)


def test_the_description_of_image_networks_stays_as_it_was():
    width, norm, patch = SHAPES["convnet"]
    plain = schemas.Backbone(name="convnet", norm=norm, width=width, patch=patch)
    assert set(plain.model_dump()) == {"name", "norm", "width", "patch"}
    assert build_backbone(plain, 16).takes == ("image", 3)


def test_pictures_have_every_band_standardised_and_come_back():
    sounds, log_mel = sound(12), LogMel(RATE, 16, 20)
    sounds[:, :2000] //= 40  # quiet at first
    scale = BandScale.fit(sounds, log_mel)
    found = log_mel(sounds)
    values = found[:, 0].double().numpy().transpose(1, 0, 2).reshape(16, -1)
    np.testing.assert_allclose(scale.mean[:, 0], values.mean(1), atol=1e-5)
    np.testing.assert_allclose(scale.std[:, 0], values.std(1, ddof=1), atol=1e-5)
    pictures = scale.picture(sounds)
    assert pictures.shape == (12, 3, *scale.shape) and scale.shape == (16, 26)
    assert pictures.min() >= 0 and pictures.max() <= 1
    torch.testing.assert_close(scale.picture(found), pictures)
    inside = ((found - scale.mean) / scale.std).abs() < 3
    assert inside.float().mean() > 0.95
    torch.testing.assert_close(scale.spectrogram(pictures)[inside], found[inside], atol=1e-3, rtol=0)
    again = BandScale(**json.loads(json.dumps(scale.record())))
    assert torch.equal(again.picture(sounds), pictures) and not list(again.state_dict())
