"""Texts: `data.root` is a .txt file, a .csv, .tsv or .jsonl with text[,text_b][,label][,split][,group], or a folder of
these.

In a folder files and folders may be parts by their names (`train.csv`, `val/`, `test.txt`); .txt files in class folders
have that class. Without a test or a validation part they are split off by seeded hashes of documents (or groups), a
single .txt file by position. Only then is the tokenizer trained, on training texts (and those for pretraining) alone.

A row is a document's first `data.size` tokens, or of long ones a piece of so many (`data.long`). A .jsonl may have
messages in place of text: dialogues, of which a row has whole exchanges, as many as fit. With text_b a row is a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gssl import schemas, vocabulary
from gssl.data import cache, dialogues, text_pairs, texts, tokens
from gssl.data.draws import digest
from gssl.data.images import Images
from gssl.data.sides import divided
from gssl.data.sources import DataSource
from gssl.data.sources.folders import Told, some
from gssl.data.store import TokenWriter
from gssl.data.texts import Document, Found
from gssl.errors import UsageError

PARTS = ("train", "val", "test", "pretrain")
LONGER = ("cut", "shortened", "divided", "broken")  # counts of an entry of the cache
MANY = 20  # labelled texts from which a label of its own for each is no class


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Texts of `data=text`. Errors: UsageError for a missing or wrong file, no texts, or classes that do not fit."""
    if cfg.root is None:
        raise UsageError("data.root must be given: a .txt, .csv, .tsv or .jsonl file, or a folder of these")
    told = Told()
    found = _found(Path(cfg.root).expanduser(), "root", cfg)
    home = Path(cfg.root).expanduser()
    for part, value in (("test", cfg.test), ("pretrain", cfg.pretrain)):
        if value is not None:
            place = home / value
            own = _found(place if place.exists() else Path(value).expanduser(), part, cfg)
            found.parts[part] = [document for documents in own.parts.values() for document in documents]
            found.notes += own.notes
    told.notes, told.warnings = found.notes, found.warnings
    parts = _without_empty(found, told)
    given = {part for part in ("val", "test") if parts.get(part)}
    spare = _labels(parts)
    classes = sorted({document.label for document in parts["train"] if document.label is not None})
    _check(parts, classes)
    _check_kinds(parts, cfg)
    alone = parts["train"][0]
    if len(parts["train"]) == 1 and not spare and not (alone.label or alone.messages or alone.text_b):
        _by_position(parts, cfg, told)
        sides = np.array(["train"])
    else:
        sides = _sides(parts, cfg)
    pool = parts["train"]
    learned = [d for d, side in zip(pool, sides, strict=True) if side == "train"] + spare + parts.get("pretrain", [])
    _tell_shared(learned, [d for d, side in zip(pool, sides, strict=True) if side == "test"] + parts["test"], told)
    maker = Maker(cfg, [text for document in learned for text in document.texts])
    loaded: dict[str, Images] = {}
    every, of = _images([*pool, *spare], classes, cfg, maker)
    for part in ("train", "val", "test"):
        mine = np.flatnonzero(sides == part)
        if len(mine):
            loaded[part] = every.subset(np.flatnonzero(np.isin(of, mine)))
    for part in ("val", "test"):
        if part in given or parts.get(part):
            loaded[part], _ = _images(parts[part], classes, cfg, maker)
    pretrain = None
    if parts.get("pretrain"):
        unlabelled = [replace(document, label=None) for document in parts["pretrain"]]
        pretrain, _ = _images(unlabelled, [], cfg, maker)
    beside = every.subset(np.flatnonzero(of >= len(pool))).unlabelled() if spare else None
    told.notes += maker.said()
    keys = np.array([""] * len(loaded["train"]))
    return DataSource(
        loaded["train"], loaded["test"], keys, pretrain, loaded["val"], [], told.suspicious(), told.texts(), beside
    )


