"""How well a network of images and captions finds one by the other, and names images without having seen a label.

Retrieval both ways and zero-shot classification, beside chance, the largest class, the same network before training,
and ridge regression from 8×8 pixels to words. Intervals are over groups of images, or images where none are known.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Draws, Images, sequential
from gssl.data.columns import CaptionColumn
from gssl.data.draws import digest
from gssl.data.preprocessing import Preprocessing
from gssl.data.tokens import Tokenizer
from gssl.engine.files import read_json, sha256, write_json, write_text
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.generation import Asked, held_out
from gssl.experiment.trained import encoder_of, splits_of
from gssl.metrics import retrieval
from gssl.nets.backbone import Backbone
from gssl.nets.norms import evaluating, recompute_batch_norm
from gssl.nets.towers import Towers
from gssl.nets.weights import read_tensors, save_weights
from gssl.probe.features import extract, pixels
from gssl.probe.pixels_to_words import PixelsToWords
from gssl.ssl.captioned import Captioned

BATCH, RECOMPUTE = 256, 512
OWN, BEFORE, RIDGE = "this network", "before training", "ridge, 8×8 pixels to words"
LARGEST = "largest class"
SCHEMA = "gssl.towers/1"


@dataclass(frozen=True)
class Two:
    """An image encoder and what brings its features and captions to one space. size: side of the images in pixels."""

    backbone: Backbone
    towers: Towers
    size: int

    @classmethod
    def of(cls, method: Captioned, size: int) -> "Two":
        """A copy of what a method has now."""
        return cls(copy.deepcopy(weight_sources.exported(method)), copy.deepcopy(method.towers), size)

    def to(self, device: torch.device) -> "Two":
        """On `device`."""
        return Two(self.backbone.to(device), self.towers.to(device), self.size)

    @torch.no_grad()
    def images(self, images: Images, device: torch.device) -> np.ndarray:
        """float32 (n, dim), of length 1."""
        features = torch.from_numpy(extract(self.backbone, images, self.size, BATCH, device))
        return self.towers.of_images(features.to(device)).cpu().numpy()

    @torch.no_grad()
    def texts(self, texts: Sequence[np.ndarray], device: torch.device) -> np.ndarray:
        """float32 (m, dim), of length 1. texts: ids of tokens of each."""
        found = []
        with evaluating(self.towers):
            for start in range(0, len(texts), BATCH):
                own = [torch.from_numpy(ids) for ids in texts[start : start + BATCH]]
                padded = nn.utils.rnn.pad_sequence(own, batch_first=True)
                found.append(self.towers.of_texts(padded.to(device)).cpu().numpy())
        return np.concatenate(found)


@dataclass(frozen=True)
class Captions:
    """What is said about images: distinct captions as ids and as text, and which of them are of which image.

    of: of each image numbers of its captions, the first one first.
    """

    ids: list[np.ndarray]
    texts: list[str]
    of: list[list[int]]

    @classmethod
    def read(cls, images: Images, first: bool = False) -> "Captions":
        """first: of every image its first caption alone."""
        column = images.column_of(CaptionColumn)
        assert column is not None
        tokenizer = Tokenizer(images.store.meta["tokenizer"])
        number: dict[bytes, int] = {}
        ids: list[np.ndarray] = []
        of = []
        for row in images.rows.tolist():
            own = column.texts(row)[: 1 if first else None]
            mine = []
            for one in own:
                at = number.setdefault(one.tobytes(), len(ids))
                ids += [one] if at == len(ids) else []
                mine.append(at)
            of.append(mine)
        return cls(ids, [tokenizer.decode(one.tolist()) for one in ids], of)

    @property
    def true(self) -> np.ndarray:
        """bool (images, captions)."""
        found = np.zeros((len(self.of), len(self.ids)), bool)
        for row, own in enumerate(self.of):
            found[row, own] = True
        return found


def units_of(images: Images) -> np.ndarray:
    """int (n,): the group of each image, or the image itself."""
    codes = images.group_codes()
    return np.arange(len(images)) if codes is None else codes


def evaluate(
    network: Two,
    before: Two | None,
    held: Images,
    known: Images,
    prompts: Sequence[str],
    device: torch.device,
    part: str,
) -> dict[str, Any]:
    """Retrieval and zero-shot classification of the images of `held`, as an entry of result.json; says it in lines.

    before: the network as it was before training, None where that cannot be had. known: training images, from which the
    ridge regression learns. prompts: texts with {} for a class's name.
    """
    units = units_of(held)
    ridge = ridge_of(known, network.size)
    squares = pixels(held, network.size)
    nets = {OWN: network.to(device), **({} if before is None else {BEFORE: before.to(device)})}
    vectors = {name: two.images(held, device) for name, two in nets.items()}

    def scored(ids: Sequence[np.ndarray], texts: Sequence[str]) -> dict[str, np.ndarray]:
        """(images, texts) by name."""
        found = {name: vectors[name] @ two.texts(ids, device).T for name, two in nets.items()}
        return found if ridge is None else found | {RIDGE: ridge.scores(squares, texts)}

    every = Captions.read(held)
    ways = {"all": every, "first": Captions.read(held, first=True)}
    if all(len(own) == 1 for own in every.of):
        del ways["first"]
    text: dict[str, Any] = {
        "part": part,
        "images": len(held),
        "groups": None if held.groups is None else len(np.unique(units)),
        "captions": sum(map(len, every.of)),
        "shared": int((every.true.sum(0) > 1).sum()),  # captions of several images
        "strength": None if ridge is None else ridge.strength,
        "retrieval": {},
    }
    for name, captions in ways.items():
        scores, true = scored(captions.ids, captions.texts), captions.true
        text["retrieval"][name] = {
            "image_to_text": _way(scores, true, units),
            "text_to_image": _way({key: own.T for key, own in scores.items()}, true.T, units[true.argmax(0)]),
        }
    if "label" in held.columns:
        text["zeroshot"] = _zeroshot(nets, vectors, ridge, squares, held, prompts, units, device)
    _say(text)
    return text


def warn_of_large_batches(images: Images, batch: int, positives: str) -> None:
    """Says where a batch is larger than there are groups, and images of one group count as negatives."""
    groups = len(np.unique(units_of(images)))
    if batch > groups and positives == "captions" and images.groups is not None:
        say(
            f"warning: ssl.batch_size={batch} and {groups:,} groups of training images: every batch holds several of"
            f" one, which are told apart as if they were different; use at most {groups:,}, or ssl.positives=groups"
        )


def recall(network: Two, held: Images, device: torch.device) -> float:
    """The mean of both directions' recall at 10, for a look while training goes on."""
    captions = Captions.read(held)
    scores, true = network.images(held, device) @ network.texts(captions.ids, device).T, captions.true
    sides = retrieval.ranks(scores, true), retrieval.ranks(scores.T, true.T)
    return float(np.mean([(own <= 10).mean() for own in sides]))


