"""Pairs of texts: `text` and `text_b` of a row as one sequence of ids.

A pair is the tokens of the first text, a mark, those of the second, and the mark of its end. Marks are ids of this
project that no text is encoded as (`gssl.vocabulary`). Networks tell the two texts apart by the mark between them.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from gssl.vocabulary import EOS, FIRST, SEP

MARKS = 2  # ids of a pair that stand for no text


def joined(first: np.ndarray, second: np.ndarray, size: int) -> tuple[np.ndarray, bool]:
    """A pair as at most `size` ids, and whether it was cut off.

    What does not fit is taken from the end of the longer text until both are equally long, and then from both. A second
    text that is cut off has no mark of its end.
    """
    room = size - MARKS
    a, b = len(first), len(second)
    if a + b > room:
        short = min(a, b, room // 2)
        a, b = (short, room - short) if a == short else (room - short, short)
    end = [EOS] if b == len(second) else []
    ids = np.concatenate([first[:a], [SEP], second[:b], end]).astype(np.int64)
    return ids, a + b < len(first) + len(second)


def halves(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second text of a row (T,), without marks."""
    at = int(np.flatnonzero(ids == SEP)[0])
    return ids[:at], ids[at + 1 :][ids[at + 1 :] >= FIRST]


def shared(held: Iterable[Sequence[str]], learned: Iterable[Sequence[str]]) -> int:
    """How many of the pairs `held` have a text that stands in one of those `learned`."""
    known = {text for pair in learned for text in pair}
    return sum(not known.isdisjoint(pair) for pair in held)
