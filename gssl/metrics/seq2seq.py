"""How like texts are to their references: chrF, BLEU, and how many are equal, with what intervals need.

chrF: Popović 2015 (WMT, W15-3049), here chrF2 of characters up to 6-grams. BLEU: Papineni et al. 2002 (ACL), of words
up to 4-grams over all texts together, smoothed where there are few. Both are sacrebleu's (Post 2018, arXiv:1804.08771),
by the sums over texts that it computes them from: so texts can be drawn again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True)
class Score:
    """rows (n, k): what each text adds; value: of a sum of rows the score, 0 to 100; signature: how it was computed."""

    rows: np.ndarray
    value: Callable[[np.ndarray], float]
    signature: str


def missing() -> bool:
    """Whether sacrebleu is not installed."""
    from importlib.util import find_spec

    return find_spec("sacrebleu") is None


def scores(made: Sequence[str], references: Sequence[str | Sequence[str]]) -> dict[str, Score]:
    """equal, of texts beside one reference each or several, of which the best counts, and chrf and bleu where sacrebleu
    is there. What gives the first references themselves no 100 is left out: BLEU, where none has four words."""
    several = [[own] if isinstance(own, str) else list(own) for own in references]
    same = np.array([[a in own, 1] for a, own in zip(made, several, strict=True)], dtype=np.float64)
    found = {"equal": Score(same, lambda s: 100 * float(s[0] / s[1]), "")}
    if missing():
        return found
    from sacrebleu.metrics import BLEU, CHRF

    metrics: dict[str, Any] = {"chrf": CHRF(), "bleu": BLEU()}
    streams = [[own[k] if k < len(own) else None for own in several] for k in range(max(map(len, several)))]
    for name, metric in metrics.items():
        # its public functions give scores of all texts, and no sums of some; pyproject.toml holds the major version
        rows = np.array(metric._extract_corpus_statistics(list(made), streams), dtype=np.int64)

        def value(sums: np.ndarray, metric: Any = metric) -> float:
            return float(metric._compute_score_from_stats(sums.tolist()).score)

        if metric.corpus_score(streams[0], streams).score > 99.9:
            found[name] = Score(rows, value, metric.get_signature().format())
    return found


def compared(
    systems: Mapping[str, Sequence[str]], references: Sequence[str | Sequence[str]], units: np.ndarray
) -> dict[str, Any]:
    """For each score its value and 95% interval for every system, and the differences of the first system to others.

    units: int (n,) from 0 on, what belongs together and is drawn together; the same draws serve every system.
    """
    count = int(units.max()) + 1
    drawn = np.random.Generator(np.random.Philox(key=0x5EED)).integers(count, size=(RESAMPLES, count))
    first = next(iter(systems))
    known: dict[str, dict[str, tuple[float, np.ndarray]]] = {}
    signatures = {}
    for system, made in systems.items():
        for name, score in scores(made, references).items():
            sums = np.zeros((count, score.rows.shape[1]), score.rows.dtype)
            np.add.at(sums, units, score.rows)
            draws = np.array([score.value(sums[own].sum(0)) for own in drawn])
            known.setdefault(name, {})[system] = score.value(sums.sum(0)), draws
            signatures[name] = score.signature
    found: dict[str, Any] = {}
    for name, of in known.items():
        value, draws = of[first]
        found[name] = {system: _figure(*own) for system, own in of.items()}
        found[name]["more_than"] = {
            system: _figure(value - own, draws - others) for system, (own, others) in of.items() if system != first
        }
        found[name] |= {"signature": signatures[name]} if signatures[name] else {}
    return found


def _figure(value: float, draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    return {"value": value, "low": low, "high": high}
