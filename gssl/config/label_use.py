"""Who has read the labels of all training images: of a method, a run, a checkpoint, a file of weights. No torch here.

Label use travels with weights: what is trained on from a network that has read labels has read them, too. Three
answers: True, False, and None where it is not on record (weights of which only the numbers are there). Who has read
labels is a reference in every report and never ranked.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gssl.config import arms, registry
from gssl.engine.documents import find_yaml, read_yaml
from gssl.engine.files import find_json, read_json
from gssl.errors import Damaged
from gssl.schemas import gan
from gssl.schemas.ready_made import READY_MADE, without_prefix

NEEDS_NO_FILE = (*arms.FIXED, *READY_MADE, "torchvision")
FINETUNED = "gssl.finetuned/1"  # schema of what lies beside a network that was trained on labels
HEAD = "gssl.head/1"  # of a head on a frozen network, which is what it was
MODEL = "gssl.model/1"  # of the model of a comparison, trained on all labels
MARKS = ("result.json", "status.json")  # a directory with one of them is a run's
Overrides = Callable[[str], Sequence[str]]


def worst(*known: bool | None) -> bool | None:
    """Of several things that went into one: True if any has read labels, else None if of any it is not on record."""
    return True if any(known) else None if None in known else False


# ── before anything runs ─────────────────────────────────────────────────────────────────────────


def of_method(family: str, cfg: Any) -> bool | None:
    """Of a method's configuration: an object or a mapping with `name`, and of a GAN what its classes are for; of what
    has a teacher, by that."""
    get = cfg.get if isinstance(cfg, dict) else lambda key, default=None: getattr(cfg, key, default)
    if registry.reads_labels(str(get("name"))):
        return True
    if family != "gan":
        return of_weights(str(get("teacher"))) if get("teacher") else False
    weights = [get(key, 0.0) or 0.0 for key in ("class_d", "class_g")]
    chosen = {"condition": get("condition") or "none", "class_d": weights[0], "class_g": weights[1]}
    return gan.reads_labels(gan.GAN.model_construct(None, **chosen))


def of_arm(arm: arms.Arm, composed: Callable[[str, Sequence[str]], Any], settings: Sequence[Overrides]) -> bool | None:
    """Of an arm of a comparison, from configurations and from what lies on the disk: known before anything is trained.

    composed(method, overrides): the method's configuration. settings: each gives a method's overrides, as one for
    what is set and one for every choice of a search, for nobody knows beforehand which it will find.
    """
    found: list[bool | None] = [arm.labels]
    for method in arm.trained:
        command = arms.command(method)
        family = "gan" if command == "train-gan" else "ssl"
        for overrides in settings:
            mine = [text for text in overrides(method) if arms.owner(text) == command]
            found += [of_method(family, composed(method, mine))] if mine else []
    return worst(*found, of_files(arm))


def of_files(arm: arms.Arm) -> bool | None:
    """Of the weights that an arm takes from the disk; False where it takes none."""
    if arm.stages or arm.source is None:
        return False
    return worst(*(of_weights(text) for text in arm.paths() or [arm.source]))


# ── what lies on the disk ────────────────────────────────────────────────────────────────────────


def of_weights(weights: str, beside: Path | None = None) -> bool | None:
    """Of a `weights=` value. Published networks have read labels of other images, none of these: False.

    beside: the run in whose configuration it stands.
    """
    if weights in NEEDS_NO_FILE:
        return False
    if arms.PUBLISHED.fullmatch(weights):
        file = weights.partition("@")[2]
        if weights.startswith("hf:"):  # a folder is on the disk, a name on the hub
            file = weights.removeprefix("hf:") if Path(weights.removeprefix("hf:")).expanduser().is_dir() else ""
        return of_path(_found(file, beside)) if file else False
    return of_path(_found(weights, beside))


def of_path(path: Path, above: frozenset[Path] = frozenset()) -> bool | None:
    """Of a run directory, one of its checkpoints or a file of weights, and of everything that it began with."""
    if path.is_file():
        return _of_file(path, above)
    if any((folder / "predict.json").is_file() for folder in (path, path / "model")):
        return True
    if _json(path / "status.json").get("command") == "transfer":
        result = _json(path / "result.json")
        file = path / ((result.get("model") or {}).get("file") or "weights/finetuned.safetensors")
        return _of_file(file, above) if file.is_file() else of_source(result.get("source") or {}, path, above)
    checkpoint = (path / "manifest.json").is_file() or path.absolute().parent.name == "checkpoints"
    return _of_run(path.absolute().parents[1] if checkpoint else path, above)


def _found(text: str, beside: Path | None) -> Path:
    """A recorded path may be relative to where the command ran, or lie beside the run."""
    path = Path(without_prefix(text)[0]).expanduser()
    other = beside.parent / path.name if beside is not None else path
    return other if not path.exists() and other.exists() else path


def _of_file(file: Path, above: frozenset[Path]) -> bool | None:
    texts = [_json(place) for place in (file.with_suffix(".json"), file.with_name(f"{file.name}.json"))]
    text = next((found for found in texts if str(found.get("schema")).startswith("gssl.")), {})
    beside = _json(file.with_name("predict.json"))
    if text.get("schema") == FINETUNED or beside.get("schema") == MODEL:
        return True
    if text.get("schema") == HEAD:
        return of_weights(str(text["weights"]), file.absolute().parents[1])
    if text.get("labels_used") is not None:
        return bool(text["labels_used"])
    known: list[bool | None] = []
    if text.get("method") and "labels_used" not in text:  # of an older version, which wrote down the method only
        known.append(registry.reads_labels(text["method"]))
    home = next((folder for folder in file.absolute().parents[:3] if any((folder / m).is_file() for m in MARKS)), None)
    if home is not None and _json(home / "status.json").get("command") == "transfer":
        return True  # a network that was fine-tuned
    if home is not None:
        known.append(_of_run(home, above))
    return worst(*known) if known else None


def _of_run(run: Path, above: frozenset[Path]) -> bool | None:
    key = run.resolve()
    if key in above:
        return False
    above |= {key}
    result, config = _json(run / "result.json"), _config(run)
    if not result and not config:
        return None
    lost = None if any(_damaged(run / name) for name in ("result.json", "config.yaml")) else False
    if result.get("labels_used"):
        return True
    own = result["labels_used"] if "labels_used" in result else _of_config(config)
    return worst(own, lost, *_before(run, result, config, above))


def _of_config(config: dict[str, Any]) -> bool | None:
    """Of what a run trains by itself, from its config.yaml; None where that names no method."""
    for family in registry.FAMILIES:
        if isinstance(config.get(family), dict):
            return of_method(family, config[family])
    return None


def _before(run: Path, result: dict[str, Any], config: dict[str, Any], above: frozenset[Path]) -> list[bool | None]:
    """Of what a run began with: its weights, and the generator whose images it learned from."""
    found: list[bool | None] = []
    source = result.get("source") or {}
    if "labels_used" in source:
        found.append(source["labels_used"])
    elif source.get("path"):
        found.append(of_source(source, run, above))
    elif not source and config.get("weights"):
        found.append(of_weights(str(config["weights"]), run))
    made = result.get("generated") or {}
    maker = made.get("run") or (config.get("generated") or {}).get("run")
    if maker:
        found.append(True if made.get("labels_used") else of_path(_found(str(maker), run), above))
    return found


def of_source(source: dict[str, Any], run: Path, above: frozenset[Path] = frozenset()) -> bool | None:
    """Of the `source` in the result.json of `run`: as it is recorded, else by what lies there now, else by name."""
    if "labels_used" in source:
        return None if source["labels_used"] is None else bool(source["labels_used"])
    if not source.get("path"):
        return False
    path = _found(str(source["path"]), run)
    if source.get("kind") == "checkpoint" and not path.exists():  # removed since, its run may still be there
        home = _found(str(path.parents[1]), run)
        path = home if home.exists() else path
    if path.exists():
        return worst(of_path(path, above), registry.reads_labels(source.get("method")))
    return registry.reads_labels(source.get("method")) if source.get("method") else None


def recorded_hash(path: Path) -> str | None:
    """sha256 of the weights of a run or an exported file, as it stands beside them; None where nothing stands there."""
    file = path if path.is_file() else path / "weights" / "backbone.safetensors"
    digest = _json(file.with_suffix(".json")).get("sha256")
    return str(digest) if digest else None


def _damaged(path: Path) -> bool:
    """Whether a document is there and cannot be used: what it says is not on record."""
    try:
        read_json(path) if path.suffix == ".json" else read_yaml(path)
    except Damaged:
        return True
    return False


def _json(path: Path) -> dict[str, Any]:
    found = find_json(path)
    return found if isinstance(found, dict) else {}


def _config(run: Path) -> dict[str, Any]:
    return find_yaml(run / "config.yaml")
