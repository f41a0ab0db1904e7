"""The statistics against scipy, brute force and simulation."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from gssl.statistics import paired as ours


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_t_interval_is_scipys(n: int) -> None:
    x = np.random.default_rng(n).normal(0.8, 0.02, n)
    found = ours.t_interval(x)
    assert found
    low, high = stats.t.interval(0.95, n - 1, loc=x.mean(), scale=stats.sem(x))
    assert found == pytest.approx((x.mean(), low, high), abs=1e-12)


def test_t_interval_widths_of_the_evaluation_page() -> None:
    for n, width in ((3, 2.48), (5, 1.24), (10, 0.72)):
        assert ours.t_quantile(0.975, n - 1) / n**0.5 == pytest.approx(width, abs=0.005)


def test_one_value_has_no_interval() -> None:
    assert ours.t_interval([0.5]) is None
    assert ours.effect_size([0.5]) is None


def test_t_interval_covers_at_its_nominal_rate_where_the_bootstrap_does_not() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(2000, 3))
    t = np.mean([i.low <= 0 <= i.high for i in map(ours.t_interval, samples) if i])
    resampled = samples[:, rng.integers(0, 3, (400, 3))].mean(axis=2)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=1)
    assert t == pytest.approx(0.95, abs=0.02)
    assert np.mean((low <= 0) & (high >= 0)) < 0.85


def brute(d: np.ndarray) -> float:
    flips = [abs(np.mean(np.array(s) * d)) for s in product((1, -1), repeat=len(d))]
    return float(np.mean(np.array(flips) >= abs(d.mean()) - 1e-12))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 8])
def test_sign_flip_is_brute_force_and_scipys(n: int) -> None:
    d = np.random.default_rng(n).normal(0.5, 1, n)
    assert ours.sign_flip(d) == pytest.approx(brute(d))
    if n > 1:
        scipys = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert ours.sign_flip(d) == pytest.approx(scipys.pvalue)


def test_sign_flip_at_the_edges() -> None:
    assert ours.sign_flip([0.3, 0.3, 0.3]) == pytest.approx(0.25)  # no spread at all
    assert ours.sign_flip([0.0, 0.0, 0.0]) == 1.0
    assert ours.sign_flip([]) == 1.0
    for n in range(1, 9):
        assert ours.sign_flip(np.linspace(1, 2, n)) == pytest.approx(ours.smallest_p(n))
    assert ours.seeds_needed(0.05) == 6


def test_sign_flip_does_not_depend_on_scale_or_sign() -> None:
    d = np.random.default_rng(1).normal(0.5, 1, 7)
    assert ours.sign_flip(d) == ours.sign_flip(-d) == ours.sign_flip(1e-6 * d) == ours.sign_flip(1e6 * d)


def test_many_seeds_are_sampled_and_never_give_zero() -> None:
    d = np.random.default_rng(2).normal(1, 0.1, 25)
    assert 0 < ours.sign_flip(d) < 1e-3
    null = np.random.default_rng(3).normal(0, 1, 25)
    exact = stats.ttest_1samp(null, 0).pvalue
    assert ours.sign_flip(null) == pytest.approx(exact, abs=0.03)


def test_max_t_of_one_pair_is_the_plain_test() -> None:
    d = np.random.default_rng(4).normal(0.4, 1, 7)
    assert ours.max_t([d]) == [ours.sign_flip(d)]


def test_max_t_is_never_smaller_than_the_plain_p_and_keeps_the_order() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        d = rng.normal(rng.uniform(-1, 1, (4, 1)), 1, (4, 6))
        plain, adjusted = [ours.sign_flip(row) for row in d], ours.max_t(d)
        assert all(a >= p - 1e-12 for a, p in zip(adjusted, plain, strict=True))
        t = np.abs(stats.ttest_1samp(d, 0, axis=1).statistic)
        by_strength = np.array(adjusted)[np.argsort(-t)]
        assert (np.diff(by_strength) >= -1e-12).all()


def test_max_t_against_brute_force_step_down() -> None:
    d = np.random.default_rng(6).normal([[2.0], [0.6], [0.1]], 1, (3, 6))
    signs = np.array(list(product((1, -1), repeat=6)))

    def t(rows: np.ndarray) -> np.ndarray:
        return np.abs(rows.mean(-1) / (rows.std(-1, ddof=1) / 6**0.5))

    flipped = t(signs[:, None, :] * d[None])
    order = np.argsort(-t(d))
    expected, largest = np.zeros(3), 0.0
    for k, row in enumerate(order):
        largest = max(largest, float((flipped[:, order[k:]].max(1) >= t(d)[row] * (1 - 1e-9)).mean()))
        expected[row] = largest
    assert ours.max_t(d) == pytest.approx(expected)


def test_six_seeds_and_three_pairs_can_reject_where_holm_never_could() -> None:
    rng = np.random.default_rng(7)
    arms = rng.normal([[0.9], [0.7], [0.5]], 0.01, (3, 6))
    d = np.stack([arms[0] - arms[1], arms[0] - arms[2], arms[1] - arms[2]])
    assert max(ours.max_t(d)) <= 0.05
    assert 3 * ours.smallest_p(6) > 0.05


def test_max_t_finds_nothing_where_nothing_is() -> None:
    """Family-wise: three arms without a difference, six seeds, three pairs."""
    rng = np.random.default_rng(8)
    wrong = 0
    for _ in range(600):
        a, b, c = rng.normal(0, 1, (3, 6))
        wrong += min(ours.max_t(np.stack([a - b, a - c, b - c]))) <= 0.05
    assert wrong / 600 <= 0.05 + 2 * (0.05 * 0.95 / 600) ** 0.5


def test_a_missing_seed_counts_for_its_own_row_only() -> None:
    d = np.random.default_rng(9).normal(1, 0.1, (1, 6))
    short = np.concatenate([d, [[*d[0, :5], np.nan]]])
    assert ours.max_t(short[1:]) == pytest.approx([ours.sign_flip(d[0, :5])])
    assert ours.max_t(short)[0] >= ours.sign_flip(d[0])


def test_newcombe_covers() -> None:
    from gssl.statistics.intervals import wilson

    rng = np.random.default_rng(10)
    n, pa, pb = 80, 0.9, 0.75
    hits = 0
    for a, b in zip(rng.binomial(n, pa, 1500), rng.binomial(n, pb, 1500), strict=True):
        found = ours.newcombe((a / n, *wilson(int(a), n)), (b / n, *wilson(int(b), n)))
        hits += found.low <= pa - pb <= found.high
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)


def test_default_pairs_compare_the_first_of_each_kind_and_look_at_names_only() -> None:
    def pairs(kinds: dict[str, str], controls: tuple[str, ...] = (), most: int = 6) -> list[list[str]]:
        return ours.default_pairs(kinds, controls, most)

    both = {"a": "ssl", "b": "ssl", "g": "gan", "scratch": "scratch"}
    assert pairs(both) == pairs(both, ("random",)) == [["a", "g"], ["a", "scratch"], ["g", "scratch"]]
    assert pairs({"g": "gan", "a": "ssl"}, ("random",)) == [["a", "g"], ["a", "random"], ["g", "random"]]
    ready = {**both, "r": "ready"}
    assert pairs(ready) == [["a", "g"], ["a", "r"], ["g", "r"], ["a", "scratch"], ["g", "scratch"], ["r", "scratch"]]
    assert pairs({**ready, "pca": "classical"}) == pairs(ready)  # of five kinds the classical baseline is left out
    assert ["a", "pca"] in pairs({**both, "pca": "classical"})
    assert pairs(ready, most=3) == pairs(ready)[:3]


def test_default_pairs_fill_up_with_other_contestants() -> None:
    assert ours.default_pairs({"a": "ssl", "scratch": "scratch"}, (), 6) == [["a", "scratch"]]
    three = ours.default_pairs({"a": "ssl", "b": "ssl"}, ("random",), 6)
    assert three == [["a", "random"], ["b", "random"], ["a", "b"]]
    many = {**dict.fromkeys("abcd", "ssl"), "scratch": "scratch"}
    found = ours.default_pairs(many, (), 6)
    assert found == [["a", "scratch"], ["b", "scratch"], ["c", "scratch"]]
    assert ours.default_pairs({"scratch": "scratch"}, ("random",), 6) == [["scratch", "random"]]
    assert ours.default_pairs({"scratch": "scratch"}, (), 6) == ours.default_pairs({}, ("random",), 6) == []
    turned = ours.default_pairs(dict(reversed(many.items())), (), 6)
    assert turned[0] == ["d", "scratch"]  # the order of the arms decides


def test_newcombe_paired_gives_the_papers_figures() -> None:
    found = ours.newcombe_paired(36, 12, 2, 0)  # Newcombe (1998), the first worked example: method 10
    assert found == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    # the figures of the R package contingencytables (Newcombe_square_and_add_CI_paired_2x2)
    found = ours.newcombe_paired(59, 6, 16, 80)
    assert found == pytest.approx((-0.0621, -0.1186, -0.0046), abs=5e-5)


def test_newcombe_paired_turns_with_its_arms_and_has_a_width_without_discordance() -> None:
    a, b = ours.newcombe_paired(500, 60, 30, 110), ours.newcombe_paired(500, 30, 60, 110)
    assert (a.mean, a.low, a.high) == pytest.approx((-b.mean, -b.high, -b.low))
    same = ours.newcombe_paired(50, 0, 0, 10)
    assert same.low < 0 == same.mean < same.high
    for counts in ((60, 0, 0, 0), (0, 0, 0, 60), (0, 60, 0, 0)):  # no margin, no correlation
        found = ours.newcombe_paired(*counts)
        assert -1 <= found.low <= found.mean <= found.high <= 1


def test_newcombe_paired_covers_and_is_narrower_than_for_independent_arms() -> None:
    from gssl.statistics.intervals import wilson

    rng = np.random.default_rng(11)
    n, cells = 200, [0.7, 0.1, 0.05, 0.15]
    hits, narrower = 0, 0
    for both, first, second, neither in rng.multinomial(n, cells, 1500).tolist():
        found = ours.newcombe_paired(both, first, second, neither)
        hits += found.low <= 0.05 <= found.high
        a, b = both + first, both + second
        apart = ours.newcombe((a / n, *wilson(a, n)), (b / n, *wilson(b, n)))
        narrower += found.high - found.low < apart.high - apart.low
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)
    assert narrower == 1500


def test_intervals_of_what_cannot_be_negative_stay_above_zero_and_are_t_where_little_varies() -> None:
    two = ours.positive_interval([10.0, 90.0])
    plain = ours.t_interval([10.0, 90.0])
    assert plain.low < 0 < two.low < 50 < two.high
    near, t = ours.positive_interval([99.0, 100.0, 101.0]), ours.t_interval([99.0, 100.0, 101.0])
    assert near.low == pytest.approx(t.low, abs=0.05) and near.high == pytest.approx(t.high, abs=0.05)
    assert ours.positive_interval([1.0]) is None and ours.positive_interval([0.0, 0.0]) is None
    scaled = ours.positive_interval([1e12, 9e12])
    assert scaled.low / 1e11 == pytest.approx(two.low) and scaled.high / 1e11 == pytest.approx(two.high)


def test_intervals_of_what_cannot_be_negative_cover_for_lognormal_costs() -> None:
    rng = np.random.default_rng(0)
    truth, inside = np.exp(0.3**2 / 2), 0
    for _ in range(1000):
        found = ours.positive_interval(np.exp(0.3 * rng.standard_normal(4)).tolist())
        inside += found.low <= truth <= found.high
    assert inside / 1000 > 0.93
