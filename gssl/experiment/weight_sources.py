"""`weights=` means the same everywhere: random, a published or ready-made network, a run, a checkpoint, a file."""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gssl import schemas
from gssl.config import label_use
from gssl.data import Draws, Images, sequential
from gssl.data.columns import AudioColumn
from gssl.data.draws import digest as digest_of
from gssl.data.preprocessing import Preprocessing
from gssl.engine import checkpoint
from gssl.engine.documents import find_yaml
from gssl.engine.files import read_json, sha256, write_json, write_text
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import model_files, published
from gssl.experiment.description import of_weights, of_weights_in
from gssl.nets import keymaps, vit_files
from gssl.nets.backbone import TIMM, Backbone, build_backbone
from gssl.nets.inputs import Inputs, adjusted, of_three
from gssl.nets.log_mel import SoundInputs, inputs_of
from gssl.nets.norms import recompute_batch_norm
from gssl.nets.resnet import SMALL
from gssl.nets.weights import State, load_into, read_tensors, read_weights, save_weights
from gssl.schemas.ready_made import READY_MADE, SHORT, without_prefix

NETWORK = "backbone."  # prefix of its names in a file that has a head as well
RECOMPUTE = 2048  # images whose batch statistics an exported backbone carries
LARGE = 224  # pixels, of ImageNet's networks
FAMILY = {"train-gan": "gan", "pretrain-ssl": "ssl"}
EXPECTED = (
    f"expected random, {', '.join(READY_MADE)}, a short name such as {next(iter(SHORT))}, torchvision,"
    " torchvision:NAME, timm:NAME, hf:ORG/NAME, a run directory, a checkpoint in it, a folder with config.json, or a"
    " .safetensors, .pth or .ckpt file"
)


@dataclass(frozen=True)
class WeightSource:
    """Where a backbone's weights come from. `backbone`, `size` and `input` are set where the source says what it is.

    size: side of the images that it learned from. stem: side of a ResNet's first kernels, where its weights tell.
    input: mean and std as in `gssl.nets.inputs`. preprocessing: what a folder says of the size of its images.
    step: of a checkpoint. labels_used: whether the labels of all training images were read on the way to these weights;
    None where that is not on record. sha256: of the file; where a prefix was chosen, of both.
    """

    kind: str  # random | pixels | torchvision | timm | hf | a ready-made network's name | run | checkpoint | file
    path: Path | None = None
    method: str | None = None
    sha256: str | None = None
    backbone: schemas.Backbone | None = None
    size: int | None = None
    seed: int | None = None
    step: int | None = None
    stem: int | None = None
    input: dict[str, list[float]] | None = None
    labels_used: bool | None = False
    preprocessing: dict[str, Any] | None = None
    prefix: str | None = None  # of the names in a file that holds more than the network
    tokenizer: str | None = None  # hash of that whose ids of tokens it reads
    range: Any = None  # of the values of the images that it learned from (`gssl.data.values`), as documents keep it
    # what was read or built already: a fine-tuning grid builds the same network dozens of times
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        """For result.json."""
        path = str(self.path) if self.path else None
        found: dict[str, Any] = {"kind": self.kind, "path": path, "method": self.method, "sha256": self.sha256}
        if self.kind in ("torchvision", "timm", "hf") and self.backbone is not None:
            found["name"] = self.backbone.name
        if made := READY_MADE.get(self.kind):
            found |= {"name": made.timm, "licence": made.licence, "learned_from": made.learned_from}
        found["labels_used"] = self.labels_used
        if self.prefix is not None:
            found["prefix"] = self.prefix
        if self.range is not None:
            found["range"] = self.range
        return found if self.step is None else found | {"step": self.step}

    def network(self, default: schemas.Backbone, size: int) -> tuple[schemas.Backbone, int]:
        """The network and the size of the images that it is built for: the source's own, else those given.

        Only the stem of a ResNet depends on the size: it goes with the weights, not with the images.
        """
        size = self.size or size
        if self.stem is not None and (self.stem == 3) != (size <= SMALL):
            size = SMALL if self.stem == 3 else LARGE
        return self.backbone or default, size

    @property
    def published(self) -> bool:
        """Whether the same weights are found in many runs: their features are worth keeping."""
        return self.kind in (*published.KINDS, "file")

    @property
    def words(self) -> str:
        """For messages."""
        name = self.backbone.name if self.backbone else self.kind
        return name if self.path is None else f"{name} ({self.path})"

    def own(self, default: schemas.Backbone) -> Preprocessing | None:
        """The network's own size of images and preprocessing: of published networks, and of what was trained from one.
        None where it has none, or where its training began with random weights."""
        if self.kind == "random" or (self.kind == "run" and _from_nothing(self.path)):
            return None
        found = self.preprocessing or published.own((self.backbone or default).name, self.kind)
        return None if found is None else Preprocessing(**found)

    def described(self, default: schemas.Backbone, size: int) -> dict[str, Any]:
        """`network` for result.json and for files of weights."""
        kind, side = self.network(default, size)
        return kind.model_dump() | {"size": side}

    def blank(self, default: schemas.Backbone, size: int) -> Backbone:
        """The network with random weights and the source's normalisation."""
        network = build_backbone(*self.network(default, size))
        if self.input is not None:
            network.inputs = inputs_of(self.input)
        return network


