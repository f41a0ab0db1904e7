import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from gssl.metrics.accuracy import accuracy, balanced_accuracy, confusion


def test_counts_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.choice([0, 1, 3], 200, p=[0.8, 0.15, 0.05])  # class 2 never occurs
    p = np.where(rng.random(200) < 0.6, y, rng.integers(0, 3, 200))
    assert accuracy(y, p) == pytest.approx((y == p).sum() / 200)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(y, p)
    assert balanced_accuracy(y, p) == pytest.approx(expected)
    assert np.array_equal(confusion(y, p, 4), confusion_matrix(y, p, labels=range(4)))
    assert confusion(y, p, 4).shape == (4, 4)


def test_always_the_commonest_class_is_chance():
    y = np.repeat([0, 1], [99, 1])
    assert accuracy(y, np.zeros(100)) == 0.99
    assert balanced_accuracy(y, np.zeros(100)) == 0.5


def test_needs_no_torch():
    code = "import sys, gssl.metrics.accuracy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
