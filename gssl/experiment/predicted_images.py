"""What `gssl predict RUN FOLDER` writes of a run that makes images from images: an image for each, and a table.

Of super-resolution an image comes out so many times larger, whatever its size. Of colours it keeps its size and its
luma: the network reads it at the size of training, and what it adds to the grey is enlarged. Of pairs and of masks the
output has the size of training as its shorter side.
"""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gssl.data.masks import WrongMask, read_legend, read_mask
from gssl.data.opening import opened
from gssl.data.pairs import Given
from gssl.data.sources.folders import SUFFIXES, images_below
from gssl.data.sources.segmentation import goal
from gssl.data.transforms import pairs
from gssl.engine import outputs
from gssl.engine.documents import read_result, read_yaml
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment import told
from gssl.experiment.generators import load_translator
from gssl.experiment.new_pictures import NewPictures
from gssl.experiment.predicted_masks import mask_names
from gssl.figures import style
from gssl.nets.unet import UNet

MOST = 2**22  # pixels of an output: the network's maps of more do not fit into a small memory


@dataclass(frozen=True)
class Translator:
    """A generator with what its inputs are."""

    network: UNet
    how: Given
    device: torch.device
    range: Any = None

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """(1, K, H, W) in [0, 1] of any size → (1, 3, H, W) of 256 levels, on the CPU."""
        height, width = inputs.shape[-2:]
        multiple = 2 ** len(self.network.down)
        right, below = -width % multiple, -height % multiple
        whole = F.pad(inputs, (0, right, 0, below), mode="replicate")
        return pairs.levels(self.network(whole.to(self.device)).cpu()[..., :height, :width])

    def made(self, image: Image.Image) -> Tensor:
        """Of an image as it is in its file. Raises ValueError where the output would be too large."""
        size = self.network.shape.size
        factor = self.how.factor if self.how.kind == "super_resolution" else 1
        if image.width * image.height * factor**2 > MOST:
            larger = f"{factor} times larger " if factor > 1 else ""
            raise ValueError(f"{image.width}×{image.height} px, {larger}more than the {MOST:,} pixels that are made")
        if self.how.kind == "super_resolution":
            return self(pairs.enlarged(_tensor(image), factor))
        small = _tensor(image.resize(goal(*image.size, size), Image.Resampling.LANCZOS, reducing_gap=3.0))
        if self.how.kind == "files":
            return self(small)
        grey = pairs.grey(small)
        added, own = self(grey), pairs.grey(_tensor(image))
        added = F.interpolate(added - pairs.grey(added), size=own.shape[-2:], mode="bilinear", align_corners=False)
        return pairs.levels(own + added)


def _tensor(image: Image.Image) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def load(run: Path, device: torch.device) -> Translator:
    """The generator of a finished run. Raises UsageError."""
    network, _ = load_translator(run, device)
    about = ((read_result(run) or {}).get("translation") or {}).get("made_from") or {"kind": "files"}
    return Translator(network, Given(**about), device)


def write(
    run: Path, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """PNGs in a folder beside `out` (OUT_images), and a row per image in `out`: file, image, height, width.

    Raises UsageError where there are no images, and where no image can be read.
    """
    translator = load(run, device)
    masks = translator.how.kind == "masks"
    source = _Masks(run, folder, translator.how) if masks else NewPictures(translator.range, folder)
    place = out.with_name(f"{out.stem}_images")
    files = mask_names(source.names)
    for file in files:
        outputs.check(place / file, ".png", force)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "image", "height", "width"])
    make: Callable[[Any], Tensor] = translator if masks else translator.made
    refused = []
    for (name, given), file in zip(source, files, strict=True):
        try:
            if given is None:
                raise ValueError
            found = make(given)
        except ValueError as error:
            refused += [f"{folder / name} ({error})"] if given is not None else []
            writer.writerow([name, "", "", ""])
            continue
        _save(found, place / file)
        writer.writerow([name, f"{place.name}/{file}", *found.shape[-2:]])
    told.skipped(refused, len(files))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about | {"made_from": translator.how._asdict()})
    skipped = [*source.skipped, *refused]
    return {"file": str(out), "written": str(place), "images": len(files) - len(skipped), "skipped": skipped}


def _save(images: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (images[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path, pnginfo=style.png_text())


class _Masks:
    """Masks of a folder as inputs (1, K, H, W), by the classes.json in it, or by that of the run's data."""

    def __init__(self, run: Path, folder: Path, how: Given) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder of masks")
        data = (read_yaml(run / "config.yaml") or {}).get("data") or {}
        homes = [folder, folder.parent, *([Path(data["root"])] if data.get("root") else [])]
        home = next((h for h in homes if (h / "classes.json").is_file()), folder)
        self.legend = read_legend(home / "classes.json")
        if len(self.legend.names) != how.channels:
            raise UsageError(
                f"{home / 'classes.json'}: {len(self.legend.names)} classes, and {run} learned from {how.channels}"
            )
        self.folder, self.how, self.size, self.skipped = folder, how, int(data["size"]), list[str]()
        self.names = images_below(folder, [])
        if not self.names:
            raise UsageError(f"{folder}: no masks in it; expected files that end in {', '.join(SUFFIXES[:4])}")

    def __iter__(self) -> Any:
        for name in self.names:
            path = self.folder / name
            try:
                with opened(path) as file:
                    size = file.size
                mask = read_mask(str(path), self.legend, size)
            except (WrongMask, OSError, ValueError) as error:
                self.skipped.append(f"{path} ({error})")
                yield name, None
                continue
            ids = np.array(mask.resize(goal(*size, self.size), Image.Resampling.NEAREST))
            yield name, pairs.one_hot(torch.from_numpy(ids)[None], self.how.channels)
        told.skipped(self.skipped, len(self.names))
        if len(self.skipped) == len(self.names):
            raise UsageError(f"{self.folder}: none of its {len(self.names)} masks can be read: {self.skipped[0]}")
