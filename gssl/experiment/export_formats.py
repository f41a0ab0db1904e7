"""The formats of `gssl export`: how each is written, read back as its user would, and compared with the network."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gssl import schemas
from gssl.config import label_use
from gssl.data import Draws, centre
from gssl.engine.progress import say
from gssl.errors import JobError, UsageError
from gssl.experiment import weight_sources
from gssl.experiment.trained import backbone_of, described_weights, read_classifier, splits_of
from gssl.nets import export as names
from gssl.nets.weights import save_weights
from gssl.probe.finetune import Classifier

LIMIT = 1e-4  # largest difference of an output, as a fraction of the largest output
RANDOM, REAL = 8, 8  # images to compare on: noise, and the run's validation images
BATCHES = (1, 5)  # the sizes of the first batches: a file that takes one size only fails
OPSET = 20  # of ONNX
# 1.20 reads it, but averages maps with an odd side wrongly (a convnet at 28 px: off by .2)
RUNTIME = "onnxruntime>=1.21"
FILES = {"backbone": "backbone", "classifier": "finetuned"}  # parts, and what they are called in a run's weights/

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Subject:
    """What is exported. `network` is on the CPU, in eval mode, contiguous: a backbone, or one with a head."""

    part: str
    network: nn.Module
    backbone: schemas.Backbone
    size: int
    classes: list[str]
    text: dict[str, Any]  # the run's own description of the weights

    @property
    def trunk(self) -> Any:
        return self.network.backbone if isinstance(self.network, Classifier) else self.network

    @property
    def head(self) -> nn.Linear | None:
        return self.network.head if isinstance(self.network, Classifier) else None

    @property
    def output(self) -> str:
        return "features" if self.part == "backbone" else "logits"


def read_subject(run: Path, part: str | None) -> Subject:
    """The network of a finished run. Raises UsageError."""
    if part is None:
        held = [name for name, file in FILES.items() if (run / "weights" / f"{file}.safetensors").is_file()]
        part = held[0] if held else "backbone"
    what = "export a finished train-gan or pretrain-ssl run, or a `gssl transfer probe.use=[finetune]` run"
    file, text = described_weights(run, FILES[part], what)
    if part == "classifier":
        network: nn.Module = read_classifier(file)
        kind, size = backbone_of(text), text["image_size"]
    else:
        source = weight_sources.find_weights(str(run))
        assert source.backbone is not None and source.size is not None
        kind, size = source.backbone, source.size
        network, _ = weight_sources.build(source, kind, size, 0)
    network.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    return Subject(part, network, kind, size, text.get("classes", []), text)


def _write_safetensors(subject: Subject, file: Path) -> dict[str, Any]:
    save_weights(subject.network, file)
    if subject.part == "classifier":
        using = ["from gssl.experiment.trained import read_classifier", f"model = read_classifier({file.name!r})"]
    else:
        using = ["from gssl.experiment import weight_sources", f"origin = weight_sources.find_weights({file.name!r})"]
        using += ["model, _ = weight_sources.build(origin, origin.backbone, origin.size, seed=0)", "model.eval()"]
    # a superset of what a run says of its weights, so that `weights=FILE` reads it
    return subject.text | {"use": [*using, f"{subject.output} = model(image)"]}


def _read_safetensors(subject: Subject, file: Path) -> Function:
    if subject.part == "classifier":
        return read_classifier(file)
    origin = weight_sources.find_weights(str(file))
    assert origin.backbone is not None and origin.size is not None
    network, _ = weight_sources.build(origin, origin.backbone, origin.size, 0)
    return network.eval()


def _form(subject: Subject, library: str) -> names.Form:
    return names.form(library, subject.backbone, subject.trunk, subject.size, len(subject.classes))


def _foreign(subject: Subject, made: names.Form, loading: str) -> dict[str, Any]:
    mean, std = (f"torch.tensor({subject.trunk.inputs.record()[key]}).view(3, 1, 1)" for key in ("mean", "std"))
    using = [*made.making, loading, "model.eval()", f"mean, std = {mean}, {std}"]
    facts: dict[str, Any] = {"use": [*using, f"{subject.output} = model((image - mean) / std)"]}
    return facts | (
        {"notes": [f"this {made.model} is {names.SMALL_STEM}; the .json says how to build it"]} if made.small else {}
    )


def _normalised(subject: Subject, model: nn.Module) -> Function:
    mean, std = (torch.tensor(subject.trunk.inputs.record()[key]).view(3, 1, 1) for key in ("mean", "std"))
    return lambda images: model((images - mean) / std)


def _write_torchvision(subject: Subject, file: Path) -> dict[str, Any]:
    made = _form(subject, "torchvision")
    torch.save(names.renamed(made, subject.trunk, subject.head), file)
    return _foreign(subject, made, f"model.load_state_dict(torch.load({file.name!r}, weights_only=True))")


def _read_torchvision(subject: Subject, file: Path) -> Function:
    model = _form(subject, "torchvision").build()
    model.load_state_dict(torch.load(file, weights_only=True))
    return _normalised(subject, model)


def _write_timm(subject: Subject, file: Path) -> dict[str, Any]:
    made = _form(subject, "timm")
    save_file(names.renamed(made, subject.trunk, subject.head), file)
    return _foreign(subject, made, f"timm.models.load_checkpoint(model, {file.name!r})")


def _read_timm(subject: Subject, file: Path) -> Function:
    from timm.models import load_checkpoint

    model = _form(subject, "timm").build()
    load_checkpoint(model, str(file))
    return _normalised(subject, model)


def _traced(subject: Subject) -> torch.export.ExportedProgram:
    """The network as a graph, for batches of any size."""
    two = torch.zeros(2, 3, subject.size, subject.size)  # not one: that would be taken for a constant
    with _quiet():
        return torch.export.export(subject.network, (two,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _write_onnx(subject: Subject, file: Path) -> dict[str, Any]:
    naming: dict[str, Any] = {"input_names": ["image"], "output_names": [subject.output]}
    graph = _traced(subject)
    try:
        with _quiet():
            torch.onnx.export(graph, (), file, opset_version=OPSET, external_data=False, verbose=False, **naming)
    except (ImportError, AttributeError) as error:  # each torch wants its own parts of onnxscript and onnx_ir
        raise UsageError(
            f"--to onnx: onnxscript is too old for this torch ({error}); pip install -U 'gssl[onnx]'"
        ) from error
    except torch.onnx.OnnxExporterError as error:
        raise JobError(f"--to onnx: torch's exporter failed ({str(error).strip().splitlines()[0]})") from error
    using = ["import onnxruntime", f"session = onnxruntime.InferenceSession({file.name!r})"]
    return {
        "opset": OPSET,
        "needs": RUNTIME,
        "use": [*using, f"{subject.output}, = session.run(None, {{'image': image}})"],
    }


def _read_onnx(subject: Subject, file: Path) -> Function:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([subject.output], {"image": images.numpy()})[0])


def _write_pt2(subject: Subject, file: Path) -> dict[str, Any]:
    torch.export.save(_traced(subject), file)
    using = ["import torch", f"model = torch.export.load({file.name!r}).module()"]
    return {"use": [*using, f"{subject.output} = model(image)"]}


def _read_pt2(subject: Subject, file: Path) -> Function:
    with _quiet():
        model: Function = torch.export.load(file).module()
    return model


class Target(NamedTuple):
    """A format: how it is written (returns what its description has to add) and read as by its user."""

    suffix: str
    write: Callable[[Subject, Path], dict[str, Any]]
    read: Callable[[Subject, Path], Function]
    normalised: str  # where colours are
    mark: str = ""  # in the default name, where two formats have the same suffix
    packages: tuple[str, ...] = ()
    extra: str = ""  # of gssl, that brings the packages


INSIDE, OUTSIDE = "inside", "by the caller: (image - mean) / std"
TARGETS = {
    "safetensors": Target(".safetensors", _write_safetensors, _read_safetensors, f"inside gssl, else {OUTSIDE}"),
    "torchvision": Target(".pth", _write_torchvision, _read_torchvision, OUTSIDE, "-torchvision"),
    "timm": Target(".safetensors", _write_timm, _read_timm, OUTSIDE, "-timm", ("timm",), "timm"),
    "onnx": Target(".onnx", _write_onnx, _read_onnx, INSIDE, "", ("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "torch-export": Target(".pt2", _write_pt2, _read_pt2, INSIDE),
}


def describe(subject: Subject, run: Path, to: str, target: Target) -> dict[str, Any]:
    """What one needs to use the file; every format has the same keys."""
    text = {
        "schema": "gssl.exported/1",
        "to": to,
        "part": subject.part,
        "run": str(run),
        "labels_used": subject.part == "classifier" or label_use.of_path(run),
        "backbone": subject.backbone.model_dump(),
        "architecture": names.architecture(subject.backbone, subject.trunk),
        "size": subject.size,
        "dim": subject.trunk.dim,
        "dims": subject.trunk.dims,
        "image": f"(batch, 3, {subject.size}, {subject.size}) float32, RGB in [0, 1]",
        "input": subject.trunk.inputs.record(),
        "normalised": target.normalised,
        "output": f"{subject.output} (batch, {len(subject.classes) or subject.trunk.dim})",
    }
    return text | ({"classes": subject.classes} if subject.classes else {})


def images_to_compare(run: Path, size: int) -> tuple[Tensor, int]:
    """Noise and some validation images of the run, where these can be read; and how many of the latter."""
    noise = Draws(0).generator("export/noise").random((RANDOM, 3, size, size), dtype=np.float32)
    images = torch.from_numpy(noise)
    try:
        held = splits_of(run)[0].val
    except (UsageError, JobError, OSError) as error:
        say(f"note: compared on noise only, the run's images cannot be read ({error})")
        return images, 0
    batch = held.fetch(np.arange(min(REAL, len(held))))
    views = centre(batch["image"], size, batch.get("extent")).contiguous()
    return torch.cat([images, views]), len(views)


def check(subject: Subject, to: str, file: Path, images: Tensor) -> dict[str, float]:
    """The largest difference between what the network and the file make of `images`. Raises JobError above LIMIT."""
    sizes = [*BATCHES, len(images) - sum(BATCHES)]
    with torch.no_grad():
        ours = subject.network(images)
        try:
            model = TARGETS[to].read(subject, file)
            theirs = torch.cat([model(part) for part in images.split(sizes)])
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
    return {"difference": difference, "relative": relative, "limit": LIMIT}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters print of their own steps."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield
