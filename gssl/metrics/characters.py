"""How near generated lines of text are to real ones, by the characters that follow each other, and what costs nothing.

The measure is that of Gulrajani et al. 2017, arXiv:1704.00028, section 5.4: the Jensen-Shannon divergence of 1- to
4-grams of characters. It knows nothing of sense. It is above 0 for real lines too, the more so the longer the n-grams
and the fewer the lines: only figures of as many lines can be compared.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ORDERS = (1, 2, 3, 4)
CONTEXT = 3  # characters that the Markov chain of `chained` reads
REPEATED = 0.1  # proportion of lines that one of them may be: of real ones it is far less
DISTINCT = 0.25  # of real lines' proportion of different lines, below which few repeat
PATIENCE = 2  # evaluations in a row
LATE = 0.9  # proportion of the budget: a generator that repeats by then is not young


def ngrams(lines: Sequence[str], n: int) -> Counter[str]:
    """How often each n-gram stands in the lines; none reaches over an end."""
    return Counter(line[i : i + n] for line in lines for i in range(len(line) - n + 1))


def divergence(a: Mapping[str, int], b: Mapping[str, int]) -> float:
    """Jensen-Shannon divergence of two tables of counts, in bits: 0 where their proportions are equal, 1 where nothing
    is in both, and where one is empty and the other is not. Lin 1991, IEEE Trans. Inf. Theory 37."""
    keys = list({**a, **b})
    p, q = (np.array([own.get(key, 0) for key in keys], dtype=np.float64) for own in (a, b))
    if not p.sum() or not q.sum():
        return float(p.sum() != q.sum())
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    parts = [float((own[own > 0] * np.log2(own[own > 0] / middle[own > 0])).sum()) for own in (p, q)]
    return min(1.0, max(0.0, sum(parts) / 2))


def divergences(made: Sequence[str], real: Sequence[str]) -> dict[str, float]:
    """`js1` to `js4` of lines against real ones, and `js`, their mean."""
    found = {f"js{n}": divergence(ngrams(made, n), ngrams(real, n)) for n in ORDERS}
    return found | {"js": sum(found.values()) / len(found)}


def repetition(lines: Sequence[str]) -> dict[str, float]:
    """`distinct`: different lines ÷ lines; `repeated`: the proportion of the line that stands there most often."""
    counts = Counter(lines)
    return {"distinct": len(counts) / len(lines), "repeated": max(counts.values()) / len(lines)}


class Known:
    """Training lines, and what can be said of other lines by them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = list(lines)
        self.whole = set(self.lines)
        self.words = {word for line in self.lines for word in line.split()}

    def figures(self, made: Sequence[str], real: Sequence[str]) -> dict[str, float]:
        """Of lines: `divergences`, `repetition`, the proportion of `words` that training lines have, of lines that are
        `copied` from them whole, and the mean `length` in characters."""
        words = [word for line in made for word in line.split()]
        return {
            **divergences(made, real),
            **repetition(made),
            "words": sum(word in self.words for word in words) / max(1, len(words)),
            "copied": sum(line in self.whole for line in made) / len(made),
            "length": sum(map(len, made)) / len(made),
        }


# ── controls, each of random numbers (n, 1 + size) in [0, 1): the first draws a training line, whose length it has ──


def lengths(lines: Sequence[str], chance: np.ndarray) -> np.ndarray:
    """int (n,): of each row the length of a training line, drawn by its number in [0, 1)."""
    own = np.array([len(line) for line in lines])
    found: np.ndarray = own[(chance * len(own)).astype(np.int64)]
    return found


def drawn(lines: Sequence[str], chance: np.ndarray) -> list[str]:
    """Every character by itself, as often as training lines have it."""
    text = "".join(lines)
    many = lengths(lines, chance[:, 0])
    return ["".join(text[int(c * len(text))] for c in row[1 : 1 + n]) for row, n in zip(chance, many, strict=True)]


def by_place(lines: Sequence[str], chance: np.ndarray) -> list[str]:
    """Every character by itself, as often as training lines have it at that place."""
    columns = ["".join(line[i] for line in lines if len(line) > i) for i in range(max(map(len, lines)))]
    many = lengths(lines, chance[:, 0])
    return [
        "".join(columns[i][int(row[1 + i] * len(columns[i]))] for i in range(n))
        for row, n in zip(chance, many, strict=True)
    ]


def chained(lines: Sequence[str], chance: np.ndarray) -> list[str]:
    """Every character as often as training lines have it behind the three before it, to the end: a Markov chain."""
    behind: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        for i in range(len(line) + 1):
            behind[line[max(0, i - CONTEXT) : i]].append(line[i : i + 1])
    found = []
    for row in chance:
        text = ""
        for c in row[1:]:
            options = behind[text[-CONTEXT:]]
            new = options[int(c * len(options))]
            if not new:
                break
            text += new
        found.append(text)
    return found


class RepetitionMonitor:
    """Feed it every logged entry, in order; it returns what is newly wrong, each reason once.

    Reads `repeated` and `distinct` (`repetition`): alarm where one line makes up many of the samples, or few lines all
    of them, for PATIENCE evaluations in a row in which it does not grow better. The untrained generator is left out.
    """

    def __init__(self, real: float) -> None:
        """`real`: the proportion of different lines among real ones."""
        self.limit = DISTINCT * real
        self.rows: dict[str, int] = {}
        self.before: dict[str, float] = {}
        self.fired: set[str] = set()

    def __call__(self, entry: dict[str, Any]) -> list[str]:
        if "repeated" not in entry or not entry["step"]:
            return []
        bad = {
            "repeated": (entry["repeated"] > REPEATED, f"one line is {entry['repeated']:.0%} of the samples"),
            "distinct": (entry["distinct"] < self.limit, f"{entry['distinct']:.1%} of the samples are different lines"),
        }
        found = []
        for key, (wrong, text) in bad.items():
            better = entry["distinct"] > self.before.get("distinct", 1.0)
            self.rows[key] = self.rows.get(key, 0) + 1 if wrong and not better else int(wrong)
            late = wrong and entry.get("progress", 0.0) >= LATE
            if (self.rows[key] >= PATIENCE or late) and key not in self.fired:
                self.fired.add(key)
                found.append(f"the generator has collapsed: {text} ({key}={entry[key]:.3g})")
        self.before = dict(entry)
        return found
