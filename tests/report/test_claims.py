"""Claims: what they may look like, when they hold, what their errors say."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gssl.cli import app
from gssl.comparison.claims_check import check as held_against
from gssl.config.menus import probes_of
from gssl.errors import UsageError
from gssl.report import claims
from gssl.report.claims import parse
from gssl.report.collect import read_runs
from gssl.report.scores import cells
from gssl.statistics import paired
from tests.report.documents import build, check, typed

Reports = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("simclr.linear@10 > random.linear@10 + 5", True),
        ("simclr.linear@10 > random.linear@10 + 60", False),
        ("simclr.linear@10>random.linear@10+5", True),
        ("simclr.linear@10>=60", True),
        ("simclr.linear@10 < 60", False),
        ("random.linear@10 <= simclr.linear@10 - 20", True),
        ("random.linear@1 < 0.5", False),  # points, no fractions
        ("simclr.linear@100% > pixels.linear@all + 1", True),
        ("simclr.linear@10 > scratch.linear@10", True),
        ("simclr.knn@100 > dcgan.knn@100 + 10", True),
        ("simclr.linear@all > simclr.linear@1 + 40", True),
        ("simclr.linear@10 > random.linear@10 * 1.5", True),
        ("simclr.linear@10 > random.linear@10 × 1.8", False),
    ],
)
def test_truth(report_of: Reports, claim: str, holds: bool) -> None:
    found, line = check(claim, report_of(3))
    assert found is holds
    assert line.startswith("holds: " if holds else "does not hold: ")
    assert claim in line
    assert re.search(r"95% interval [+−\d.]+ to [+−\d.]+ over 3 seeds and 1,000 test images", line)
    assert "\n" not in line


GENERATED = {"label": "", "better": "low", "baseline": None, "evaluator": "own", "split": "test", "n": 500}


def row(arm: str, metric: str, values: list[float], interval: dict[str, Any] | None = None) -> dict[str, Any]:
    """A row of `generation` or `cost` over seeds 0, 1, …, as the document has it."""
    over = paired.t_interval(values)
    if over:
        interval = {"kind": "t", "over": "seeds", "n": len(values), "level": 0.95, "low": over.low, "high": over.high}
    per_seed = {str(i): v for i, v in enumerate(values)}
    own = GENERATED if metric in claims.GENERATION else {"label": ""}
    found = {"arm": arm, "metric": metric, "mean": float(np.mean(values)), "interval": interval, "per_seed": per_seed}
    return found | {"n_seeds": len(values)} | own


def test_an_interval_decides_never_the_mean() -> None:
    """Random values and bounds: a claim holds exactly where both ends of the t interval fulfil it."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        n = int(rng.integers(2, 7))
        a, b = rng.normal(0.05, 0.01, (2, n))
        report = bare(generation=[row("a", "kid", list(a)), row("b", "kid", list(b))])
        bound, factor = rng.normal(0.05, 0.005), rng.uniform(0.5, 1.5)
        for text, values, limit in (
            (f"a.kid < {bound:.17f}", a, bound),
            (f"a.kid < b.kid * {factor:.17f}", a - factor * b, 0.0),
            (f"a.kid < b.kid + {bound / 9:.17f}", a - b, bound / 9),
        ):
            over = paired.t_interval(values)
            assert over
            holds, line = check(text, report)
            assert holds is (over.high < limit), line
            by_mean = float(values.mean()) < limit
            assert ("the mean fulfils it" in line) is (by_mean and not holds)
            seen.add((holds, by_mean))
    assert seen == {(True, True), (False, True), (False, False)}


def bare(**more: Any) -> dict[str, Any]:
    """A report of two arms that holds nothing but `more`."""
    return build([], {"arms": ["a", "b"], "pairs": []}) | {"failed": [], "missing": []} | more


