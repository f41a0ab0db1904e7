"""Which maps a probe of anomalies reads, chosen without any defect: by pieces that are pasted into good images.

Of at most `choice` good images a fifth is held out, and the probe is fitted on the others once per entry of the menu.
Each held-out image comes three times: as it is, with a rectangle of itself pasted elsewhere, and with a thin, turned
one (Li et al.: CutPaste, CVPR 2021, arXiv:2104.04015; of its colour jitter only brightness). The entry whose mean AUROC
of both sorts against the images as they are is the highest is taken, of equally good ones the first. Neither images nor
kinds of defects that are tested on have a part in it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl.data import Draws, Images
from gssl.probe.dense import DenseSetting, NetworkMaps
from gssl.probe.patches import PatchMaps, kept, views
from gssl.statistics.anomaly import auroc

Reductions = Sequence[float]
Fit = Callable[[Images, PatchMaps], nn.Module]  # good images, maps → the head that gives distances of patches

LEAST = 10  # good images below which nothing is chosen
HELD_OUT = 0.2  # of the images
AREA, RATIO = (0.02, 0.15), (0.3, 3.3)  # of a piece: fraction of the image, width over height
SCAR_WIDTH, SCAR_LENGTH, SCAR_ANGLE = (2 / 256, 16 / 256), (10 / 256, 25 / 256), 45.0  # sides of the image, degrees
BRIGHTER = 0.1  # at most, or darker


def choose(
    images: Images, setting: DenseSetting, stride: int, menu: Sequence[Reductions], choice: int, fit: Fit
) -> tuple[Reductions, dict[str, Any]]:
    """One of the menu, and what is told of the choice.

    The first where there is nothing to choose: one entry, fewer than `LEAST` images, or a source with one scale.
    """
    entries = _distinct(images, setting, menu)
    if len(entries) == 1 or len(images) < LEAST:
        return entries[0], {"reductions": list(entries[0])}
    order = setting.draws.generator("anomaly/choice").permutation(len(images))[:choice]
    held = max(2, round(HELD_OUT * len(order)))
    fitted, asked = images.subset(np.sort(order[held:])), images.subset(np.sort(order[:held]))
    found = []
    for entry in entries:
        maps = PatchMaps(setting.maps, stride, entry)
        found.append(told_apart(asked, maps, fit(fitted, maps).eval(), setting))
    best = int(np.argmax(found))
    record = {f"{low:g} to {high:g}": round(value, 4) for (low, high), value in zip(entries, found, strict=True)}
    return entries[best], {"reductions": list(entries[best]), "pasted_auroc": record}


def _distinct(images: Images, setting: DenseSetting, menu: Sequence[Reductions]) -> list[Reductions]:
    """Entries of which no two read the same maps."""
    source: Any = setting.maps
    if not isinstance(source, NetworkMaps):
        return [menu[0]]
    x, _ = next(views(images.subset(np.arange(1)), setting.device))
    with torch.no_grad():
        maps = source.network.dense(x)
    first: dict[tuple[int, ...], Reductions] = {}
    for entry in menu:
        first.setdefault(tuple(kept(maps, x, entry)), entry)
    return list(first.values())


@torch.no_grad()
def told_apart(images: Images, maps: PatchMaps, head: nn.Module, setting: DenseSetting) -> float:
    """Mean AUROC of good images with pieces, and of those with scars, against the same images without."""
    scores: list[list[Tensor]] = [[], [], []]
    at = 0
    for x, _ in views(images, setting.device):
        pairs = [pasted(image, setting.draws, at + i) for i, image in enumerate(x)]
        at += len(x)
        for kind, pixels in enumerate((x, *(torch.stack(sort) for sort in zip(*pairs, strict=True)))):
            scores[kind].append(head(maps(pixels)).amax(dim=(1, 2)).cpu())
    score = torch.cat([torch.cat(own) for own in scores]).double().numpy()
    sort = np.arange(len(score)) // len(images)
    good, altered = np.stack([sort == 0] * 2), np.stack([sort == 1, sort == 2])
    return float(auroc(score, altered, good).mean())


def pasted(image: Tensor, draws: Draws, index: int) -> tuple[Tensor, Tensor]:
    """An image (3, H, W) with a piece and with a scar; which ones is a function of `draws` and `index`."""
    random = draws.generator("anomaly/pasted", index)
    height, width = image.shape[-2:]
    side = min(height, width)
    area, ratio = random.uniform(*AREA) * height * width, np.exp(random.uniform(*np.log(RATIO)))
    piece = _with(image, random, ((area / ratio) ** 0.5, (area * ratio) ** 0.5), 0.0)
    scar = random.uniform(*SCAR_LENGTH) * side, random.uniform(*SCAR_WIDTH) * side
    return piece, _with(image, random, scar, np.deg2rad(random.uniform(-SCAR_ANGLE, SCAR_ANGLE)))


def _with(image: Tensor, random: np.random.Generator, sides: tuple[float, float], angle: float) -> Tensor:
    """Its pixels in a rectangle of these sides (down, across), turned by `angle`, taken from elsewhere in it."""
    height, width = image.shape[-2:]
    to, start = (random.random(2) * (height - 1, width - 1) for _ in range(2))
    down, across = np.mgrid[:height, :width] - to[:, None, None]
    along = np.abs(down * np.cos(angle) + across * np.sin(angle)) <= max(sides[0] / 2, 0.5)
    beside = np.abs(across * np.cos(angle) - down * np.sin(angle)) <= max(sides[1] / 2, 0.5)
    inside = torch.from_numpy(along & beside).to(image.device)
    shift = np.rint(start - to).astype(int)
    rows, columns = (
        torch.from_numpy(np.clip(np.arange(n) + by, 0, n - 1)).to(image.device)
        for n, by in zip((height, width), shift, strict=True)
    )
    other = image[:, rows][:, :, columns] * (1 + random.uniform(-BRIGHTER, BRIGHTER))
    return torch.where(inside, other.clamp(0, 1), image)
