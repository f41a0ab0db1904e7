"""Published networks as sources of weights: ready-made ones, torchvision:, timm:, hf:, folders of the hub."""

from dataclasses import dataclass, field
from hashlib import sha256 as digest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gssl.data import Images
from gssl.engine.files import sha256
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.nets import foreign, hugging_face, keymaps, ready_made
from gssl.nets.foreign_names import split
from gssl.nets.keymaps import State
from gssl.nets.published_text import PublishedText
from gssl.nets.weights import read_tensors, read_weights
from gssl.schemas.ready_made import READY_MADE, SHORT, WITH_PREFIX, weights_file, without_prefix

KINDS = ("torchvision", "timm", "hf", *READY_MADE)
VIT = "vit_base"  # our name of torchvision's vit_b_16
TORCHVISION = {"resnet18": 224 / 256, "resnet50": 224 / 232, VIT: 224 / 256}  # the newest weights' crop fraction
BY_NAME = ("timm", "hf", *READY_MADE)  # kinds whose name says all of the network
REMEDY = "name the network that they belong to: weights=timm:NAME@FILE"
REMEDY_TEXT = "config.json says another network than the file of weights has; fetch the folder again"


@dataclass(frozen=True)
class Published:
    """What a name says. network: timm:NAME, or one of torchvision's; preprocessing and input: where a folder says."""

    kind: str
    network: str
    path: Path | None = None
    sha256: str | None = None
    preprocessing: dict[str, Any] | None = None
    input: dict[str, list[float]] | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    prefix: str | None = None
    tokenizer: str | None = None  # of texts: the JSON of that whose ids it reads


def of_timm(kind: str, network: str) -> bool:
    """Whether its tensors have timm's names."""
    return kind in BY_NAME and network.startswith(foreign.PREFIX)


def with_prefix(known: str, prefix: str | None) -> str:
    """What tells the weights behind a prefix of a file with this sha256 from those behind another."""
    return known if prefix is None else digest(f"{known}{WITH_PREFIX}{prefix}".encode()).hexdigest()


def find(weights: str) -> Published | None:
    """What a `weights=` value names, None where that is no published network. Raises UsageError."""
    head, _, file = weights.partition("@")
    if head in SHORT:
        return _timm(weights, SHORT[head], file)
    if weights in READY_MADE:
        return _ready_made(weights)
    kind, _, name = weights.partition(":")
    if kind == "torchvision" and name:
        return _torchvision(weights, *name.partition("@")[::2])
    if kind == "timm" and name:
        return _timm(weights, *name.partition("@")[::2])
    if kind == "hf" and name:
        return _hub(weights, name)
    path = Path(weights).expanduser()
    if path.is_dir() and not (path / "status.json").is_file() and hugging_face.is_folder(path):
        return _hub(weights, weights)
    return None


def _file(weights: str, file: str, what: str) -> Path | None:
    path = Path(file).expanduser() if file else None
    if path is not None and not path.is_file():
        raise UsageError(f"weights={weights}: no such file {path}; expected weights of {what}")
    return path


def _torchvision(weights: str, name: str, file: str) -> Published:
    name = VIT if name == "vit_b_16" else name
    if name not in TORCHVISION:
        known = "torchvision:resnet18, torchvision:resnet50 or torchvision:vit_b_16"
        raise UsageError(f"weights={weights}: expected {known}; timm:NAME has many more")
    file, prefix = without_prefix(file)
    path = _file(weights, file, f"torchvision's {name}")
    return Published("torchvision", name, path, with_prefix(sha256(path), prefix) if path else None, prefix=prefix)


def _timm(weights: str, name: str, file: str) -> Published:
    foreign.check(name)
    file, prefix = without_prefix(file)
    path = _file(weights, file, f"timm's {name}")
    known = with_prefix(sha256(path), prefix) if path else None
    return Published("timm", foreign.PREFIX + name, path, known, prefix=prefix)


def _ready_made(name: str) -> Published:
    made = READY_MADE[name]
    found = sha256(weights_file(name))
    if found != made.sha256:
        raise UsageError(f"weights={name}: {made.project} is not as published (sha256); install version 0.1.0 of it")
    foreign.check(made.timm)
    return Published(name, foreign.PREFIX + made.timm, None, found)