def _from_nothing(run: Path | None) -> bool:
    """Whether a run's training began with random weights: it has seen images of its own size alone."""
    return run is not None and find_yaml(run / "config.yaml").get("weights") == "random"


def find_weights(weights: str) -> WeightSource:
    """Look a `weights=` value up; reads descriptions, and files that have none. Raises UsageError."""
    found = _found(weights)
    return found if found.path is None else replace(found, labels_used=label_use.of_path(found.path))


def _found(weights: str) -> WeightSource:
    if weights in ("random", "torchvision"):
        return WeightSource(weights, stem=7 if weights == "torchvision" else None)
    if (found := published.find(weights)) is not None:
        return _published(found)
    weights, prefix = without_prefix(weights)
    path = Path(weights).expanduser()
    if path.is_file():
        return _file(path, prefix=prefix)
    if prefix is not None and path.exists():
        raise UsageError(f"weights={weights}: a prefix goes with a file of others, not with a run or a folder")
    if (path / "manifest.json").is_file() or (path.absolute().parent.name == "checkpoints" and not path.suffix):
        return _checkpoint(path)
    if not path.exists():
        raise UsageError(f"weights={weights}: no such file or directory; {EXPECTED}")
    if model_files.has_model(path):
        return _of_model(weights, model_files.find(path))
    status = read_json(path / "status.json")
    if not status:
        hint = f"; expected one of its checkpoints: {_listed(path)}" if path.name == "checkpoints" else ""
        raise UsageError(f"weights={weights}: not a run directory (no status.json in it){hint}")
    file = path / "weights" / "backbone.safetensors"
    if not file.is_file():
        command, state = status.get("command"), status.get("state")
        say = f"weights={weights}: this {command} run is {state} and has no exported backbone"
        if command not in FAMILY:
            raise UsageError(f"{say}; give one of the runs that it is made of")
        raise UsageError(
            f"{say}; finish it with engine.resume=auto first, or give one of its checkpoints:"
            f" {_listed(path / 'checkpoints')}"
        )
    return _described(WeightSource("run", path, sha256=sha256(file)), of_weights_in(path))


def _of_model(weights: str, found: model_files.Described) -> WeightSource:
    """The network of a transfer run or a comparison, without its head."""
    if not found.inside:
        return _found(model_files.source_of(found.text, found.file))
    return _file(found.file, found.text)


def _file(path: Path, text: Any = None, prefix: str | None = None) -> WeightSource:
    digest = sha256(path)
    if prefix is None:
        source = _described(WeightSource("file", path, sha256=digest), text or of_weights(path, digest))
        if source.backbone is not None:
            return source
    state = read_weights(path, prefix=prefix)
    name, stem = keymaps.resnet(state) or (None, None)
    digest = published.with_prefix(digest, prefix)
    backbone, size = vit_files.network(state) or (_resnet(name) if name else None, None)
    return WeightSource("file", path, None, digest, backbone, size, stem=stem, prefix=prefix, kept={"state": state})


def _resnet(name: str) -> schemas.Backbone:
    return schemas.Backbone.model_validate({"name": name, "norm": "batch", "width": 64, "patch": 1})