def _found(path: Path, key: str, cfg: schemas.Data) -> Found:
    if path.is_dir():
        return texts.folder(path, cfg.encoding)
    if not path.is_file():
        raise UsageError(f"data.{key}: there is no {path}; expected a .txt, .csv, .tsv or .jsonl file, or a folder")
    if not texts.is_text(path.name):
        raise UsageError(f"data.{key}: {path} is no text; expected one that ends in {', '.join(texts.SUFFIXES)}")
    return texts.documents(path, cfg.encoding)


def _without_empty(found: Found, told: Told) -> dict[str, list[Document]]:
    parts = {part: [d for d in found.parts.get(part, []) if all(map(str.strip, d.texts))] for part in PARTS}
    empty = [d for own in found.parts.values() for d in own if not all(map(str.strip, d.texts))]
    if empty:
        what = "text" if all(d.text_b is None for d in empty) else "pair"
        noun = f"{what} is" if len(empty) == 1 else f"{what}s are"
        told.notes.append(f"{len(empty):,} empty {noun} left out (the first is {empty[0].name})")
    if not parts["train"]:
        raise UsageError("data.root: there are no training texts that are not empty; add some")
    return parts


def _labels(parts: dict[str, list[Document]]) -> list[Document]:
    """Takes training texts without a label away where others have one: they are for pretraining beside these."""
    if not any(document.label for document in parts["train"]):
        return []
    spare = [document for document in parts["train"] if not document.label]
    parts["train"] = [document for document in parts["train"] if document.label]
    return spare


def _check(parts: dict[str, list[Document]], classes: list[str]) -> None:
    first = {bool(d.messages): d for documents in parts.values() for d in documents}
    if len(first) > 1:
        raise UsageError(
            f"data.root: {first[True].name} has messages and {first[False].name} a text; give dialogues and texts apart"
        )
    if not classes:
        return
    count = len(parts["train"])
    if len(classes) == count >= MANY:
        raise UsageError(
            f"data.root: each of {count:,} labels stands there once: an id and no class; name it otherwise"
        )
    for part in ("val", "test"):
        if lacking := [d.name for d in parts[part] if not d.label]:
            raise UsageError(f"data.root: a {part} text has no label ({lacking[0]}); fill it in")
        if unknown := sorted({str(d.label) for d in parts[part]} - set(classes)):
            raise UsageError(
                f"data.root: {part} texts have labels that training texts do not have: {some(unknown)}; rename them,"
                " or remove them"
            )


def _check_kinds(parts: dict[str, list[Document]], cfg: schemas.Data) -> None:
    """Pairs and single texts are not mixed, but for texts of pretraining alone. Raises UsageError."""
    for own in ([d for part in PARTS[:3] for d in parts[part]], parts["pretrain"]):
        first = {d.text_b is not None: d for d in reversed(own)}
        if len(first) > 1:
            raise UsageError(
                f"data.root: {first[True].name} has text_b and {first[False].name} has none; give pairs and single"
                " texts apart"
            )
        if True in first and cfg.long == "split":
            raise UsageError("data.long=split: is for single texts, and data.root has pairs; use truncate or refuse")


def _tell_shared(learned: list[Document], held: list[Document], told: Told) -> None:
    """Says how many test pairs have a text that was learned from."""
    both = [d.texts for d in held if d.text_b is not None]
    if both and (count := text_pairs.shared(both, (d.texts for d in learned))):
        told.notes.append(
            f"{count:,} of {len(both):,} test pairs have a text that a training pair has, too; a column group keeps"
            " what belongs together on one side"
        )


def _by_position(parts: dict[str, list[Document]], cfg: schemas.Data, told: Told) -> None:
    """Cuts a single text into training, validation and test parts, each at the end of a line."""
    whole = parts["train"][0]
    rest, name = whole.text, whole.name
    for part, fraction in (("test", cfg.test_fraction), ("val", cfg.val_fraction)):
        if parts[part]:
            continue
        at = rest.rfind("\n", 0, max(1, round((1 - fraction) * len(rest)))) + 1
        if not rest[:at].strip() or not rest[at:].strip():
            raise UsageError(f"data.root: {name} is too short, or one line, to cut a {part} part from; give the parts")
        parts[part], rest = [Document(rest[at:], f"{name} from character {at:,}")], rest[:at]
        told.notes.append(f"{name} is one text: the {part} part begins at character {at:,} (data.{part}_fraction)")
    parts["train"] = [Document(rest, name)]


