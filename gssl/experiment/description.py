"""The description beside a file of weights (`gssl.weights/1`). No torch here.

A description that is damaged is never taken for absent: the network would lose its normalisation and its labels' use.
Its checksum is compared by `gssl.engine.files.read_json`; what it was before there were checksums is checked here.
"""

import math
from pathlib import Path
from typing import Any

from gssl.engine.files import read_json
from gssl.errors import UsageError

SCHEMA = "gssl.weights/1"
KEYS = frozenset(
    ("schema", "method", "seed", "sha256", "backbone", "size", "input", "labels_used", "range", "tokenizer", "checksum")
)
# what `gssl export` says beside that, of a file that `weights=FILE` reads
EXPORTED = frozenset(
    ("to", "part", "run", "architecture", "dim", "dims", "image", "normalised", "output", "meaning", "use", "check",
     "notes", "classes", "temperature", "preprocessing", "values")
)  # fmt: skip
MARKS = 3  # so many of KEYS show whose description it is, whatever became of the others


def of_weights_in(run: Path) -> dict[str, Any]:
    """What a run wrote beside its exported network. Raises UsageError where that is missing or damaged."""
    file = run / "weights" / "backbone.json"
    if not file.is_file():
        raise UsageError(f"{file}: missing; it says what network the weights are of: put it back, or export them again")
    text = _read(file)
    if not isinstance(text, dict) or not _ours(text):
        raise _damaged(file, "no description of weights")
    return checked(text, file)


def of_weights(path: Path, digest: str) -> dict[str, Any] | None:
    """What lies beside a file of weights; None where nothing does, or notes of others. Raises UsageError where a
    description of ours is damaged.

    digest: of the weights. Who names the file's hash describes it, whatever else became of the description.
    """
    file = path.with_suffix(".json")
    if path.name == "backbone.safetensors" and (path.parent.parent / "status.json").is_file():
        return of_weights_in(path.parent.parent)  # without it these would be weights of others
    if not file.is_file() or file == path:
        return None
    if path.suffix != ".safetensors":  # nothing of ours
        try:
            text = _read(file)
        except UsageError:
            return None
    else:
        text = _read(file)
    if not isinstance(text, dict):
        return None
    schema = str(text.get("schema"))
    if schema.startswith("gssl.") and schema != SCHEMA:
        return text  # of a network with a head: who reads it checks it
    return checked(text, file) if _ours(text) or text.get("sha256") == digest else None


def checked(text: dict[str, Any], file: Path) -> dict[str, Any]:
    """`text` where its types and its hash hold. Raises UsageError."""
    if text.get("schema") != SCHEMA:
        raise _damaged(file, f"schema is {str(text.get('schema'))[:40]!r}, expected {SCHEMA}")
    if unknown := sorted(set(text) - KEYS - (EXPORTED if "to" in text else frozenset())):
        raise _damaged(file, f"key {unknown[0][:40]!r} is not known")
    wrong = [key for key, holds in _types(text).items() if not holds]
    if wrong:
        raise _damaged(file, f"{wrong[0]} is missing or of another type")
    return text


def _types(text: dict[str, Any]) -> dict[str, bool]:
    network, size, inputs = text.get("backbone"), text.get("size"), text.get("input")
    return {
        "method": isinstance(text.get("method"), str | None),
        "seed": _whole(text.get("seed")) or text.get("seed") is None,
        "sha256": isinstance(text.get("sha256"), str) and len(text["sha256"]) == 64,
        "backbone": isinstance(network, dict) and isinstance(network.get("name"), str),
        "size": _whole(size) and 0 < int(str(size)) <= 1 << 16,
        "input": inputs is None
        or _of_sounds(inputs)
        or (isinstance(inputs, dict) and set(inputs) == {"mean", "std"} and all(map(_three, inputs.values()))),
        "range": _range(text.get("range")),
        "tokenizer": isinstance(text.get("tokenizer"), str | None),
        "labels_used": isinstance(text.get("labels_used"), bool | None),
    }


def _of_sounds(inputs: Any) -> bool:
    """Whether it is what `gssl.nets.log_mel.SoundInputs` needs."""
    whole, numbers = ("bands", "rate", "samples"), ("hop_ms", "mean", "std")
    return (
        isinstance(inputs, dict)
        and set(inputs) == {*whole, *numbers}
        and all(_whole(inputs[key]) and inputs[key] > 0 for key in whole)
        and all(isinstance(inputs[key], int | float) and math.isfinite(inputs[key]) for key in numbers)
        and min(inputs["hop_ms"], inputs["std"]) > 0
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _three(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    )


def _range(value: Any) -> bool:
    """Of the values that became black and white; None of images of 8 bits a value."""
    if not isinstance(value, list):
        return value in (None, "full")
    return len(value) == 2 and _three([*value, 0]) and value[0] < value[1]


def _ours(text: dict[str, Any]) -> bool:
    return str(text.get("schema")).startswith("gssl.") or len(KEYS & set(text)) >= MARKS


def _read(file: Path) -> Any:
    found = read_json(file)
    if found is None:
        raise _damaged(file, "no readable JSON")
    return found


def _damaged(file: Path, why: str) -> UsageError:
    return UsageError(
        f"{file}: damaged ({why}); it describes the weights beside it: take it from a copy, or export them again"
    )
