"""What a finished run left behind, read again: its weights with their descriptions, its images, its networks."""

from pathlib import Path
from typing import Any

from torch import nn

from gssl import schemas
from gssl.config.rules import READ
from gssl.data import Images, Splits, load_data
from gssl.data.preprocessing import Preprocessing
from gssl.data.sources import SOURCES, places
from gssl.data.sources.folders import Told
from gssl.data.sources.imagefolder import read_folder
from gssl.data.values import Mapping
from gssl.engine.documents import read_yaml
from gssl.engine.files import read_json, sha256
from gssl.errors import Damaged, UsageError
from gssl.experiment import told, weight_sources
from gssl.experiment.model_files import Described, has_model
from gssl.experiment.models import backbone_of, find_model, read_model
from gssl.nets.backbone import Backbone
from gssl.probe.finetune import Classifier

BATCH = 256  # images whose features are computed at once
__all__ = ["backbone_of", "find_model"]  # from `models`, for those who read runs


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
        kind = f"{status.get('command')} run, {status.get('state')}" if status else "no gssl run"
        raise UsageError(f"{run}: has no {name} ({kind}); {expected}")
    if sha256(file) != text.get("sha256"):
        raise UsageError(f"{file}: its sha256 is not the one on record: damaged or replaced")
    return file, text


def read_network(file: Path | str) -> nn.Module:
    """The network with its head in `file`, which the .json beside it describes, in eval mode: images → logits."""
    return read_model(Described(Path(file), read_json(Path(file).with_suffix(".json")))).network


def read_classifier(file: Path | str) -> Classifier:
    """The same of classes; files that older versions exported say so."""
    network = read_network(file)
    if not isinstance(network, Classifier):
        raise UsageError(f"{file}: no classifier; `gssl predict` takes its run")
    return network


def encoder_of(path: Path, expected: str, column: str = "image") -> tuple[Backbone, Preprocessing, dict[str, Any]]:
    """The network of a finished run without a head, on the CPU, how images are brought to it, and its description.

    Of a transfer run or a comparison it is the one that its model has. expected: what to give instead, for the message
    of the UsageError where there is none. column: what the network has to read of a row.
    """
    if has_model(path):
        model = find_model(path)
        _check_column(model.backbone, column, path)
        text = {"backbone": model.text["backbone"], "probe": model.text.get("probe"), "range": model.text.get("range")}
        return model.backbone, model.preprocessing, text
    _, text = described_weights(path, "backbone", expected)
    source = weight_sources.find_weights(str(path))
    assert source.backbone is not None and source.size is not None
    network, _ = weight_sources.build(source, source.backbone, source.size, 0)
    _check_column(network, column, path)
    return network.eval(), Preprocessing(source.size), text


def _check_column(network: Backbone, column: str, path: Path) -> None:
    own = network.takes.column
    if own != column:
        raise UsageError(f"{path}: its network reads {READ[own]}; give a run whose network reads {READ[column]}")


def splits_of(run: Path, root: str | None = None) -> tuple[Splits, dict[str, Any]]:
    """The images that a finished run was trained on, and its configuration. Raises UsageError where they changed.

    root: the folder that they lie in now, where they were moved.
    """
    status = read_json(run / "status.json") or {}
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run}: has no config.yaml, which says what it was trained on")
    written: Any = read_yaml(run / "config.yaml")
    if not isinstance(written.get("data"), dict) or written["data"].get("name") not in SOURCES:
        raise Damaged(run / "config.yaml", "does not say which images it was trained on")
    # only what says which images: the rest of a config of an older version need not be valid today
    known = schemas.Data.model_fields.keys() - {"views"}
    given = {key: value for key, value in written["data"].items() if key in known}
    given = places.moved(given, root) if root else given
    data = schemas.Data.model_construct(None, **dict.fromkeys(known) | given)
    try:
        splits = load_data(data, progress=False)
    except UsageError as error:
        hint = (
            "" if root or SOURCES[data.name].where.endswith("mnist5k:read") else "; where they moved: data.root=FOLDER"
        )
        raise UsageError(f"{run}: its images: {error}{hint}") from error
    told.found(splits.summary)
    if splits.hash != (status.get("inputs") or {}).get("images", splits.hash):
        raise UsageError(
            f"{run}: the images at data.root={data.root} are not those that it was trained on; put them back, or give"
            " the folder that has them: data.root=FOLDER"
        )
    return splits, written


def images_in(folder: Path, size: int, skipped: list[str] | None = None, value_range: Any = None) -> Images:
    """Every image below `folder`, for networks of `size` pixels that learned from values in `value_range`, None of 8
    bits. Raises UsageError.

    skipped: gets the files that cannot be read, as "path (why)", which is said in a line; without it such a file is an
    error.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of images")
    beside = Told()
    mapping = Mapping(value_range)
    images = read_folder(folder, size, skipped, beside, mapping)
    told.left_out(beside)
    told.skipped(skipped or [], len(images) + len(skipped or []))
    told.mapping(mapping, "this network")
    return images