def _way(scores: dict[str, np.ndarray], true: np.ndarray, units: np.ndarray) -> dict[str, Any]:
    found = {name: retrieval.ranks(own, true) for name, own in scores.items()}
    rows = [*retrieval.recalls(found, units), retrieval.chance(true.sum(1), true.shape[1])]
    return {"pool": true.shape[1], "queries": len(true), "rows": rows}


def ridge_of(known: Images, size: int) -> PixelsToWords | None:
    """The control, fitted to training images; None where no caption has a word."""
    captions = Captions.read(known)
    texts = [[captions.texts[i] for i in own] for own in captions.of]
    units = known.groups if known.groups is not None else np.array([str(own[0]) for own in texts])
    try:
        return PixelsToWords.fit(pixels(known, size), texts, units)
    except ValueError:  # captions of no word at all, such as signs
        return None


def _zeroshot(
    nets: dict[str, Two],
    vectors: dict[str, np.ndarray],
    ridge: PixelsToWords | None,
    squares: np.ndarray,
    held: Images,
    prompts: Sequence[str],
    units: np.ndarray,
    device: torch.device,
) -> dict[str, Any]:
    """Classes by their names; nobody has read a label but who always answers the largest class of these images."""
    tokenizer = Tokenizer(held.store.meta["tokenizer"])
    written = [[prompt.replace("{}", name.replace("_", " ")) for prompt in prompts] for name in held.classes]
    ids = tokenizer.encode([text for own in written for text in own])
    shape = (len(written), len(prompts), -1)
    true = held.labels[:, None] == np.arange(len(held.classes))

    def classes_of(texts: np.ndarray) -> np.ndarray:
        """(classes, dim) of length 1: means over prompts."""
        mean = texts.reshape(shape).mean(1)
        found: np.ndarray = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        return found

    right = {
        name: retrieval.ranks(vectors[name] @ classes_of(two.texts(ids, device)).T, true) == 1
        for name, two in nets.items()
    }
    if ridge is not None:
        flat = ridge.scores(squares, [text for own in written for text in own])
        right[RIDGE] = retrieval.ranks(flat.reshape(len(held), *shape[:2]).mean(2), true) == 1
    right[LARGEST] = held.labels == np.bincount(held.labels).argmax()
    rows = retrieval.accuracies(right, held.labels, units)
    count = len(held.classes)
    rows.append({"name": "chance", "accuracy": {"value": 1 / count}, "balanced": {"value": 1 / count}})
    return {"classes": count, "present": len(np.unique(held.labels)), "prompts": list(prompts), "rows": rows}


