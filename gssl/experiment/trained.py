"""What a finished run left behind, read again: its weights with their descriptions, its images, its networks."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors.torch import load_file

from gssl import schemas
from gssl.data import Draws, Images, Splits, load_data
from gssl.data.sources.imagefolder import read_folder
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError
from gssl.nets.backbone import build_backbone
from gssl.nets.inputs import Inputs
from gssl.nets.weights import load_into
from gssl.probe.finetune import Classifier

BATCH = 256  # images whose features are computed at once


def described_weights(run: Path, name: str, expected: str) -> tuple[Path, dict[str, Any]]:
    """The weights file `name` of a run and its description, its hash checked.

    expected: what to give instead, for the message of the UsageError where there is none.
    """
    if not run.is_dir():
        raise UsageError(f"{run}: no such run directory; `gssl runs list` shows what there is")
    file = run / "weights" / f"{name}.safetensors"
    text = read_json(file.with_suffix(".json"))
    if not file.is_file() or not text:
        status = read_json(run / "status.json") or {}
        kind = f"{status['command']} run, {status['state']}" if status else "no gssl run"
        raise UsageError(f"{run}: has no {name} ({kind}); {expected}")
    if sha256(file) != text["sha256"]:
        raise UsageError(f"{file}: its sha256 is not the one on record: damaged or replaced")
    return file, text


def read_classifier(file: Path | str) -> Classifier:
    """The fine-tuned network in `file`, which the .json beside it describes, in eval mode: images → logits."""
    text = read_json(Path(file).with_suffix(".json"))
    if (task := text.get("task", "classification")) != "classification":
        raise UsageError(f"{file}: a network for {task}; only classifiers can predict or be exported so far")
    backbone = build_backbone(backbone_of(text), text["backbone"]["size"])
    if text.get("input"):  # descriptions of older versions lack it
        backbone.inputs = Inputs(**text["input"])
    network = Classifier(backbone, len(text["classes"]), Draws(0))
    load_into(network, load_file(file), ignore=())  # a classifier: its head is no part to leave behind
    return network.eval()


def backbone_of(text: dict[str, Any]) -> schemas.Backbone:
    """The network that a description of weights names."""
    return schemas.Backbone.model_construct(**{key: value for key, value in text["backbone"].items() if key != "size"})


def splits_of(run: Path) -> tuple[Splits, dict[str, Any]]:
    """The images that a finished run was trained on, and its configuration. Raises UsageError where they changed."""
    status = read_json(run / "status.json") or {}
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run}: has no config.yaml, which says what it was trained on")
    written: Any = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    # only what says which images: the rest of a config of an older version need not be valid today
    known = schemas.Data.model_fields.keys() - {"views"}
    given = {key: value for key, value in written["data"].items() if key in known}
    data = schemas.Data.model_construct(None, **dict.fromkeys(known) | given)
    splits = load_data(data, progress=False)
    if splits.hash != (status.get("inputs") or {}).get("images", splits.hash):
        raise UsageError(f"{run}: the images at data.root are not those that it was trained on")
    return splits, written


def images_in(folder: Path, size: int) -> Images:
    """Every image below `folder`. Raises UsageError."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of images")
    return read_folder(folder, size)


def check_output(out: Path, suffix: str) -> None:
    """Raises UsageError where `out` cannot be a file of that kind."""
    if out.suffix != suffix:
        raise UsageError(f"-o {out}: expected a file name that ends in {suffix}")
    if out.parent.exists() and not out.parent.is_dir():
        raise UsageError(f"-o {out}: {out.parent} is not a folder")
