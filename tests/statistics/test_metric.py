import subprocess
import sys

import numpy as np
import pytest
import torch
from torchmetrics import JaccardIndex

from gssl.metrics.accuracy import accuracy, balanced_accuracy
from gssl.statistics.metric import IGNORE, METRICS, Metric, by_group, mask_counts, replicates, resample_counts

CLASSES = 5


def masks(n: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Masks and predictions: class 3 is predicted but never labelled, class 4 is neither; some pixels are ignored."""
    random = np.random.default_rng(seed)
    labelled = random.integers(0, 3, (n, 9, 7)).astype(np.uint8)
    predicted = np.where(random.random(labelled.shape) < 0.6, labelled, random.integers(0, 4, labelled.shape))
    labelled[random.random(labelled.shape) < 0.2] = IGNORE
    return labelled, predicted.astype(np.uint8)


def by_loops(labelled: np.ndarray, predicted: np.ndarray) -> tuple[float, dict[int, float], float]:
    """Mean IoU, IoU by class and pixel accuracy, pixel by pixel."""
    pairs = [(int(y), int(p)) for y, p in zip(labelled.ravel(), predicted.ravel(), strict=True) if y != IGNORE]
    found = {}
    for c in range(CLASSES):
        union = [(y, p) for y, p in pairs if c in (y, p)]
        if union:
            found[c] = sum(y == p for y, p in union) / len(union)
    return sum(found.values()) / len(found), found, sum(y == p for y, p in pairs) / len(pairs)


def test_mean_iou_is_that_of_a_loop_over_pixels():
    labelled, predicted = masks()
    metric = METRICS["mean_iou"]
    stats = metric.stats(labelled, predicted, CLASSES)
    assert stats.shape == (6, 3 * CLASSES)
    mean, each, right = by_loops(labelled, predicted)
    assert metric.value(stats) == pytest.approx(mean, abs=1e-12)
    names = [f"class {c}" for c in range(CLASSES)]
    expected = {f"class {c}": pytest.approx(each[c]) if c in each else None for c in range(CLASSES)}
    assert metric.components(stats, names) == expected
    assert each[3] == 0  # predicted and never labelled: it counts, as 0
    assert metric.components(stats, names)["class 4"] is None
    assert METRICS["pixel_accuracy"].value(stats) == pytest.approx(right, abs=1e-12)


def test_mean_iou_is_that_of_torchmetrics():
    labelled, predicted = masks(seed=1)
    metric = METRICS["mean_iou"]
    stats = metric.stats(labelled, predicted, CLASSES)
    theirs = JaccardIndex("multiclass", num_classes=CLASSES, ignore_index=IGNORE, average="none")
    each = theirs(torch.from_numpy(predicted).long(), torch.from_numpy(labelled).long()).numpy()
    ours = metric.components(stats, list("abcde"))
    assert [v for v in ours.values() if v is not None] == pytest.approx(each[:4], abs=1e-6)  # they give 0 for the last


def test_it_is_no_mean_of_per_image_values():
    labelled = np.array([[[0, 0, 0, 1]], [[0, 1, 1, 1]]])
    predicted = np.array([[[0, 0, 1, 1]], [[0, 0, 1, 1]]])
    metric = METRICS["mean_iou"]
    stats = metric.stats(labelled, predicted, 2)
    assert metric.value(stats) == pytest.approx((3 / 5 + 3 / 5) / 2)
    assert metric.value(stats) != pytest.approx(np.mean([metric.value(row[None]) for row in stats]))


def test_predictions_inside_ignored_pixels_count_nowhere():
    metric = METRICS["mean_iou"]
    labelled = np.array([[[0, 1, IGNORE, IGNORE]]])
    stats = metric.stats(labelled, np.array([[[0, 1, 2, 2]]]), 3)
    assert metric.value(stats) == 1.0
    assert metric.components(stats, ["a", "b", "c"])["c"] is None


def test_masks_of_several_sizes():
    metric = METRICS["mean_iou"]
    small, large = np.zeros((2, 3), dtype=np.uint8), np.ones((4, 5), dtype=np.uint8)
    assert metric.stats([small, large], [small, large], 2).tolist() == [[6, 0, 6, 0, 6, 0], [0, 20, 0, 20, 0, 20]]


def test_without_a_labelled_pixel_there_is_no_value():
    nothing = np.full((1, 2, 2), IGNORE)
    stats = METRICS["mean_iou"].stats(nothing, np.zeros((1, 2, 2)), 2)
    assert np.isnan(METRICS["mean_iou"].value(stats))
    assert np.isnan(METRICS["pixel_accuracy"].value(stats))


def test_a_class_outside_the_known_ones_is_an_error():
    with pytest.raises(AssertionError, match="outside"):
        METRICS["mean_iou"].stats(np.full((1, 2, 2), 7), np.zeros((1, 2, 2)), 2)


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_are_bit_for_bit_those_of_the_formulas(seed):
    random = np.random.default_rng(seed)
    y = random.choice([0, 1, 3], 997, p=[0.7, 0.2, 0.1])
    p = np.where(random.random(997) < 0.6, y, random.integers(0, 4, 997))
    stats = METRICS["accuracy"].stats(y, p, 4)
    assert METRICS["accuracy"].value(stats) == accuracy(y, p)
    assert METRICS["balanced_accuracy"].value(stats) == balanced_accuracy(y, p)
    for name in ("accuracy", "balanced_accuracy"):
        weights = METRICS[name].item_weights(y)
        assert weights @ (y == p) == pytest.approx(METRICS[name].value(stats))
        assert METRICS[name].per_item_mean


def test_metrics_say_what_they_are():
    for name, metric in METRICS.items():
        assert metric.name == name and metric.title
        assert metric.unit in ("fraction", "value") and metric.direction in ("max", "min")
    assert not METRICS["mean_iou"].per_item_mean


# ── bootstrap ────────────────────────────────────────────────────────────────────────────────────


def test_a_replicate_is_the_metric_of_the_drawn_items():
    labelled, predicted = masks()
    metric = METRICS["mean_iou"]
    stats = metric.stats(labelled, predicted, CLASSES)
    counts = np.concatenate(list(resample_counts(6, 20))).astype(int)
    assert (counts.sum(axis=1) == 6).all()
    expected = []
    for row in counts:
        drawn = np.repeat(np.arange(6), row)
        expected.append(by_loops(labelled[drawn], predicted[drawn])[0])
    assert replicates(stats, metric, resamples=20) == pytest.approx(expected)
    assert metric.value(stats, counts[0]) == pytest.approx(expected[0])


def test_items_of_a_group_are_drawn_together():
    labelled, predicted = masks()
    metric = METRICS["mean_iou"]
    stats = metric.stats(labelled, predicted, CLASSES)
    groups = np.array([7, 7, 3, 3, 3, 9])
    sums = by_group(stats, groups)
    assert np.array_equal(sums, [stats[2:5].sum(axis=0), stats[:2].sum(axis=0), stats[5]])
    found = replicates(stats, metric, groups, resamples=50)
    assert np.array_equal(found, replicates(sums, metric, resamples=50))
    assert not np.array_equal(found, replicates(stats, metric, resamples=50))


def test_all_arms_share_the_resamples_and_more_of_them_begin_alike():
    labelled, predicted = masks()
    metric = METRICS["mean_iou"]
    stats = metric.stats(labelled, predicted, CLASSES)
    again = metric.stats(labelled, predicted, CLASSES)
    assert np.array_equal(replicates(stats, metric), replicates(again, metric))
    assert np.array_equal(replicates(stats, metric, resamples=30)[:10], replicates(stats, metric, resamples=10))
    assert not np.array_equal(replicates(stats, metric), replicates(stats, metric, seed=1))


def test_the_spread_of_an_accuracy_is_the_binomial_one():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 400)
    p = np.where(random.random(400) < 0.8, y, 1 - y)
    metric = METRICS["accuracy"]
    found = replicates(metric.stats(y, p, 2), metric)
    at = float((y == p).mean())
    assert found.mean() == pytest.approx(at, abs=0.003)
    assert found.std() == pytest.approx((at * (1 - at) / 400) ** 0.5, rel=0.1)


def test_needs_no_torch():
    code = "import sys, gssl.statistics.metric; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def ranked(stats, counts):
    """Area under the ROC curve of rows (score, positive), ties one half: for every collection by all pairs."""
    scores, positive = stats[:, 0], stats[:, 1] > 0
    wins = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    up, down = counts[:, positive], counts[:, ~positive]
    return np.einsum("ri,ij,rj->r", up, wins[positive][:, ~positive], down) / (up.sum(axis=1) * down.sum(axis=1))


def test_a_metric_of_ranks_is_of_the_rows_and_of_how_often_each_is_counted():
    rng = np.random.default_rng(0)
    stats = np.stack([rng.integers(0, 6, 40), np.arange(40) % 3 == 0], axis=1).astype(np.float32)
    metric = Metric("auroc", "AUROC", "fraction", "max", "label", mask_counts, None, of_items=ranked)
    counts = rng.integers(0, 4, 40)
    assert metric.value(stats, counts) == pytest.approx(metric.value(np.repeat(stats, counts, axis=0)))

    groups = np.repeat(np.arange(10), 4)
    found = replicates(stats, metric, groups, resamples=20)
    drawn = np.concatenate(list(resample_counts(10, 20))).astype(int)
    again = [metric.value(np.repeat(stats, of[groups], axis=0)) for of in drawn]
    np.testing.assert_allclose(found, again)
    assert len(np.unique(found)) > 10
