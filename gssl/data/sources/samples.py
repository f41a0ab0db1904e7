"""What a tar archive of samples holds: its images, the contents of these, and their labels, by one pass.

Members whose paths are the same up to the first dot of the file's name are one sample: `n01/7.jpg` and `n01/7.cls`. As
long as an archive's size, times and inode stay, what was found is kept.
"""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from gssl.data import cache, checksums, tars
from gssl.data.columns import HASH
from gssl.data.sources.folders import SYSTEM, is_image, one_line
from gssl.errors import UsageError

FORMAT = 1  # part of the key of what was found in an archive
AUTO, JSON, FOLDERS = "auto", "json.", "folders"  # rules beside cls and txt
TEXT, NAME = 1 << 24, 200  # bytes of a member that holds labels, characters of a class's name


class Shard(NamedTuple):
    """What an archive holds. names: of the images, below it; places, contents and labels are theirs.

    labels: by rule, as text, None where a sample has none. captions: txt members that are no names of classes. others:
    members that are not read, by extension. problems: keys of samples that are left out, and why.
    """

    signature: list[int]
    names: list[str]
    places: list[tuple[int, int]]
    contents: list[str]
    labels: dict[str, list[str | None]]
    captions: int
    others: dict[str, int]
    links: int
    problems: list[str]


def shard(path: Path, key: str, rule: str) -> Shard:
    """What an archive holds, from the cache where it is known. Raises UsageError that names data.`key`."""
    try:
        own = checksums.signature(os.stat(path))
    except OSError as error:
        raise UsageError(f"data.{key}: {path} cannot be read ({error.strerror})") from error

    def make() -> np.ndarray:
        return np.frombuffer(json.dumps(_read(path, key, rule, own)).encode(), np.uint8)

    name = cache.entry_key("tar", FORMAT, os.path.realpath(path), *own, rule)
    found = cache.remembered("tars", name, make) if cache.quiet(own) else make()
    return Shard(*json.loads(found.tobytes()))


def places(path: Path, key: str, rule: str, signature: list[int]) -> tuple[list[int], tars.Places]:
    """What `tars.know` takes, of an archive that had this signature. It is read again, and not kept for millions."""
    found = shard(path, key, rule)
    return signature, {name: (start, size) for name, (start, size) in zip(found.names, found.places, strict=True)}


def _read(path: Path, key: str, rule: str, own: list[int]) -> Shard:
    """By one pass over the archive, which has the signature `own`."""
    samples = _Samples(path, key, rule)
    try:
        if tars.members(str(path), samples.take) != own:
            raise tars.Broken("was written to while it was read")
    except tars.Broken as error:
        raise UsageError(f"data.{key}: {path} {error}; fetch it again or remove it") from error
    except OSError as error:
        raise UsageError(f"data.{key}: {path} cannot be read ({error.strerror or error})") from error
    return samples.shard(own)


@dataclass
class _Sample:
    """Members of one key. images: their names; texts: what those for labels say."""

    images: list[str] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)
    place: tuple[int, int] = (0, 0)
    content: str = ""


class _Samples:
    """The samples of an archive, as its members are taken one after another."""

    def __init__(self, path: Path, key: str, rule: str) -> None:
        self.path, self.key = path, key
        self.rules = ("cls", "txt") if rule == AUTO else () if rule == FOLDERS else (rule,)
        self.wanted = {"json" if own.startswith(JSON) else own for own in self.rules}
        self.strict = rule != AUTO
        self.samples: dict[str, _Sample] = {}
        self.others: Counter[str] = Counter()
        self.links, self.captions = 0, 0
        self.problems: list[str] = []

    def take(self, member: tars.Member, file: IO[bytes]) -> None:
        """Raises UsageError where a member is there twice; EOFError where it is not there whole."""
        name = tars.inside(member.name)
        folder, _, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        extension = extension.lower()
        if member.kind == "folder":
            return
        if member.kind != "file":
            self.links += 1
        elif not stem or any(part.startswith(".") or part.lower() in SYSTEM for part in folder.split("/")):
            self.others["hidden"] += 1
        elif is_image(base) or extension in self.wanted:
            sample = self.samples.setdefault(f"{folder}/{stem}" if folder else stem, _Sample())
            if extension in sample.texts or name in sample.images:
                raise UsageError(f"data.{self.key}: {self.path} holds {name} twice; give each sample a key of its own")
            if extension in self.wanted:
                sample.texts[extension] = _bytes(file, min(member.place[1], TEXT))
            else:
                sample.images.append(name)
                sample.place, sample.content = member.place, _content(file, member.place[1])
        else:
            self.others[f".{extension}" if extension else "without a suffix"] += 1

    def shard(self, signature: list[int]) -> Shard:
        """What was found."""
        kept: list[_Sample] = []
        labels: dict[str, list[str | None]] = {rule: [] for rule in self.rules}
        for key, sample in self.samples.items():
            try:
                own = {rule: self._label(rule, sample) for rule in self.rules}
                if len(sample.images) != 1:
                    listed = ", ".join(os.path.basename(name) for name in sample.images)
                    raise ValueError(f"has {len(sample.images)} images ({listed})" if listed else "has no image")
            except ValueError as error:
                self.problems.append(f"{key} {error}")
                continue
            kept.append(sample)
            for rule, label in own.items():
                labels[rule].append(label)
        names, places, contents = ([s.images[0] for s in kept], [s.place for s in kept], [s.content for s in kept])
        rest = (labels, self.captions, dict(self.others), self.links, self.problems)
        return Shard(signature, names, places, contents, *rest)

    def _label(self, rule: str, sample: _Sample) -> str | None:
        """Raises ValueError that says what is wrong."""
        raw = sample.texts.get("json" if rule.startswith(JSON) else rule)
        if raw is None:
            return None
        if rule == "cls":
            return _integer(raw)
        if rule.startswith(JSON):
            return _value(raw, rule.removeprefix(JSON))
        try:
            return _name(raw.decode("utf-8"), "txt")
        except ValueError:
            if self.strict:
                raise
            self.captions += 1
            return None


def _bytes(file: IO[bytes], size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise EOFError
    return found


def _content(file: IO[bytes], size: int) -> str:
    """As `cache.content_hash` of the next `size` bytes."""
    found = blake2b(digest_size=HASH)
    while size > 0:
        block = _bytes(file, min(size, checksums.BLOCK))
        found.update(block)
        size -= len(block)
    return found.hexdigest()


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def _integer(raw: bytes) -> str | None:
    """Of a cls member; None where it is -1 or empty. Raises ValueError."""
    text = raw[:NAME].decode("utf-8", "replace").strip()
    if text in ("", "-1"):
        return None
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise ValueError(f"has a cls that is no integer ({_short(text)}); names of classes are for txt members")
    return str(int(text))


def _name(text: str, what: str) -> str | None:
    """The name of a class. Raises ValueError."""
    text = text.strip()
    if len(text) > NAME or len(text.splitlines()) > 1 or "\0" in text:
        raise ValueError(f"has a {what} that is no name of a class, one line of at most {NAME} characters")
    return text or None


def _value(raw: bytes, key: str) -> str | None:
    """What stands under a key of a json member: an integer or a name. Raises ValueError."""
    try:
        found: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"has a json that cannot be read ({_short(str(error))})") from error
    found = found.get(key) if isinstance(found, dict) else None
    if found is None or found == -1:
        return None
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise ValueError(f"has a json whose {key} is no integer and no name ({_short(str(found))})")
    return _name(str(found), f"json whose {key}")


def _short(text: str) -> str:
    return one_line(text)[:40]