def _say(text: dict[str, Any]) -> None:
    for way in ("image_to_text", "text_to_image"):
        found = text["retrieval"]["all"][way]
        words = "; ".join(
            f"{row['name']} {100 * row['r10']['value']:.1f}%" for row in found["rows"] if row["name"] != OWN
        )
        own = found["rows"][0]["r10"]
        say(
            f"{text['part']} {way.replace('_', ' ')}, R@10 among {found['pool']:,}: {100 * own['value']:.1f}%"
            f" (95%: {100 * own['low']:.1f} to {100 * own['high']:.1f}); {words}"
        )


# ── of finished runs ─────────────────────────────────────────────────────────────────────────────


def write(method: Captioned, run: Path, images: Images, cfg: schemas.PretrainSSL) -> dict[str, Any]:
    """Write weights/towers.safetensors, its description and the tokenizer; returns the entry for result.json."""
    file = run / "weights" / "towers.safetensors"
    hashed = save_weights(method.towers, file)
    tokenizer = images.store.meta["tokenizer"]
    write_text(file.with_name("tokenizer.json"), tokenizer)
    arguments: dict[str, Any] = {"text": method.cfg.text, "width": method.cfg.text_width, "dim": method.cfg.dim}
    arguments |= {"features": method.backbone.dim, "vocab": int(images.store.meta["tokens"])}
    arguments |= {"scale": method.cfg.scale, "bias": getattr(method.cfg, "bias", None)}
    description = {
        "schema": SCHEMA,
        "method": method.cfg.name,
        "seed": cfg.seed,
        "sha256": hashed,
        "towers": arguments,
        "caption_tokens": cfg.data.caption_tokens,
        "prompts": list(method.cfg.prompts),
        "tokenizer": digest("tokenizer", tokenizer).hex(),
    }
    write_json(file.with_suffix(".json"), description)
    return {"file": "weights/towers.safetensors", "sha256": hashed}


def is_run(run: Path) -> bool:
    """Whether a run has learned from images with captions."""
    return (run / "weights" / "towers.json").is_file()