def _sides(parts: dict[str, list[Document]], cfg: schemas.Data) -> np.ndarray:
    """Of each training document: train, val or test; what has parts of its own is not divided."""
    pool = parts["train"]
    labels = np.array([document.label or "" for document in pool])
    # of a pair the same whichever text comes first
    units = np.array([d.group or _content(d.text if d.text_b is None else repr(sorted(d.texts))) for d in pool])
    groups = any(document.group for document in pool)
    return divided(labels, units, groups, {part for part in ("val", "test") if parts[part]}, cfg)


def _content(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


@dataclass
class Maker:
    """The tokenizer of a data set, trained when it is first asked for. `recipe` determines it."""

    cfg: schemas.Data
    texts: Sequence[str] = field(repr=False)
    # texts and pairs that are cut off, dialogues that are divided, those with an exchange that is cut off, and all
    counted: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*LONGER, "all"), 0))

    def said(self) -> list[str]:
        """A line for each way in which texts are longer than rows."""
        count, size = self.counted, f"data.size={self.cfg.size} tokens"
        of = f"of {count['all']:,} {'text is' if count['all'] == 1 else 'texts are'}"
        lines = {
            "cut": f"{count['cut']:,} {of} longer than {size} and cut off; data.long=split makes pieces",
            "shortened": f"{count['shortened']:,} of {count['all']:,} pairs are longer than {size} and cut off, the"
            " longer text first; raise data.size",
            "divided": f"{count['divided']:,} of {count['all']:,} dialogues are longer than {size} and divided between"
            " exchanges: what was said before a piece is not read with it",
            "broken": f"{count['broken']:,} of {count['all']:,} dialogues have a question and answer of more than"
            f" {size}, which are cut off at their end; raise data.size",
        }
        return [lines[key] for key in LONGER if count[key]]

    @cached_property
    def given(self) -> str | None:
        """The JSON of data.tokenizer=FILE."""
        return None if self.cfg.tokenizer in vocabulary.KINDS else vocabulary.file_of(str(self.cfg.tokenizer))

    @cached_property
    def recipe(self) -> str:
        cfg = self.cfg
        if self.given is not None:
            return digest("tokenizer", self.given, cfg.lowercase).hex()
        learned = [_content(text) for text in self.texts] if cfg.tokenizer != "byte" else []
        return digest("tokenizer", 1, cfg.tokenizer, cfg.vocab, cfg.lowercase, *learned).hex()

    @cached_property
    def tokenizer(self) -> tokens.Tokenizer:
        cfg = self.cfg
        kind = str(cfg.tokenizer)
        if self.given is not None:
            return opened(self.given, kind)
        return tokens.trained(kind, self.texts, vocabulary.rows_of(kind, cfg.vocab), bool(cfg.lowercase))


def opened(text: str, name: str) -> tokens.Tokenizer:
    """Raises UsageError for what is no tokenizer."""
    try:
        return tokens.Tokenizer(text)
    except ValueError as error:
        raise UsageError(f"data.tokenizer={name}: is no tokenizer.json ({error}); give another file") from error


def _images(
    documents: Sequence[Document], classes: list[str], cfg: schemas.Data, maker: Maker
) -> tuple[Images, np.ndarray]:
    """Rows of documents, and of each row which document it is of."""
    whole = (d.text if d.text_b is None else repr(d.texts) for d in documents)
    contents = [_content(repr(d.messages) if d.messages else text) for d, text in zip(documents, whole, strict=True)]
    labelled = np.array([document.label is not None for document in documents])
    cuts = ["truncate" if cfg.long is None and one else cfg.long or "split" for one in labelled.tolist()]
    key = cache.entry_key("text", 3, maker.recipe, cfg.size, *cuts, *contents)
    store = cache.entry(
        key,
        lambda: 4 * sum(len(text) for document in documents for text in document.texts),
        lambda writer: _write(writer, documents, cuts, maker, cfg),
        about=str(cfg.root),
        writer=TokenWriter,
    )
    column = store.columns["text"]
    of = np.asarray(column.documents).astype(np.int64)  # type: ignore[attr-defined]
    for name, more in {**{name: int(store.meta[name]) for name in LONGER}, "all": len(documents)}.items():
        maker.counted[name] += more
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number.get(document.label or "", -1) for document in documents], dtype=np.int64)[of]
    names = np.array([document.name for document in documents], dtype=object)[of].astype(str)
    groups = None
    pieces = bool(classes) and len(of) > len(documents)  # what has no label is not counted
    if pieces or any(document.group for document in documents):
        own = [document.group or f"\0{document.name}" for document in documents]
        groups = np.array(own, dtype=object)[of].astype(str)
    return Images(store, np.arange(len(store)), labels, classes, names, groups), of


