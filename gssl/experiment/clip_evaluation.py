"""How near generated clips are to real ones, beside still and shuffled real clips.

What is compared is [mean, standard deviation, mean |difference of neighbours|] over time of features of frames, each
number standardised by training clips: else the mean over time, which is the larger, drowns what moves. Features are
those of the run's evaluator, and frames of 8×8 pixels. A distance that calls still or shuffled clips near is none of
videos, so both stand beside it; so does the distance of other real clips, which is as near as can be. It is blind to
the direction of time.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Draws, Images, sequential
from gssl.data.clips import column_of
from gssl.engine.progress import say
from gssl.experiment.forecast import frames_in
from gssl.experiment.generators import as_stored
from gssl.metrics.evaluator import evaluator_features
from gssl.metrics.kid import kid
from gssl.probe.clips import motion, shuffled
from gssl.probe.features import PIXEL_SIDE

BATCH = 32  # clips
MOST = 1000  # clips of each side
FAR = 10.0  # deviations from the mean, beyond which a number is no farther: of a still background any noise would be


def serves(method: Any, clips: Images) -> bool:
    """Whether the method makes clips, and there are real ones."""
    return hasattr(method, "clips") and column_of(clips) is not None


def evaluate(
    method: Any, train: Images, val: Images, extractor: Any, size: int, draws: Draws, device: torch.device
) -> dict[str, Any]:
    """KID to validation clips of generated clips and of controls made of training clips, by each kind of features; says
    it in a line each. size: of the frames in pixels."""
    some = [part.subset(np.sort(draws.permutation("eval/clips", 0, len(part))[:MOST])) for part in (train, val)]
    noise = draws.normal("samples/clips", 0, (len(some[1]), method.clip_latent))
    found: dict[str, Any] = {"frames": method.frames, "evaluator": extractor.record()}

    def by_evaluator(frames: Tensor) -> np.ndarray:
        return evaluator_features(extractor, frames, len(frames), device)

    for name, features in (("features", by_evaluator), ("pixels", _pixels)):
        known, held = (
            _of_frames(features, (frames_in(b, size)[:, : method.frames] for b in sequential(part, BATCH, device)))
            for part in some
        )
        made = _of_frames(features, (as_stored(method.clips(z.to(device))) for z in noise.split(BATCH)))
        found[name] = distances(made, known, held, some[0].contents())
        listed = ", ".join(f"{side} {own['kid']:.3g}" for side, own in found[name]["kid"].items())
        about = f"{extractor.record()['name']}" if name == "features" else "8×8 pixels"
        say(f"KID of clips, {about} (d {found[name]['d']}, n {len(held)}, T {method.frames}): {listed}")
        if not found[name]["sees"]:
            say(f"warning: by {about} still clips are as near as real ones: this distance does not see what moves")
    return found


def distances(made: np.ndarray, known: np.ndarray, held: np.ndarray, contents: np.ndarray) -> dict[str, Any]:
    """KID to `held` of `made`, of as many other real clips, and of these still and shuffled; (n, T, d) features each.

    contents: uint64 of `known`. sees: whether still clips are certainly farther than real ones.
    """
    few = known[: len(held)]
    sides = {
        "generated": made,
        "real": few,
        "still": np.repeat(few[:, few.shape[1] // 2][:, None], few.shape[1], axis=1),
        "shuffled": shuffled(few, contents[: len(few)]),
    }
    usual = motion(known)
    mean, std = usual.mean(axis=0), usual.std(axis=0)
    std[std <= 1e-6 * max(float(std.max()), 1e-12)] = 1.0  # what never changes says nothing

    def standardised(x: np.ndarray) -> np.ndarray:
        return np.clip((motion(x) - mean) / std, -FAR, FAR)

    true = standardised(held)
    found: dict[str, Any] = {}
    for name, own in sides.items():
        value = kid(standardised(own), true, subsets=0)
        found[name] = {"kid": value.mmd2, "low": value.low, "high": value.high, "n": len(own)}
    return {"kid": found, "d": true.shape[1], "n": len(held), "sees": found["still"]["low"] > found["real"]["high"]}


Features = Callable[[Tensor], np.ndarray]  # frames (n, 3, S, S) in [0, 1] → (n, d)


def _of_frames(features: Features, batches: Iterator[Tensor]) -> np.ndarray:
    """(n, T, d) of clips (B, T, 3, S, S)."""
    parts = []
    for clips in batches:
        own = features(clips.flatten(0, 1))
        parts.append(own.reshape(len(clips), clips.shape[1], -1))
    return np.concatenate(parts)


def _pixels(frames: Tensor) -> np.ndarray:
    found: np.ndarray = F.adaptive_avg_pool2d(frames, PIXEL_SIDE).flatten(1).cpu().numpy()
    return found
