"""How well a causal language model predicts what the assistant says in dialogues, and whether it reads the questions.

Bits per byte of the assistant's texts, whose marks count neither in bits nor in bytes: before and after fine-tuning,
with the questions of other dialogues in place of the users' own, and by n-grams of bytes that see the same marks.
Intervals are over dialogues.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Draws, Images
from gssl.data.columns import TextColumn
from gssl.data.tokens import Tokenizer
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.metrics.ngrams import NGrams, last_bytes, ratio_interval
from gssl.nets.norms import evaluating
from gssl.nets.text import TextTransformer
from gssl.ssl.chat import answer_nats
from gssl.vocabulary import ASSISTANT, FIRST, SYSTEM, USER

BATCH = 32  # rows
ROLES = (SYSTEM, USER, ASSISTANT)
TEXT = FIRST  # who speaks where nobody is named


def rendered(tokenizer: Tokenizer, ids: np.ndarray) -> tuple[bytes, np.ndarray]:
    """A text as bytes, a mark as one byte, and of each byte who says it: an id of `ROLES`, `TEXT`, or 0 of a mark."""
    found, speakers, start, role = [], [], 0, TEXT
    for at in [*np.flatnonzero(ids < FIRST).tolist(), len(ids)]:
        text = tokenizer.decode(ids[start:at].tolist()).encode()
        found.append(text)
        speakers.append(np.full(len(text), role, np.uint8))
        if at < len(ids):
            found.append(bytes([int(ids[at])]))
            speakers.append(np.zeros(1, np.uint8))
            role = int(ids[at]) if ids[at] in ROLES else role
        start = at + 1
    return b"".join(found), np.concatenate(speakers)


def rows_of(images: Images) -> tuple[list[np.ndarray], np.ndarray]:
    """Ids of each row, and the number of its dialogue from 0 on."""
    column = images.column_of(TextColumn)
    assert column is not None
    starts, counts = column.offsets[images.rows], column.counts[images.rows]
    rows = [column.values[a : a + n].astype(np.int64) for a, n in zip(starts, counts, strict=True)]
    return rows, np.unique(column.documents[images.rows], return_inverse=True)[1].reshape(-1)


@torch.no_grad()
def bits(
    network: TextTransformer,
    rows: Sequence[np.ndarray],
    device: torch.device,
    nats: Callable[[TextTransformer, Tensor], Tensor] = answer_nats,
) -> np.ndarray:
    """(n, 2): of each row the bits of what the assistant says, and of where it ends; or of what else `nats` gives."""
    found = np.zeros((len(rows), 2))
    order = np.argsort([len(ids) for ids in rows], kind="stable")
    with evaluating(network):
        for start in range(0, len(rows), BATCH):
            own = order[start : start + BATCH]
            ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(rows[i]) for i in own], batch_first=True)
            values, text = nats(network, ids.to(device)).double().cpu(), ids >= FIRST
            found[own] = torch.stack([(values * text).sum(1), (values * ~text).sum(1)], 1).numpy()
    return found / np.log(2)


def with_other_questions(rows: list[np.ndarray], of: np.ndarray, draws: Draws) -> list[np.ndarray] | None:
    """The rows, in which each message of a user is one of another dialogue at the same turn, the next shorter one, cut
    to its length where there is no such. of: the dialogue of each row. None where there is one dialogue alone."""
    places, turns = [], []  # (row, from, to) of each message without its marks
    said: dict[int, int] = {}
    for row, ids in enumerate(rows):
        marks = np.append(np.flatnonzero(ids < FIRST), len(ids))
        for mark, end in zip(marks[:-1].tolist(), marks[1:].tolist(), strict=True):
            if ids[mark] == USER:
                places.append((row, mark + 1, end))
                turns.append(said.get(int(of[row]), 0))
                said[int(of[row])] = turns[-1] + 1
    whose = np.array([of[row] for row, _, _ in places])
    if len(np.unique(whose)) < 2:
        return None
    chance = draws.permutation("dialogues/questions", 0, len(places))
    order = np.lexsort((chance, np.array([end - start for _, start, end in places]), np.array(turns)))
    made = [ids.copy() for ids in rows]
    for at, number in enumerate(order.tolist()):
        near = chain(range(at - 1, -1, -1), range(at + 1, len(order)))
        other = next(int(order[i]) for i in near if whose[order[i]] != whose[number])
        row, start, end = places[number]
        source, first, last = places[other]
        new = rows[source][first : min(last, first + end - start)]
        made[row][start:end] = -1  # to be left out
        made[row][start : start + len(new)] = new
    return [ids[ids >= 0] for ids in made]


def bits_per_byte(network: TextTransformer, held: Images, device: torch.device) -> float:
    """The number alone, for a look while training goes on."""
    tokenizer = Tokenizer(held.store.meta["tokenizer"])
    rows, _ = rows_of(held)
    count = sum(int((rendered(tokenizer, ids)[1] == ASSISTANT).sum()) for ids in rows)
    return float(bits(network, rows, device)[:, 0].sum() / max(count, 1))


def start_of(source: weight_sources.WeightSource, backbone: schemas.Backbone, size: int) -> TextTransformer | None:
    """The network that fine-tuning began with, made causal as it is then; None where it began with random weights."""
    if source.kind == "random":
        return None
    network, _ = weight_sources.build(source, backbone, size, 0)
    assert isinstance(network, TextTransformer)
    network.causal.fill_(True)
    return network


def start_of_run(run: Path) -> TextTransformer | None:
    """The same of a finished run; None where it cannot be had any more, which is said."""
    written = weight_sources.read_config(run)
    try:
        source = weight_sources.find_weights(written["weights"])
    except UsageError as error:
        say(f"note: what {run} began with cannot be had: {error}")
        return None
    return start_of(source, schemas.Backbone.model_construct(**written["backbone"]), weight_sources.side_of(written))


def evaluate(
    network: TextTransformer,
    before: TextTransformer | None,
    held: Images,
    known: Images,
    size: int,
    device: torch.device,
    part: str,
) -> dict[str, Any]:
    """Bits per byte of what the assistant says in `held`, as an entry of result.json; says it in a line.

    before: the network that fine-tuning began with. known: training dialogues, which the n-grams have read.
    """
    tokenizer = Tokenizer(held.store.meta["tokenizer"])
    rows, of = rows_of(held)
    texts = [rendered(tokenizer, ids) for ids in rows]
    count = np.bincount(of, [(who == ASSISTANT).sum() for _, who in texts])
    answers = sum(int((ids == ASSISTANT).sum()) for ids in rows)
    other = with_other_questions(rows, of, Draws(0))
    found = {"after": bits(network, rows, device)}
    if before is not None:
        found["before"] = bits(before.to(device), rows, device)
    if other is not None:
        found["other_questions"] = bits(network, other, device)
    learned, whose = rows_of(known)
    ends = np.flatnonzero(np.diff(whose, append=-1))
    whole = [np.concatenate(own) for own in np.split(np.array(learned, dtype=object), ends[:-1] + 1)]
    read = last_bytes([rendered(tokenizer, ids.astype(np.int64))[0] for ids in whole])
    ngrams = NGrams(read)
    control = np.array([ngrams.bits(text)[:, who == ASSISTANT].sum(1) for text, who in texts])
    sums = {name: np.bincount(of, values[:, 0]) for name, values in found.items()}
    sums["ngrams"] = np.bincount(of, control[:, -1])

    def figure(values: np.ndarray) -> dict[str, float]:
        low, high = ratio_interval(values, count)
        return {"value": float(values.sum() / count.sum()), "low": low, "high": high}

    after = figure(sums["after"])
    text: dict[str, Any] = {
        "part": part,
        "dialogues": len(count),
        "rows": len(rows),
        "answers": answers,
        "bytes": int(count.sum()),
        "window": size,
        "bits_per_byte": after | {"units": len(count)},
        "controls": {
            "bytes": sum(map(len, read)),
            "ngrams": (control.sum(0) / count.sum()).tolist(),
        },
        "less_than_ngrams": figure(sums["after"] - sums["ngrams"]),
        "bits_per_end": {name: float(values[:, 1].sum() / answers) for name, values in found.items()},
    }
    if before is not None:
        text |= {"before": figure(sums["before"]), "less_than_before": figure(sums["after"] - sums["before"])}
    if other is not None:
        text["other_questions"] = figure(sums["other_questions"])
        text["more_with_other_questions"] = figure(sums["other_questions"] - sums["after"])
    _tell(text)
    return text


def _tell(text: dict[str, Any]) -> None:
    own = text["bits_per_byte"]
    words = [f"{own['value']:.3f} (95%: {own['low']:.3f} to {own['high']:.3f})"]
    if found := text.get("before"):
        words.append(f"before fine-tuning {found['value']:.3f}")
    if found := text.get("other_questions"):
        words.append(f"with the questions of other dialogues {found['value']:.3f}")
    words.append(f"{len(text['controls']['ngrams'])}-grams of bytes {text['controls']['ngrams'][-1]:.3f}")
    say(f"{text['part']} bits per byte of what the assistant says: {'; '.join(words)}")
    if (more := text.get("more_with_other_questions")) and more["low"] <= 0:
        say("warning: the questions of other dialogues do as well: this model does not read what the user says")