def _hub(weights: str, where: str) -> Published:
    found = hugging_face.find(where, weights)
    local = found.file if Path(where).expanduser().is_dir() else None  # the hub's own cache is no file of the user's
    rest = (found.preprocessing, found.input, {"described": found})
    return Published("hf", found.network, local, sha256(found.file), *rest, tokenizer=found.tokenizer)


def own(network: str, kind: str) -> dict[str, Any] | None:
    """The size of a network's images and their preprocessing, None where it has none of its own."""
    if network.startswith(foreign.PREFIX):
        return foreign.preprocessing(network.removeprefix(foreign.PREFIX))
    if kind == "torchvision" and network in TORCHVISION:
        return {"size": 224, "fit": "short", "crop": TORCHVISION[network], "interpolation": "bilinear"}
    return None


def tensors(
    kind: str, network: str, path: Path | None, sha: str | None, kept: dict[str, Any], prefix: str | None = None
) -> State:
    """The weights of a published network under the names of what builds it. Raises UsageError."""
    name = network.removeprefix(foreign.PREFIX)
    if kind == "torchvision":
        if path is not None:
            return read_weights(path, prefix=prefix)
        from gssl.nets.resnet import torchvision_weights  # torchvision takes seconds to import

        if name == VIT:
            return keymaps.unwrap(torchvision_weights("vit_b_16"))
        return State(torchvision_weights(name), mapped_by="torchvision")
    if kind in READY_MADE:
        return State(ready_made.tensors(kind), mapped_by="timm")
    if kind == "hf":
        return State(kept["described"].tensors(), mapped_by="transformers or timm")
    if path is None:
        return State(foreign.published(name), mapped_by="timm")
    return _of_file(name, path, sha, prefix)


def _of_file(name: str, path: Path, sha: str | None, prefix: str | None) -> State:
    """A file for timm's network `name`: by timm's names, or by those that timm knows how to read."""
    for known, made in READY_MADE.items():
        if sha == made.sha256:
            raise UsageError(
                f"weights={foreign.PREFIX}{name}@{path}: this is the file of {known}, of which timm's name is"
                f" {made.timm}, and its tensors have names of their own; use weights={known}"
            )
    state = read_weights(path, rename=False, prefix=prefix)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        state = state.fitted(foreign.with_classifier(name).state_dict())
    found: dict[str, Tensor] = foreign.by_its_names(name, state)
    if prefix is None and not set(found) & set(state):  # names of others: once more as they stand in the file
        found = foreign.by_its_names(name, read_tensors(path))
    _check_padding(name, path, found)
    if set(found) == set(state):
        return state
    return State(found, state.unwrapped, state.dropped, state.renamed, "timm")


def _check_padding(name: str, path: Path, state: dict[str, Tensor]) -> None:
    """Names and shapes do not tell some networks apart, such as efficientnet_lite0 and tf_efficientnet_lite0."""
    other = foreign.alternative(name)
    if other is None:
        return
    arch = split(name)[0].partition(".")[0]
    here = f"weights={foreign.PREFIX}{name}@{path}"
    use = f"use weights={foreign.PREFIX}{other}@{path}"
    marks = {digest(value.float().contiguous().numpy().astype("<f4").tobytes()).hexdigest() for value in state.values()}
    for known, made in READY_MADE.items():
        if made.first in marks and arch != made.timm:
            raise UsageError(
                f"{here}: these are the weights of {made.timm} ({known}), which has the same names and shapes and"
                f" pads otherwise; {use}"
            )
        if made.first in marks:
            return
    text = path.name.lower().replace("-", "_")
    plain, mine = arch.removeprefix("tf_"), arch.startswith("tf_")
    if plain in text:
        if (f"tf_{plain}" in text) != mine:
            raise UsageError(f"{here}: the file's name says {other}, which has the same names and shapes; {use}")
        return
    say(
        f"warning: {here}: {other} has the same names and shapes and pads otherwise, and the file does not say which of"
        f" the two it is; where accuracy is low, {use}"
    )


def check_single(weights: str, network: nn.Module, images: Images) -> None:
    """Raises UsageError where a published network of texts meets pairs."""
    if isinstance(network, PublishedText) and images.store.meta.get("pairs"):
        raise UsageError(
            f"weights={weights}: published networks read single texts here, and data.root has pairs (text_b); take away"
            " the column, or use weights=RUN, random or tfidf"
        )