def _write(
    writer: TokenWriter, documents: Sequence[Document], cuts: Sequence[str], maker: Maker, cfg: schemas.Data
) -> None:
    tokenizer, size = maker.tokenizer, int(cfg.size)  # type: ignore[arg-type]
    width = 2 if tokenizer.count <= 1 << 16 else 4
    lengths, plain, count = [], [], dict.fromkeys(LONGER, 0)
    salt = bytes.fromhex(tokenizer.hash)
    for start in range(0, len(documents), 1000):
        some_ = documents[start : start + 1000]
        for document, cut, own in zip(some_, cuts[start:], _encoded(some_, tokenizer), strict=False):
            texts_ = [text.lower() if cfg.lowercase else text for text in document.texts]
            tokens_ = sum(map(len, own)) + (text_pairs.MARKS if document.text_b is not None else 0)
            if tokens_ > size and cut == "refuse":
                raise UsageError(
                    f"data.long=refuse: {document.name} has {tokens_:,} tokens, and data.size={size}; raise data.size,"
                    " or use data.long=split or truncate"
                )
            if document.messages:
                pieces, broken = dialogues.pieces(own, size)
                count["broken"] += broken
                count["divided"] += len(pieces) > 1 and cut == "split"
            elif document.text_b is not None:
                pair, shortened = text_pairs.joined(own[0], own[1], size)
                pieces, count["shortened"] = [pair], count["shortened"] + shortened
            else:
                pieces = [own[0][i : i + size] for i in range(0, max(1, tokens_), size)]
            if len(pieces) > 1 and cut == "truncate":
                if not document.messages:
                    texts_ = [texts_[0][: tokenizer.characters(texts_[0], size)]]
                pieces, count["cut"] = pieces[:1], count["cut"] + 1
            writer.add_document(pieces, width, salt)
            lengths += [sum(len(text.encode(errors="surrogatepass")) for text in texts_)] + [0] * (len(pieces) - 1)
            plain += [_plain(*document.texts)] + [0] * (len(pieces) - 1)
    facts = {"width": width, "tokenizer": tokenizer.json, "tokenizer_hash": tokenizer.hash, **count}
    facts["messages"] = bool(documents) and bool(documents[0].messages)
    facts["pairs"] = bool(documents) and documents[0].text_b is not None
    writer.finish(facts, {"bytes": np.array(lengths, np.int64), "plain": np.array(plain, np.uint64)})


def _encoded(documents: Sequence[Document], tokenizer: tokens.Tokenizer) -> list[list[np.ndarray]]:
    """Ids of each document: of a dialogue its exchanges, of a pair both texts, of a text all in one."""
    if not documents[0].messages:
        found = iter(tokenizer.encode([text for document in documents for text in document.texts]))
        return [[next(found) for _ in document.texts] for document in documents]
    found = iter(tokenizer.encode([content for document in documents for _, content in document.messages]))
    return [dialogues.exchanges([(role, next(found)) for role, _ in document.messages]) for document in documents]


def _plain(*texts_: str) -> int:
    """A hash of the letters and digits of a text, or of both of a pair, in lower case; 0 where there are none."""
    kept = "\0".join("".join(c for c in text.lower() if c.isalnum()) for text in texts_)
    found = blake2b(kept.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, "little") if kept.strip("\0") else 0
