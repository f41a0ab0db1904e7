"""From a log-mel spectrogram back to a sound, to listen to: what a spectrogram leaves out is guessed.

Bands become lines of the Fourier transform by non-negative least squares, and phases are those of a sound whose
spectrogram is nearest (Griffin & Lim: Signal Estimation from Modified Short-Time Fourier Transform, 1984), with the
momentum of Perraudin, Balazs & Søndergaard (A Fast Griffin-Lim Algorithm, 2013).
"""

import math

import torch
from torch import Tensor

from gssl.nets.log_mel import FLOOR, LogMel

ROUNDS = 48
MOMENTUM = 0.99
SOLVING = 200  # updates of the least squares
OVERLAP = 4  # windows that cover a sample: with hops as long as windows, phases would be guessed without any hold
TINY = 1e-12


def lines(energy: Tensor, bank: Tensor) -> Tensor:
    """Energies of lines (B, lines, frames) ≥ 0 whose bands, by `bank` (lines, bands), are `energy` (B, bands, frames).

    argmin over x ≥ 0 of the sum over bands of ((bankᵀx - energy) / (energy + FLOOR))²: relative errors, since the
    logarithm of a band is what was given. By multiplicative updates (Lee & Seung 2001), which never raise it. Lines
    that no band reads are 0.
    """
    weight = (energy + FLOOR).reciprocal()
    goal = torch.einsum("lm,bmf->blf", bank, weight.square() * energy)
    x = torch.einsum("lm,bmf->blf", bank / bank.sum(0), energy)
    for _ in range(SOLVING):
        found = torch.einsum("blf,lm->bmf", x, bank)
        x = x * goal / torch.einsum("lm,bmf->blf", bank, weight.square() * found).clamp(min=TINY)
    return x


def finer(x: Tensor, hop: int, fine: int, frames: int) -> Tensor:
    """(B, bands, n), a frame every `hop` samples, as (B, bands, frames), one every `fine`, on lines between them."""
    at = (torch.arange(frames, device=x.device, dtype=torch.float64) * fine / hop).clamp(max=x.shape[-1] - 1)
    before = at.floor().long().clamp(max=max(x.shape[-1] - 2, 0))
    part = (at - before).to(x.dtype)
    after = (before + 1).clamp(max=x.shape[-1] - 1)
    return torch.lerp(x[..., before], x[..., after], part)


def starts(log_mel: LogMel, samples: int) -> tuple[int, int]:
    """(lines, frames) of the phases that `sounds` begins with."""
    return log_mel.size // 2 + 1, 1 + samples // _fine(log_mel)


def _fine(log_mel: LogMel) -> int:
    return max(1, min(log_mel.hop, log_mel.length // OVERLAP))


@torch.no_grad()
def sounds(x: Tensor, log_mel: LogMel, samples: int, phases: Tensor, rounds: int = ROUNDS) -> Tensor:
    """(B, samples) float32, 1 being full scale, of log-mel spectrograms (B, 1, bands, frames).

    phases: (B, *starts(log_mel, samples)) in [0, 1), of a turn, to begin with. Frames that are farther apart than a
    quarter of a window are joined by lines, in the logarithm: else hardly any sample is held by two windows.
    """
    if log_mel.bank.device != x.device:
        log_mel.to(x.device)
    hop, size = _fine(log_mel), log_mel.size
    window, mode = log_mel.window, "reflect" if samples > size // 2 else "constant"
    fine = finer(x[:, 0].float(), log_mel.hop, hop, 1 + samples // hop)
    size_of = lines((fine.exp() - FLOOR).clamp(min=0), log_mel.bank).sqrt()
    angle = torch.polar(torch.ones_like(size_of), 2 * math.pi * phases.to(size_of))
    before = torch.zeros_like(angle)
    for _ in range(rounds):
        made = torch.istft(size_of * angle, size, hop, log_mel.length, window, length=samples)
        now = torch.stft(made, size, hop, log_mel.length, window, center=True, pad_mode=mode, return_complex=True)
        moved = now - MOMENTUM / (1 + MOMENTUM) * before
        angle, before = moved / moved.abs().clamp(min=TINY), now
    return torch.istft(size_of * angle, size, hop, log_mel.length, window, length=samples)
