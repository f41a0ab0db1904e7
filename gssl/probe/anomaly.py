"""Anomaly detection on frozen dense features: how far each patch of an image is from those of good images.

`Neighbours` is PatchCore (Roth et al., CVPR 2022, arXiv:2106.08265) without its re-weighting: the distance to the
nearest of a bank of patches. `Gaussian` is PaDiM (Defard et al., ICPR 2021, arXiv:2011.08785): the Mahalanobis distance
to a Gaussian of each position, on channels drawn at random. Channels are standardised with good training images, for
not all networks give features of one scale. An image's score is that of its farthest patch; its map is brought to its
size bilinearly and smoothed. Good images are all that is learned from; which maps are read is chosen by pieces that are
pasted into some of them (`gssl.probe.pasted`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.data import Images
from gssl.data.columns import IGNORE, AnomalyColumn, anomalous
from gssl.probe.dense import DenseSetting, brought
from gssl.probe.pasted import choose
from gssl.probe.patches import PatchMaps, gathered, k_centre, projected, sampled, scale_of, smoothed, views
from gssl.schemas import probes as schema
from gssl.statistics.anomaly import anomaly_rows, edges_of

AT_ONCE = 8  # models whose maps of all images are held
Scores = Callable[[Tensor], tuple[Tensor, Tensor | None]]  # images (B, 3, H, W) → (B,), and (B, H, W) or None


class Nearest(nn.Module):
    """Standardised patches (B, d, h, w) → their distances (B, h, w) to the nearest row of a bank (m, d)."""

    mean: Tensor
    std: Tensor
    bank: Tensor

    def __init__(self, mean: Tensor, std: Tensor, bank: Tensor) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std), ("bank", bank)):
            self.register_buffer(name, value)

    def forward(self, features: Tensor) -> Tensor:
        x = _standard(features, self.mean, self.std).flatten(2).transpose(1, 2)
        squares = x.square().sum(2)[:, :, None] + self.bank.square().sum(1) - 2 * x @ self.bank.T
        return squares.amin(dim=2).clamp(min=0).sqrt().unflatten(1, features.shape[2:])


class Mahalanobis(nn.Module):
    """Standardised patches (B, d, h, w) → their distances (B, h, w) to the Gaussian of their position.

    channels: int64 (k,) of those that are read; centre: (p, k) and whitening (p, k, k), of the positions of `grid`.
    """

    mean: Tensor
    std: Tensor
    channels: Tensor
    centre: Tensor
    whitening: Tensor

    def __init__(
        self, mean: Tensor, std: Tensor, channels: Tensor, centre: Tensor, whitening: Tensor, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        named = {"mean": mean, "std": std, "channels": channels, "centre": centre, "whitening": whitening}
        for name, value in named.items():
            self.register_buffer(name, value)
        self.grid = grid

    def forward(self, features: Tensor) -> Tensor:
        x = _standard(features, self.mean, self.std)[:, self.channels]
        rows = brought(x, self.grid).flatten(2).transpose(1, 2)
        white = torch.einsum("pij,bpj->bpi", self.whitening, rows - self.centre)
        return white.square().sum(2).sqrt().unflatten(1, self.grid)


def _standard(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return (features - mean[:, None, None]) / std[:, None, None]


class AnomalyNetwork(nn.Module):
    """A backbone with a head of patches: (B, 3, H, W) in [0, 1] → distances of patches (B, h, w).

    An image's score is the largest of them.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, stride: int, reductions: Sequence[float], smooth: int
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.head, self.stride, self.smooth = head, stride, smooth
        self.reductions = (float(reductions[0]), float(reductions[1]))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(gathered(self.backbone.dense(x), x, self.stride, self.reductions))
        return found

    def gives(self, height: int, width: int, n_classes: int) -> tuple[str, str]:
        """What comes out for images of this size, and what it means: for descriptions of exported files."""
        rows, columns = -(-height // self.stride), -(-width // self.stride)
        how = f"bilinear to the image's size, then the mean of {self.smooth}×{self.smooth} pixels around each"
        return f"distances (batch, {rows}, {columns})", f"an image's score is the largest distance; its map: {how}"

    def scored(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B,) and maps (B, H, W)."""
        return scored(self(x), (x.shape[-2], x.shape[-1]), self.smooth)


def blank(text: Mapping[str, Any], backbone: nn.Module) -> AnomalyNetwork:
    """The network that `FittedAnomaly.described` describes, with a head of zeros. Raises KeyError."""
    shapes = {name: torch.zeros(shape) for name, shape in text["shapes"].items()}
    head: nn.Module
    if text["head"] == "nearest":
        head = Nearest(**shapes)
    else:
        shapes["channels"] = shapes["channels"].long()
        head = Mahalanobis(**shapes, grid=tuple(text["grid"]))
    return AnomalyNetwork(backbone, head, text["stride"], text["reductions"], text["smooth"])


@dataclass
class FittedAnomaly:
    """What scores images. `unselected`: nothing is validated, for there is no labelled defect to do it on."""

    scores: Scores
    device: torch.device
    n_kinds: int
    chosen: dict[str, Any]
    head: nn.Module | None = None  # of patches; None where images are scored otherwise
    unselected: list[np.ndarray] = field(default_factory=list)

    def rows(self, images: Images) -> np.ndarray:
        """(n, k) float32: what the metrics of each image are computed from (`gssl.statistics.anomaly`)."""
        return rows_of([self], images)[0]

    def described(self) -> dict[str, Any]:
        """What `blank` builds the network with this head from."""
        own, head = self.scores, self.head
        assert isinstance(own, PatchScores) and head is not None
        text: dict[str, Any] = {"head": "nearest" if isinstance(head, Nearest) else "gaussian"}
        text |= {"stride": own.maps.stride, "reductions": list(own.maps.reductions), "smooth": own.smooth}
        text |= {"grid": list(head.grid)} if isinstance(head, Mahalanobis) else {}
        return text | {"shapes": {name: list(value.shape) for name, value in head.state_dict().items()}}


@torch.no_grad()
def rows_of(models: Sequence[FittedAnomaly], images: Images) -> list[np.ndarray]:
    """The rows (n, k) of each model. Features that several read are computed once.

    Maps of all images are held, for bins of scores are made from them: `AT_ONCE` models in one pass. Where a model has
    no maps, or where it is not known which pixels are defects, pixels count nowhere.
    """
    return [rows for start in range(0, len(models), AT_ONCE) for rows in _rows(models[start : start + AT_ONCE], images)]


def _rows(models: Sequence[FittedAnomaly], images: Images) -> list[np.ndarray]:
    scores: list[list[np.ndarray]] = [[] for _ in models]
    maps: list[list[np.ndarray]] = [[] for _ in models]
    masks: list[np.ndarray] = []
    for x, kinds in views(images, models[0].device):
        masks += list(anomalous(kinds.numpy()))
        read: dict[Any, Tensor] = {}
        places: Tensor | None
        for i, model in enumerate(models):
            if isinstance(own := model.scores, PatchScores):
                key = own.maps.key
                if key not in read:
                    read[key] = own.maps(x)
                score, places = own.of(read[key], x)
            else:
                score, places = model.scores(x)
            scores[i].append(score.float().cpu().numpy())
            maps[i] += [] if places is None else list(places.float().cpu().numpy())
    column: Any = images.store.columns["anomaly"]
    assert isinstance(column, AnomalyColumn)
    found, own_kinds = [], column.kinds(images.rows)
    for i, model in enumerate(models):
        known = masks if maps[i] else [np.full_like(mask, IGNORE) for mask in masks]
        places_ = maps[i] or [np.zeros(mask.shape, dtype=np.float32) for mask in masks]
        rest = (np.concatenate(scores[i]), places_, known, edges_of(places_, known))
        found.append(anomaly_rows(own_kinds, model.n_kinds, *rest))
    return found


class PatchScores:
    """Images → scores and maps by the distances of their patches."""

    def __init__(self, maps: PatchMaps, head: nn.Module, smooth: int) -> None:
        self.maps, self.head, self.smooth = maps, head.eval(), smooth

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.of(self.maps(x), x)

    def of(self, features: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, of features that were read before."""
        return scored(self.head(features), (x.shape[-2], x.shape[-1]), self.smooth)


def scored(distances: Tensor, size: tuple[int, int], smooth: int) -> tuple[Tensor, Tensor]:
    """Distances of patches (B, h, w) → the largest (B,), and a smooth map (B, *size)."""
    map_ = F.interpolate(distances[:, None], size=size, mode="bilinear", align_corners=False)
    return distances.amax(dim=(1, 2)), smoothed(map_, smooth)[:, 0]


class Neighbours:
    """The probe `anomaly` by its configuration."""

    def __init__(self, cfg: schema.Anomaly) -> None:
        self.cfg = cfg

    def fit(self, images: Images, setting: DenseSetting) -> FittedAnomaly:
        """On good `images`."""
        cfg = self.cfg

        def fit(some: Images, maps: PatchMaps) -> Nearest:
            return self.head(some, maps, setting)

        reductions, chosen = choose(images, setting, cfg.stride, cfg.reductions, cfg.choice, fit)
        maps = PatchMaps(setting.maps, cfg.stride, reductions)
        head = fit(images, maps)
        chosen |= {"bank": len(head.bank)}
        return FittedAnomaly(PatchScores(maps, head, cfg.smooth), setting.device, setting.n_classes, chosen, head)

    def head(self, images: Images, maps: PatchMaps, setting: DenseSetting) -> Nearest:
        cfg, draws = self.cfg, setting.draws
        x = sampled(images, maps, cfg.patches, draws, setting.device)
        mean, std = scale_of(x)
        x = (x - mean) / std
        first = int(draws.generator("anomaly/first").integers(len(x)))
        return Nearest(mean, std, x[k_centre(projected(x, cfg.projection, draws), cfg.bank, first)])


class Gaussian:
    """The probe `anomaly_gaussian` by its configuration."""

    def __init__(self, cfg: schema.AnomalyGaussian) -> None:
        self.cfg = cfg

    def fit(self, images: Images, setting: DenseSetting) -> FittedAnomaly:
        """On good `images`."""
        cfg = self.cfg

        def fit(some: Images, maps: PatchMaps) -> Mahalanobis:
            return self.head(some, maps, setting)

        reductions, chosen = choose(images, setting, cfg.stride, cfg.reductions, cfg.choice, fit)
        maps = PatchMaps(setting.maps, cfg.stride, reductions)
        head = fit(images, maps)
        chosen |= {"channels": len(head.channels), "positions": len(head.centre)}
        return FittedAnomaly(PatchScores(maps, head, cfg.smooth), setting.device, setting.n_classes, chosen, head)

    def head(self, images: Images, maps: PatchMaps, setting: DenseSetting) -> Mahalanobis:
        """Positions are those of the first image's grid, to which others are brought."""
        cfg, draws, device = self.cfg, setting.draws, setting.device
        mean, std = scale_of(sampled(images, maps, cfg.patches, draws, device))
        count = min(cfg.channels, len(mean))
        drawn = np.sort(draws.generator("anomaly/channels").choice(len(mean), count, replace=False))
        channels, grid = torch.from_numpy(drawn).to(device), None
        total = products = torch.zeros(0)
        for x, _ in views(images, device):
            features = _standard(maps(x), mean, std)[:, channels]
            if grid is None:
                grid = (features.shape[-2], features.shape[-1])
                cells = grid[0] * grid[1]
                total = torch.zeros(cells, count, dtype=torch.float64, device=device)
                products = torch.zeros(cells, count, count, dtype=torch.float64, device=device)
            rows = brought(features, grid).flatten(2).permute(2, 0, 1).double()  # (cells, B, count)
            total += rows.sum(1)
            products += rows.transpose(1, 2) @ rows
        assert grid is not None
        centre = total / len(images)
        spread = (products - len(images) * centre[:, :, None] * centre[:, None]) / max(len(images) - 1, 1)
        eye = torch.eye(count, dtype=torch.float64, device=device)
        lower = torch.linalg.cholesky(spread + cfg.shrink * eye)
        whitening = torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False)
        return Mahalanobis(mean, std, channels, centre.float(), whitening.float(), grid)
