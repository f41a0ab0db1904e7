"""Metrics of telling real images from generated ones, by a score and by what a threshold says. No torch here.

A row per test image: which of `CONDITIONS` it is of (one-hot), the same where it was called rightly, and its score. All
come as they are and once more after JPEG, for a detector may know files and not images; what is compared with each
other has always gone the same way. The threshold is that of the fit, which has seen known generators alone.
"""

import numpy as np

from gssl.statistics.anomaly import auroc, average_precision, ratio

CONDITIONS = ("real", "real, JPEG", "known generators", "known generators, JPEG", "held-out", "held-out, JPEG")
COUNT = len(CONDITIONS)
REAL, KNOWN, HELD_OUT, JPEG = 0, 2, 4, 1  # indices; JPEG: how much further the same images after JPEG stand


def fake_rows(conditions: np.ndarray, answers: np.ndarray, n_classes: int = 0) -> np.ndarray:
    """Of n images: conditions (n,) int, answers (n, 2): the score, and 1 where an image was called generated. Rows
    float32 (n, 2 · COUNT + 1). n_classes says nothing here."""
    own = np.asarray(conditions)[:, None] == np.arange(COUNT)
    score, said = np.asarray(answers, dtype=np.float32).T
    right = (said > 0) == (np.asarray(conditions) >= KNOWN)
    return np.concatenate([own, own & right[:, None], score[:, None]], axis=1).astype(np.float32)


def held_out_auroc(stats: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows (n, k), counts (R, n) → (R,): the probability that an image of a held-out generator scores higher than a
    real one, ties one half."""
    return _of_pair(stats, counts, HELD_OUT, auroc)


def held_out_auroc_jpeg(stats: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The same after JPEG."""
    return _of_pair(stats, counts, HELD_OUT + JPEG, auroc)


def held_out_ap(stats: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average precision of the images of held-out generators among these and the real ones."""
    return _of_pair(stats, counts, HELD_OUT, average_precision)


def aurocs(stats: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(R, COUNT): the AUROC of each condition against real images that went the same way; NaN of real ones."""
    found = np.full((len(counts), COUNT), np.nan)
    for condition in range(KNOWN, COUNT):
        found[:, condition] = _of_pair(stats, counts, condition, auroc)
    return found


def rightly_called(sums: np.ndarray) -> np.ndarray:
    """Sums (…, k) → (…, COUNT): the share of each condition that was called rightly; NaN where there is no image."""
    return ratio(sums[..., COUNT : 2 * COUNT], sums[..., :COUNT])


def held_out_accuracy(sums: np.ndarray) -> np.ndarray:
    """Sums (…, k) → (…,): the mean of the shares of real images and of those of held-out generators that were called
    rightly: as many of both."""
    shares = rightly_called(sums)
    return (shares[..., REAL] + shares[..., HELD_OUT]) / 2


def _of_pair(stats: np.ndarray, counts: np.ndarray, condition: int, measure: object) -> np.ndarray:
    """A measure of ranks of a condition against real images that went the same way."""
    stats = np.asarray(stats)
    fake, real = stats[:, condition] > 0, stats[:, REAL + condition % 2] > 0
    kept = fake | real
    found: np.ndarray = measure(stats[kept, -1], (counts * fake)[:, kept], (counts * real)[:, kept])  # type: ignore[operator]
    return found