def _torchvisions(name: str) -> schemas.Backbone:
    values = {"name": name, "norm": "none", "width": 768, "patch": 16}
    return schemas.Backbone.model_validate(values) if name == published.VIT else _resnet(name)


def _published(found: published.Published) -> WeightSource:
    """Of most the name says all, and no `backbone=` can name one."""
    by_name = found.kind in published.BY_NAME
    backbone = schemas.Backbone.model_construct(None, name=found.network) if by_name else _torchvisions(found.network)
    return WeightSource(
        found.kind,
        found.path,
        sha256=found.sha256,
        backbone=backbone,
        size=LARGE if found.network == published.VIT else None,
        stem=None if by_name or found.network == published.VIT else 7,
        input=found.input,
        preprocessing=found.preprocessing,
        prefix=found.prefix,
        tokenizer=None if found.tokenizer is None else digest_of("tokenizer", found.tokenizer).hex(),
        kept=found.kept,
    )


def _described(source: WeightSource, text: Any) -> WeightSource:
    schema = text.get("schema") if isinstance(text, dict) else None
    if schema not in ("gssl.weights/1", *model_files.SCHEMAS) or not text.get("inside", True):
        return source
    if text["sha256"] != source.sha256:
        raise UsageError(f"weights={source.path}: the weights' sha256 is not the one on record: damaged or replaced")
    if schema in model_files.SCHEMAS:  # a network with a head: the network alone
        backbone = {key: value for key, value in text["backbone"].items() if key != "size"}
        text = {"method": text.get("probe"), "seed": text.get("seed"), **text}
        text |= {"backbone": backbone, "size": text["backbone"]["size"]}
        assert source.path is not None
        inside = {k: v for k, v in read_tensors(source.path).items() if k.startswith(NETWORK)}
        source.kept["state"] = State({key.removeprefix(NETWORK): value for key, value in inside.items()})
    return WeightSource(
        source.kind,
        source.path,
        text["method"],
        source.sha256,
        schemas.Backbone.model_construct(**text["backbone"]),
        text["size"],
        text["seed"],
        input=text.get("input"),
        tokenizer=text.get("tokenizer"),
        range=text.get("range"),
        kept=source.kept,
    )


def _checkpoint(path: Path) -> WeightSource:
    """A checkpoint as the engine writes it; who wants its weights goes through `gssl.experiment.checkpoint_weights`."""
    if not path.is_dir():
        raise UsageError(f"weights={path}: no such checkpoint; there is: {_listed(path.parent)}")
    if not _whole(path):
        raise UsageError(
            f"weights={path}: this checkpoint is damaged (its manifest does not hold); there is: {_listed(path.parent)}"
        )
    run = path.absolute().parent.parent
    status = read_json(run / "status.json") or {}
    family = FAMILY.get(status.get("command", ""))
    if family is None:
        raise UsageError(f"weights={path}: not in a train-gan or pretrain-ssl run, which would say what it holds")
    written = read_config(run)
    described = (run / "weights" / "backbone.json").exists()
    if text := of_weights_in(run) if described else None:
        kind, size, inputs = schemas.Backbone.model_construct(**text["backbone"]), text["size"], text.get("input")
    else:
        try:
            origin = find_weights(written["weights"])
        except UsageError as error:
            raise UsageError(f"weights={path}: what its run began with cannot be had: {error}") from error
        kind, size = origin.network(schemas.Backbone.model_construct(**written["backbone"]), side_of(written))
        inputs = origin.input
    return WeightSource(
        "checkpoint",
        path,
        written[family]["name"],
        sha256(path / "model.safetensors"),
        kind,
        size,
        written["seed"],
        (read_json(path / "state.json") or {}).get("step"),
        input=inputs,
    )


def read_config(run: Path) -> dict[str, Any]:
    """config.yaml of a training run. Raises UsageError."""
    file = run / "config.yaml"
    written = find_yaml(file)
    if not {"weights", "backbone", "data", "seed"} <= set(written):
        raise UsageError(f"{run}: has no readable config.yaml, which says how its checkpoints were trained")
    return written


