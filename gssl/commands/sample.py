"""`gssl sample RUN`: images of a trained GAN's generator, in one grid, or as files beside real ones; sounds of a GAN of
spectrograms; texts of a causal language model or of a GAN of texts; of a run on pairs of images input, output and true
image; of one on two domains inputs and outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.engine import outputs
from gssl.engine.device import pick_device
from gssl.errors import UsageError
from gssl.experiment import language, real_and_fake, sound_samples, text_gan, text_samples, translated, unpaired_runs
from gssl.experiment.generators import load_generator, translates, writes
from gssl.figures.grid import save_grid

DEFAULT, DEFAULT_TEXT, DEFAULT_SOUNDS = Path("grid.png"), Path("samples.txt"), Path("sounds")  # where nobody says
MOST_COLUMNS = 20  # of a grid with a class per column


def sample(
    run: Path,
    n: int,
    out: Path,
    seed: int,
    device: str = "auto",
    truncation: float | None = None,
    classes: list[str] | None = None,
    force: bool = False,
    files: bool = False,
    prompt: str = "",
    tokens: int = 200,
    temperature: float = 1.0,
    root: str | None = None,
) -> dict[str, Any]:
    """Write a grid of `n` images of a GAN run's generator (its running average) to `out` (.png).

    `files`: no grid, but a PNG of each, and as many real images, in the folder `out` (`real_and_fake`).
    `classes`: of a conditional generator, in turn; None: all. `truncation`: |z| stays below; None: the run's own.
    `force`: over any file. Of a causal language model `n` texts of `tokens` tokens behind `prompt`, in `out` (.txt).
    Of a GAN of texts `n` lines in `out` (.txt).
    root: where the pairs of a run on pairs of images lie now; None: where they did.
    Of a GAN of sounds `n` .wav files and their spectrograms in the folder `out`.
    """
    if writes(run):
        if files or classes or prompt:
            raise UsageError(f"--files, --class, --prompt: {run} writes lines of its own; leave them out")
        place = DEFAULT_TEXT if out == DEFAULT else out
        return text_gan.write(run, n, place, seed, pick_device(device), truncation, force)
    if language.is_run(run):
        place = DEFAULT_TEXT if out == DEFAULT else out
        return text_samples.write(run, n, place, seed, pick_device(device), prompt, tokens, temperature, force)
    if translates(run):
        if files or classes or truncation is not None:
            raise UsageError(f"--files, --class, --truncation: {run} makes images of images alone; leave them out")
        outputs.check(out, ".png", force)
        if unpaired_runs.is_run(run):
            return unpaired_runs.draw(run, n, out, seed, pick_device(device), root)
        return translated.draw(run, n, out, seed, pick_device(device), root)
    generator = load_generator(run, pick_device(device))
    if files:
        if generator.scale is not None:
            raise UsageError(f"--files: {run} makes sounds, which are files without it; leave it out")
        return real_and_fake.write(run, out, n, seed, pick_device(device), truncation)
    if generator.scale is not None:
        out = DEFAULT_SOUNDS if out == DEFAULT else out
        sound_samples.check(out, force)
    else:
        outputs.check(out, ".png", force)
    if classes and not generator.classes:
        raise UsageError(f"--class: the generator of {run} ({generator.method}) takes no class; leave it out")
    if unknown := [name for name in classes or [] if name not in generator.classes]:
        raise UsageError(f"--class {unknown[0]}: the classes of {run} are {', '.join(generator.classes)}")
    if truncation is not None and truncation <= 0:
        raise UsageError(f"--truncation {truncation}: expected a number above 0")
    labels = generator.labels(n)
    if classes:
        labels = np.array([generator.classes.index(name) for name in classes])[np.arange(n) % len(classes)]
    if generator.scale is not None:
        return sound_samples.write(generator, labels, out, seed, truncation)
    images = torch.cat([part.cpu() for part in generator.batches(labels, seed, "sample", truncation)])
    shown = len(classes or generator.classes)
    save_grid(images, out, columns=shown if 0 < shown <= MOST_COLUMNS else None)
    return {"file": str(out), "images": n, "size": generator.size, "seed": seed}
