"""How well a causal language model predicts texts: bits per byte, beside n-grams of bytes and compressors.

Everything stands on bytes: nats per token fall when tokens get shorter. The controls have read the same training texts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.data import Images
from gssl.data.columns import TextColumn
from gssl.data.tokens import Tokenizer
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import dialogues, seq2seq
from gssl.experiment.generation import Asked, held_out
from gssl.experiment.trained import encoder_of, splits_of
from gssl.metrics.ngrams import NGrams, compressed, last_bytes, ratio_interval
from gssl.nets.backbone import Backbone
from gssl.nets.norms import evaluating
from gssl.nets.text import TextTransformer
from gssl.ssl.clm import next_tokens
from gssl.vocabulary import FIRST

BATCH = 32  # windows
BLOCK = 512  # bytes that are resampled together, where there are few texts
FEW = 50  # texts


def serves(network: Backbone, images: Images) -> bool:
    """Whether the network predicts the next token, and there are texts."""
    return isinstance(network, TextTransformer) and bool(network.causal) and images.column_of(TextColumn) is not None


def documents(images: Images) -> list[np.ndarray]:
    """Ids of every document of which there is a row, each whole."""
    column = images.column_of(TextColumn)
    assert column is not None
    _, first = np.unique(column.documents[images.rows], return_index=True)
    own = images.rows[np.sort(first)]
    starts = column.offsets[np.searchsorted(column.documents, column.documents[own])]
    return [column.values[a:b].astype(np.int64) for a, b in zip(starts, column.ends[own], strict=True)]


def windows(ids: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Windows of at most `size` ids, and from which of them on they are counted: every id once, and behind at least
    half a window of others, but for the first window."""
    done = min(size, len(ids))
    yield ids[:done], 0
    while done < len(ids):
        end = min(done + max(1, size // 2), len(ids))
        start = max(0, end - size)
        yield ids[start:end], done - start
        done = end


@torch.no_grad()
def nats(network: TextTransformer, texts: list[np.ndarray], size: int, device: torch.device) -> list[np.ndarray]:
    """Of each token of each text, float64."""
    found = [np.zeros(len(ids)) for ids in texts]
    waiting: list[tuple[int, int, np.ndarray, int]] = []  # text, where it goes, ids, from where on

    def flush() -> None:
        padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(own) for *_, own, _ in waiting], batch_first=True)
        values = next_tokens(network, padded.to(device)).double().cpu().numpy()
        for (text, at, own, counted), row in zip(waiting, values, strict=True):
            found[text][at : at + len(own) - counted] = row[counted : len(own)]
        waiting.clear()

    with evaluating(network):
        for number, ids in enumerate(texts):
            at = 0
            for own, counted in windows(ids, size):
                waiting.append((number, at, own, counted))
                at += len(own) - counted
                if len(waiting) == BATCH:
                    flush()
        if waiting:
            flush()
    return found