def side_of(written: dict[str, Any]) -> int:
    """The side of the square images that a run was trained on, from its config.yaml."""
    data = written["data"]
    return schemas.Data.model_construct(None, size=data["size"], crop=data.get("crop")).side


def _whole(path: Path) -> bool:
    try:
        return checkpoint.whole(path)
    except (KeyError, TypeError):  # a manifest, but none of ours
        return False


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("[!.]*") if (path / "manifest.json").is_file())
    return f"{', '.join(names)} in {folder}" if names else f"none in {folder}"


def build(
    source: WeightSource,
    cfg: schemas.Backbone,
    size: int,
    seed: int,
    allow_partial: bool = False,
    inputs: schemas.Input | None = None,
) -> tuple[Backbone, dict[str, Any]]:
    """A backbone filled from its source, and the load report for result.json.

    The network is the source's own where the source describes it, else `cfg`'s. `seed` decides the random part.
    `inputs`: what the user says of a foreign network's normalisation, before what the source says. Called again with
    the same arguments it gives a copy, and torch's generator the same state.
    """
    key = (repr(source.network(cfg, size)), seed, allow_partial, repr(inputs))
    if source.kept.get("key") != key:
        torch.manual_seed(seed)
        network = source.blank(cfg, size)
        report: dict[str, Any] = {"loaded": 0, "missing": [], "unexpected": []}
        if source.kind != "random":
            target: Any = network
            remedy = None
            if source.kind == "file" and source.backbone is None and cfg.name.startswith(TIMM):
                raise UsageError(f"weights={source.path}: of a network of timm: write weights={cfg.name}@{source.path}")
            if published.of_timm(source.kind, (source.backbone or cfg).name):  # by timm's own names
                target, remedy = target.net, published.REMEDY
            elif source.kind == "hf":
                remedy = published.REMEDY_TEXT
            state = _tensors(source, cfg)
            own = target.state_dict()
            if source.kind in ("file", *published.BY_NAME):
                state = state.fitted(own)
            fitted, text = of_three(state, own)
            if text:
                say(f"note: weights={source.path or source.kind}: {text}")
            state = state.having(fitted)
            report |= asdict(load_into(target, state, allow_partial=allow_partial, remedy=remedy))
            _tell(source, report)
        if inputs is not None:
            network.inputs = _adjusted(network, inputs)
        report["input"] = network.inputs.record()
        source.kept.update({"key": key, "network": network, "report": report, "generator": torch.get_rng_state()})
    torch.set_rng_state(source.kept["generator"])
    return copy.deepcopy(source.kept["network"]), copy.deepcopy(source.kept["report"])


def check_column(source: WeightSource, network: Backbone, images: Images) -> None:
    """Raises UsageError where the network reads another column than there is, ids of another tokenizer, or sounds of
    another rate. A network of sounds that has no mean and deviation yet gets those of these, which it learns from."""
    takes = network.takes.column
    if takes not in images.columns:
        raise UsageError(
            f"weights={source.path or source.kind}: the network reads the column {takes}, and the data bring"
            f" {' and '.join(images.columns)}; take other weights, or other data"
        )
    published.check_single(str(source.path or source.kind), network, images)
    if (sounds := images.column_of(AudioColumn)) is not None:
        _fit_inputs(source, network, sounds, images)
    own = images.store.meta.get("tokenizer_hash")
    if source.tokenizer is not None and own != source.tokenizer:
        path = source.path or Path(source.kept["described"].file)  # without a path it is in the hub's own cache
        folder = path / "weights" if source.kind == "run" else path.parent
        raise UsageError(
            f"weights={source.path or source.kind}: learned ids of another tokenizer than that of these texts; add"
            f" data.tokenizer={folder / 'tokenizer.json'}"
        )


