"""How well a captioner predicts and writes what is said about images.

Bits per byte of true captions, whose end counts neither in bits nor in bytes: with their own image, with another one,
and with none: the differences are what the image says. Then a caption of each image, always the likeliest token, beside
the most frequent training caption, those of the nearest training images, and what is written of another image. Last
the image is looked for by its caption, by ridge regression from pixels to words, which has no part in the captioner.
Intervals are over groups of images, or images where none are known.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gssl.data import Draws, Images
from gssl.data.tokens import Tokenizer
from gssl.engine.progress import say
from gssl.experiment import greedy, weight_sources
from gssl.experiment.captioned import Captions, ridge_of, units_of
from gssl.metrics import retrieval
from gssl.metrics.ngrams import NGrams, last_bytes, ratio_interval
from gssl.metrics.seq2seq import compared, missing
from gssl.nets.backbone import Backbone
from gssl.nets.captioner import Captioner
from gssl.nets.norms import evaluating
from gssl.probe.features import extract, pixels
from gssl.probe.pixels_to_words import PixelsToWords
from gssl.ssl.caption import Caption, ended
from gssl.ssl.clm import next_tokens
from gssl.vocabulary import FIRST

BATCH = 256
MOST = 1000  # images of which captions are written
NETWORK, HUMAN = "network", "human"
CONTROLS = {
    "frequent": "the most frequent training caption",
    "nearest_pixels": "that of the nearest training image by pixels",
    "nearest_features": "that of the nearest training image by features",
    "other": "what is written of another image",
}


@dataclass(frozen=True)
class Writer:
    """An image encoder and the captioner behind it. size: side of the images in pixels; most: tokens of a caption."""

    backbone: Backbone
    captioner: Captioner
    size: int
    most: int

    @classmethod
    def of(cls, method: Caption, size: int) -> "Writer":
        """A copy of what a method has now."""
        return cls(copy.deepcopy(weight_sources.exported(method)), copy.deepcopy(method.captioner), size, method.most)

    def to(self, device: torch.device) -> "Writer":
        """On `device`."""
        return Writer(self.backbone.to(device), self.captioner.to(device), self.size, self.most)

    def features(self, images: Images, device: torch.device) -> np.ndarray:
        """float32 (n, d)."""
        return extract(self.backbone, images, self.size, BATCH, device)

    @torch.no_grad()
    def bits(self, features: np.ndarray | None, captions: Sequence[np.ndarray], device: torch.device) -> np.ndarray:
        """(n, 2): of each caption the bits of its tokens, and of the mark of its end. features: (n, d) of the image of
        each; None: without an image."""
        found = np.zeros((len(captions), 2))
        order = np.argsort([len(ids) for ids in captions], kind="stable")
        with evaluating(self.captioner):
            for start in range(0, len(captions), BATCH):
                own = order[start : start + BATCH]
                ids = nn.utils.rnn.pad_sequence([torch.from_numpy(captions[i]) for i in own], batch_first=True)
                ids = ended(ids, self.most)
                given = np.zeros((len(own), self.captioner.to_prefix.in_features), np.float32)
                prefix = self.captioner.prefix(
                    torch.from_numpy(given if features is None else features[own]).to(device)
                )
                prefix = prefix * (features is not None)
                values = next_tokens(self.captioner.decoder, ids.to(device), prefix).double().cpu()
                text = ids >= FIRST
                found[own] = torch.stack([(values * text).sum(1), (values * ~text).sum(1)], 1).numpy()
        return found / np.log(2)

    @torch.no_grad()
    def written(self, features: np.ndarray, device: torch.device) -> list[np.ndarray]:
        """Ids of a caption of each image, always the likeliest token. features: (n, d)."""
        with evaluating(self.captioner):
            prefix = self.captioner.prefix(torch.from_numpy(features).to(device))
        begun = [np.zeros(0, np.int64)] * len(features)
        return greedy.written(self.captioner.decoder, begun, self.most, device, prefix)


def others(captions: Captions, units: np.ndarray, draws: Draws) -> np.ndarray | None:
    """int (n,): for each image another one, of another group, that shares no caption with it; None where some image has
    none."""
    order = draws.permutation("captions/others", 0, len(units))
    own = [set(numbers) for numbers in captions.of]
    found = np.full(len(units), -1)
    for place, i in enumerate(order.tolist()):
        turned = (int(order[(place + k) % len(order)]) for k in range(1, len(order)))
        found[i] = next((j for j in turned if units[j] != units[i] and own[j].isdisjoint(own[i])), -1)
    return None if (found < 0).any() else found


def nearest(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """int (n,): of each row of `asked` the row of `known` at the least Euclidean distance; of equal ones the first."""
    half = (known**2).sum(1) / 2
    parts = [(asked[i : i + BATCH] @ known.T - half).argmax(1) for i in range(0, len(asked), BATCH)]
    return np.concatenate(parts)


def bits_per_byte(network: Writer, held: Images, device: torch.device) -> float:
    """The number alone, with their own images, for a look while training goes on."""
    captions = Captions.read(held)
    image, caption = _rows(captions)
    bits = network.bits(network.features(held, device)[image], [captions.ids[j] for j in caption], device)
    return float(bits[:, 0].sum() / max(sum(len(captions.texts[j].encode()) for j in caption), 1))


def _rows(captions: Captions) -> tuple[np.ndarray, np.ndarray]:
    """The image and the caption of every pair of these."""
    pairs = np.array([(i, j) for i, own in enumerate(captions.of) for j in own])
    return pairs[:, 0], pairs[:, 1]


def evaluate(network: Writer, held: Images, known: Images, device: torch.device, part: str) -> dict[str, Any]:
    """The entry `captioning` of result.json, of the images `held`; says it in lines. known: training images, which the
    controls have read."""
    network = network.to(device)
    captions, learned = Captions.read(held), Captions.read(known)
    units = np.unique(units_of(held), return_inverse=True)[1].reshape(-1)
    features = network.features(held, device)
    other = others(captions, units, Draws(0))
    text: dict[str, Any] = {
        "part": part,
        "images": len(held),
        "unit": "image" if held.groups is None else "group",
        "units": int(units.max()) + 1,
        "captions": sum(map(len, captions.of)),
        **_predicted(network, features, captions, learned, units, other, device),
        **_written(network, held, known, features, captions, learned, units, other, device),
    }
    _tell(text)
    return text


def _predicted(
    network: Writer, features: np.ndarray, captions: Captions, learned: Captions, units: np.ndarray,
    other: np.ndarray | None, device: torch.device,
) -> dict[str, Any]:  # fmt: skip
    """Bits per byte of all captions, and paired differences."""
    image, caption = _rows(captions)
    ids, raw = [captions.ids[j] for j in caption], [captions.texts[j].encode() for j in caption]
    found = {"own": network.bits(features[image], ids, device), "none": network.bits(None, ids, device)}
    if other is not None:
        found["other"] = network.bits(features[other[image]], ids, device)
    read = last_bytes([learned.texts[j].encode() for own in learned.of for j in own])
    ngrams = NGrams(read)
    grams = np.array([ngrams.bits(own).sum(1) for own in raw])
    sums = {name: np.bincount(units[image], values[:, 0]) for name, values in found.items()}
    sums["ngrams"] = np.bincount(units[image], grams[:, -1])
    count = np.bincount(units[image], [len(own) for own in raw])

    def figure(values: np.ndarray) -> dict[str, float]:
        low, high = ratio_interval(values, count)
        return {"value": float(values.sum() / count.sum()), "low": low, "high": high}

    return {
        "bytes": int(count.sum()),
        "bits_per_byte": {name: figure(values) for name, values in sums.items()},
        "more_than_own": {name: figure(values - sums["own"]) for name, values in sums.items() if name != "own"},
        "bits_per_end": {name: float(values[:, 1].mean()) for name, values in found.items()},
        "ngrams": {"bytes": sum(map(len, read)), "by_order": (grams.sum(0) / count.sum()).tolist()},
    }


def _written(
    network: Writer, held: Images, known: Images, features: np.ndarray, captions: Captions, learned: Captions,
    units: np.ndarray, other: np.ndarray | None, device: torch.device,
) -> dict[str, Any]:  # fmt: skip
    """Scores of what is written and of the controls, a look for the image by it, and examples."""
    tokenizer = Tokenizer(held.store.meta["tokenizer"])
    made = [tokenizer.decode(ids.tolist()) for ids in network.written(features, device)]
    squares, of_known = pixels(held, network.size), pixels(known, network.size)
    frequent = learned.texts[Counter(j for own in learned.of for j in own).most_common(1)[0][0]]
    first = [learned.texts[own[0]] for own in learned.of]
    systems = {
        NETWORK: made,
        "frequent": [frequent] * len(held),
        "nearest_pixels": [first[i] for i in nearest(squares, of_known)],
        "nearest_features": [first[i] for i in nearest(features, network.features(known, device))],
        **({} if other is None else {"other": [made[i] for i in other]}),
    }
    true = [[captions.texts[j] for j in own] for own in captions.of]
    chosen = np.sort(Draws(0).permutation("captions/written", 0, len(held))[:MOST])

    def scored(systems: dict[str, list[str]], rows: np.ndarray, references: list[list[str]]) -> dict[str, Any]:
        _, kept = np.unique(units[rows], return_inverse=True)
        of = {name: [own[i] for i in rows] for name, own in systems.items()}
        return {"images": len(rows), "scores": compared(of, [references[i] for i in rows], kept.reshape(-1))}

    text: dict[str, Any] = {"written": scored(systems, chosen, true)}
    several = np.array([i for i in chosen if len(true[i]) > 1], dtype=np.int64)
    human = {HUMAN: [own[0] for own in true]}
    if len(several):
        text["others_captions"] = scored(systems | human, several, [own[1:] for own in true])
    ridge = ridge_of(known, network.size)
    if ridge is not None:
        text["found"] = _found(ridge, squares[chosen], systems | human, chosen, units)
    shown = chosen[np.linspace(0, len(chosen) - 1, min(10, len(chosen))).astype(int)]
    text["examples"] = [
        {"path": held.name(i), "captions": true[i], **{name: own[i] for name, own in systems.items()}} for i in shown
    ]
    text["distinct"] = len(set(made))
    return text


def _found(
    ridge: PixelsToWords, squares: np.ndarray, systems: dict[str, list[str]], rows: np.ndarray, units: np.ndarray
) -> dict[str, Any]:
    """How often the image is among the first by its caption, among all of `rows`."""
    own = np.eye(len(rows), dtype=bool)
    ranks = {
        name: retrieval.ranks(ridge.scores(squares, [made[i] for i in rows]).T, own) for name, made in systems.items()
    }
    chance = retrieval.chance(np.ones(len(rows), np.int64), len(rows))
    return {"pool": len(rows), "rows": [*retrieval.recalls(ranks, units[rows]), chance]}


def _tell(text: dict[str, Any]) -> None:
    bits, more = text["bits_per_byte"], text["more_than_own"]
    own = bits["own"]
    words = [f"{own['value']:.3f} (95%: {own['low']:.3f} to {own['high']:.3f})"]
    words += [f"with another image {bits['other']['value']:.3f}"] if "other" in bits else []
    words += [f"without an image {bits['none']['value']:.3f}", f"5-grams of bytes {bits['ngrams']['value']:.3f}"]
    say(f"{text['part']} bits per byte of captions: {'; '.join(words)}")
    scores = text["written"]["scores"]
    name = "chrf" if "chrf" in scores else "equal"
    title = {"chrf": "chrF", "equal": "equal captions in %"}[name]
    said = [f"{what} {scores[name][key]['value']:.1f}" for key, what in CONTROLS.items() if key in scores[name]]
    say(f"{text['part']} {title} of what it writes: {scores[name][NETWORK]['value']:.1f}; {', '.join(said)}")
    if missing():
        say("note: chrF and BLEU need sacrebleu: pip install 'gssl[text]', then gssl evaluate RUN")
    if "other" in more and more["other"]["low"] <= 0:
        say("warning: another image does as well: this model does not read the image")
    for key, less in scores[name]["more_than"].items():
        if less["high"] < 0:
            say(f"warning: {CONTROLS[key]} scores higher than what the model writes ({title})")
