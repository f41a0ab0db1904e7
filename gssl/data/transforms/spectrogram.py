"""Random views of log-mel spectrograms: drawn as functions of (seed, purpose, step), then applied to the whole batch.

A spectrogram is no photograph: nothing is mirrored, rotated or recoloured. In this order: another sound of the batch is
mixed in (energies add, so in the exponential domain; BYOL-A, arXiv:2103.06695), the whole is stretched and shifted in
time and stretched in frequency, made louder or quieter, noise is added, bands and spans of time are hidden
(SpecAugment, Park et al. 2019, arXiv:1904.08779). The sound that is mixed in is of the process's own part of the batch.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gssl import schemas
from gssl.data.columns import AudioColumn
from gssl.data.draws import Draws
from gssl.data.images import Images
from gssl.data.views import RandomViews
from gssl.method import to_device
from gssl.nets.log_mel import SILENCE, LogMel

NATS = math.log(10) / 10  # of a decibel


class Drawn(NamedTuple):
    """Parameters of one view of a batch, on the CPU; an empty tensor where something is not done."""

    mix: Tensor  # (B,): share of the other sound's energy
    other: int  # which one: so many places before it in the batch
    warp: Tensor  # (B, 3): length that is read, as a fraction of all frames; its shift; the same length of the bands
    gain: Tensor  # (B,): added to the logarithm
    noise: Tensor  # (B, bands, frames): added to the logarithm
    hidden: Tensor  # bool (B, bands, frames)


class SpectrogramViews:
    """Views of samples: int16 (B, n) → float32 (B, 1, bands, frames), the logarithm of energies."""

    def __init__(self, cfg: schemas.SoundViews, bands: int, hop_ms: float, rate: int, draws: Draws) -> None:
        self.cfg, self.draws, self.log_mel = cfg, draws, LogMel(rate, bands, hop_ms)

    @classmethod
    def of(cls, cfg: schemas.Data, sounds: AudioColumn, draws: Draws) -> "SpectrogramViews":
        """As the data's configuration says, of sounds of their rate."""
        assert cfg.sound_views is not None and cfg.hop_ms is not None
        return cls(cfg.sound_views, cfg.side, cfg.hop_ms, sounds.rate, draws)

    def placed(self, draws: Draws | None = None) -> "SpectrogramViews":
        """The stretches and shifts alone, by draws of their own where they are given."""
        return self._changed(draws, mix=0.0, gain=0.0, noise=0.0, masks=0)

    def still(self) -> "SpectrogramViews":
        """Sounds as they are."""
        return self.placed()._changed(None, time=[1.0, 1.0], frequency=[1.0, 1.0], shift=0.0)

    def _changed(self, draws: Draws | None, **values: Any) -> "SpectrogramViews":
        made = copy.copy(self)
        made.cfg, made.draws = schemas.replace(self.cfg, **values), draws or self.draws
        return made

    def __call__(self, samples: Tensor, step: int, view: int = 0, extent: Tensor | None = None) -> Tensor:
        """One random view of each sound; `extent` is of images, and None here."""
        spectrogram = self.log_mel(samples)
        return self.apply(self.draw(step, spectrogram.shape, view), spectrogram)

    def draw(self, step: int, shape: tuple[int, ...], view: int = 0) -> Drawn:
        """Parameters of view number `view` of spectrograms of `shape` (B, 1, bands, frames)."""
        cfg, (batch, _, bands, frames), nothing = self.cfg, shape, torch.zeros(0)

        def uniform(name: str, low: float, high: float, columns: int = 1) -> Tensor:
            return self.draws.uniform(f"view{view}/{name}", step, (batch, columns), low, high)

        other = 1 + view % max(1, batch - 1)
        mix = uniform("mix", 0, cfg.mix)[:, 0] if cfg.mix and batch > 1 else nothing
        warps = cfg.time != [1.0, 1.0] or cfg.frequency != [1.0, 1.0] or cfg.shift > 0
        ranges = {"time": cfg.time, "shift": (-cfg.shift, cfg.shift), "frequency": cfg.frequency}
        warp = (
            torch.cat([uniform(name, low, high) for name, (low, high) in ranges.items()], dim=1) if warps else nothing
        )
        gain = uniform("gain", -cfg.gain * NATS, cfg.gain * NATS)[:, 0] if cfg.gain else nothing
        noise = nothing
        if cfg.noise:
            noise = self.draws.normal(f"view{view}/noise", step, (batch, bands * frames)) * cfg.noise
            noise = noise.view(batch, bands, frames)
        hidden = torch.zeros(0, dtype=torch.bool)
        if cfg.masks and (cfg.mask_bands or cfg.mask_time):
            spans = (uniform("bands", 0, 1, 2 * cfg.masks), uniform("span", 0, 1, 2 * cfg.masks))
            down = spanned(spans[0], bands, round(cfg.mask_bands * bands))
            across = spanned(spans[1], frames, round(cfg.mask_time * frames))
            hidden = down[:, :, None] | across[:, None, :]
        return Drawn(mix, other, warp, gain, noise, hidden)

    @torch.no_grad()
    def apply(self, drawn: Drawn, x: Tensor) -> Tensor:
        """The view that was drawn, of (B, 1, bands, frames) on any device."""
        mix, warp, gain, noise, hidden = (
            to_device(part, x.device) for part in (drawn.mix, drawn.warp, drawn.gain, drawn.noise, drawn.hidden)
        )
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if len(mix):
                x = mixed(x, x.roll(drawn.other, 0), mix)
            if len(warp):
                x = warped(x, warp)
            if len(gain):
                x = x + gain.view(-1, 1, 1, 1)
            if len(noise):
                x = x + noise[:, None]
            if len(hidden):
                x = torch.where(hidden[:, None], x.mean((1, 2, 3), keepdim=True), x)
        return x


