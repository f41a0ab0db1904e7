"""The claims of docs/results/statistics_simulation.md, on few simulated comparisons: a fixed seed, generous bounds.

The document's tables come from `scripts/simulate_compare.py`.
"""

import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gssl.report import scores
from gssl.report.verdict import outcome
from gssl.statistics import paired
from gssl.statistics.paired import sign_flip
from gssl.statistics.two_way import two_way

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))  # scripts import each other by their names

import simulate_compare as compare  # noqa: E402
import simulated_answers as model  # noqa: E402
from simulated_answers import ARMS, Condition  # noqa: E402

DOCUMENT = (ROOT / "docs" / "results" / "statistics_simulation.md").read_text(encoding="utf-8")
FEW = 60


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def error(p: float, n: int = FEW) -> float:
    """Three standard errors of a proportion p of n."""
    return 3 * (p * (1 - p) / n) ** 0.5


def holds(condition: Condition, n: int, covered: bool = True) -> compare.Figures:
    """False winners in at most 5%, coverage of 93 to 97%, each with three standard errors."""
    found = compare.simulate(condition, n)
    assert found["false"][0] <= 0.05 + error(0.05, n)
    if covered:
        assert 0.93 - error(0.93, n) <= found["covered"][0] <= 0.97 + error(0.97, n)
    return found


# ── what is simulated ────────────────────────────────────────────────────────────────────────────


def test_the_population_is_what_it_is_called() -> None:
    tau = model.spread(0.8, 0.19)
    assert (model.level(0.8, tau, 0.05), tau) == pytest.approx((2.414, 1.09), abs=0.01)
    draw, n = rng(), 400_000
    z, g, u = draw.standard_normal(n), draw.standard_normal((2, n)), draw.standard_normal((2, n))
    p = model.sigmoid(model.level(0.8, tau, 0.05) + 2 * z + tau * g + 0.05 * u)
    assert p.mean() == pytest.approx(0.8, abs=0.002)
    assert (p[0] - p[1]).std() == pytest.approx(0.19, abs=0.003)
    skewed = model.level(0.8, tau, 0.25, True)
    p = model.sigmoid(skewed + 2 * z + tau * g[0] + 0.25 * (1 - draw.standard_exponential(n)))
    assert p.mean() == pytest.approx(0.8, abs=0.003)
    assert model.population_accuracy(model.level(0.98, 1.0, 0.05), 1.0, 0.05) == pytest.approx(0.98)


def test_what_is_drawn_has_the_settings_groups_classes_and_lost_seeds() -> None:
    equal, other = model.draw(Condition("groups", 100, 3), rng())
    assert np.bincount(equal.items.groups).tolist() == [10] * 10
    assert equal.right["scratch"] is other.right["scratch"] and other.truth["simclr"] == pytest.approx(0.85)
    assert model.draw(Condition("groups unknown", 100, 3), rng())[0].items.groups is None
    equal, _ = model.draw(Condition("majority", 100, 6), rng())
    assert np.bincount(equal.items.labels).tolist() == [90, 10]
    assert equal.truth["scratch"] == 0.5 and equal.right["scratch"][3].mean() == 0.9
    lost, _ = model.draw(Condition("standard", 20, 6, 2), rng())
    assert [len(lost.right[arm]) for arm in ARMS] == [6, 4, 6]
    assert set(np.unique(lost.right["simclr"][0] * 5).round(9)) <= set(range(6))
    assert len(model.draw(Condition("stopping", 20, 6), rng())[0].right["dcgan"]) == model.STOP
    down, _ = model.draw(Condition("ceiling", 20, 2), rng())[::-1]
    assert down.truth["simclr"] == pytest.approx(0.93)  # there are no 5 points above .98


@pytest.mark.parametrize(
    "condition",
    [
        Condition("standard", 100, 6),
        Condition("standard", 100, 3),
        Condition("90/10", 100, 6),
        Condition("majority", 100, 6),
        Condition("groups", 100, 3),
        Condition("standard", 100, 6, 2),
    ],
)
def test_the_short_way_comes_to_what_the_whole_report_says(condition: Condition) -> None:
    """Runs in memory through `document.build`, which chooses pairs and metric by its own rules."""
    for made in model.draw(condition, rng(1)):
        for short, whole in zip(compare.family(made), compare.reported(made), strict=True):
            assert (short.a, short.b, short.metric) == (whole.a, whole.b, whole.metric)
            assert outcome(short) == outcome(whole) and short.n_seeds == whole.n_seeds
            for key in ("mean", "p", "p_adjusted", "item_share"):
                assert getattr(short, key) == pytest.approx(getattr(whole, key), abs=1e-9), key
            for key in ("interval", "simultaneous"):
                one, two = getattr(short, key), getattr(whole, key)
                assert (one.low, one.high, one.level) == pytest.approx((two.low, two.high, two.level), abs=1e-9)


# ── the claims ───────────────────────────────────────────────────────────────────────────────────


