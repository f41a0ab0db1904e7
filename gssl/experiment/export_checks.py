"""Is what was exported the same network? What is written is read back as its user would and asked about images."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gssl.data import Draws, Images
from gssl.data.columns import AudioColumn, TextColumn
from gssl.data.decode import decode, picture
from gssl.data.opening import is_file, opened
from gssl.engine.progress import say
from gssl.errors import JobError, UsageError
from gssl.experiment.export_formats import TARGETS, Function, Subject
from gssl.experiment.forecast import frames_in
from gssl.experiment.models import Model
from gssl.experiment.tasks import NAMED
from gssl.experiment.trained import splits_of
from gssl.nets.log_mel import SoundInputs
from gssl.vocabulary import FIRST

LIMIT = 1e-4  # largest difference of an output, as a fraction of the largest output
RANDOM, REAL = 8, 8  # images to compare on: noise, and the run's validation images
BATCHES = (1, 5)  # the sizes of the first batches: a file that takes one size only fails
SHAPES = ((3, 1.0, 1.0), (2, 1.7, 1.3), (1, 0.6, 2.4))  # of photographs of noise: batch, height and width over the size
VIEWS = 0.02  # largest difference of a probability where photographs are resized by the file and by gssl itself


def images_to_compare(run: Path, subject: Subject) -> tuple[list[Tensor], Images | None]:
    """Batches of noise and of some validation images of the run, where these can be read; and those images."""
    noise = Draws(0).generator("export/noise")
    held = _held(run)
    real = None if held is None else held.subset(np.arange(min(REAL, len(held))))
    if subject.trunk.takes.column == "text":
        known = None if real is None else real.column_of(TextColumn)
        if real is None or known is None:
            ids = noise.integers(FIRST, subject.trunk.embedding.num_embeddings, (RANDOM, subject.sides[0]))
            return [torch.from_numpy(ids)], None
        return [torch.from_numpy(known.fetch(real.rows))], real
    if subject.trunk.takes.column == "audio":
        sounds = None if real is None else real.column_of(AudioColumn)
        if real is None or sounds is None:
            length = cast(SoundInputs, subject.trunk.inputs).samples
            return [torch.from_numpy(noise.integers(-1000, 1000, (RANDOM, length or 1), dtype=np.int16))], None
        return [torch.from_numpy(sounds.fetch(real.rows))], real
    if subject.part == "model":
        height, width = subject.sides
        shapes = [(n, max(2, round(a * height)), max(2, round(b * width)), 3) for n, a, b in SHAPES]
        return [torch.from_numpy(noise.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes], real
    images = torch.from_numpy(noise.random((RANDOM, *subject.shape), dtype=np.float32))
    if real is not None and subject.part != "backbone" and subject.model and NAMED[subject.model.task].dense:
        real = None  # photographs have other sides
    elif real is not None:
        images = torch.cat([images, _views(subject, real)])
    return list(images.split([*BATCHES, len(images) - sum(BATCHES)])), real


def _held(run: Path) -> Images | None:
    """Validation images of a run, or of the one that a model folder lies in."""
    home = run if (run / "config.yaml").is_file() else run.absolute().parent
    try:
        return splits_of(home)[0].val
    except (UsageError, JobError, OSError) as error:
        say(f"note: compared on noise only, the run's images cannot be read ({error})")
        return None


def _views(subject: Subject, images: Images) -> Tensor:
    from gssl.data.preprocessing import Preprocessing

    view = subject.model.preprocessing if subject.model else Preprocessing(subject.sides[0])
    batch = images.fetch(np.arange(len(images)))
    if len(subject.shape) == 4:
        return frames_in(batch, view.size).contiguous()
    return view(batch["image"], batch.get("extent")).contiguous()


def check(subject: Subject, to: str, file: Path, images: list[Tensor], real: Images | None) -> dict[str, Any]:
    """The largest difference between what the network and the file make of `images`; of a whole model also between the
    file and gssl's own prediction on real photographs. Raises JobError above the limits."""
    with torch.no_grad():
        ours = torch.cat([subject.network(part) for part in images])
        try:
            model = TARGETS[to].read(subject, file)
            theirs = torch.cat([model(part) for part in images])
        except Exception as error:  # of any loader
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise JobError(f"--to {to}: the file cannot be used ({line[:160]}); nothing was kept") from error
        difference = float((ours - theirs).abs().max())
        relative = difference / max(float(ours.abs().max()), 1e-12)
        if not relative < LIMIT:  # also where it is not a number
            raise JobError(
                f"--to {to}: read back, the file's {subject.output} differ by {relative:.1e} of the largest"
                f" (allowed: {LIMIT:.0e}); nothing was kept"
            )
        found: dict[str, Any] = {"difference": difference, "relative": relative, "limit": LIMIT}
        found |= {"images": sum(len(part) for part in images), "real": len(real) if real is not None else 0}
        if subject.part == "model" and subject.model and real is not None:
            found |= photographs(subject.model, model, real, to)
    return found


def photographs(own: Model, exported: Function, real: Images, to: str) -> dict[str, Any]:
    """What the file and gssl's own prediction make of the same images, and of the files that these were read from."""
    stored, files = 0.0, 0.0
    n = 0
    for i in range(len(real)):
        batch = real.fetch(np.array([i]))
        height, width = batch["extent"][0].tolist() if "extent" in batch else batch["image"].shape[2:]
        pixels = batch["image"][:, :, :height, :width]
        mine = own.probabilities(own.preprocessing(pixels))
        rgb = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()
        stored = max(stored, float((exported(rgb) - mine).abs().max()))
        path = real.name(i)
        if is_file(path):
            given = own.range or "full"
            with opened(path) as file:
                whole = np.array(picture(file, path, given).convert("RGB"))
            as_predicted = torch.from_numpy(decode(path, own.preprocessing.need, given)).permute(2, 0, 1)[None]
            mine = own.probabilities(own.preprocessing(as_predicted))
            files, n = max(files, float((exported(torch.from_numpy(whole)[None]) - mine).abs().max())), n + 1
    if not stored < VIEWS:
        raise JobError(
            f"--to {to}: on the run's images the file's probabilities differ by {stored:.3f} from gssl's own"
            f" (allowed: {VIEWS}); nothing was kept"
        )
    found: dict[str, Any] = {"predictions": {"difference": stored, "limit": VIEWS, "images": len(real)}}
    return found | ({"files": {"difference": files, "images": n}} if n else {})