def mixed(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """log((1 - share) · exp(x) + share · exp(other)), share (B,) in [0, 1)."""
    share = share.view(-1, 1, 1, 1)
    return torch.logaddexp(x + torch.log1p(-share), other + torch.log(share.clamp(min=1e-8)))


def warped(x: Tensor, warp: Tensor) -> Tensor:
    """(B, 1, bands, frames) read anew by linear interpolation. warp (B, 3): the part of the frames that is read (more
    than 1: with silence on both sides), by what part of them it is shifted, and the part of the bands, from the lowest
    on; beyond the highest band that one is repeated."""
    length, shift, height = warp.unbind(1)
    bands, frames = x.shape[-2:]
    line = ((torch.arange(frames, device=x.device) + 0.5) / frames * 2 - 1).to(x.dtype)
    across = line * length[:, None] + 2 * shift[:, None]
    down = (torch.arange(bands, device=x.device, dtype=x.dtype) * height[:, None]).clamp(max=bands - 1)
    down = (2 * down + 1) / bands - 1
    grid = torch.stack([across[:, None, :].expand(-1, bands, -1), down[:, :, None].expand(-1, -1, frames)], dim=-1)
    return F.grid_sample(x - SILENCE, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + SILENCE


def spanned(drawn: Tensor, size: int, most: int) -> Tensor:
    """bool (B, size): spans of 0 to `most` places, somewhere. drawn: (B, 2 · spans) in [0, 1), lengths, then places."""
    lengths, places = drawn.chunk(2, dim=1)
    lengths = (lengths * (most + 1)).floor()
    starts = (places * (size - lengths + 1)).floor()
    at = torch.arange(size).view(1, 1, -1)
    return ((at >= starts[..., None]) & (at < (starts + lengths)[..., None])).any(dim=1)


def views_of(cfg: schemas.Data, images: Images, size: int, draws: Draws) -> RandomViews | SpectrogramViews:
    """Random views of the rows of a data set, of images `size` pixels large."""
    sounds = images.column_of(AudioColumn)
    return RandomViews(cfg.views, size, draws) if sounds is None else SpectrogramViews.of(cfg, sounds, draws)
