"""Self-supervision on images that a GAN made: what does the method get out of them that it gets out of real ones?"""

from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.config import label_use
from gssl.data import Images
from gssl.data.memory import in_memory
from gssl.errors import UsageError
from gssl.experiment.generators import Sampler, find_generator


def find_maker(cfg: schemas.Synthetic, device: torch.device) -> Sampler | None:
    """The generator of `generated.run`; None where it names none. Raises UsageError where it is no use."""
    return None if cfg.run is None else find_generator(cfg.run, device)


def images(sampler: Sampler, cfg: schemas.Synthetic, real: Images, size: int, seed: int) -> Images:
    """As many images as `real` has, or `cfg.images`, uint8 in memory, without labels; of all classes in turn.

    Raises UsageError where the generator makes images of another kind, JobError where they are not finite.
    """
    shape = sampler.generator.shape
    if (shape.size, shape.channels) != (size, real.channels):
        kinds = {1: "grey", 3: "colour"}
        raise UsageError(
            f"generated.run={cfg.run}: its generator makes {kinds[shape.channels]} images of {shape.size} px, the data"
            f" are {kinds[real.channels]} at data.size={size}; train it on the data that is used here"
        )
    count = cfg.images or len(real)
    # the name of the random stream, which decides the images: an older word for synthetic
    pixels = sampler.stored(sampler.labels(count), seed, "imagined", cfg.truncation, real.channels)
    return in_memory(pixels, np.full(count, -1), [])


def record(sampler: Sampler, made: Images) -> dict[str, Any]:
    """For result.json."""
    return {
        "run": str(sampler.run),
        "method": sampler.method,
        "sha256": sampler.sha256,
        "images": len(made),
        "labels_used": label_use.of_path(sampler.run),
    }
