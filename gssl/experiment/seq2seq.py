"""How well a language model of pairs (source, mark, target) predicts and writes the targets.

Bits per byte of the targets, whose end counts neither in bits nor in bytes: with their own sources, with those of other
pairs, and by n-grams of bytes. What the model writes, always the likeliest token, is scored beside copies of the
source, the most frequent target and the target of the nearest training source. Intervals are over pairs, or over groups
where the data name them.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from gssl.data import Draws, Images, text_pairs
from gssl.data.tokens import Tokenizer
from gssl.engine.progress import say
from gssl.experiment import greedy
from gssl.experiment.dialogues import bits, rows_of
from gssl.metrics.ngrams import NGrams, last_bytes, ratio_interval
from gssl.metrics.seq2seq import compared, missing
from gssl.nets.text import TextTransformer
from gssl.ssl.seq2seq import target_nats
from gssl.vocabulary import EOS, SEP

MOST = 1000  # pairs whose targets are written
NEAR = 256  # of which sources are compared at once
NETWORK = "network"
CONTROLS = {"copy": "the source", "frequent": "the most frequent target", "nearest": "that of the nearest source"}


def with_other_sources(rows: Sequence[np.ndarray], draws: Draws) -> list[np.ndarray] | None:
    """The rows, in which each source is one of a pair with another source and another target, the next shorter one, cut
    to its length where there is no such. None where all pairs have one source or one target."""
    parts = [text_pairs.halves(ids) for ids in rows]
    keys = [tuple(half.tobytes() for half in own) for own in parts]
    if any(len(set(side)) < 2 for side in zip(*keys, strict=True)):
        return None
    chance = draws.permutation("seq2seq/sources", 0, len(rows))
    order = np.lexsort((chance, np.array([len(source) for source, _ in parts]))).tolist()
    made: list[np.ndarray] = [*rows]
    for at, number in enumerate(order):
        near = chain(range(at - 1, -1, -1), range(at + 1, len(order)))
        unlike = (order[i] for i in near if all(a != b for a, b in zip(keys[order[i]], keys[number], strict=True)))
        other = next(unlike, None)
        if other is not None:  # a pair may share one of its texts with every other pair: it stays
            own = len(parts[number][0])
            made[number] = np.concatenate([parts[other][0][:own], rows[number][own:]])
    return made


def written(
    network: TextTransformer, sources: Sequence[np.ndarray], size: int, device: torch.device
) -> list[np.ndarray]:
    """Ids of the target of each source, always the likeliest one, up to its end, or to `size` ids with the source."""
    return greedy.written(network, [np.append(ids[: size - 2], SEP) for ids in sources], size, device)


def nearest(sources: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """int (n,): of each source the one of `known` whose character 2- to 4-grams are most alike, by TF-IDF and cosine;
    of equal ones the first."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a while to import

    made = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), dtype=np.float32)
    table = made.fit_transform(known).T.tocsr()
    asked = made.transform(sources)
    parts = [(asked[i : i + NEAR] @ table).toarray().argmax(1) for i in range(0, len(sources), NEAR)]
    return np.concatenate(parts)


def bits_per_byte(network: TextTransformer, held: Images, device: torch.device) -> float:
    """The number alone, for a look while training goes on."""
    tokenizer = Tokenizer(held.store.meta["tokenizer"])
    rows, _ = rows_of(held)
    count = sum(len(tokenizer.decode(text_pairs.halves(ids)[1].tolist()).encode()) for ids in rows)
    return float(bits(network, rows, device, target_nats)[:, 0].sum() / max(count, 1))


