"""Divergences of n-grams against scipy, controls against their definitions, and the alarm."""

from collections import Counter

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from gssl.metrics import characters
from gssl.metrics.characters import Known, RepetitionMonitor, divergence, divergences, ngrams, repetition

LINES = ["the cat sat", "the dog sat on a log", "a cat", "on the mat", "a"]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_divergence_is_the_square_of_scipys_distance(n):
    a, b = ngrams(LINES[:2], n), ngrams(LINES[2:], n)
    keys = sorted({*a, *b})
    p, q = ([own[key] for key in keys] for own in (a, b))
    assert divergence(a, b) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-12)
    assert 0 < divergence(a, b) < 1 and divergence(a, b) == pytest.approx(divergence(b, a), abs=1e-12)
    assert divergence(a, Counter({key: 3 * value for key, value in a.items()})) == 0


def test_nothing_in_common_is_one_and_nothing_at_all_is_said():
    assert divergence(Counter("ab"), Counter("cd")) == 1 == divergence(Counter(), Counter("a"))
    assert divergence(Counter(), Counter()) == 0
    assert divergences([""], ["abcd"])["js"] == 1 and divergences(LINES, LINES)["js"] == 0


def test_no_ngram_reaches_over_the_end_of_a_line():
    assert ngrams(["abc", "d", ""], 2) == {"ab": 1, "bc": 1}


def test_figures_of_lines():
    assert repetition(["a", "a", "b", "a"]) == {"distinct": 0.5, "repeated": 0.75}
    found = Known(LINES).figures(["the cat zat", "a cat", "a cat", ""], LINES)
    assert found["words"] == 6 / 7 and found["copied"] == 0.5 and found["distinct"] == 0.75
    assert found["length"] == (11 + 5 + 5) / 4 and found["js"] == pytest.approx(divergences(
        ["the cat zat", "a cat", "a cat", ""], LINES)["js"])  # fmt: skip


@pytest.fixture(scope="module")
def chance():
    return np.random.default_rng(0).random((4000, 21))


def test_controls_have_what_they_are_named_by(chance):
    made = characters.drawn(LINES, chance)
    lengths = Counter(map(len, made))
    assert set(lengths) == {len(line) for line in LINES} and min(lengths.values()) > 600
    assert divergence(ngrams(made, 1), ngrams(LINES, 1)) < 1e-3 < divergence(ngrams(made, 2), ngrams(LINES, 2))
    made = characters.by_place(LINES, chance)
    for place in (0, 4, 19):  # as often as training lines that reach so far
        own, true = (Counter(line[place] for line in some if len(line) > place) for some in (made, LINES))
        assert divergence(own, true) < 2e-3 and set(own) == set(true)
    made = characters.chained(LINES, chance)
    assert {line[:1] for line in made} == {"t", "a", "o"}
    assert set(ngrams(made, 4)) <= set(ngrams(LINES, 4)) and max(map(len, made)) <= 20
    assert sum(line == "a cat" for line in made) > 300  # it has ends as often as they come


def entry(step, repeated, distinct, **more):
    return {"step": step, "repeated": repeated, "distinct": distinct, **more}


def test_one_line_that_repeats_is_an_alarm_once():
    watch = RepetitionMonitor(real=0.99)
    assert watch({"step": 5, "loss": 1.0}) == [] == watch(entry(0, 1.0, 0.001))
    assert watch(entry(10, 0.9, 0.01)) == []  # it may be an accident
    found = watch(entry(20, 0.9, 0.01))
    assert len(found) == 2 and "one line is 90% of the samples" in found[0] and "1.0% of the samples" in found[1]
    assert watch(entry(30, 0.9, 0.01)) == []
    late = RepetitionMonitor(real=0.99)
    assert len(late(entry(10, 0.9, 0.5, progress=0.99))) == 1


def test_what_grows_better_is_young_and_real_lines_are_well():
    watch = RepetitionMonitor(real=0.99)
    assert [watch(entry(10 * i, 0.5, 0.02 * i)) for i in range(1, 6)] == [[]] * 5
    assert RepetitionMonitor(0.99)(entry(10, 0.004, 0.98, progress=1.0)) == []
