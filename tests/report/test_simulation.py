"""The claims of docs/statistics.md, on few simulated comparisons of a fixed seed: generous bounds, no long run.

`scripts/simulate_compare.py` is what the document's tables come from.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gssl.report import statistics
from gssl.report.statistics import Interval, sign_flip
from scripts.simulate_compare import ARMS, Condition, conditions, draw, report, scores, sigma, simulate

DOCUMENT = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
FEW = 200


def error(share: float, n: int = FEW) -> float:
    """Three standard errors of a share of n."""
    return 3 * (share * (1 - share) / n) ** 0.5


def test_without_a_difference_intervals_cover_and_seldom_is_a_winner_named():
    found = simulate(Condition("exponential", 0.5, 6), FEW)
    assert found.covered == pytest.approx(0.95, abs=0.02 + error(0.95))
    assert found.single <= 0.05 + error(0.05)
    assert found.adjusted <= 0.05 + error(0.05)
    assert found.named <= 0.05 + error(0.05)
    assert found.power <= found.named  # SimCLR against random features is one of the pairs


@pytest.mark.long
def test_a_difference_of_three_deviations_is_named_with_six_seeds_and_a_small_one_seldom():
    assert simulate(Condition("normal", 0.0, 6, 3), FEW // 2).power >= 0.75
    assert 0.02 < simulate(Condition("normal", 0.0, 6, 1), FEW // 2).power < 0.6


@pytest.mark.long
def test_three_seeds_establish_nothing_and_their_intervals_cover_all_the_same():
    found = simulate(Condition("normal", 0.0, 3), FEW)
    assert found.single == found.adjusted == 0
    assert found.named <= 0.05 + error(0.05)  # "is ahead of" names a winner, too
    assert found.covered == pytest.approx(0.95, abs=0.02 + error(0.95))
    made = report(Condition("normal", 0.0, 3, 20), np.random.default_rng(0))
    assert " is ahead of " in made["verdict"]["headline"] and " beats " not in made["verdict"]["headline"]


def test_pairs_that_lost_seeds_share_what_the_test_of_the_others_leaves():
    """At 1 − .05/3 each they would name a winner that is none more often than in 5%, with the pair that is tested."""
    made = report(Condition("normal", 0.0, 6, lost=2), np.random.default_rng(0))
    levels = {(d["a"], d["b"]): d["simultaneous"]["level"] for d in made["differences"] if d["family"] == "primary"}
    assert statistics.attainable(6) == 1 / 32
    assert levels["simclr", "random"] == pytest.approx(1 - 0.05 / 3)  # tested
    assert levels["dcgan", "random"] == levels["simclr", "dcgan"] == pytest.approx(1 - (0.05 - 1 / 32) / 2)
    alike = report(Condition("normal", 0.0, 4), np.random.default_rng(0))
    shared = [d["simultaneous"]["level"] for d in alike["differences"] if d["family"] == "primary"]
    assert shared == pytest.approx([1 - 0.05 / 3] * 3)
    ten = report(Condition("normal", 0.0, 10, lost=6), np.random.default_rng(0))
    few = [d["simultaneous"]["level"] for d in ten["differences"] if d["n_seeds"] == 4]
    assert few == pytest.approx([1 - (0.05 - 25 / 512) / 2] * 2)


@pytest.mark.parametrize("n", [2, 5, 6, 7, 10])
def test_the_largest_p_that_a_test_can_give_up_to_five_percent(n):
    """All p-values that there are: those of every sign pattern of one row whose subset sums all differ."""
    row = 2.0 ** np.arange(n)
    signs = 1 - 2.0 * (np.arange(1 << n)[:, None] >> np.arange(n) & 1)
    there = sorted({sign_flip(row * s) for s in signs})
    assert statistics.attainable(n) == max((p for p in there if p <= 0.05), default=0.0)


@pytest.mark.long
def test_an_interval_that_is_too_narrow_would_be_found_out(monkeypatch):
    def normal(values, level=0.95):
        half = 1.96 * np.std(values, ddof=1) / len(values) ** 0.5
        return Interval(float(np.mean(values)), float(np.mean(values) - half), float(np.mean(values) + half))

    monkeypatch.setattr(statistics, "t_interval", normal)
    assert simulate(Condition("normal", 0.0, 3), FEW // 2).covered < 0.87


@pytest.mark.long
def test_a_family_that_is_not_adjusted_would_be_found_out(monkeypatch):
    monkeypatch.setattr(statistics, "max_t", lambda rows: [_plain(row) for row in rows])
    assert simulate(Condition("normal", 0.0, 10), FEW).named > 0.05 + error(0.05)


def _plain(row) -> float:
    d = np.asarray(row)
    flips = 1 - 2.0 * (np.arange(1 << len(d))[:, None] >> np.arange(len(d)) & 1)
    return float((np.abs(flips @ d) >= abs(d.sum()) - 1e-12).mean())


def test_the_simulated_noise_is_what_it_is_called():
    rng = np.random.default_rng(0)
    for noise in ("normal", "exponential", "t3"):
        x = draw(noise, (200_000,), rng)
        assert x.mean() == pytest.approx(0, abs=0.01)
        assert x.var() == pytest.approx(1, abs=0.3 if noise == "t3" else 0.02)  # its fourth moment is infinite
    assert stats.skew(draw("exponential", (200_000,), rng)) == pytest.approx(2, abs=0.1)
    for noise, rho in (("normal", 0.0), ("normal", 0.5), ("exponential", 0.5), ("lopsided", 0.5)):
        x = scores(Condition(noise, rho, 50_000), rng) / 10_000
        assert (x[0] - x[2]).std() == pytest.approx(sigma(noise, rho), rel=0.03)
        if noise != "lopsided":
            assert np.corrcoef(x)[0, 1:] == pytest.approx(rho, abs=0.02)
    same = [simulate(Condition("t3", 0.0, 3), 5) for _ in range(2)]
    assert same[0] == same[1] and len(ARMS) == 3


@pytest.mark.parametrize("n", [6, 10])
def test_the_sign_flip_test_on_simulated_scores_is_scipys(n):
    x = scores(Condition("exponential", 0.5, n, 1), np.random.default_rng(n)) / 10_000
    d = x[0] - x[2]
    theirs = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d) == pytest.approx(theirs.pvalue)
    assert statistics.effect_size(d) == pytest.approx(stats.ttest_1samp(d, 0).statistic / n**0.5)


def test_the_document_has_every_condition():
    assert "@@" not in DOCUMENT
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| (\d+)(?:, DCGAN (\d))? \|", DOCUMENT, re.M)
    told = {(noise, float(rho), int(seeds), int(left or seeds)) for noise, rho, seeds, left in rows}
    assert told == {(c.noise, c.rho, c.seeds, c.seeds - c.lost) for c in conditions() if c.delta == 0}
