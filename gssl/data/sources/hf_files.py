"""Files of a Hugging Face data set: which there are, which split each belongs to, what its columns mean. No torch here.

Splits are those that README.md names under `configs`, else the names of files and folders:
`train-00000-of-00002.parquet`, `default/train/0000.parquet`, `train/data-00000-of-00001.arrow`.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from gssl.data.sources.parts import PARTS
from gssl.errors import UsageError

SUFFIXES = (".parquet", ".arrow")
NAME = re.compile(r"[\w.-]+/[\w.-]+")
MOST, DEEPEST = 2**22, 32  # bytes, and levels, of what says something about a data set
CACHED = "cache-"  # files of Arrow that `datasets` writes for itself


def holds_tables(folder: Path) -> bool:
    """Whether a folder has Parquet or Arrow files, at any depth."""
    for _, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".")]
        if any(name.endswith(SUFFIXES) for name in names):
            return True
    return False


def splits(folder: Path, warnings: list[str]) -> dict[str, list[Path]]:
    """part (train, val, test, pretrain) → its files. Raises UsageError where there are none.

    A single split of any name is `train`; others of unknown names are left out with a warning.
    """
    files = sorted(p for suffix in SUFFIXES for p in folder.rglob(f"*{suffix}") if not p.name.startswith(CACHED))
    files = [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    if not files:
        raise UsageError(
            f"data.root: no {' or '.join(SUFFIXES)} files below {folder}; for folders of images: data=imagefolder"
        )
    named = _declared(folder, warnings)
    if not named:
        for path in files:
            named.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if len(named) == 1:
        return {"train": next(iter(named.values()))}
    found: dict[str, list[Path]] = {}
    for name, own in named.items():
        part = next((part for part, known in PARTS.items() if name.lower() in known), None)
        if part is None:
            warnings.append(f"data.root: the split {name} is none of train, validation and test: left out")
        else:
            found.setdefault(part, []).extend(own)
    if "train" not in found:
        raise UsageError(f"data.root: {folder} has the splits {', '.join(sorted(named))} and no train")
    return found


def _declared(folder: Path, warnings: list[str]) -> dict[str, list[Path]]:
    """split → files, as README.md says; of several configurations the default one."""
    configs = _dicts(front_matter(folder).get("configs"))
    if not configs:
        return {}
    chosen = next((c for c in configs if c.get("default") or c.get("config_name") == "default"), configs[0])
    if len(configs) > 1:
        others = ", ".join(str(c.get("config_name")) for c in configs if c is not chosen)
        name = chosen.get("config_name")
        warnings.append(f"data.root: README.md has several configurations, {name} is taken and not {others}")
    listed = chosen.get("data_files") or []
    if isinstance(listed, str):
        listed = [{"split": "train", "path": listed}]
    found: dict[str, list[Path]] = {}
    for own in _dicts(listed):
        if "split" not in own or "path" not in own:
            continue
        patterns = own["path"] if isinstance(own["path"], list) else [own["path"]]
        paths = sorted({path for text in patterns for path in _matches(folder, str(text))})
        if paths:
            found.setdefault(str(own["split"]), []).extend(paths)
    return found


def _dicts(value: Any) -> list[dict[str, Any]]:
    """The tables in a list; what else a README.md of others has there says nothing."""
    return [own for own in value if isinstance(own, dict)] if isinstance(value, list) else []


def _matches(folder: Path, pattern: str) -> list[Path]:
    """Files below `folder` and nowhere else."""
    if ".." in Path(pattern).parts or pattern.startswith("/"):
        return []
    try:
        return [path for path in folder.glob(pattern) if path.suffix in SUFFIXES]
    except (ValueError, NotImplementedError, OSError):  # no pattern
        return []


def _split_of(path: Path) -> str:
    """By the name of the file, else of a folder around it."""
    words = [re.split(r"[-_.]", path.name)[0], *reversed(path.parent.parts)]
    known = {word for own in PARTS.values() for word in own}
    return next((word for word in words if word.lower() in known), words[0])


def front_matter(folder: Path) -> dict[str, Any]:
    """The YAML at the head of README.md; {} where there is none that can be read."""
    text = _text(folder / "README.md")
    match = re.match(r"---\s*\n(.*?)\n---", text, re.S)
    try:
        found = yaml.load(match[1], _Loader) if match else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class _Loader(yaml.SafeLoader):
    """Without aliases, with which some lines stand for millions of values, and nested a few times at most."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent) or self.depth > DEEPEST:
            raise yaml.YAMLError("an alias, or nested too deeply")
        self.depth += 1
        found = super().compose_node(parent, index)
        self.depth -= 1
        return found


def _text(path: Path) -> str:
    """What a regular file of the data set says; "" where there is none, or where it is too large for what it is."""
    try:
        if not path.is_file() or path.stat().st_size > MOST:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def features(folder: Path, file: Path, metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """column → {"_type": "Image" or "ClassLabel", "names": […]}: from the file, else from what lies beside it."""
    texts: list[str | bytes | None] = [(metadata or {}).get(b"huggingface")]
    texts += [_text(at / name) for at in (file.parent, folder) for name in ("dataset_info.json", "dataset_infos.json")]
    for text in texts:
        try:
            found = _features(json.loads(text)) if text else None
        except (ValueError, RecursionError):
            continue
        if found:
            return found
    info = front_matter(folder).get("dataset_info") or {}
    first = info[0] if isinstance(info, list) and info else info
    listed = _dicts(first.get("features")) if isinstance(first, dict) else []
    return {str(own.get("name")): _of_readme(own.get("dtype")) for own in listed}


def _features(document: Any) -> dict[str, Any] | None:
    if not isinstance(document, dict):
        return None
    for own in (document.get("info"), document, *document.values()):
        if isinstance(own, dict) and isinstance(own.get("features"), dict):
            return {name: what for name, what in own["features"].items() if isinstance(what, dict)}
    return None


def _of_readme(kind: Any) -> dict[str, Any]:
    """README.md writes `dtype: image` and `dtype: {class_label: {names: {'0': cat}}}`."""
    if isinstance(kind, dict) and isinstance(kind.get("class_label"), dict):
        names = kind["class_label"].get("names") or {}
        if not isinstance(names, dict | list) or not all(
            str(key).isdecimal() for key in names if isinstance(names, dict)
        ):
            return {"_type": "Value"}
        ordered = [names[key] for key in sorted(names, key=int)] if isinstance(names, dict) else names
        return {"_type": "ClassLabel", "names": [str(name) for name in ordered]}
    return {"_type": "Image"} if kind == "image" else {"_type": "Value"}