def test_equal_arms_seldom_have_a_winner_and_had_one_often_by_the_rule_over_seeds() -> None:
    found = holds(Condition("standard", 100, 10), FEW)
    assert found["false_old"][0] > 0.45 and found["covered_old"][0] < 0.65
    assert found["same"][0] == 0  # a true point is not called equivalent


def test_an_interval_over_seeds_alone_would_be_found_out(monkeypatch) -> None:
    monkeypatch.setattr(scores, "two_way", lambda units, width=1.0: replace(two_way(units, width), from_items=0.0))
    with pytest.raises(AssertionError):
        holds(Condition("standard", 100, 6), FEW)


def test_an_interval_over_images_alone_would_be_found_out(monkeypatch) -> None:
    monkeypatch.setattr(scores, "two_way", lambda units, width=1.0: replace(two_way(units, width), from_seeds=0.0))
    with pytest.raises(AssertionError):
        holds(Condition("scatter", 1_000, 3), FEW // 2)


@pytest.mark.long
@pytest.mark.parametrize("n_test, seeds", [(20, 6), (100, 3), (300, 10), (1_000, 6)])
def test_equal_arms_have_no_winner_and_five_points_are_found(n_test: int, seeds: int) -> None:
    found = holds(Condition("standard", n_test, seeds), 150, covered=n_test > 20)
    assert found["covered"][0] >= 0.93 - error(0.93, 150)  # of twenty images they cover rather too often
    if (n_test, seeds) == (1_000, 6):
        assert found["power"][0] >= 0.95


@pytest.mark.long
@pytest.mark.parametrize("setting", ["90/10", "groups", "scatter", "unequal"])
def test_imbalance_groups_and_scatter_keep_it(setting: str) -> None:
    holds(Condition(setting, 300 if setting != "scatter" else 1_000, 6), 120)


@pytest.mark.long
def test_who_says_the_majority_never_wins_and_did() -> None:
    found = compare.simulate(Condition("majority", 1_000, 6), 40)
    assert found["false"][0] <= 0.05 + error(0.05, 40) and found["false_old"][0] > 0.9


@pytest.mark.long
def test_seeds_may_be_added_until_there_is_a_winner() -> None:
    found = compare.simulate(Condition("stopping", 100, 6), 60)
    assert found["false"][0] <= 0.05 + error(0.05, 60) and found["false_old"][0] > 0.4


def test_pairs_that_lost_seeds_divide_what_the_test_of_the_others_leaves() -> None:
    """At 1 − .05/3 each they would name a winner that is none more often than in 5%, with the pair that is tested."""

    def levels(condition: Condition) -> dict[tuple[str, str], float]:
        made = compare.family(model.draw(condition, rng())[0])
        return {(d.a, d.b): d.simultaneous.level for d in made if d.simultaneous}

    six = levels(Condition("standard", 20, 6, 2))
    assert paired.attainable(6) == 1 / 32
    assert six["simclr", "scratch"] == pytest.approx(1 - 0.05 / 3)  # tested
    assert six["dcgan", "scratch"] == six["simclr", "dcgan"] == pytest.approx(1 - (0.05 - 1 / 32) / 2)
    assert list(levels(Condition("standard", 20, 4)).values()) == pytest.approx([1 - 0.05 / 3] * 3)
    ten = levels(Condition("standard", 20, 10, 6))
    assert ten["dcgan", "scratch"] == pytest.approx(1 - (0.05 - 25 / 512) / 2)


@pytest.mark.parametrize("n", [2, 5, 6, 7, 10])
def test_the_largest_p_that_a_test_can_give_up_to_five_percent(n: int) -> None:
    """All p-values that there are: those of every sign pattern of one row whose subset sums all differ."""
    row = 2.0 ** np.arange(n)
    signs = 1 - 2.0 * (np.arange(1 << n)[:, None] >> np.arange(n) & 1)
    there = sorted({sign_flip(row * s) for s in signs})
    assert paired.attainable(n) == max((p for p in there if p <= 0.05), default=0.0)


@pytest.mark.parametrize("seeds", [3, 6, 10])
def test_the_old_rule_is_a_t_interval_and_a_sign_flip_test(seeds: int) -> None:
    """For one pair alone nothing is adjusted, and scipy has both."""
    won = []
    for k in range(30):
        made = model.draw(Condition("standard", 300, seeds), rng(k))[1]
        two = replace(made, right={arm: made.right[arm] for arm in ("simclr", "scratch")})
        d = np.array([two.right["simclr"][s].mean() - two.right["scratch"][s].mean() for s in range(seeds)])
        [winner], [ends] = compare.old_rule(two)
        assert ends == pytest.approx(stats.t.interval(0.95, seeds - 1, loc=d.mean(), scale=stats.sem(d)))
        p = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
        assert abs(winner) == (ends[0] > 0 or ends[1] < 0) * (seeds < 6 or p <= 0.05)
        won.append(winner)
    assert sum(map(abs, won)) > 0


# ── real predictions ─────────────────────────────────────────────────────────────────────────────


def made_up(n: int = 2_000, seeds: int = 6) -> model.Population:
    """Arms that are 5 and 1 points apart."""
    made = model.draw(Condition("standard", n, seeds), rng(7))[1]
    return model.Population({a: np.stack(list(r.values())) for a, r in made.right.items()}, made.items.labels)


def test_weights_make_the_arms_of_a_population_equal_and_stay_near_even() -> None:
    of = made_up()
    w = model.equal_weights(of)
    means = [float(r.mean(axis=0) @ w) for r in of.right.values()]
    assert w.sum() == pytest.approx(1) and np.ptp(means) < 1e-9
    assert w.min() > 0 and w.max() < 5 / len(w)
    with pytest.raises(SystemExit, match="nowhere worse"):
        model.equal_weights(model.Population({"a": np.ones((2, 50)), "b": np.zeros((2, 50))}, np.zeros(50, int)))


def test_a_population_is_read_from_a_file_and_from_runs(tmp_path) -> None:
    of = made_up(60, 2)
    file = str(tmp_path / "answers.npz")
    np.savez(file, labels=of.labels, **of.right)
    found = model.population(file, ["scratch", "simclr"])
    assert list(found.right) == ["scratch", "simclr"]
    assert (found.right["simclr"] == of.right["simclr"]).all()
    for run in compare.as_runs(model.draw(Condition("standard", 60, 2), rng(8))[0]):
        at = tmp_path / str(run.path)
        at.mkdir()
        part = {"schema": "gssl.part/1", "arm": run.arm, "seed": run.seed, "stage": "transfer"}
        for name, value in (("result", run.result), ("status", {"state": "finished"}), ("part", part)):
            (at / f"{name}.json").write_text(json.dumps(value))
        assert run.predictions
        labels = run.predictions.labels
        np.savez(at / "predictions.npz", labels=labels, guess=np.where(run.predictions.right, labels, labels + 1))
    read, drawn = model.population(str(tmp_path / "*-[01]")), model.draw(Condition("standard", 60, 2), rng(8))[0]
    assert set(read.right) == set(ARMS)
    assert read.right["dcgan"] == pytest.approx(np.stack(list(drawn.right["dcgan"].values())))
    with pytest.raises(SystemExit, match="not there"):
        model.population(file, ["byol"])


def test_equal_arms_of_a_population_seldom_have_a_winner() -> None:
    of, condition = made_up(), Condition("made up", 100, 6)
    found = compare.simulate(condition, FEW, of)
    assert found["false"][0] <= 0.05 + error(0.05) and found["false_old"][0] > 0.15
    assert found["covered"][0] >= 0.93 - error(0.93)
    drawn = model.subsample(of, model.equal_weights(of), condition, rng())
    assert [len(rows) for rows in drawn.right.values()] == [6] * 3 and len(drawn.items.labels) == 100


# ── the run ──────────────────────────────────────────────────────────────────────────────────────


def test_blocks_add_up_to_the_whole() -> None:
    c = Condition("standard", 20, 3)
    lines = [{"condition": asdict(c), "comparisons": n} for n in (3, 5)]
    blocks = [lines[0] | {"figures": compare.simulate(c, 3)}, lines[1] | {"figures": compare.simulate(c, 5, first=3)}]
    whole, found = compare.simulate(c, 8), compare.pooled(blocks)
    assert found["comparisons"] == 8
    for key, value in whole.items():
        assert found["figures"][key] == pytest.approx(value), key


def test_what_is_in_the_file_is_not_run_again_unless_the_code_has_changed(tmp_path, monkeypatch, capsys) -> None:
    ran: list[Condition] = []

    def simulate(c, comparisons, of=None, first=0):
        ran.append(c)
        return {"false": (0.1, 0.01)}

    todo, file = [Condition("standard", 20, 2), Condition("groups", 100, 3)], tmp_path / "cells.jsonl"
    monkeypatch.setattr(compare, "conditions", lambda: iter(todo))
    monkeypatch.setattr(compare, "simulate", simulate)
    monkeypatch.setattr(sys, "argv", ["x", "--comparisons", "200", "--json", str(file)])
    compare.main()
    assert ran == todo * 2
    compare.main()
    assert ran == todo * 2
    assert "| groups | 100 | 3 | 200 |" in capsys.readouterr().out
    file.write_text("".join(line + "\n" for line in file.read_text().splitlines()[:-1]))
    compare.main()
    assert ran == [*todo * 2, todo[1]]
    monkeypatch.setattr(compare, "SETTINGS", {"standard": model.Setting(accuracy=0.7)})
    compare.main()
    assert ran == [*todo * 2, todo[1], *todo * 2]


def test_the_document_has_every_condition() -> None:
    assert "@@" not in DOCUMENT
    rows = re.findall(r"^\| ([^|]+) \| ([\d,]+) \| (\d+)(?:, one arm (\d+))? \|", DOCUMENT, re.M)
    listed = {(setting, int(n.replace(",", "")), int(s), int(left or s)) for setting, n, s, left in rows}
    assert listed == {(c.setting, c.n_test, c.seeds, c.seeds - c.lost) for c in compare.conditions()}
