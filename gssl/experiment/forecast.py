"""How well a method predicts the next frames of validation clips, beside persistence and extrapolation."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.data import Images, centre, sequential
from gssl.data.clips import column_of
from gssl.engine.progress import say
from gssl.experiment.method_pictures import ROWS, save_columns
from gssl.metrics.forecast import Errors, errors, ratio_interval, straight_on
from gssl.nets.norms import evaluating

HORIZONS = 4  # frames ahead, at most
BATCH = 32  # clips
NAMES = ("model", "persistence", "extrapolation")


def serves(method: Any, clips: Images) -> bool:
    """Whether the method predicts frames and there are clips of enough of them."""
    column = column_of(clips)
    return hasattr(method, "following") and column is not None and column.frames > 2


def evaluate(
    method: Any, clips: Images, size: int, device: torch.device, picture: Path | None = None
) -> dict[str, Any]:
    """Errors per horizon, as an entry of result.json; says the first in a line. picture: of the next frame.

    Every pair of neighbouring frames of a clip is a beginning; longer horizons go on from predicted frames.
    """
    column = column_of(clips)
    assert column is not None
    most = min(HORIZONS, column.frames - 2)
    rows: dict[tuple[str, int], list[np.ndarray]] = {(name, h): [] for name in NAMES for h in range(1, most + 1)}
    with evaluating(method):
        for number, batch in enumerate(sequential(clips, BATCH, device)):
            frames = frames_in(batch, size)
            if number == 0 and picture is not None:
                _draw(method, frames, picture)
            found = _errors(method, frames, most)
            for key, own in found.items():
                rows[key].append(own)
    groups = clips.group_codes()
    table = []
    for h in range(1, most + 1):
        numbers = (column.frames - 1 - h) * 3 * size**2  # of a clip, over its beginnings
        table.append(_horizon({name: np.concatenate(rows[name, h]) for name in NAMES}, h, groups, numbers))
    first = table[0]["of_persistence"]
    say(
        f"next frame: error {first['ratio']:.3g} times that of the last frame again (95%: {first['low']:.3g} to"
        f" {first['high']:.3g}; {len(clips):,} validation clips)"
    )
    count = len(clips) if groups is None else len(np.unique(groups))
    return {"clips": len(clips), "groups": count, "frames": column.frames, "size": size, "horizons": table}


def frames_in(batch: dict[str, Tensor], size: int) -> Tensor:
    """(B, T, 3, size, size) float32 in [0, 1]: centre crops of all frames of clips."""
    video = batch["video"].permute(0, 1, 4, 2, 3)
    crops = [centre(video[:, t], size, batch.get("extent")) for t in range(video.shape[1])]
    return torch.stack([crop.expand(-1, 3, -1, -1) for crop in crops], dim=1)


def _errors(method: Any, frames: Tensor, most: int) -> dict[tuple[str, int], np.ndarray]:
    """Per predictor and horizon (B, 5): the numbers of `Errors`, of each clip the mean or sum over its beginnings."""
    found: dict[tuple[str, int], list[Errors]] = {}
    for start in range(1, frames.shape[1] - 1):
        before, last = frames[:, start - 1], frames[:, start]
        earlier, now = before, last
        for h in range(1, min(most, frames.shape[1] - 1 - start) + 1):
            earlier, now = now, method.following(earlier, now)
            true = frames[:, start + h]
            made = {"model": now, "persistence": last, "extrapolation": straight_on(before, last, h)}
            for name, predicted in made.items():
                found.setdefault((name, h), []).append(errors(predicted, true, last))
    return {key: _of_clips(own) for key, own in found.items()}


def _of_clips(found: list[Errors]) -> np.ndarray:
    """float64 (B, 5)."""
    stacked = torch.stack([torch.stack([part.double() for part in own], dim=1) for own in found])
    means, sums = stacked[..., :3].mean(0), stacked[..., 3:].sum(0)
    return torch.cat([means, sums], dim=1).cpu().numpy()


def _horizon(rows: dict[str, np.ndarray], horizon: int, groups: np.ndarray | None, numbers: int) -> dict[str, Any]:
    """numbers: how many values of a clip are predicted."""
    share = float(rows["model"][:, 4].mean() / numbers)
    entry: dict[str, Any] = {"horizon": horizon, "moving_share": share}
    for name, own in rows.items():
        moving = float(own[:, 3].sum() / max(own[:, 4].sum(), 1.0))
        mse, psnr, ssim = own[:, :3].mean(axis=0).tolist()
        entry[name] = {"mse": mse, "psnr": psnr, "ssim": ssim, "moving_mse": moving}
    persistence = rows["persistence"]
    ratio, low, high = ratio_interval(rows["model"][:, 0], persistence[:, 0], groups)
    entry["of_persistence"] = {"ratio": ratio, "low": low, "high": high}
    ratio, low, high = ratio_interval(rows["model"][:, 3], persistence[:, 3], groups)
    entry["of_persistence_moving"] = {"ratio": ratio, "low": low, "high": high}
    return entry


def _draw(method: Any, frames: Tensor, picture: Path) -> None:
    """Before, last, the true next frame, the predicted one, and where they differ (three times as strong)."""
    some = frames[:: max(1, len(frames) // ROWS)][:ROWS]
    predicted = method.following(some[:, 0], some[:, 1])
    off = (3 * (predicted - some[:, 2]).abs()).clamp(0, 1)
    picture.parent.mkdir(exist_ok=True)
    save_columns([some[:, 0], some[:, 1], some[:, 2], predicted, 1 - off], picture)
