"""Data augmentation: what do images of a class-conditional generator add to a probe's real labels?

Every probe is fitted twice on each draw of labels: on the real images alone, and on the same ones beside generated
images. What is chosen is chosen on the same folds of real images both times, and both are asked about the same test
images. A conditional GAN has read the labels of all its training images, so a gain with few labels is no few-label
result; the record says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.data import Images, Splits
from gssl.data.memory import in_memory
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment.generators import Sampler, find_generator
from gssl.statistics.paired import paired_difference

LEVEL = 0.95


@dataclass(frozen=True)
class SyntheticImages:
    """Generated images for draws of labels; which ones is a function of (generator, seed, draw, labels)."""

    cfg: schemas.Generated
    sampler: Sampler
    result: dict[str, Any]  # of the generator's run

    def check(self, splits: Splits, size: int) -> list[str]:
        """Raises UsageError where generator and data do not belong together; returns warnings."""
        run, shape = self.cfg.run, self.sampler.generator.shape
        if self.sampler.classes != splits.classes:
            index = next(
                (i for i, (a, b) in enumerate(zip(self.sampler.classes, splits.classes, strict=False)) if a != b), None
            )
            if index is None:
                known = f"{len(self.sampler.classes)} classes, the data {len(splits.classes)}"
            else:
                known = f"class {index} as '{self.sampler.classes[index]}', the data as '{splits.classes[index]}'"
            raise UsageError(
                f"generated.run={run}: its generator knows {known}; train it on the data that is evaluated here"
            )
        if shape.size != size:
            raise UsageError(
                f"generated.run={run}: its generator makes images of {shape.size} px, data.size is {size};"
                f" set data.size={shape.size} or train it with data.size={size}"
            )
        channels = splits.labelled.channels
        if shape.channels != channels:
            kinds = {1: "grey", 3: "colour"}
            raise UsageError(
                f"generated.run={run}: its generator makes {kinds[shape.channels]} images, the data are"
                f" {kinds[channels]}; train it on the data that is evaluated here"
            )
        if self.same_images(splits) is False:
            return [f"generated.run={run}: trained with another data split; it may know images of this test set"]
        return []

    def same_images(self, splits: Splits) -> bool | None:
        """Whether the generator was trained on this very split; None where its run does not say."""
        known = (self.result.get("data") or {}).get("hash")
        return None if known is None else bool(known == splits.hash)

    def images(self, real: Images, seed: int, draw: int) -> Images:
        """Images for the draw `real` of labels, `per_real` of each of its classes' counts and at least one.

        They are rounded to uint8 as stored images are, grey ones on one channel, so that nothing but what they show
        tells them from real ones. Raises JobError where the generator gives values that are not finite.
        """
        labels = labels_like(real.labels, len(real.classes), self.cfg.per_real)
        pixels = self.sampler.stored(labels, seed, f"transfer/{draw}", self.cfg.truncation, real.channels)
        return in_memory(pixels, labels, real.classes)

    def record(self, splits: Splits) -> dict[str, Any]:
        """For result.json."""
        read = (self.result.get("data") or {}).get("counts", {}).get("train")
        whom = f"all {read:,} training images" if read else "all training images"
        truncation = self.sampler.truncation if self.cfg.truncation is None else self.cfg.truncation
        return {
            "run": str(self.cfg.run),
            "sha256": self.sampler.sha256,
            "method": self.sampler.method,
            "per_real": self.cfg.per_real,
            "truncation": truncation,
            "same_images": self.same_images(splits),
            "labels_used": True,
            "labels_read": read,
            "caution": f"the generator ({self.sampler.method}) has read the labels of {whom} of its run: a gain with"
            " few labels is no few-label result",
        }


def find_generated_images(cfg: schemas.Generated, device: torch.device) -> SyntheticImages | None:
    """The generator that `generated.run` names, None where it names none. Raises UsageError where it is no use."""
    if cfg.run is None:
        return None
    sampler = find_generator(cfg.run, device)
    if not sampler.classes:
        raise UsageError(
            f"generated.run={cfg.run}: the generator of this {sampler.method} run takes no class, so its images"
            " have no labels; expected a class-conditional run, such as gan=acgan or gan=projection"
        )
    return SyntheticImages(cfg, sampler, read_json(sampler.run / "result.json") or {})


def labels_like(labels: np.ndarray, n_classes: int, per_real: float) -> np.ndarray:
    """int64: `per_real` times as many of each class as in `labels` (n,), rounded, at least one of those that occur.

    Classes come in turn, so that where they are equally many a smaller draw's images begin a larger one's.
    """
    counts = np.bincount(labels, minlength=n_classes)
    wanted = np.where(counts > 0, np.maximum(1, np.floor(per_real * counts + 0.5)), 0).astype(np.int64)
    made = np.repeat(np.arange(n_classes), wanted)
    turn = np.concatenate([np.arange(n) for n in wanted])
    return made[np.lexsort((made, turn))]


@dataclass(frozen=True)
class Pair:
    """One draw's answers to the same test images, without and with generated images: bool (n,), True where right."""

    probe: str
    labels_per_class: int | None
    fraction: float | None
    real: np.ndarray
    mixed: np.ndarray


def gains(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Per probe and label budget: mean paired difference in accuracy (of 1; with minus without), 95% interval.

    How the interval comes about: `paired_difference`; over draws it is for this generator and these test images.
    """
    groups: dict[tuple[str, int | None, float | None], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.probe, pair.labels_per_class, pair.fraction), []).append(pair)
    rows = []
    for (probe, per_class, fraction), found in groups.items():
        interval, kind = paired_difference([p.mixed for p in found], [p.real for p in found], LEVEL)
        rows.append(
            {
                "probe": probe,
                "labels_per_class": per_class,
                "fraction": fraction,
                "accuracy": float(np.mean([p.real.mean() for p in found])),
                "accuracy_generated": float(np.mean([p.mixed.mean() for p in found])),
                "gain": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "level": LEVEL,
                "interval": kind,
                "draws": len(found),
                "n_test": len(found[0].real),
            }
        )
    return rows
