import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from gssl.statistics import fake
from gssl.statistics.metric import METRICS


def example(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conditions, scores with ties, and what a threshold of .5 says."""
    random = np.random.default_rng(seed)
    conditions = random.integers(0, 6, n)
    score = np.round(random.normal(size=n) + 0.4 * conditions, 1)
    return conditions, score, score > 0.5


def test_each_condition_is_compared_with_real_images_that_went_the_same_way():
    conditions, score, said = example()
    rows = fake.fake_rows(conditions, np.stack([score, said], axis=1))
    once = np.ones((1, len(rows)))
    each = fake.aurocs(rows, once)[0]
    assert np.isnan(each[:2]).all()
    for condition in range(2, 6):
        kept = np.isin(conditions, [condition % 2, condition])
        assert each[condition] == pytest.approx(roc_auc_score(conditions[kept] > 1, score[kept]), abs=1e-6)
    assert METRICS["fake_auroc"].value(rows) == pytest.approx(each[4])
    assert METRICS["fake_auroc_jpeg"].value(rows) == pytest.approx(each[5])
    kept = np.isin(conditions, [0, 4])
    expected = average_precision_score(conditions[kept] > 1, score[kept])
    assert METRICS["fake_ap"].value(rows) == pytest.approx(expected, abs=1e-6)
    expected = balanced_accuracy_score(conditions[kept] > 1, said[kept])
    assert METRICS["fake_accuracy"].value(rows) == pytest.approx(expected)


def test_resamples_are_those_of_repeated_images():
    conditions, score, said = example(1)
    rows = fake.fake_rows(conditions, np.stack([score, said], axis=1))
    counts = np.random.default_rng(0).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=8)
    kept = np.isin(conditions, [1, 5])
    own = [roc_auc_score(np.repeat(conditions[kept] > 1, c[kept]), np.repeat(score[kept], c[kept])) for c in counts]
    assert fake.held_out_auroc_jpeg(rows, counts) == pytest.approx(own, abs=1e-6)


def test_a_detector_that_calls_every_file_of_a_sort_real_is_seen():
    """All generated images that were saved as JPEG pass as real (DIRE, #11): half of the answers are wrong."""
    conditions = np.repeat(np.arange(6), 10)
    said = np.isin(conditions, [2, 4])
    rows = fake.fake_rows(conditions, np.stack([said.astype(float), said], axis=1))
    called = METRICS["fake_accuracy"].components(rows, fake.CONDITIONS)
    assert called == dict(zip(fake.CONDITIONS, (1.0, 1.0, 1.0, 0.0, 1.0, 0.0), strict=True))
    assert METRICS["fake_auroc"].value(rows) == 1 and METRICS["fake_auroc_jpeg"].value(rows) == 0.5


def test_without_a_held_out_generator_nothing_is_defined():
    rows = fake.fake_rows(np.array([0, 2, 2]), np.array([[0, 0], [1, 1], [1, 1]]))
    assert np.isnan(METRICS["fake_auroc"].value(rows)) and np.isnan(METRICS["fake_ap"].value(rows))
    assert np.isnan(METRICS["fake_accuracy"].value(rows))
