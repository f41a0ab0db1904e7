"""Sound before the first layer: samples become a log-mel spectrogram, which is shifted and scaled as training data say.

A spectrogram is a picture of one channel, mel bands × frames. Everything is computed in float32 on the device: `torch.
stft` with Hann windows of 25 ms, and a triangular filter bank as one matrix. No learned weights: what a network was
trained with (rate, bands, hop, mean and deviation) stands in its description.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.inputs import Inputs

WINDOW_MS = 25.0
LOWEST = 40.0  # Hz, where the first band begins
FLOOR = 1e-6  # added to the energy of a band before the logarithm
SILENCE = math.log(FLOOR)
LEVELS = 32768.0  # of int16 samples
LEAST_STD = 1e-3  # of training data that are all silent
FAR = 3.0  # deviations from a band's mean, beyond which a picture of it is black or white


def mel(hertz: float) -> float:
    """O'Shaughnessy's scale, as HTK and torchaudio have it."""
    return 2595 * math.log10(1 + hertz / 700)


def filters(rate: int, size: int, bands: int) -> Tensor:
    """(size // 2 + 1, bands): triangles of height 1, equally wide and half overlapping on the mel scale.

    size: of the Fourier transform. Raises UsageError where a band lies between two frequencies of it.
    """
    low, high = mel(LOWEST), mel(rate / 2)
    points = [700 * (10 ** ((low + (high - low) * i / (bands + 1)) / 2595) - 1) for i in range(bands + 2)]
    edges = torch.tensor(points, dtype=torch.float64)
    lines = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)[:, None]
    rising = (lines - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - lines) / (edges[2:] - edges[1:-1])
    bank = torch.minimum(rising, falling).clamp(min=0)
    if empty := int((bank.sum(dim=0) == 0).sum()):
        raise UsageError(
            f"data.size={bands}: {empty} of so many mel bands are narrower than what windows of {WINDOW_MS:g} ms at"
            f" {rate:,} Hz tell apart; lower data.size, or raise data.rate where the sounds have more"
        )
    return bank.float()


class LogMel(nn.Module):
    """Samples → log-mel spectrogram. rate: per second; bands: of the mel scale; hop_ms: from frame to frame."""

    window: Tensor
    bank: Tensor

    def __init__(self, rate: int, bands: int, hop_ms: float) -> None:
        super().__init__()
        self.rate, self.bands, self.hop_ms = rate, bands, hop_ms
        self.length, self.hop = round(rate * WINDOW_MS / 1000), max(1, round(rate * hop_ms / 1000))
        self.size = 2 ** math.ceil(math.log2(self.length))
        self.register_buffer("window", torch.hann_window(self.length), persistent=False)
        self.register_buffer("bank", filters(rate, self.size, bands), persistent=False)

    def frames(self, samples: int) -> int:
        """Of a sound of so many samples."""
        return 1 + samples // self.hop

    def forward(self, x: Tensor) -> Tensor:
        """int16 (B, samples), or float with 1 as full scale → float32 (B, 1, bands, frames)."""
        if self.window.device != x.device:
            self.to(x.device)
        with torch.autocast(x.device.type, enabled=False):  # half precision would show in quiet bands
            x = x.float() / LEVELS if not x.is_floating_point() else x.float()
            mode = "reflect" if x.shape[-1] > self.size // 2 else "constant"
            spectrum = torch.stft(
                x, self.size, self.hop, self.length, self.window, center=True, pad_mode=mode, return_complex=True
            )
            energy = spectrum.real.square() + spectrum.imag.square()  # (B, lines, frames)
            return torch.log(torch.einsum("blf,lm->bmf", energy, self.bank) + FLOOR)[:, None]


class SoundInputs(nn.Module):
    """What a network on spectrograms has in place of `gssl.nets.inputs.Inputs`: (x - mean) / std of the log-mel.

    Samples (B, n) become spectrograms first; what has four dimensions is one already. rate, mean and std are None until
    `fit`: they are those of the data, and of the training part alone. samples: of the rows that it learned from.
    """

    def __init__(
        self,
        bands: int,
        hop_ms: float,
        rate: int | None = None,
        samples: int | None = None,
        mean: float | None = None,
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.bands, self.hop_ms, self.samples, self.mean, self.std = bands, hop_ms, samples, mean, std
        self.log_mel = None if rate is None else LogMel(rate, bands, hop_ms)

    @property
    def rate(self) -> int | None:
        return None if self.log_mel is None else self.log_mel.rate

    @property
    def fitted(self) -> bool:
        return self.mean is not None

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and frames of the rows that it was fitted on."""
        assert self.log_mel is not None and self.samples is not None, "fit comes first"
        return self.bands, self.log_mel.frames(self.samples)

    def fit(self, sounds: Tensor, rate: int) -> None:
        """Mean and deviation of training sounds, int16 (n, samples)."""
        self.log_mel, self.samples = LogMel(rate, self.bands, self.hop_ms), sounds.shape[1]
        found = torch.cat([self.log_mel(part).double().flatten() for part in sounds.split(256)])
        self.mean, self.std = round(found.mean().item(), 6), round(max(found.std().item(), LEAST_STD), 6)

    def pictured(self, x: Tensor) -> Tensor:
        """Samples as spectrograms; spectrograms as they are."""
        if x.ndim == 4:
            return x
        assert self.log_mel is not None, "fit comes first"
        found: Tensor = self.log_mel(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        assert self.mean is not None and self.std is not None, "fit comes first"
        return (self.pictured(x) - self.mean) / self.std

    def record(self) -> dict[str, Any]:
        """For descriptions of weights; `SoundInputs(**record)` is the same again."""
        names = ("bands", "hop_ms", "rate", "samples", "mean", "std")
        return {name: getattr(self, name) for name in names}


def inputs_of(record: dict[str, Any]) -> Inputs | SoundInputs:
    """What a description of weights says under `input`."""
    return SoundInputs(**record) if "bands" in record else Inputs(**record)


class BandScale(nn.Module):
    """Between log-mel spectrograms and pictures in [0, 1]: each band standardised, clipped at `FAR` deviations.

    SpecGAN (Donahue, McAuley & Puckette: Adversarial Audio Synthesis, ICLR 2019, arXiv:1802.04208). mean, std: of each
    band, of training sounds alone; `BandScale(**scale.record())` is the same again.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, rate: int, hop_ms: float, samples: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.samples, self.values = samples, (list(mean), list(std))
        self.log_mel = LogMel(rate, len(mean), hop_ms)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values)[:, None], persistent=False)

    @classmethod
    def fit(cls, sounds: Tensor, log_mel: LogMel) -> "BandScale":
        """Moments of training sounds, int16 (n, samples)."""
        found = torch.cat([log_mel(part)[:, 0].double().transpose(0, 1).flatten(1) for part in sounds.split(256)], 1)
        mean, std = found.mean(1).tolist(), found.std(1).clamp(min=LEAST_STD).tolist()
        return cls(log_mel.rate, log_mel.hop_ms, sounds.shape[1], *([round(x, 6) for x in own] for own in (mean, std)))

    @property
    def shape(self) -> tuple[int, int]:
        """Bands and frames."""
        return self.log_mel.bands, self.log_mel.frames(self.samples)

    def picture(self, x: Tensor) -> Tensor:
        """Spectrograms (B, 1, bands, frames), or samples (B, n) → pictures (B, 3, bands, frames), three times grey."""
        x = self.log_mel(x) if x.ndim == 2 else x
        return (((x - self.mean) / self.std).clamp(-FAR, FAR) / (2 * FAR) + 0.5).expand(-1, 3, -1, -1)

    def spectrogram(self, x: Tensor) -> Tensor:
        """Pictures (B, 3 or 1, bands, frames) → spectrograms (B, 1, bands, frames)."""
        return (x[:, :1] - 0.5) * (2 * FAR) * self.std + self.mean

    def record(self) -> dict[str, Any]:
        """For the description of a generator."""
        mean, std = self.values
        known = {"rate": self.log_mel.rate, "hop_ms": self.log_mel.hop_ms, "samples": self.samples}
        return known | {"mean": mean, "std": std}
