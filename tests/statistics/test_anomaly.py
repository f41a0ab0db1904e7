import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from gssl.statistics import anomaly
from gssl.statistics.anomaly import BINS, IGNORE, LIMIT, anomaly_rows, edges_of


def regions(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """8-connected components of the pixels that are 1, by flood fill."""
    left, found = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask == 1), strict=True)}, []
    while left:
        own, front = [], [left.pop()]
        while front:
            y, x = front.pop()
            own.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        found.append(own)
    return found


def aupro(maps: np.ndarray, masks: np.ndarray) -> float:
    """At every score that occurs, and without bins."""
    good = np.sort(maps[masks == 0])
    parts = [np.sort([m[at] for at in own]) for m, mask in zip(maps, masks, strict=True) for own in regions(mask)]
    thresholds = np.unique(maps[masks != IGNORE])[::-1]
    above = [1 - np.searchsorted(part, thresholds, side="left") / len(part) for part in (good, *parts)]
    rate, share = np.concatenate([[0], above[0]]), np.concatenate([[0], np.mean(above[1:], axis=0)])
    kept = rate <= LIMIT
    x = np.append(rate[kept], LIMIT)
    return float(np.trapezoid(np.append(share[kept], np.interp(LIMIT, rate, share)), x) / LIMIT)


def defects(seed: int, n: int = 40, side: int = 32, signal: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kinds (n,), masks with one to three blocks and maps that are higher there."""
    random = np.random.default_rng(seed)
    kinds, masks = random.integers(0, 3, n), np.zeros((n, side, side), dtype=np.uint8)
    for kind, mask in zip(kinds, masks, strict=True):
        for _ in range(random.integers(1, 4) if kind else 0):
            y, x, size = *random.integers(0, side - 6, 2), random.integers(2, 7)
            mask[y : y + size, x : x + random.integers(1, 6)] = 1
    maps = random.normal(size=masks.shape) ** 2 + signal * masks * random.random((n, 1, 1))
    return kinds, masks, maps.astype(np.float32)


def rows(kinds: np.ndarray, masks: np.ndarray, maps: np.ndarray) -> np.ndarray:
    return anomaly_rows(kinds, 3, maps.max(axis=(1, 2)), maps, masks, edges_of(maps, masks))


@pytest.mark.parametrize("signal", [0.0, 1.5, 6.0])
def test_pixels_are_those_of_every_threshold(signal):
    for seed in range(3):
        kinds, masks, maps = defects(seed, signal=signal)
        masks[0, :4] = IGNORE
        sums = rows(kinds, masks, maps).sum(axis=0, dtype=np.float64)
        assert anomaly.aupro_of(sums) == pytest.approx(aupro(maps, masks), abs=3e-4)
        known = masks != IGNORE
        assert anomaly.pixel_auroc_of(sums) == pytest.approx(roc_auc_score(masks[known], maps[known]), abs=3e-4)


def test_pixels_of_few_distinct_scores():
    """Ties of pixels: a line of the curve, whatever the bins."""
    kinds, masks, maps = defects(5, signal=4)
    coarse = np.round(maps)
    sums = rows(kinds, masks, coarse).sum(axis=0, dtype=np.float64)
    assert anomaly.pixel_auroc_of(sums) == pytest.approx(roc_auc_score(masks.ravel(), coarse.ravel()), abs=1e-9)
    assert anomaly.aupro_of(sums) == pytest.approx(aupro(coarse, masks), abs=1e-6)


def test_a_diagonal_joins_two_pixels_to_one_region():
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask[0, 0] = mask[1, 1] = mask[3, 3] = 1
    maps = np.random.default_rng(0).random((1, 4, 4))
    found = anomaly_rows(np.array([1]), 2, np.array([1.0]), maps, mask[None], edges_of(maps, mask[None]))
    assert found[0, 3] == 2
    covered = found[0, 4 + 2 * BINS :]
    assert covered.sum() == pytest.approx(2)
    assert found[0, 4 : 4 + BINS].sum() == 13 and found[0, 4 + BINS : 4 + 2 * BINS].sum() == 3


def test_images_are_those_of_scikit_learn_in_every_resample():
    kinds, masks, maps = defects(1, signal=0.5)
    stats = rows(kinds, masks, np.round(maps, 1))  # with ties
    score = stats[:, 3]
    counts = np.random.default_rng(2).multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=20)
    pairs = [(np.repeat(kinds > 0, c), np.repeat(score, c)) for c in counts]
    auroc, ap = anomaly.image_auroc_of(stats, counts), anomaly.image_ap_of(stats, counts)
    assert auroc == pytest.approx([roc_auc_score(*pair) for pair in pairs], abs=1e-9)
    assert ap == pytest.approx([average_precision_score(*pair) for pair in pairs], abs=1e-9)
    each = anomaly.kind_aurocs(stats, counts)
    assert np.isnan(each[:, 0]).all()
    for kind in (1, 2):
        kept = np.isin(kinds, [0, kind])
        own = [roc_auc_score(np.repeat(kinds[kept] > 0, c[kept]), np.repeat(score[kept], c[kept])) for c in counts]
        assert each[:, kind] == pytest.approx(own, abs=1e-9)


def test_what_is_not_defined_is_nan():
    kinds, masks, maps = defects(3)
    stats, once = rows(kinds, masks, maps), np.ones((1, len(kinds)))
    good = once * (kinds == 0)
    for of_items in (anomaly.image_auroc_of, anomaly.image_ap_of):
        assert np.isnan(of_items(stats, good)).all() and np.isnan(of_items(stats, once - good)).all()
        assert not np.isnan(of_items(stats, once)).any()
    without = rows(kinds, np.zeros_like(masks), maps).sum(axis=0)
    assert np.isnan(anomaly.aupro_of(without)) and np.isnan(anomaly.pixel_auroc_of(without))


def test_a_perfect_map_and_a_constant_one():
    kinds, masks, _ = defects(4)
    for maps, best in ((masks.astype(np.float32), 1.0), (np.zeros(masks.shape, np.float32), None)):
        sums = rows(kinds, masks, maps).sum(axis=0, dtype=np.float64)
        assert anomaly.pixel_auroc_of(sums) == (best or 0.5)
        assert anomaly.aupro_of(sums) == pytest.approx(best or LIMIT / 2)  # the diagonal up to the limit


def test_rows_of_several_sums_at_once():
    kinds, masks, maps = defects(6)
    stats = rows(kinds, masks, maps).astype(np.float64)
    weights = np.random.default_rng(0).integers(0, 3, (5, len(kinds)))
    for of_sums in (anomaly.aupro_of, anomaly.pixel_auroc_of):
        assert of_sums(weights @ stats) == pytest.approx([float(of_sums(w @ stats)) for w in weights])