def evaluate(
    network: TextTransformer, held: Images, known: Images, size: int, device: torch.device, part: str
) -> dict[str, Any]:
    """The entry `seq2seq` of result.json, of the pairs `held`; says it in lines. known: training pairs, which the
    n-grams and the other controls have read."""
    tokenizer = Tokenizer(held.store.meta["tokenizer"])

    def texts(rows: Sequence[np.ndarray]) -> list[tuple[str, str]]:
        halves = (text_pairs.halves(ids) for ids in rows)
        return [(tokenizer.decode(a.tolist()), tokenizer.decode(b.tolist())) for a, b in halves]

    rows, learned = rows_of(held)[0], texts(rows_of(known)[0])
    own = texts(rows)
    names = np.arange(len(rows)) if held.groups is None else held.groups
    units = np.unique(names, return_inverse=True)[1].reshape(-1)
    count = np.bincount(units, [len(target.encode()) for _, target in own])
    other = with_other_sources(rows, Draws(0))
    found = {"own": bits(network, rows, device, target_nats)}
    if other is not None:
        found["other"] = bits(network, other, device, target_nats)
    ngrams, read = _ngrams(own, learned)
    sums = {name: np.bincount(units, values[:, 0]) for name, values in found.items()}
    sums["ngrams"] = np.bincount(units, ngrams[:, -1])

    def figure(values: np.ndarray) -> dict[str, float]:
        low, high = ratio_interval(values, count)
        return {"value": float(values.sum() / count.sum()), "low": low, "high": high}

    text: dict[str, Any] = {
        "part": part,
        "pairs": len(rows),
        "units": len(count),
        "unit": "pair" if held.groups is None else "group",
        "bytes": int(count.sum()),
        "window": size,
        "bits_per_byte": figure(sums["own"]),
        "bits_per_end": {name: float(values[:, 1].mean()) for name, values in found.items()},
        "controls": {"bytes": read, "ngrams": (ngrams.sum(0) / count.sum()).tolist()},
        "less_than_ngrams": figure(sums["own"] - sums["ngrams"]),
    }
    if other is not None:
        text["other_sources"] = figure(sums["other"])
        text["more_with_other_sources"] = figure(sums["other"] - sums["own"])
    chosen = np.sort(Draws(0).permutation("seq2seq/written", 0, len(rows))[:MOST])
    made = written(network, [text_pairs.halves(rows[i])[0] for i in chosen], size, device)
    asked = [own[i] for i in chosen]
    systems = {NETWORK: [tokenizer.decode(ids.tolist()) for ids in made]} | _controls(asked, learned)
    kept = np.unique(units[chosen], return_inverse=True)[1].reshape(-1)
    text["written"] = {"pairs": len(chosen), "scores": compared(systems, [target for _, target in asked], kept)}
    text["examples"] = [
        {"source": source, "target": target, **{name: own[i] for name, own in systems.items()}}
        for i, (source, target) in enumerate(asked[:10])
    ]
    _tell(text)
    return text


def _ngrams(own: Sequence[tuple[str, str]], learned: Sequence[tuple[str, str]]) -> tuple[np.ndarray, int]:
    """(n, orders) bits of each target by n-grams of bytes that see source and mark, too, and how many bytes they have
    read."""
    mark, end = bytes([SEP]), bytes([EOS])
    read = last_bytes([a.encode() + mark + b.encode() + end for a, b in learned])
    ngrams = NGrams(read)
    rows = []
    for a, b in own:
        start, length = len(a.encode()) + 1, len(b.encode())
        each = ngrams.bits(a.encode() + mark + b.encode())
        rows.append(each[:, start : start + length].sum(1))
    return np.array(rows), sum(map(len, read))


def _controls(asked: Sequence[tuple[str, str]], learned: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """What each of `CONTROLS` writes."""
    sources = [source for source, _ in asked]
    frequent = Counter(target for _, target in learned).most_common(1)[0][0]
    near = nearest(sources, [source for source, _ in learned])
    return {"copy": sources, "frequent": [frequent] * len(asked), "nearest": [learned[i][1] for i in near]}


def _tell(text: dict[str, Any]) -> None:
    own, grams = text["bits_per_byte"], text["controls"]["ngrams"]
    words = [f"{own['value']:.3f} (95%: {own['low']:.3f} to {own['high']:.3f})"]
    if found := text.get("other_sources"):
        words.append(f"with the sources of other pairs {found['value']:.3f}")
    words.append(f"{len(grams)}-grams of bytes {grams[-1]:.3f}")
    say(f"{text['part']} bits per byte of targets: {'; '.join(words)}")
    scores = text["written"]["scores"]
    name = "chrf" if "chrf" in scores else "equal"
    said = [f"{what} {scores[name][key]['value']:.1f}" for key, what in CONTROLS.items()]
    title = {"chrf": "chrF", "equal": "equal targets in %"}[name]
    say(f"{text['part']} {title} of what it writes: {scores[name][NETWORK]['value']:.1f}; {', '.join(said)}")
    if missing():
        say("note: chrF and BLEU need sacrebleu: pip install 'gssl[text]', then gssl evaluate RUN")
    if (more := text.get("more_with_other_sources")) and more["low"] <= 0:
        say("warning: the sources of other pairs do as well: this model does not read the source")
    for key, less in scores[name]["more_than"].items():
        if less["high"] < 0:
            say(f"warning: {CONTROLS[key]} scores higher than what the model writes ({title})")