@pytest.mark.parametrize("seeds", [1, 3])
def test_pairs_are_those_of_the_report(fake: ModuleType, tmp_path: Path, seeds: int) -> None:
    """A claim about two arms is decided by the interval that the verdict has; from the table alone by a wider one."""
    runs = read_runs(fake.make(tmp_path, seeds=seeds, arms=("simclr", "dcgan", "scratch", "random")))
    found = cells(runs)
    report = build(runs, fake.plan(seeds, ("simclr", "dcgan", "scratch", "random")), found)
    told = [d for d in report["differences"] if d["mean"] is not None and d["probe"]]
    assert len(told) > 20
    for d in told:
        left, right = (claims.Term(d[s], p, d["label_budget"]) for s, p in zip("ab", d["probes"], strict=True))
        rows = [claims.row(typed(report), term) for term in (left, right)]
        assert rows[0] and rows[1]
        exact = claims.paired_difference(
            rows[0], rows[1], claims.SCORED, 1.0, claims.between(found, left, right, "accuracy")
        )
        alone = claims.paired_difference(rows[0], rows[1], claims.SCORED)
        assert exact and alone and exact.interval and alone.interval
        assert exact.mean == pytest.approx(100 * d["mean"], abs=1e-10)
        ends = (exact.interval.low, exact.interval.high)
        assert ends == pytest.approx((100 * d["interval"]["low"], 100 * d["interval"]["high"]), abs=1e-10)
        assert exact.interval.kind == d["interval"]["kind"] == "two_way"
        assert alone.mean == pytest.approx(exact.mean) and alone.interval.kind == "two_way"


def test_equality_is_not_decided_by_rounding(report_of: Reports) -> None:
    report = copy.deepcopy(report_of(3))
    found = next(r for r in report["table"] if (r["arm"], r["probe"], r["label_budget"]) == ("simclr", "linear", "10"))
    found["mean"] = found["interval"]["low"] = found["interval"]["high"] = 0.1 + 0.2 + 0.3  # 0.6000000000000001
    assert check("simclr.linear@10 >= 60", report)[0]
    assert not check("simclr.linear@10 > 60", report)[0]


def test_one_seed_of_an_accuracy_has_the_images(report_of: Reports) -> None:
    holds, line = check("simclr.linear@10 > random.linear@10", report_of(1))
    assert holds
    assert "over 1,000 test images, one seed" in line
    assert check("simclr.linear@10 > 70", report_of(1))[0]


def test_one_seed_of_what_is_sampled_never_holds_and_of_what_is_counted_does() -> None:
    report = bare(
        generation=[row("a", "kid", [0.01]), row("b", "kid", [0.2])],
        cost=[row(arm, key, [v]) for arm in "ab" for key, v in (("flops", 1e12), ("seconds", 60.0), ("memory", 1e9))],
    )
    for claim in ("a.kid < 0.05", "a.kid < b.kid", "a.seconds < 1e4", "a.minutes < b.minutes * 9", "a.memory < 2e9"):
        holds, line = check(claim, report)
        assert not holds
        assert "no interval" in line and "more seeds would" in line
    for claim, holds in {"a.flops <= 1e12": True, "a.flops < 1e12": False, "a.flops <= b.flops * 1.02": True}.items():
        found, line = check(claim, report)
        assert found is holds
        assert "counted, not sampled" in line


def test_counted_values_that_are_equal_over_seeds_have_an_interval_without_width() -> None:
    report = bare(cost=[row("a", "flops", [3e12] * 3)])
    holds, line = check("a.flops <= 3e12", report)
    assert holds
    assert "95% interval 3 TFLOPs to 3 TFLOPs over 3 seeds" in line


def test_a_figure_with_an_interval_over_images_holds_with_one_seed() -> None:
    def over(low: float, high: float) -> dict[str, Any]:
        return {"kind": "bootstrap", "over": "test images", "n": 500, "level": 0.95, "low": low, "high": high}

    report = bare(generation=[row("a", "kid", [0.01], over(0.0, 0.02)), row("b", "kid", [0.1], over(0.07, 0.12))])
    assert check("a.kid < 0.03", report)[0]
    assert not check("a.kid < 0.015", report)[0]
    holds, line = check("a.kid < b.kid - 0.05", report)
    # square-and-add: -0.09 + hypot(0.01, 0.03)
    assert holds and "−0.05838" in line
    assert not check("a.kid < b.kid - 0.06", report)[0]


