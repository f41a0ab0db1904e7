"""What a tar archive of samples holds: its images, the contents of these, and their labels, by one pass.

Members whose paths are the same up to the first dot of the file's name are one sample: `n01/7.jpg` and `n01/7.cls`. As
long as an archive's size, times and inode stay, what was found is kept.
"""

import json
import os
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np

from gssl.data import cache, checksums, decode, tars
from gssl.data.columns import HASH
from gssl.data.index import Coded, Names, Texts
from gssl.data.sources.folders import SYSTEM, class_of, is_image, one_line
from gssl.errors import UsageError

FORMAT = 2  # part of the key of what was found in an archive
AUTO, JSON, FOLDERS = "auto", "json.", "folders"  # rules beside cls and txt
TEXT, NAME = 1 << 24, 200  # bytes of a member that holds labels, characters of a class's name


@dataclass
class Shard:
    """What an archive holds, or several. names: of the images, below it; contents and labels are theirs.

    contents: S32 (N,). places: int64 (N, 2), of one archive. labels: by rule, None where a sample has none. captions:
    txt members that are no names of classes. others: members that are not read, by extension. problems: keys of samples
    that are left out, and why. folders: whether the first image lies in a folder.
    """

    names: Names
    contents: np.ndarray
    places: np.ndarray
    labels: dict[str, Coded]
    captions: int
    others: dict[str, int]
    links: int
    problems: list[str]
    folders: bool

    def arrays(self) -> dict[str, np.ndarray]:
        """As the cache keeps it."""
        rest = [list(self.labels), self.captions, self.others, self.links, self.problems, self.folders]
        found = {"rest": np.frombuffer(json.dumps(rest).encode(), np.uint8), "places": self.places}
        found |= {"names": self.names.blob, "starts": self.names.starts, "contents": self.contents}
        for i, coded in enumerate(self.labels.values()):
            texts = Texts.of(coded.texts)
            found |= {f"{i}_codes": coded.codes, f"{i}_texts": texts.blob, f"{i}_starts": texts.starts}
        return found

    @classmethod
    def of(cls, found: dict[str, np.ndarray]) -> "Shard":
        """From the cache."""
        rules, *rest = json.loads(found["rest"].tobytes())
        labels = {
            rule: Coded(found[f"{i}_codes"], Texts(found[f"{i}_texts"], found[f"{i}_starts"]))
            for i, rule in enumerate(rules)
        }
        return cls(Names(found["names"], found["starts"]), found["contents"], found["places"], labels, *rest)


def shard(path: Path, key: str, rule: str, signature: list[int] | None = None) -> Shard:
    """What an archive holds, from the cache where it is known; signature: which it has, where that is known.

    Raises UsageError that names data.`key`.
    """
    own = signature or signature_of(path, key)
    if not cache.quiet(own):
        return _read(path, key, rule, own)
    name = cache.entry_key("tar", FORMAT, os.path.realpath(path), *own, rule)
    return Shard.of(cache.remembered_arrays("tars", name, lambda: _read(path, key, rule, own).arrays()))


def signature_of(path: Path, key: str) -> list[int]:
    """`checksums.signature` of an archive. Raises UsageError that names data.`key`."""
    try:
        return checksums.signature(os.stat(path))
    except OSError as error:
        raise UsageError(f"data.{key}: {path} cannot be read ({error.strerror})") from error


def archives(root: Path, paths: Sequence[Path], key: str, rule: str, threads: int, progress: bool) -> Shard:
    """What several archives hold, names and problems below `root`: from the cache, mapped, where all of them are known.

    So a start holds no list of what may be millions, and no file open for each archive. `tars` is told where to look
    for their members. Raises UsageError that names data.`key`.
    """
    below = [os.path.relpath(path, root) for path in paths]
    own = [signature_of(path, key) for path in paths]

    def make() -> Shard:
        found = _Joining(rule)
        with decode.bar(f"reading {len(paths):,} archives", len(paths), progress) as advance:
            look = partial(_numbered, paths, key, rule, own)
            for number, one in decode.windowed(look, range(len(paths)), threads):
                found.add(below[number], one)
                advance(1)
        return found.shard()

    told = json.dumps(list(zip(below, map(os.path.realpath, paths), own, strict=True)))
    name = cache.entry_key("tars", FORMAT, rule, told)
    known = all(map(cache.quiet, own))
    found = Shard.of(cache.remembered_arrays("tars", name, lambda: make().arrays())) if known else make()
    for path, signature in zip(paths, own, strict=True):
        tars.know(str(path), partial(places, path, key, rule, signature))
    return found


def _numbered(paths: Sequence[Path], key: str, rule: str, signatures: list[list[int]], number: int) -> Shard:
    return shard(paths[number], key, rule, signatures[number])


class _Joining:
    """Puts archives together, one after another."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.blob, self.lengths = bytearray(), array("q")
        self.contents = [np.zeros(0, f"S{2 * HASH}")]
        self.labels: dict[str, list[Coded]] = {}
        self.captions = self.links = 0
        self.others: Counter[str] = Counter()
        self.problems: list[str] = []
        self.folders = False

    def add(self, below: str, own: Shard) -> None:
        """What the archive holds that lies at `below`."""
        names = Names.of(f"{below}/{name}" for name in own.names)
        self.blob += names.blob.tobytes()
        self.lengths.extend(np.diff(names.starts).tolist())
        self.contents.append(np.array(own.contents))
        given = own.labels
        if self.rule == FOLDERS:
            given = {FOLDERS: Coded.of(class_of(name) if "/" in name else None for name in own.names)}
        for rule, coded in given.items():
            self.labels.setdefault(rule, []).append(Coded(np.array(coded.codes), list(coded.texts)))
        self.captions, self.links = self.captions + own.captions, self.links + own.links
        self.others.update(own.others)
        self.problems += [f"{below}/{text}" for text in own.problems]
        self.folders |= own.folders

    def shard(self) -> Shard:
        """All of them as one."""
        starts = np.zeros(len(self.lengths) + 1, np.int64)
        np.cumsum(self.lengths, out=starts[1:])
        labels = {rule: Coded.joined(parts) for rule, parts in self.labels.items()}
        none = np.zeros((0, 2), np.int64)
        names, contents = Names(np.frombuffer(self.blob, np.uint8), starts), np.concatenate(self.contents)
        rest = (self.captions, dict(self.others), self.links, self.problems, self.folders)
        return Shard(names, contents, none, labels, *rest)


def places(path: Path, key: str, rule: str, signature: list[int]) -> tuple[list[int], tars.Places]:
    """What `tars.know` takes, of an archive that had this signature. It is read again, and not kept for millions."""
    if signature_of(path, key) != signature:  # `tars` says that it was changed: nothing is to be looked for in it
        return signature, {}
    found = shard(path, key, rule, signature)
    return signature, dict(zip(found.names, map(tuple, found.places.tolist()), strict=True))


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
    return samples.shard()


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

    def shard(self) -> Shard:
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
        places = np.array([sample.place for sample in kept], np.int64).reshape(-1, 2)
        contents = np.array([sample.content for sample in kept], f"S{2 * HASH}")
        coded = {rule: Coded.of(own) for rule, own in labels.items()}
        names = Names.of(sample.images[0] for sample in kept)
        rest = (self.captions, dict(self.others), self.links, self.problems)
        return Shard(names, contents, places, coded, *rest, folders=any("/" in name for name in names[:1]))

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