def _fit_inputs(source: WeightSource, network: Backbone, sounds: AudioColumn, images: Images) -> None:
    inputs = network.inputs
    assert isinstance(inputs, SoundInputs)
    if not inputs.fitted:
        rows = images.rows[:: -(-len(images) // RECOMPUTE)]
        inputs.fit(torch.from_numpy(sounds.fetch(rows)), sounds.rate)
    elif inputs.rate != sounds.rate:
        raise UsageError(
            f"weights={source.path or source.kind}: learned from sounds of {inputs.rate:,} Hz, and these have"
            f" {sounds.rate:,}; set data.rate={inputs.rate}"
        )


def _adjusted(network: Backbone, given: schemas.Input) -> Inputs | SoundInputs:
    """`input` as the user gives it. Raises UsageError."""
    if isinstance(network.inputs, Inputs):
        return adjusted(network.inputs, given.mean, given.std, given.range)
    if any(value is not None for value in (given.mean, given.std, given.range)):
        raise UsageError("input: is of images; a network of sounds has the mean and deviation of its training sounds")
    return network.inputs


def _tell(source: WeightSource, report: dict[str, Any]) -> None:
    """Random layers below trained ones are said: what stands behind them learned from other inputs."""
    if below := report["random_below"]:
        say(
            f"warning: weights={source.path or source.kind}: allow_partial=true leaves {len(below)} tensors before"
            f" trained ones random (first: {below[0]}), so that the trained ones read what they never saw"
        )


def _tensors(source: WeightSource, cfg: schemas.Backbone) -> State:
    """The source's weights, read once."""
    if "state" in source.kept:
        found: State = source.kept["state"]
        return found
    name = (source.backbone or cfg).name
    if source.kind in published.KINDS:
        state = published.tensors(source.kind, name, source.path, source.sha256, source.kept, source.prefix)
    elif source.kind == "checkpoint":
        raise UsageError(f"weights={source.path}: a checkpoint can be evaluated, not trained from; give the run itself")
    else:
        assert source.path is not None
        inside = source.path / "weights" / "backbone.safetensors"
        # by the names of the network that is described: nothing to translate
        state = read_weights(inside if source.kind == "run" else source.path, rename=False)
    source.kept["state"] = state
    return state


def exported(method: Any) -> Backbone:
    """The network of a method that is evaluated and exported: its `exported()` where it has one, else its backbone."""
    network: Backbone = method.exported() if hasattr(method, "exported") else method.backbone
    return network


def centred(images: Images, draws: Draws, size: int, device: torch.device) -> Iterator[Tensor]:
    """Centre crops (B, 3, size, size) of up to `RECOMPUTE` of a run's training images, on `device`.

    What an exported backbone's batch-norm statistics are of; which images is a function of the seed of `draws`.
    """
    sample = images.subset(draws.permutation("recompute", 0, len(images))[:RECOMPUTE])
    for batch in sequential(sample, 256, device):
        yield Preprocessing(size).read(batch)


def colour(images: Images, draws: Draws, size: int, device: torch.device) -> tuple[float, ...]:
    """Median red, green and blue in [0, 1] of the pixels of some hundred training images, centre-cropped."""
    some = next(iter(centred(images, draws, size, device)))
    return tuple(some.transpose(0, 1).flatten(1).median(dim=1).values.tolist())


def export(
    method: Any,
    batches: Any,
    path: Path,
    name: str,
    backbone: schemas.Backbone,
    size: int,
    seed: int,
    labels_used: bool | None = None,
    value_range: Any = None,
    tokenizer: str | None = None,
) -> dict[str, Any]:
    """Write `weights/backbone.safetensors` and its description below `path`; returns the entry for result.json.

    Batch-norm statistics are recomputed on `batches` (centre-cropped training images) first, for every method: a
    discriminator's own mix real and fake. The network is the method's `exported()` where it has one. labels_used: by
    the method and all that it began with; None where that is not on record. value_range: of the training images, as
    their summary has it. tokenizer: its JSON, which goes beside the weights.
    """
    network = exported(method)
    recompute_batch_norm(network, batches)
    file = path / "weights" / "backbone.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    digest = save_weights(network, file)
    description = {
        "schema": "gssl.weights/1",
        "method": name,
        "seed": seed,
        "sha256": digest,
        "backbone": backbone.model_dump(),
        "size": size,
        "input": network.inputs.record(),
        "labels_used": labels_used,
        **({} if value_range is None else {"range": value_range}),
    }
    if tokenizer is not None:
        write_text(file.with_name("tokenizer.json"), tokenizer)
        description["tokenizer"] = digest_of("tokenizer", tokenizer).hex()
    write_json(file.with_suffix(".json"), description)
    return {"file": "weights/backbone.safetensors", "sha256": digest}
