"""The formats of `gssl export`: how each is written, read back as its user would, and compared with the network."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gssl import schemas
from gssl.config import label_use
from gssl.config.rules import READ
from gssl.data import targets
from gssl.errors import JobError, UsageError
from gssl.experiment import weight_sources
from gssl.experiment.model_files import FINETUNED, MODEL, find, has_model
from gssl.experiment.models import Model, backbone_of, find_model
from gssl.experiment.tasks import CLASSIFICATION, NAMED
from gssl.experiment.trained import described_weights, read_network
from gssl.nets import export as names
from gssl.nets.photographs import Answering
from gssl.nets.weights import save_weights

OPSET = 20  # of ONNX
# 1.20 reads it, but averages maps with an odd side wrongly (a convnet at 28 px: off by .2)
RUNTIME = "onnxruntime>=1.21"
WHOLE = ("onnx", "torch-export")  # formats that hold a whole model, photographs in and probabilities out

CLASSIFIER = targets.TARGETS[CLASSIFICATION.column].part

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Subject:
    """What is exported. `network` is on the CPU, in eval mode, contiguous: a backbone, one with a head, or one that
    takes photographs of any size and answers with probabilities (`model`, which has the answering network's own)."""

    part: str
    network: nn.Module
    backbone: schemas.Backbone
    size: Any  # side of the square images; of masks [height, width]
    classes: list[str]
    text: dict[str, Any]  # the run's own description of the weights
    model: Model | None = None

    @property
    def trunk(self) -> Any:
        return self.model.backbone if self.model else self.network

    @property
    def head(self) -> nn.Linear | None:
        head = getattr(self.model.network if self.model and self.part != "backbone" else None, "head", None)
        return head if isinstance(head, nn.Linear) else None

    @property
    def output(self) -> str:
        if gives := getattr(self.network, "gives", None):  # a network that answers otherwise than by logits
            return str(gives(*self.sides, len(self.classes))[0].split()[0])
        return {"backbone": "features", "model": "probabilities"}.get(self.part, "logits")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what is exported for one size."""
        height, width = self.size if isinstance(self.size, list) else (self.size, self.size)
        return int(height), int(width)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: an image (3, H, W), or a clip (T, 3, H, W)."""
        frames = getattr(self.network, "frames", None)
        return (3, *self.sides) if frames is None else (int(frames), 3, *self.sides)


def read_subject(run: Path, part: str | None, to: str) -> Subject:
    """The network of a finished run or a model folder. Raises UsageError."""
    subject = _subject(run, part, to)
    if (column := subject.trunk.takes.column) != "image" and to != "safetensors":
        raise UsageError(f"--to {to}: of images only; a network of {READ[column]} is written with --to safetensors")
    return subject


def _subject(run: Path, part: str | None, to: str) -> Subject:
    if part is None:
        part = _default(run, to)
    if has_model(run) or part != "backbone":
        return _of_model(find_model(run), part, to)
    _, text = described_weights(run, "backbone", "export a finished run, such as a comparison or a pretrain-ssl run")
    source = weight_sources.find_weights(str(run))
    assert source.backbone is not None and source.size is not None
    network, _ = weight_sources.build(source, source.backbone, source.size, 0)
    return Subject(part, _still(network), source.backbone, source.size, [], text)


def _default(run: Path, to: str) -> str:
    if not has_model(run):
        return "backbone"
    text = find(run).text
    part = _part_of(text.get("task", "classification"))
    if part != CLASSIFIER:
        return part
    return "model" if text["schema"] == MODEL and to in WHOLE else part


def _of_model(model: Model, part: str, to: str) -> Subject:
    own = _part_of(model.task)
    if part not in ("backbone", "model", own):
        raise UsageError(f"--part {part}: this model is for {model.task}; use --part {own}")
    if part == "model" and (own != CLASSIFIER or to not in WHOLE):
        raise UsageError(f"--part model: for classes, and --to {' or '.join(WHOLE)}; use --part {own}")
    if part == own != CLASSIFIER and to in ("timm", "torchvision"):
        raise UsageError(f"--to {to}: {to} has no such head; use --to {names.ANYWHERE}")
    network: Any = model.backbone if part == "backbone" else model.network
    if part == own and to in WHOLE and hasattr(network, "exported"):  # what gssl makes of the outputs is inside
        network = network.exported()
    if part == "model":
        network = Answering(model.network, model.temperature, **model.preprocessing.record())
    return Subject(part, _still(network), backbone_of(model.text), model.size, model.classes, model.text, model)


def _part_of(task: str) -> str:
    """What a network with its head is called."""
    return targets.TARGETS[NAMED[task].column].part


def _still(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)


def _write_safetensors(subject: Subject, file: Path) -> dict[str, Any]:
    save_weights(subject.network, file)
    text = {key: value for key, value in subject.text.items() if key not in ("inside", "weights", "network_hash")}
    if subject.part == "backbone":
        using = ["from gssl.experiment import weight_sources", f"origin = weight_sources.find_weights({file.name!r})"]
        using += ["model, _ = weight_sources.build(origin, origin.backbone, origin.size, seed=0)", "model.eval()"]
        if subject.model:
            method, seed = text.get("probe"), text.get("seed", 0)
            size = text["backbone"]["size"]
            text = {"schema": "gssl.weights/1", "method": method, "seed": seed, "size": size, "input": text["input"]}
    else:
        using = ["from gssl.experiment.trained import read_network", f"model = read_network({file.name!r})"]
        text["schema"] = FINETUNED
    # a superset of what a run says of its weights, so that `weights=FILE` reads it
    return text | {"use": [*using, f"{subject.output} = model(image)"]}


def _read_safetensors(subject: Subject, file: Path) -> Function:
    if subject.part != "backbone":
        return read_network(file)
    origin = weight_sources.find_weights(str(file))
    assert origin.backbone is not None and origin.size is not None
    network, _ = weight_sources.build(origin, origin.backbone, origin.size, 0)
    return network.eval()


def _form(subject: Subject, library: str) -> names.Form:
    return names.form(
        library, subject.backbone, subject.trunk, subject.size, subject.head.out_features if subject.head else 0
    )


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
    """The network as a graph, for batches of any size; of a whole model for photographs of any size."""
    dim = torch.export.Dim
    height, width = subject.sides
    two, shapes = torch.zeros(2, *subject.shape), {0: dim("batch")}  # not one: that would be taken for a constant
    if subject.part == "model":
        two = torch.zeros(2, height + 6, width + 10, 3, dtype=torch.uint8)
        shapes |= {1: dim("height", min=2), 2: dim("width", min=2)}
    with _quiet():
        return torch.export.export(subject.network, (two,), dynamic_shapes=(shapes,))


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
    given = "torch.as_tensor(image)" if subject.part == "model" else "image"
    return {"use": [*using, f"{subject.output} = model({given})"]}


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
    height, width = subject.sides
    text = {
        "schema": "gssl.exported/1",
        "to": to,
        "part": subject.part,
        "run": str(run),
        "labels_used": subject.part != "backbone" or label_use.of_path(run),
        "backbone": subject.backbone.model_dump(),
        "architecture": names.architecture(subject.backbone, subject.trunk),
        "size": subject.size,
        "dim": subject.trunk.dim,
        "dims": subject.trunk.dims,
        "image": f"(batch, {', '.join(map(str, subject.shape))}) float32, RGB in [0, 1]",
        "input": subject.trunk.inputs.record(),
        "normalised": target.normalised,
        "output": f"{subject.output} (batch, {len(subject.classes) or subject.trunk.dim})",
    }
    if subject.part == "backbone":
        text["output"] = f"features (batch, {subject.trunk.dim})"
    elif gives := getattr(subject.network, "gives", None):
        text["output"], text["meaning"] = gives(height, width, len(subject.classes))
    elif subject.model and NAMED[subject.model.task].dense:
        text["output"] = f"logits (batch, {len(subject.classes)}, {height}, {width})"
    if subject.model and subject.model.task == "classification":
        text["preprocessing"] = steps_of(subject.model, "inside" if subject.part == "model" else "by the caller")
    if subject.part == "model":
        text["image"] = "(batch, height, width, 3) uint8, RGB as a photograph is, of any height and width"
        text["temperature"] = subject.network.temperature
    if (known := subject.text.get("range")) is not None:
        text |= {"range": known, "values": values_of(known)}
    return text | ({"classes": subject.classes} if subject.part != "backbone" else {})


def values_of(known: Any) -> str:
    """How images of more than 8 bits a value become those that the network reads, in words."""
    if known == "full":
        ends = "0 to 65,535 of 16 bits, 0 to 2,147,483,647 of 32 bits, 0 to 1 of floating point"
    else:
        ends = f"{known[0]:.9g} to {known[1]:.9g}"
    return (
        f"16-bit, 32-bit and floating-point images: values {ends} become 0 to 255 (round(255 * (x - low) / (high -"
        " low)), clipped; what is no number 0) before anything else; images of 8 bits stay as they are"
    )


def steps_of(model: Model, where: str) -> dict[str, Any]:
    """How a photograph becomes what the network reads, in words and numbers."""
    view = model.preprocessing
    if view.fit == "squash":
        resize = f"both sides to {view.need} px"
    else:
        resize = f"the shorter side to {view.need} px, the longer one in proportion (rounded down)"
    return {
        **view.record(),
        "resize": resize,
        "cut": f"the central {view.size} × {view.size} px",
        "antialias": "the kernel is as wide as a pixel of a smaller result; whole levels after each pass",
        "colours": "RGB; (x / 255 - mean) / std inside the network",
        **model.backbone.inputs.record(),
        "where": where,
        "note": f"gssl itself first shrinks an image with a shorter side above {2 * view.need} px to that (Lanczos)",
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters print of their own steps."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            yield
