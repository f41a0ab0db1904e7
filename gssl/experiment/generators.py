"""Generators and discriminators as files: what a GAN run leaves behind, and images made from it again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Draws
from gssl.data.tokens import Tokenizer
from gssl.engine.documents import expected
from gssl.engine.files import read_json, sha256, write_json
from gssl.errors import JobError, UsageError
from gssl.method import to_device
from gssl.nets.backbone import build_backbone
from gssl.nets.discriminator import Discriminator, Heads
from gssl.nets.generator import Generator, Shape
from gssl.nets.inputs import Inputs
from gssl.nets.log_mel import BandScale
from gssl.nets.tensors import load_tensors
from gssl.nets.text_conv import TextGenerator, TextShape, written
from gssl.nets.translator import Translator
from gssl.nets.unet import UNet
from gssl.nets.weights import load_into, save_weights

BATCH = 256
UNET, RESIDUAL = "unet", "residual"  # kinds of generators that make images from images
BACK = "generator_back"  # file of the generator of the way back
TRANSLATORS: dict[str, type[UNet] | type[Translator]] = {UNET: UNet, RESIDUAL: Translator}
TEXT = "text"  # of one that writes texts (`gssl.nets.text_conv`)


def write(method: Any, run: Path, classes: list[str]) -> dict[str, Any]:
    """Write `weights/generator`, `weights/discriminator` and, where a method has a way back, `weights/generator_back`
    (.safetensors, .json); returns entries for result.json.

    Call it after the backbone was exported: the discriminator is written with the same batch statistics. One that reads
    pairs, of an encoder or of images and inputs, and those of sounds and texts stay in the checkpoints.
    """
    folder = run / "weights"
    heads = method.discriminator.heads
    about = {"name": method.cfg.name, "truncation": method.cfg.truncation, "classes": classes}
    about["pairs"] = heads.latent > 0 or method.generator.shape.kind in TRANSLATORS  # what the discriminator reads
    network = getattr(method.ema.module, "images", method.ema.module)  # of clips what makes their frames
    scale = getattr(method, "scale", None)  # of sounds
    told = {} if scale is None else {"sounds": scale.record()}
    text = {"schema": "gssl.generator/2", "method": about, "shape": method.generator.shape.record()} | told
    entry = {}
    for name, own in (("generator", network), (BACK, getattr(method.ema.module, "back", None))):
        if own is not None:
            digest = save_weights(own, folder / f"{name}.safetensors")
            write_json(folder / f"{name}.json", text | {"sha256": digest})
            entry[name] = {"file": f"weights/{name}.safetensors", "sha256": digest}
    if not about["pairs"] and scale is None and method.generator.shape.kind != TEXT:
        digest = save_weights(method.discriminator, folder / "discriminator.safetensors")
        text = {"schema": "gssl.discriminator/1", "sha256": digest, "heads": heads.record()}
        trunk = read_json(folder / "backbone.json")
        # the trunk may come from a run on images of another size; the sum over its positions is of these images
        sizes = {"backbone": trunk["backbone"], "trunk_size": trunk["size"], "size": method.generator.shape.size}
        sizes |= {"input": trunk["input"]}
        write_json(folder / "discriminator.json", text | sizes)
        entry["discriminator"] = {"file": "weights/discriminator.safetensors", "sha256": digest}
    return entry


def as_stored(images: Tensor) -> Tensor:
    """Images in [0, 1] as they come back from a file: 256 levels. Finer ones would tell generated images apart."""
    return (images.clamp(0, 1) * 255).round() / 255


def latents(draws: Draws, purpose: str, step: int, shape: tuple[int, int], truncation: float | None) -> Tensor:
    """z (n, latent): standard normal, or with |z| below `truncation`."""
    if truncation is None:
        return draws.normal(purpose, step, shape)
    return draws.truncated(purpose, step, shape, truncation)


@dataclass(frozen=True)
class Sampler:
    """A trained generator, in evaluation mode on `device`. Images are a function of (seed, purpose, labels)."""

    run: Path
    generator: Generator
    device: torch.device
    sha256: str
    method: str
    classes: list[str]  # names, in the order of the labels; empty where it takes no class
    truncation: float | None
    scale: BandScale | None = None  # of a generator of sounds: what its images are spectrograms of

    @property
    def size(self) -> int | tuple[int, int]:
        """Side in pixels; of sounds bands and frames."""
        return self.generator.shape.size if self.scale is None else self.scale.shape

    def labels(self, count: int) -> np.ndarray:
        """int64 (count,): every class in turn. Zeros where the generator takes none."""
        found: np.ndarray = np.arange(count) % max(len(self.classes), 1)
        return found

    @torch.no_grad()
    def make(self, z: Tensor, labels: np.ndarray | None = None) -> Tensor:
        """Images (B, 3, S, S) float in [0, 1] on the device, for z (B, latent) and labels (B,)."""
        classes = None
        if self.classes:
            assert labels is not None
            classes = to_device(torch.from_numpy(np.asarray(labels, dtype=np.int64)), self.device)
        return as_stored(self.generator(to_device(z, self.device), classes))

    def batches(
        self,
        labels: np.ndarray,
        seed: int = 0,
        purpose: str = "generated",
        truncation: float | None = None,
        batch_size: int = BATCH,
    ) -> Iterator[Tensor]:
        """Images for `labels` (n,) in their order, in batches; which images does not depend on `batch_size`.

        `truncation` None: the run's own.
        """
        shape = (len(labels), self.generator.latent)
        z = latents(Draws(seed), purpose, 0, shape, self.truncation if truncation is None else truncation)
        for start in range(0, len(labels), batch_size):
            yield self.make(z[start : start + batch_size], labels[start : start + batch_size])

    def stored(
        self, labels: np.ndarray, seed: int, purpose: str, truncation: float | None, channels: int
    ) -> np.ndarray:
        """The same as uint8 (n, S, S, channels), as on a disk. Raises JobError where they are not finite."""
        parts = []
        for batch in self.batches(labels, seed, purpose, truncation):
            if not bool(torch.isfinite(batch).all()):
                raise JobError(f"generated.run={self.run}: its generator makes NaN or infinite values")
            pixels = (batch[:, :channels].float().clamp(0, 1) * 255).round().to(torch.uint8)
            parts.append(pixels.permute(0, 2, 3, 1).cpu().numpy())
        return np.ascontiguousarray(np.concatenate(parts))


def _file(run: Path, name: str, version: str) -> tuple[Path, dict[str, Any]]:
    status = read_json(run / "status.json")
    if not status:
        raise UsageError(f"{run}: not a run directory (no status.json in it); expected a finished train-gan run")
    file = run / "weights" / f"{name}.safetensors"
    text = read_json(file.with_suffix(".json"))
    if not file.is_file() or not isinstance(text, dict):
        command, state = status.get("command"), status.get("state")
        raise UsageError(f"{run}: this {command} run is {state} and has no {name}; give a finished train-gan run")
    needed = (
        {"sha256", "shape", "method"} if name in ("generator", BACK) else {"sha256", "heads", "backbone", "trunk_size"}
    )
    if text.get("schema") != version or not needed <= set(text):
        raise UsageError(f"{file.with_suffix('.json')}: not as this version of gssl writes it; train the run again")
    if text["sha256"] != sha256(file):
        raise UsageError(f"{file}: its sha256 is not the one on record: damaged or replaced")
    return file, text


def load_generator(run: Path, device: torch.device) -> Sampler:
    """The generator that a GAN run exported. Raises UsageError where there is none or it is damaged."""
    file, text = _file(run, "generator", "gssl.generator/2")
    if writes(run):
        raise UsageError(f"{run}: its generator ({text['method']['name']}) writes texts and makes no images")
    if translates(run):
        raise UsageError(
            f"{run}: its generator ({text['method']['name']}) makes images from images and none by itself; `gssl sample"
            " RUN` and `gssl evaluate RUN` show what it makes of its own pairs"
        )
    with expected(file.with_suffix(".json"), network=True):
        generator = Generator(Shape(**text["shape"]))
        load_into(generator, load_tensors(file), ignore=())
        about = text["method"]
        classes = about["classes"] if generator.classes else []
        name, truncation = about["name"], about["truncation"]
        scale = BandScale(**text["sounds"]).to(device) if "sounds" in text else None
    generator.to(device).eval().requires_grad_(False)
    return Sampler(run, generator, device, text["sha256"], name, classes, truncation, scale)


def kind_of(run: Path) -> str | None:
    """Which kind a run's generator is (`gssl.nets.generator.Shape`); None where it has none."""
    text = read_json(run / "weights" / "generator.json") or {}
    found: str | None = (text.get("shape") or {}).get("kind")
    return found


def translates(run: Path) -> bool:
    """Whether a run's generator makes images from images."""
    return kind_of(run) in TRANSLATORS


def writes(run: Path) -> bool:
    """Whether a run's generator writes texts."""
    return kind_of(run) == TEXT


@dataclass(frozen=True)
class TextSampler:
    """A trained generator of texts, in evaluation mode on `device`, and the tokenizer of its letters."""

    generator: TextGenerator
    tokenizer: Tokenizer
    device: torch.device
    sha256: str
    method: str
    truncation: float | None

    @torch.no_grad()
    def lines(self, z: Tensor) -> list[str]:
        """A line for each of z (B, latent)."""
        letters = to_device(torch.tensor(self.generator.shape.letters), self.device)
        ids = written(self.generator(to_device(z, self.device)), letters)
        return [self.tokenizer.decode(own) for own in ids.tolist()]


def load_text_generator(run: Path, device: torch.device) -> TextSampler:
    """The generator of texts that a run exported. Raises UsageError where there is none or it is damaged."""
    file, text = _file(run, "generator", "gssl.generator/2")
    tokenizer = run / "weights" / "tokenizer.json"
    with expected(file.with_suffix(".json"), network=True):
        shape = text["shape"]
        network = TextGenerator(TextShape(**shape | {"letters": tuple(shape["letters"])}))
        load_into(network, load_tensors(file), ignore=())
        name, truncation = text["method"]["name"], text["method"]["truncation"]
    try:
        own = Tokenizer(tokenizer.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{tokenizer}: cannot be read ({error}); train the run again") from error
    network.to(device).eval().requires_grad_(False)
    return TextSampler(network, own, device, text["sha256"], name, truncation)


def load_translator(run: Path, device: torch.device, name: str = "generator") -> tuple[Any, dict[str, Any]]:
    """The generator of a run that makes images from images, in evaluation mode, and its description. name: `generator`
    or `BACK`. Raises UsageError."""
    file, text = _file(run, name, "gssl.generator/2")
    with expected(file.with_suffix(".json"), network=True):
        network = TRANSLATORS[text["shape"]["kind"]](Shape(**text["shape"]))
        load_into(network, load_tensors(file), ignore=())
    network.to(device).eval().requires_grad_(False)
    return network, text


def find_generator(given: str, device: torch.device) -> Sampler:
    """The generator of the run that `generated.run` names. Raises UsageError where there is none that is finished, or
    one of sounds."""
    run = Path(given).expanduser()
    if not run.is_dir():
        raise UsageError(f"generated.run={given}: no such directory; expected a finished train-gan run")
    status = read_json(run / "status.json") or {}
    if status and status.get("state") != "finished":
        raise UsageError(
            f"generated.run={given}: this {status.get('command')} run is {status.get('state')};"
            " finish it with engine.resume=auto first"
        )
    try:
        found = load_generator(run, device)
    except UsageError as error:
        raise UsageError(f"generated.run: {error}") from error
    if found.scale is not None:
        raise UsageError(f"generated.run={given}: its generator makes sounds, and what learns here reads images")
    return found


def load_discriminator(run: Path, device: torch.device) -> Discriminator | None:
    """The discriminator that a GAN run exported, in evaluation mode; None where it reads pairs (BiGAN)."""
    if _file(run, "generator", "gssl.generator/2")[1]["method"].get("pairs"):
        return None
    file, text = _file(run, "discriminator", "gssl.discriminator/1")
    with expected(file.with_suffix(".json"), network=True):
        trunk = build_backbone(schemas.Backbone.model_construct(**text["backbone"]), text["trunk_size"])
        if text.get("input"):  # older ones do not say
            trunk.inputs = Inputs(**text["input"])
        network: nn.Module = Discriminator(trunk, Heads(**text["heads"]), text["size"])
        load_into(network, load_tensors(file), ignore=())  # as it is: no prefix of our own names is to be taken off
    network.to(device).eval().requires_grad_(False)
    assert isinstance(network, Discriminator)
    return network
