import subprocess
import sys

import pytest
from scipy.stats import binomtest

from gssl.statistics.intervals import wilson


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (830, 1000), (1, 3), (49_999, 50_000)])
def test_wilson_is_that_of_scipy(correct, n, level):
    expected = binomtest(correct, n).proportion_ci(level, method="wilson")
    assert wilson(correct, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= wilson(correct, n, level)[0] <= correct / n <= wilson(correct, n, level)[1] <= 1


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0, 1)


def test_needs_no_torch():
    code = "import sys, gssl.statistics.intervals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
