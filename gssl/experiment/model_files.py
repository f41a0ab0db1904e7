"""Which file holds the model of a run: a network with a head, and the description beside it.

Three places: `weights/finetuned.safetensors` (`gssl.finetuned/1`) and `weights/head.safetensors` (`gssl.head/1`: a
linear head on a frozen network, which is inside only where it cannot be had again from `weights`) of a transfer run,
and `model/model.safetensors` (`gssl.model/1`, described by `predict.json`) of a comparison. Nothing here reads weights.
"""

from pathlib import Path
from typing import Any, NamedTuple

from gssl.engine.documents import expected
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError

SCHEMAS = FINETUNED, HEAD, MODEL = "gssl.finetuned/1", "gssl.head/1", "gssl.model/1"
FOLDER, DESCRIPTION, WEIGHTS = "model", "predict.json", "model.safetensors"
EXPECTED = "give a finished comparison, its model/ folder, or a `gssl transfer` run"


class Described(NamedTuple):
    """A file of weights and what is written about it."""

    file: Path
    text: dict[str, Any]

    @property
    def inside(self) -> bool:
        """Whether the network itself is in the file; else it is what `text["weights"]` names."""
        return self.text["schema"] != HEAD or bool(self.text["inside"])


def has_model(path: Path) -> bool:
    """Whether `path` is a place where `find` looks for a model: a model folder, a transfer run or a comparison."""
    status = read_json(path / "status.json") or {}
    weights = path / "weights"
    tuned = (weights / "finetuned.safetensors").is_file() and not (weights / "backbone.safetensors").is_file()
    return tuned or (path / DESCRIPTION).is_file() or status.get("command") in ("transfer", "compare")


def find(path: Path) -> Described:
    """The model of a comparison, a model folder or a transfer run, its hash checked. Raises UsageError that says what
    would help."""
    if not path.is_dir():
        raise UsageError(f"{path}: no such directory; {EXPECTED}")
    if (path / DESCRIPTION).is_file():
        return _checked(path / WEIGHTS, read_json(path / DESCRIPTION))
    status = read_json(path / "status.json")
    if not status:
        raise UsageError(f"{path}: neither a run nor a model folder (no status.json, no {DESCRIPTION}); {EXPECTED}")
    command, state = status.get("command"), status.get("state")
    with expected(path / "result.json"):
        return _of_run(path, command, state)


def _of_run(path: Path, command: str | None, state: str | None) -> Described:
    if command == "compare":
        if (path / FOLDER / DESCRIPTION).is_file():
            return find(path / FOLDER)
        why = f"this comparison is {state} and" if state != "finished" else "this comparison"
        made = (read_json(path / "result.json") or {}).get("model") or {}
        if made.get("folder"):
            raise UsageError(f"{path}: its {made['folder']}/ is missing (moved or deleted); give the folder's new path")
        text = made.get("why")
        raise UsageError(f"{path}: {why} has no model ({text or 'made with model=false, or by an older version'})")
    if command != "transfer" and not (path / "weights" / "finetuned.safetensors").is_file():
        raise UsageError(
            f"{path}: a {command} run has no head for classes; evaluate it first (gssl transfer weights={path}), and"
            " give the transfer run"
        )
    return _of_transfer(path, state)


def _of_transfer(run: Path, state: str | None) -> Described:
    result = read_json(run / "result.json") or {}
    name = (result.get("model") or {}).get("file") or "weights/finetuned.safetensors"
    if (run / name).is_file():
        return _checked(run / name, read_json((run / name).with_suffix(".json")))
    if state != "finished":
        raise UsageError(f"{run}: this transfer run is {state}; finish it with engine.resume=auto first")
    if (run / "folds").is_dir():
        raise UsageError(
            f"{run}: evaluated in folds, each with a network of its own; give one of them, such as"
            f" {run / 'folds' / '0'}, or the model of a comparison (gssl compare), which has learnt from all labels"
        )
    source = (result.get("source") or {}).get("kind")
    probes = ", ".join(dict.fromkeys(score["probe"] for score in result.get("scores") or [])) or "no probe"
    if result and not result.get("backbone"):
        raise UsageError(f"{run}: evaluates {source}, which is no network, so there is none to use")
    raise UsageError(
        f"{run}: no head that can be used alone ({probes}; knn and clusters have none); run it with"
        " probe.use=[linear] or [finetune] (masks: [segment], boxes: [detect])"
    )


def _checked(file: Path, text: Any) -> Described:
    if not isinstance(text, dict) or not str(text.get("schema")).startswith("gssl.") or not text.get("sha256"):
        raise UsageError(f"{file}: the description beside it is missing or damaged")
    if not file.is_file():
        raise UsageError(f"{file}: missing; its description is there")
    if sha256(file) != text["sha256"]:
        raise UsageError(f"{file}: its sha256 is not the one on record: damaged or replaced")
    return Described(file, text)


def source_of(text: dict[str, Any], file: Path) -> str:
    """The `weights=` value of a frozen network; of a run or file that was moved with the run its new place."""
    weights = str(text["weights"])
    path = Path(weights).expanduser()
    beside = file.absolute().parents[2] / path.name
    return str(beside) if not path.exists() and beside.exists() else weights