def test_units_are_those_that_people_write() -> None:
    cost = [row("a", "seconds", [120.0, 120.0]), row("b", "seconds", [60.0, 60.5])]
    generation = [row("a", "gan_train", [0.58, 0.58]), row("a", "coverage", [0.9, 0.9])]
    report = bare(cost=cost, generation=generation)
    for claim in (
        "a.minutes <= 2",
        "a.seconds >= 120",
        "a.hours < 0.034",
        "a.minutes >= b.minutes + 0.9",
        "a.seconds <= b.minutes * 3",  # the same quantity, whichever unit it is called by
        "a.gan_train > 57.9",
        "a.coverage > 0.89",
    ):
        holds, line = check(claim, report)
        assert holds, line
    assert not check("a.minutes > 2.01", report)[0]
    assert "2 min" in check("a.minutes <= 2", report)[1]
    assert "58.0%" in check("a.gan_train > 57.9", report)[1]


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("simclr.linear@10", ["expected one of > >= < <="]),
        ("simclr.linear@10 > 5 > 3", ["expected one of"]),
        ("simclr.linear > 5", ["cannot read 'simclr.linear'", "as in simclr.linear@10", "arm.probe@labels"]),
        ("simclr@10 > 5", ["cannot read 'simclr@10'"]),
        ("simclr.linear@ten > 5", ["cannot read"]),
        ("simclr.linear@10 > random.linear@10 + five", ["cannot read 'random.linear@10 + five'"]),
        ("simclr.linear@0% > 5", ["no part of the labels"]),
        ("simclr.linear@10 > 101", ["percent, 0 to 100"]),
        ("dcgan.kidd < 5", ["unknown measure 'kidd'; did you mean 'kid'?"]),
        ("dcgan.kid@10 < 5", ["kid takes no labels; write dcgan.kid"]),
        ("dcgan.coverage > 80", ["a fraction, 0 to 1", "write 0.8"]),
        ("dcgan.kid < sngan.fd", ["only the like can be compared"]),
        ("dcgan.seconds < simclr.flops", ["only the like can be compared"]),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_with_the_way_out(
    report_of: Reports, claim: str, words: list[str]
) -> None:
    with pytest.raises(UsageError) as error:
        check(claim, report_of(3))
    assert repr(claim) in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_score_does_not_hold(report_of: Reports) -> None:
    holds, line = check("simclr.linear@5 > 1", report_of(3))
    assert not holds
    assert "no finished run has simclr.linear@5" in line
    assert "linear@10" in line


def test_names_that_the_report_does_not_know_do_not_hold(report_of: Reports) -> None:
    for claim, words in {
        "simlcr.linear@10 > 5": ["unknown arm 'simlcr'", "did you mean 'simclr'?"],
        "simclr.linear@10 > randm.linear@10": ["unknown arm 'randm'", "'random'"],
        "simclr.liner@10 > 5": ["no finished run has simclr.liner@10", "simclr has knn@1"],
        "simclr.kid < 5": ["no finished run has simclr.kid", "simclr has flops"],
    }.items():
        holds, line = check(claim, report_of(3))
        assert not holds
        assert all(word in line for word in words), line


def test_after_all_of_an_arm_failed_its_claim_does_not_hold(fake: ModuleType, tmp_path: Path) -> None:
    """Accepted at the start, so it must not raise at the end."""
    arms = ("dcgan", "scratch")
    claim = "dcgan.linear@10 > 10"
    parse(claim, {arm: probes_of(arm, ["linear"]) for arm in arms}, ["10"])
    paths = fake.make(tmp_path, seeds=1, arms=arms, fail=[("dcgan", 0)])
    report = build(read_runs(paths), fake.plan(1, arms))
    assert not any(row["arm"] == "dcgan" for row in report["table"])
    holds, line = check(claim, report)
    assert not holds
    assert "no finished run has dcgan.linear@10; seed 0 pretrain: failed, FloatingPointError: loss is nan" in line
    assert "\n" not in line
    assert "no finished run has dcgan" in check("scratch.linear@10 > dcgan.linear@10", report)[1]
    (tmp_path / "part").mkdir()
    fake.part(tmp_path / "part", "random", 0, "transfer", "gssl transfer")
    nothing = build(read_runs([tmp_path / "part"]), fake.plan(1, ("random",)))
    assert "seed 0 transfer: missing)" in check("random.linear@10 > 1", nothing)[1]


ACCEPTED = [
    "simclr.linear@5 > scratch.finetune@5 - 100",
    "simclr.linear@5 >= 10",
    "pixels.linear@1% > 1",
    "scratch.finetune@all > simclr.linear@100%",
    "scratch.linear@5 > 1",
    "dcgan.kid < 0.05",
    "acgan.gan_train > 30",
    "dcgan.coverage >= acgan.coverage",
    "dcgan.seconds < simclr.seconds * 1.5",
    "simclr+dcgan.kid < dcgan.kid",
    "simclr-on-dcgan.flops <= simclr.flops * 1.02",
    "scratch-with-acgan.finetune@5 > scratch.finetune@5 + 1",
    "mine@x.linear@5 > 1",
]
REFUSED = {
    "random.finetune@5 > 1": "random.finetune@5 will not be evaluated; random is evaluated by linear @ 5, 1%, all",
    "simclr.linear@7 > 1": "simclr.linear@7 will not be evaluated; simclr is evaluated by linear, finetune @ 5",
    "pixels.finetune@5 > 1": "pixels is evaluated by linear @ 5",
    "simclr.linear@5 > pixels.knn@5": "pixels.knn@5 will not be evaluated",
    "simclr.liner@5 > 1": "did you mean 'linear'?",
    "simclr.linear@10% > 1": "@ 5, 1%, all",
    "simlcr.linear@5 > 1": "unknown arm 'simlcr'; did you mean 'simclr'? known: simclr, scratch, random, pixels",
    "simclr.kid < 1": "simclr.kid will not be measured: simclr has no generator",
    "dcgan.gan_train > 1": "dcgan has no class-conditional generator",
    "random.seconds < 5": "random.seconds will not be measured: nothing of random is trained",
    "simclr-on-dcgan.kid < 1": "simclr-on-dcgan has no generator",
    "simclr.flops < scratch.flops": "nothing of scratch is trained",
}
ARMS = ["simclr", "scratch", "random", "pixels", "dcgan", "acgan", "simclr+dcgan", "simclr-on-dcgan"]


