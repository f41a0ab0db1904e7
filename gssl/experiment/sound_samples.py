"""Sounds of a GAN of spectrograms, to listen to: a .wav each by Griffin-Lim, and a picture of the spectrograms."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.data import Draws, audio
from gssl.engine import outputs
from gssl.engine.files import find_json, write_json
from gssl.errors import UsageError
from gssl.experiment.generators import Sampler
from gssl.figures.grid import save_grid
from gssl.nets import griffin_lim

ABOUT, SCHEMA, PICTURE = "made.json", "gssl.sounds/1", "spectrograms.png"


def check(out: Path, force: bool) -> None:
    """Raises UsageError where `out` cannot be a folder of sounds, or is one that somebody else filled."""
    audio.need_soundfile()
    if not out.is_dir():
        if out.suffix:
            raise UsageError(f"-o {out}: sounds are several files; give the name of a folder")
        outputs.check(out, force=force)
        if out.exists():
            raise UsageError(f"-o {out}: is a file; sounds are several: give the name of a folder")
    elif any(out.iterdir()) and (find_json(out / ABOUT) or {}).get("schema") != SCHEMA:
        raise UsageError(f"-o {out}: has files that are not of gssl sample; choose another folder")


def write(sampler: Sampler, labels: np.ndarray, out: Path, seed: int, truncation: float | None) -> dict[str, Any]:
    """Write a sound for each of `labels` (n,) to the folder `out`, which is filled whole or not at all.

    A folder that an earlier call filled is replaced. The loudest sound is at most at full scale.
    """
    scale = sampler.scale
    assert scale is not None
    pictures = torch.cat(list(sampler.batches(labels, seed, "sample", truncation)))
    places = griffin_lim.starts(scale.log_mel, scale.samples)
    phases = Draws(seed).uniform("griffin_lim/sample", 0, (len(labels), places[0] * places[1]))
    found = griffin_lim.sounds(
        scale.spectrogram(pictures), scale.log_mel, scale.samples, phases.to(sampler.device).unflatten(1, places)
    )
    names = [f"{i:05}{_of(sampler.classes, label)}.wav" for i, label in enumerate(labels.tolist())]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folder = Path(beside) / "sounds"
        folder.mkdir()
        for name, sound in zip(names, found.clamp(-1, 1).cpu().numpy(), strict=True):
            audio.need_soundfile().write(folder / name, sound, scale.log_mel.rate, subtype="PCM_16")
        save_grid(pictures.cpu().flip(2), folder / PICTURE)  # low tones below
        about = {"schema": SCHEMA, "run": str(sampler.run), "generator": sampler.sha256, "seed": seed, "files": names}
        write_json(folder / ABOUT, about | {"griffin_lim": griffin_lim.ROUNDS, "rate": scale.log_mel.rate})
        if out.is_dir():
            shutil.rmtree(out)
        shutil.move(folder, out)
    seconds = scale.samples / scale.log_mel.rate
    return {"folder": str(out), "sounds": len(names), "seconds": seconds, "rate": scale.log_mel.rate, "seed": seed}


def _of(classes: list[str], label: int) -> str:
    """A class as a part of a file's name."""
    if not classes:
        return ""
    return "-" + "".join(c if c.isalnum() or c in "-_" else "_" for c in classes[label])
