"""What a language model is compared with: n-grams of bytes, interpolated, and compressors that have read the same text.

Bits per byte: of a network, n-grams and compressors they are of the same thing, whatever a token is.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

ORDERS = 5
MOST = 2_000_000  # bytes of training texts that controls read, the last ones
RESAMPLES = 1000
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": lambda data: bz2.compress(data, 9),
    "xz": lambda data: lzma.compress(data, preset=6),
}


@dataclass(frozen=True)
class Order:
    """Counts of one order. keys: contexts and the byte behind each, sorted; contexts: without it."""

    keys: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray  # how often each context stands there
    kinds: np.ndarray  # how many bytes follow it


def _keys(data: np.ndarray, length: int) -> np.ndarray:
    """int64 (n,): of each position the `length` bytes that end there, as a number; bytes before the first are 0."""
    padded = np.concatenate([np.zeros(length - 1, np.int64), data.astype(np.int64)])
    found = np.zeros(len(data), np.int64)
    for i in range(length):
        found = found * 256 + padded[i : i + len(data)]
    return found


class NGrams:
    """Witten–Bell: an n-gram's probability is its count, and as many times as its context has followers the
    probability of one order less; below all of them 1/256."""

    def __init__(self, texts: Sequence[bytes], orders: int = ORDERS) -> None:
        """texts: each by itself; nothing is known before it."""
        self.orders: list[Order] = []
        for n in range(1, orders + 1):
            own = [_keys(np.frombuffer(text, np.uint8), n) for text in texts if text]
            keys, counts = np.unique(np.concatenate(own), return_counts=True)
            contexts, first = np.unique(keys // 256, return_index=True)
            totals = np.add.reduceat(counts, first)
            kinds = np.diff(np.append(first, len(keys)))
            self.orders.append(Order(keys, counts, contexts, totals, kinds))

    def bits(self, text: bytes) -> np.ndarray:
        """(orders, n) float64: bits of each byte of `text` by n-grams up to each order."""
        data = np.frombuffer(text, np.uint8)
        p = np.full(len(data), 1 / 256)
        found = np.empty((len(self.orders), len(data)))
        for n, order in enumerate(self.orders, 1):
            keys = _keys(data, n)
            at = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            count = np.where(order.keys[at] == keys, order.counts[at], 0)
            context = keys // 256
            there = np.minimum(np.searchsorted(order.contexts, context), len(order.contexts) - 1)
            known = order.contexts[there] == context
            total, kinds = np.where(known, order.totals[there], 0), np.where(known, order.kinds[there], 1)
            p = (count + kinds * p) / (total + kinds)
            found[n - 1] = -np.log2(p)
        return found


def compressed(known: bytes, text: bytes) -> dict[str, float]:
    """Bits per byte of `text` behind `known`, by each compressor: what it adds to the compressed length."""
    return {
        name: 8 * (len(compress(known + text)) - len(compress(known))) / len(text)
        for name, compress in COMPRESSORS.items()
    }


def last_bytes(texts: list[bytes]) -> list[bytes]:
    """At most `MOST` bytes: of the last texts, of the first of these its end."""
    kept: list[bytes] = []
    room = MOST
    for text in reversed(texts):
        if room <= 0:
            break
        kept.append(text[-room:])
        room -= len(kept[-1])
    return kept[::-1]


def ratio_interval(bits: np.ndarray, count: np.ndarray) -> tuple[float, float]:
    """95%, of Σ bits / Σ count over resampled units."""
    draws = np.random.Generator(np.random.Philox(key=0x5EED)).integers(len(bits), size=(RESAMPLES, len(bits)))
    low, high = np.quantile(bits[draws].sum(1) / count[draws].sum(1), [0.025, 0.975]).tolist()
    return low, high