def config(claim: str, runs: str | None = None, use: tuple[str, ...] = ("linear", "finetune"), images: int = 9) -> Any:
    arms = [*ARMS, "scratch-with-acgan", "runs/mine@x"]
    return SimpleNamespace(
        check=[claim],
        runs=runs,
        arms=arms,
        probe=SimpleNamespace(use=list(use)),
        generation=SimpleNamespace(images=images),
        labels_per_class=[5],
        fractions=[0.01, 1.0],
        images_labelled=[],
        data=SimpleNamespace(name="mnist5k"),
    )


def test_claims_are_held_against_what_will_be_judged() -> None:
    for claim in ACCEPTED:
        held_against(config(claim))
    for claim, text in REFUSED.items():
        with pytest.raises(UsageError) as error:
            held_against(config(claim))
        assert repr(claim) in str(error.value)
        assert text in str(error.value)
        assert "\n" not in str(error.value)
        held_against(config(claim, runs="runs/*"))  # only the form is known before these are read
    with pytest.raises(UsageError, match="cannot read"):
        held_against(config("simclr@5 > 1", runs="runs/*"))
    held_against(config("simclr.linear@5 > scratch.linear@5 - 100", use=("linear",)))
    with pytest.raises(UsageError, match=r"pixels\.finetune@5 will not be evaluated; nothing evaluates it"):
        held_against(config("pixels.finetune@5 > 1", use=("finetune",)))
    with pytest.raises(UsageError, match=r"generation\.images=0"):
        held_against(config("dcgan.kid < 1", images=0))


def test_a_claim_about_nothing_judged_is_exit_2_before_anything_runs(tmp_path: Path) -> None:
    words = ["compare", "--check", "scratch.knn@5 > 1", "labels_per_class=[5]", "probe.use=[linear]"]
    done = CliRunner().invoke(app, [*words, f"hydra.run.dir={tmp_path / 'run'}"])
    assert done.exit_code == 2
    assert "scratch is evaluated by linear @ 5" in done.output
    assert not (tmp_path / "run").exists()


def test_claims_are_written_one_way(tmp_path: Path) -> None:
    words = ["compare", "--check", "simclr.linear@10 > 1", "check=['simclr.linear@10 > 2']"]
    done = CliRunner().invoke(app, [*words, f"hydra.run.dir={tmp_path / 'run'}"])
    assert done.exit_code == 2
    assert "--check and check= exclude each other" in done.stderr


def test_parse_normalises_amounts_and_knows_variants() -> None:
    assert parse("a.linear@100% > 1").left.label_budget == "all"
    assert parse("a.linear@1.0% > 1").left.label_budget == "1%"
    assert parse("a.linear@010 > 1").left.label_budget == "10"
    variant = parse("simclr[ssl.temperature=0.2].linear@10 > simclr[ssl.temperature=0.5].linear@10 + 1.5")
    assert variant.left.arm == "simclr[ssl.temperature=0.2]"
    assert variant.right
    assert variant.right.arm == "simclr[ssl.temperature=0.5]"
    assert variant.offset == 1.5
    for arm in ("simclr+dcgan", "simclr-on-dcgan", "name@runs/x.y", "model.safetensors", "torchvision:resnet18"):
        claim = parse(f"{arm}.linear@10 > {arm}.knn@1% - 2")
        assert (claim.left.arm, claim.right and claim.right.arm, claim.offset) == (arm, arm, -2)
        claim = parse(f"{arm}.kid<{arm}.kid*1.5e-1")
        assert (claim.left.arm, claim.right and claim.right.arm, claim.factor) == (arm, arm, 0.15)