def read(run: Path) -> tuple[Two, dict[str, Any]]:
    """The networks of a finished run, on the CPU, and the description of its towers. Raises UsageError."""
    file = run / "weights" / "towers.safetensors"
    text = read_json(file.with_suffix(".json"))
    if not text or not file.is_file():
        raise UsageError(f"{run}: has no towers of images and captions; give a finished run of ssl=clip or ssl=siglip")
    if sha256(file) != text.get("sha256"):
        raise UsageError(f"{file}: its sha256 is not the one on record: damaged or replaced")
    network, view, _ = encoder_of(run, "give a finished run of ssl=clip or ssl=siglip")
    towers = Towers(**text["towers"])
    towers.load_state_dict(read_tensors(file))
    return Two(network, towers.eval(), view.size), text


def nearest(
    network: Two, text: dict[str, Any], run: Path, words: str, images: Images, device: torch.device
) -> list[tuple[int, float]]:
    """Positions of images and their cosine similarity to `words`, the nearest first. text: as `read` gives it. Raises
    UsageError."""
    two, (ids,) = network.to(device), encoded(run, text, [words])
    similar = two.images(images, device) @ two.texts([ids], device)[0]
    order = np.argsort(-similar, kind="stable")
    return [(int(i), float(similar[i])) for i in order]


def tokenizer_of(run: Path, text: dict[str, Any]) -> Tokenizer:
    """The one that the captions of a run were read by. Raises UsageError where its file is another."""
    file = run / "weights" / "tokenizer.json"
    written = file.read_text(encoding="utf-8") if file.is_file() else ""
    if digest("tokenizer", written).hex() != text["tokenizer"]:
        raise UsageError(f"{file}: missing, or not the one that the captions were read by: put it back")
    return Tokenizer(written)


def encoded(run: Path, text: dict[str, Any], texts: Sequence[str]) -> list[np.ndarray]:
    """Ids of texts by the tokenizer of a run, as many of each as its captions have. Raises UsageError."""
    found = [ids[: text["caption_tokens"]] for ids in tokenizer_of(run, text).encode(texts)]
    if empty := [own for own, ids in zip(texts, found, strict=True) if not len(ids)]:
        raise UsageError(f"'{empty[0]}': has no token of this run's captions; try other words")
    return found


def before_of(run: Path, text: dict[str, Any], batches: Iterator[Tensor]) -> Two | None:
    """What a finished run began with: its weights, or random ones of its seed; None where these cannot be had.

    batches: images as networks read them, for batch statistics.
    """
    written = weight_sources.read_config(run)
    try:
        source = weight_sources.find_weights(written["weights"])
    except UsageError as error:
        say(f"note: what {run} began with cannot be had: {error}")
        return None
    size = weight_sources.side_of(written)
    backbone, _ = weight_sources.build(
        source, schemas.Backbone.model_construct(**written["backbone"]), size, written["seed"]
    )
    towers = Towers(**text["towers"])  # right behind it, as where it was trained: by the same random numbers
    recompute_batch_norm(backbone, batches)
    return Two(backbone, towers, size)


def evaluate_run(run: Path, asked: Asked, device: torch.device) -> dict[str, Any]:
    """`gssl.captioned/1`: what `evaluate` says of validation or test images of a finished run. Raises UsageError."""
    if asked.truncation is not None or asked.images is not None:
        raise UsageError(f"-n and --truncation: {run} makes no images, and all with captions are read; leave them out")
    network, text = read(run)
    splits, _ = splits_of(run, asked.root)
    held = held_out(run, splits, asked)
    before = before_of(run, text, statistics(splits.pretrain, network.size, text["seed"]))
    found = evaluate(network, before, held, splits.pretrain, text["prompts"], device, asked.split)
    status = read_json(run / "status.json") or {}
    return {
        "schema": "gssl.captioned/1",
        "run": str(run),
        "split": asked.split,
        "data": splits.hash,
        "test_openings": status.get("test_openings", 0),
        **found,
    }


def statistics(images: Images, size: int, seed: int) -> Iterator[Tensor]:
    """Images for the batch statistics of a network that was not trained: those that its run took at its start."""
    some = images.subset(Draws(seed).permutation("recompute", 0, len(images))[:RECOMPUTE])
    return (Preprocessing(size).read(batch) for batch in sequential(some, BATCH, torch.device("cpu")))
