"""Judges: fixed networks that see generated and real images alike. A contestant's own backbone is never one.

`RandomJudge` needs neither downloads nor labels: its weights follow from integers, so they are the same on
every machine. `ClassifierJudge` is trained on the real training images and knows more where there are labels.
Every distance is printed with the judge's name and hash; two judges' distances are not comparable.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gssl.data import Batches, Draws, Images, centre, sequential
from gssl.data.cache import cache_root

RANDOM_KEY = 20180104  # of the random judge's weights; another number is another judge
RANDOM_WIDTHS = (32, 48, 48, 40)
RANDOM_GAIN = 1.7  # filters without a mean lose power at each layer; this keeps the levels at one scale
TRAINED_WIDTHS = (32, 64, 96, 128)
TRAINED_STEPS = 300
TRAINED_BATCH = 64


class RandomJudge(nn.Module):
    """Frozen random convolutions, features of four levels: `dim` = 504 numbers per image.

    Random filters tell textures, colours and coarse shapes apart, not objects: their distances order degrees
    of damage and notice collapse, and say little about semantics.
    """

    def __init__(self, size: int) -> None:
        """`size`: side of the images in pixels, at least 8. The weights do not depend on it."""
        super().__init__()
        self.size, self.name = size, "random-conv"
        raw = np.random.Philox(key=RANDOM_KEY)
        channels = 3
        for level, width in enumerate(RANDOM_WIDTHS):
            fan = channels * 9
            # Whole numbers until the last division: no rounding that a machine could do differently.
            whole = (raw.random_raw(width * fan) >> np.uint64(48)).astype(np.int64) - (1 << 15)
            whole = whole.reshape(width, fan)
            centred = whole * fan - whole.sum(axis=1, keepdims=True)  # answers contrast, not brightness
            unit = fan * 2.0**16 / np.sqrt(12.0)
            weight = centred / unit * np.sqrt(2.0 / fan) * RANDOM_GAIN
            bias = ((raw.random_raw(width) >> np.uint64(48)).astype(np.int64) - (1 << 15)) / 2.0**17
            self.register_buffer(f"weight{level}", _float(weight.reshape(width, channels, 3, 3)))
            self.register_buffer(f"bias{level}", _float(bias))
            channels = width
        self.dim = 3 * 16 + 2 * sum(RANDOM_WIDTHS[:3]) + 5 * RANDOM_WIDTHS[3]
        self.hash = weights_hash(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to (B, dim).

        4×4 colours; of each level the channels' means and deviations over the image, of the last the
        means over its quarters instead.
        """
        x = (x - 0.5) / 0.25
        features = [F.adaptive_avg_pool2d(x, 4).flatten(1)]
        for level in range(4):
            if level:
                x = F.avg_pool2d(x, 2)
            x = F.relu(F.conv2d(x, getattr(self, f"weight{level}"), getattr(self, f"bias{level}"), padding=1))
            mean = x.mean(dim=(2, 3))
            deviation = (x - mean[:, :, None, None]).square().mean(dim=(2, 3)).sqrt()
            features += [mean if level < 3 else F.adaptive_avg_pool2d(x, 2).flatten(1), deviation]
        return torch.cat(features, dim=1)


class ClassifierJudge(nn.Module):
    """A small convnet trained on real labelled images for a fixed number of steps: `dim` = 128 features.

    It is trained once per (images, size) and kept in `$GSSL_CACHE/judges`. Other machines or numbers of
    threads may train another one, hence the hash beside each distance.
    """

    def __init__(self, images: Images, size: int, device: torch.device) -> None:
        """`images`: the labelled training part. Left on `device`, frozen, in evaluation mode."""
        super().__init__()
        self.size, self.name, self.dim = size, "classifier-conv", TRAINED_WIDTHS[-1]
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            layers: list[nn.Module] = []
            for i, (before, width) in enumerate(zip((3, *TRAINED_WIDTHS), TRAINED_WIDTHS, strict=False)):
                conv = nn.Conv2d(before, width, 3, padding=1, bias=False)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
                layers += [nn.MaxPool2d(2)] if i < 3 else []
            self.trunk = nn.Sequential(*layers)
            self.head = nn.Linear(self.dim, len(images.classes))
        file = cache_root() / "judges" / f"{self.name}-{images.hash}-{size}.safetensors"
        if file.exists():
            self.load_state_dict(load_file(file))
            self.to(device)
        else:
            self.to(device)
            self._train(images, device)
            _save(self, file)
        self.eval().requires_grad_(False)
        self.hash = weights_hash(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to penultimate features (B, dim)."""
        return self.trunk((x - 0.5) / 0.25).mean(dim=(2, 3))

    def _train(self, images: Images, device: torch.device) -> None:
        draws = Draws(0)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel()
                weight = draws.generator(f"judge/{name}").standard_normal(tuple(parameter.shape)) * (2 / fan) ** 0.5
                parameter.data.copy_(_float(weight))
        self.head.bias.data.zero_()
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.01)
        batches = Batches(images, min(TRAINED_BATCH, len(images)), draws, device)
        for step in range(TRAINED_STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1, (step + 1) / 20, (TRAINED_STEPS - step) / (0.5 * TRAINED_STEPS))
            batch = batches(step)
            x = centre(batch["image"], self.size, batch.get("extent"))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(self.head(self(x)), batch["label"]).backward()
            optimizer.step()


@torch.no_grad()
def judge_features(
    judge: RandomJudge | ClassifierJudge,
    images: Images | Tensor | Iterable[Tensor],
    batch_size: int = 256,
    device: torch.device | None = None,
) -> np.ndarray:
    """Features (n, judge.dim) float32 of stored images (their centre crops) or of tensors in [0, 1].

    `images`: Images, one tensor (n, 3, S, S) or an iterable of such batches, S = judge.size; the judge is on
    `device` (None: the CPU).
    """
    device = device or torch.device("cpu")
    batches: Iterable[Tensor]
    if isinstance(images, Images):
        batches = (
            centre(batch["image"], judge.size, batch.get("extent")) for batch in sequential(images, batch_size, device)
        )
    elif isinstance(images, Tensor):
        batches = torch.split(images, batch_size)
    else:
        batches = images
    return np.concatenate([judge(batch.to(device)).float().cpu().numpy() for batch in batches])


def weights_hash(module: nn.Module) -> str:
    """sha256 (hex) of names, shapes and float32 little-endian values of a module's state."""
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        state.update(f"{name}{tuple(value.shape)}".encode())
        state.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return state.hexdigest()


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _save(module: nn.Module, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    save_file({name: value.contiguous().cpu() for name, value in module.state_dict().items()}, part)
    part.replace(file)
