"""Models that predict: a network with its head, read again from the files of a run (`gssl.experiment.model_files`)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Draws
from gssl.data.preprocessing import Preprocessing
from gssl.data.targets import of_task
from gssl.data.values import Range, recorded
from gssl.engine.documents import expected
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.model_files import DESCRIPTION, MODEL, Described, find, source_of
from gssl.metrics.evaluator_base import weights_hash
from gssl.nets.backbone import Backbone, build_backbone
from gssl.nets.log_mel import inputs_of
from gssl.nets.tensors import load_tensors
from gssl.nets.weights import load_into
from gssl.probe import anomaly, dense
from gssl.probe.boxes import BoxNetwork
from gssl.probe.clip_network import ClipClassifier
from gssl.probe.finetune import Classifier
from gssl.probe.masks import MaskNetwork
from gssl.words import PROBES

BACKBONE, REFERENCE = "backbone.", "reference."  # prefixes of names in a file


class LinearMasks(nn.Module):
    """A backbone with a linear head on its dense features, as the probe `segment` has it."""

    def __init__(self, backbone: Any, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv2d(sum(backbone.dims), n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to logits (B, n_classes, H, W)."""
        grid = dense.grid_of(x)
        maps = torch.cat([dense.brought(m.float(), grid) for m in self.backbone.dense(x)], dim=1)
        return F.interpolate(self.head(maps), size=x.shape[-2:], mode="bilinear", align_corners=False)


@dataclass
class Model:
    """A network with its head, on the CPU in eval mode: images (B, 3, S, S) in [0, 1] → logits.

    bank: features (n, d) of training images, to say how unlike these a new image is; None where there are none.
    """

    network: nn.Module
    text: dict[str, Any]
    where: Path
    bank: Tensor | None = field(default=None, repr=False)

    @property
    def backbone(self) -> Backbone:
        return cast(Backbone, self.network.backbone)

    @property
    def task(self) -> str:
        return str(self.text.get("task", "classification"))

    @property
    def classes(self) -> list[str]:
        return list(self.text["classes"])

    @property
    def size(self) -> Any:
        """Side of the squares that a classifier reads; of masks as data.size says."""
        return self.text["image_size"]

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the square that is read."""
        record = self.text.get("preprocessing")
        keys = Preprocessing.__dataclass_fields__
        if record:
            return Preprocessing(**{key: value for key, value in record.items() if key in keys})
        return Preprocessing(min(self.size) if isinstance(self.size, list) else int(self.size))

    @property
    def range(self) -> Range | None:
        """Which values became black and white in the images that it learned from; None: these had 8 bits a value."""
        return recorded(self.text.get("range"))

    @property
    def temperature(self) -> float:
        """Logits are divided by it before the softmax."""
        return float((self.text.get("calibration") or {}).get("temperature", 1.0))

    @property
    def head(self) -> str:
        """What answers, in words."""
        probe = str(self.text.get("probe", "finetune"))
        said = f"the {PROBES.get(probe, probe)}, fitted to {self.text['n_train']:,} labelled images"
        return of_task(self.task).said(said)

    def probabilities(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1], on the network's device → (B, classes), calibrated."""
        return (self.network(x).float() / self.temperature).softmax(dim=1)

    def to(self, device: torch.device) -> "Model":
        self.network.to(device).to(memory_format=torch.channels_last)
        return self


def find_model(path: Path) -> Model:
    """The model of a comparison, a model folder or a transfer run. Raises UsageError."""
    return read_model(find(path))


def read_model(found: Described) -> Model:
    """The network that is described, with its head. Raises UsageError where its weights cannot be had."""
    text, state = found.text, load_tensors(found.file)
    bank = state.pop(f"{REFERENCE}features", None)
    with expected(found.file.with_suffix(".json") if text["schema"] != MODEL else found.file.with_name(DESCRIPTION)):
        recorded(text.get("range"))
        backbone = _blank(text) if found.inside else frozen(text, found.file)
        network = with_head(text, backbone)
        if not found.inside:
            state |= {f"{BACKBONE}{key}": value for key, value in backbone.state_dict().items()}
        load_into(network, state, ignore=())  # its head is no part to leave behind
    network.eval().requires_grad_(False)
    return Model(network, text, found.file.parent, bank)


def with_head(text: dict[str, Any], backbone: Backbone) -> nn.Module:
    """The network that a description names, with a head of random weights, one of `HEADS`."""
    task = text.get("task", "classification")
    kind = text.get("head") or ("linear" if task == "classification" else "pyramid")  # descriptions of older versions
    try:
        return HEADS[kind](text, backbone, len(text["classes"]))
    except KeyError:  # another head, or one without what describes it
        raise UsageError(
            f"a head {kind} for {task}, as another version of gssl wrote it; run the transfer again"
        ) from None


HEADS: dict[str, Callable[[dict[str, Any], Backbone, int], nn.Module]] = {
    "linear": lambda text, backbone, classes: Classifier(backbone, classes, Draws(0)),
    "dense": lambda text, backbone, classes: LinearMasks(backbone, classes),
    "clip": lambda text, backbone, classes: ClipClassifier(
        backbone, classes, int(text["clip"]["frames"]), str(text["pooling"])
    ),
    "nearest": lambda text, backbone, classes: anomaly.blank(text, backbone),
    "gaussian": lambda text, backbone, classes: anomaly.blank(text, backbone),
    "pyramid": lambda text, backbone, classes: MaskNetwork(backbone, int(text["channels"]), classes),
    "centres": lambda text, backbone, classes: BoxNetwork(
        backbone, int(text["channels"]), classes, int(text["stride"]), bool(text["frozen"])
    ),
}


def backbone_of(text: dict[str, Any]) -> schemas.Backbone:
    """The network that a description of weights names."""
    return schemas.Backbone.model_construct(**{key: value for key, value in text["backbone"].items() if key != "size"})


def _blank(text: dict[str, Any]) -> Backbone:
    backbone = build_backbone(backbone_of(text), text["backbone"]["size"])
    if text.get("input"):  # descriptions of older versions lack it
        backbone.inputs = inputs_of(text["input"])
    return backbone


def frozen(text: dict[str, Any], file: Path) -> Backbone:
    """The network on which a head was fitted, from what its run was given as `weights`. Raises UsageError."""
    weights = source_of(text, file)
    origin = weight_sources.find_weights(weights)
    backbone, _ = weight_sources.build(
        origin, backbone_of(text), text["backbone"]["size"], text["seed"], bool(text.get("allow_partial"))
    )
    backbone.inputs = inputs_of(text["input"])
    if weights_hash(backbone) != text["network_hash"]:
        raise UsageError(f"{file}: was fitted on other weights than weights={weights} has now; run the transfer again")
    return backbone