def evaluate(
    network: TextTransformer, held: Images, known: Images, size: int, device: torch.device, part: str
) -> dict[str, Any]:
    """Bits per byte of the texts of `held`, as an entry of result.json; says it in a line. known: training texts."""
    tokenizer = Tokenizer(held.store.meta["tokenizer"])
    texts = documents(held)
    raw, speakers = zip(*(dialogues.rendered(tokenizer, ids) for ids in texts), strict=True)
    kept = [who > 0 for who in speakers]  # marks of who speaks count neither in bits nor in bytes
    count = sum(int(own.sum()) for own in kept)
    own = [v[ids >= FIRST] / np.log(2) for v, ids in zip(nats(network, texts, size, device), texts, strict=True)]
    learned = last_bytes([dialogues.rendered(tokenizer, ids)[0] for ids in documents(known)])
    ngrams = NGrams(learned)
    control = [ngrams.bits(text)[:, there] for text, there in zip(raw, kept, strict=True)]
    by_order = [float(sum(bits[n].sum() for bits in control) / count) for n in range(len(ngrams.orders))]
    bits = float(sum(values.sum() for values in own) / count)
    units = _units(own, [c[-1] for c in control])
    low, high = ratio_interval(units[:, 0], units[:, 2])
    less = ratio_interval(units[:, 0] - units[:, 1], units[:, 2])
    packed = compressed(b"\n".join(learned), b"\n".join(raw))
    tokens = sum(map(len, own))
    said = f"{bits:.3f} (95%: {low:.3f} to {high:.3f}); {len(by_order)}-grams of bytes {by_order[-1]:.3f}"
    say(f"{part} bits per byte {said}; {', '.join(f'{name} {value:.2f}' for name, value in packed.items())}")
    return {
        "part": part,
        "texts": len(texts),
        "bytes": count,
        "tokens": tokens,
        "nats_per_token": bits * np.log(2) * count / tokens,
        "bits_per_byte": {"value": bits, "low": low, "high": high, "units": len(units)},
        "window": size,
        "stride": max(1, size // 2),
        "controls": {
            "bytes": sum(map(len, learned)),
            "ngrams": by_order,
            "compressors": packed,
            "uniform": 8.0,
        },
        "less_than_ngrams": {"value": bits - by_order[-1], "low": less[0], "high": less[1]},
    }


def is_run(run: Path) -> bool:
    """Whether a run's network reads texts."""
    text = read_json(run / "weights" / "backbone.json") or {}
    return str((text.get("backbone") or {}).get("name")).startswith("text")


def method_of(run: Path) -> str:
    """By which method a run's network was trained, "" where that is not on record."""
    return str((read_json(run / "weights" / "backbone.json") or {}).get("method") or "")


def network_of(run: Path) -> tuple[TextTransformer, int]:
    """The causal network of a finished run, on the CPU, and how many tokens it reads. Raises UsageError."""
    network, view, _ = encoder_of(run, "give a finished run of ssl=clm", "text")
    if not isinstance(network, TextTransformer) or not bool(network.causal):
        raise UsageError(f"{run}: its network does not predict the next token; give a run of ssl=clm")
    return network, view.size


def evaluate_run(run: Path, asked: Asked, device: torch.device) -> dict[str, Any]:
    """`gssl.language/1`: what `evaluate` says of the validation or test texts of a finished run; of a run of ssl=chat
    `gssl.dialogues/1`, of what the assistant says in them; of ssl=seq2seq `gssl.seq2seq/1`. Raises UsageError."""
    network, size = network_of(run)
    splits, _ = splits_of(run, asked.root)
    held = held_out(run, splits, asked)
    kind = {"chat": "dialogues", "seq2seq": "seq2seq"}.get(method_of(run), "language")
    if kind == "seq2seq":
        found = seq2seq.evaluate(network.to(device), held, splits.pretrain, size, device, asked.split)
    elif kind == "dialogues":
        start = dialogues.start_of_run(run)
        found = dialogues.evaluate(network.to(device), start, held, splits.pretrain, size, device, asked.split)
    else:
        found = evaluate(network.to(device), held, splits.pretrain, size, device, asked.split)
    status = read_json(run / "status.json") or {}
    return {
        "schema": f"gssl.{kind}/1",
        "run": str(run),
        "split": asked.split,
        "images": splits.hash,
        "test_openings": status.get("test_openings", 0),
        **found,
    }


def bits_per_byte(network: TextTransformer, held: Images, size: int, device: torch.device) -> float:
    """The number alone, of rows by themselves: for a look while training goes on."""
    column = held.column_of(TextColumn)
    assert column is not None
    tokenizer = Tokenizer(held.store.meta["tokenizer"])
    texts = [column.values[a : a + n].astype(np.int64) for a, n in
             zip(column.offsets[held.rows], column.counts[held.rows], strict=True)]  # fmt: skip
    count = sum(len(tokenizer.decode(ids.tolist()).encode()) for ids in texts)
    own = zip(nats(network, texts, size, device), texts, strict=True)
    return float(sum(values[ids >= FIRST].sum() for values, ids in own) / np.log(2) / max(count, 1))


def _units(own: list[np.ndarray], control: list[np.ndarray]) -> np.ndarray:
    """(units, 3): bits by the network, by the n-grams, and bytes, of what is resampled: texts, or where there are few
    of them equal pieces of each, a token going where its place among the tokens is."""
    rows = []
    for bits, other in zip(own, control, strict=True):
        pieces = 1 if len(own) >= FEW else max(1, len(other) // BLOCK)
        of, among = (np.arange(len(x)) * pieces // max(len(x), 1) for x in (bits, other))
        each = [np.bincount(k, x, pieces) for k, x in ((of, bits), (among, other), (among, np.ones(len(other))))]
        rows.append(np.stack(each, axis=1))
    return np.concatenate(rows)
