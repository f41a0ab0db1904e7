"""`gssl retrieve RUN "words"`: the images that a network of images and captions finds nearest to what is typed."""

from pathlib import Path
from typing import Any

from gssl.engine.device import pick_device
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import captioned
from gssl.experiment.trained import images_in, splits_of


def retrieve(
    run: Path, words: str, folder: Path | None = None, n: int = 10, device: str = "auto", root: str | None = None
) -> dict[str, Any]:
    """`gssl.retrieve/1`: paths of the `n` images nearest to `words`, and their cosine similarities, nearest first.

    folder: of images to look among; None: training and validation images of the run, never its test images. root: the
    folder that these lie in now. Raises UsageError.
    """
    if not words.strip():
        raise UsageError('no words: say what to look for, such as gssl retrieve RUN "a brown dog"')
    network, text = captioned.read(run)
    if folder is None:
        splits, _ = splits_of(run, root)
        images = splits.labelled
        say(f"looking among {len(images):,} training and validation images of the run; --among FOLDER for others")
    else:
        images = images_in(folder, network.size)
    found = captioned.nearest(network, text, run, words, images, pick_device(device))
    return {
        "schema": "gssl.retrieve/1",
        "run": str(run),
        "words": words,
        "images": len(images),
        "found": [{"path": images.name(i), "similarity": value} for i, value in found[:n]],
    }
