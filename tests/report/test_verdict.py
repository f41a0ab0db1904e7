"""What may be said, by number of seeds and by what happened."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gssl import words
from gssl.config import menus
from gssl.errors import UsageError
from gssl.report.collect import read_runs
from gssl.report.document import numbers, over_seeds
from gssl.report.scores import Gap
from gssl.statistics.two_way import two_way
from gssl.words import points
from tests.report.documents import build, markdown, page, verdict, views

Reports = Callable[..., dict[str, Any]]


def said(report: dict[str, Any]) -> str:
    v = report["verdict"]
    return " ".join([v["headline"], *v["cannot"], *v["sentences"], *v["cautions"], *v["exploratory"]])


def test_one_seed_says_nothing_about_seeds(report_of: Reports) -> None:
    report = report_of(1)
    assert report["verdict"]["answer"] == "open"
    assert report["verdict"]["headline"].startswith("One run of each method cannot say: with 10 labels per class")
    assert "shows nothing about other seeds" in report["verdict"]["cannot"][0]
    assert all("about other seeds nothing can be said" in s for s in report["verdict"]["sentences"])
    assert "beats" not in said(report)
    assert "is ahead" not in said(report)
    row = next(r for r in report["table"] if r["arm"] == "simclr")
    assert row["interval"]["over"] == "test images"
    assert report["advice"]["sentences"][0].startswith("For now SimCLR, by one run of each method:")
    assert (views.short(report), views.confidence(report).split(":")[0]) == (
        "Cannot be said yet",
        "None yet",
    )


@pytest.mark.parametrize(("seeds", "word", "luck"), [(2, "Two", "50"), (3, "Three", "25")])
def test_few_seeds_establish_nothing(report_of: Reports, seeds: int, word: str, luck: str) -> None:
    report = report_of(seeds)
    cannot = report["verdict"]["cannot"][0]
    assert cannot.startswith(f"{word} seeds cannot establish")
    assert f"win with all {word.lower()} in {luck} of 100 cases, and six seeds are the fewest" in cannot
    assert "beats" not in said(report)
    assert cannot in report["limitations"]
    first = report["verdict"]["sentences"][0]
    if seeds == 2:  # an interval for three pairs at once, over two seeds, excludes next to nothing
        ends = [report["differences"][0][key]["low"] for key in ("interval", "over_seeds")]
        assert ends[0] > 0 > ends[1]
        assert first.startswith("SimCLR and DCGAN are not shown to differ")
        return
    assert "SimCLR is ahead of DCGAN by" in first
    assert first.endswith("Three seeds cannot establish it by a test; six can.")
    assert report["verdict"]["answer"] == "perhaps"
    assert views.confidence(report) == "Not established: three seeds give a hint, and six are needed to confirm it."


def test_six_seeds_may_name_a_winner(report_of: Reports) -> None:
    report = report_of(6)
    assert report["verdict"]["cannot"] == []
    first = report["verdict"]["sentences"][0]
    assert first.startswith("SimCLR beats DCGAN by") and "more than the smallest difference of interest (0.5)" in first
    assert "95% interval over 6 seeds and 1,000 test images" in first and "98.3%, to hold for three pairs" in first
    assert "sign-flip p over seeds = .031, adjusted over three comparisons" in first
    primary = [d for d in report["differences"] if d["family"] == "primary"]
    pairs = [[d["a"], d["b"]] for d in primary]
    assert pairs == [["simclr", "dcgan"], ["simclr", "scratch"], ["dcgan", "scratch"]]
    # the reader in a hurry finds yes or no, by how much and how sure: by the interval that decides
    headline, d = report["verdict"]["headline"], primary[1]
    low, high = points(d["simultaneous"]["low"]), points(d["simultaneous"]["high"])
    found = f"{points(d['mean'])} percentage points of test accuracy (plausibly {low} to {high}); training from scratch"
    assert f"class, SimCLR beats training from scratch by {found} beats DCGAN by" in headline
    assert headline.startswith("Yes: with 10")
    assert views.confidence(report).startswith("Well supported: ") and "at most 5%" in views.confidence(report)


def test_a_family_that_failures_split_is_told_as_it_was_computed(report_of: Reports) -> None:
    report = report_of(6, fail=(("dcgan", 0), ("dcgan", 1)))
    primary = {(d["a"], d["b"]): d for d in report["differences"] if d["family"] == "primary"}
    told = dict(zip(primary, report["verdict"]["sentences"], strict=False))
    alone = primary["simclr", "scratch"]  # the one pair with six seeds: adjusted over nothing but itself
    assert alone["p_adjusted"] == alone["p"] and "adjusted over" not in told["simclr", "scratch"]
    assert [other.a for other in verdict.adjusted_with(alone, report)] == ["simclr"]
    few = primary["simclr", "dcgan"]
    assert len(verdict.adjusted_with(few, report)) == 3
    assert few["simultaneous"]["level"] == pytest.approx(1 - (0.05 - 1 / 32) / 2)
    wide = few | {"interval": few["interval"] | {"low": 0.001}, "simultaneous": few["simultaneous"] | {"low": -0.02}}
    said = verdict.sentence(wide, report)
    assert "99.1%, to hold for three pairs together, −2.0 to" in said and "adjusted" not in said


@pytest.mark.parametrize("seeds", [3, 6])
def test_no_difference_is_called_that(report_of: Reports, seeds: int) -> None:
    shift = {"simclr": -0.35}  # down to where random features are
    report = report_of(seeds, shift=shift, plan={"pairs": [["simclr", "random"]]})
    assert report["verdict"]["answer"] == "not shown"
    i = report["differences"][0]["simultaneous"]
    ends = f"(plausibly {points(-i['low'])} lower to {points(i['high'])} higher)."
    assert "whether SimCLR is better than random features. SimCLR scored" in report["verdict"]["headline"]
    assert report["verdict"]["headline"].endswith(ends)
    assert report["verdict"]["sentences"][0].startswith("SimCLR and random features are not shown to differ")
    assert views.confidence(report).startswith("Undecided, not equal: SimCLR could still score up to")
    assert report["primary"]["fixed_by"] == "plan"
    told = [c for c in report["verdict"]["cautions"] if c.startswith("Not shown to be ahead of random features")]
    assert len(told) == 1 and "SimCLR" in told[0]


def test_the_highest_contestant_is_compared_with_those_of_the_family(report_of: Reports) -> None:
    """DCGAN is on top and the plan has it in no pair: a reader sees it in the table and asks."""
    report = report_of(6, shift={"simclr": -0.35}, plan={"pairs": [["simclr", "random"]]})
    (told,) = [text for text in report["verdict"]["exploratory"] if text.startswith("DCGAN")]
    d = next(d for d in report["differences"] if {d["a"], d["b"]} == {"simclr", "dcgan"} and d["label_budget"] == "10")
    assert d["mean"] < 0 and d["probe"] == "linear" and d["a"] == "simclr"  # turned in the sentence
    ends = f"{points(-d['interval']['high'])} to {points(-d['interval']['low'])}"
    assert f"+{points(-d['mean'])} points against SimCLR ({ends})" in told
    (other,) = [text for text in report["verdict"]["exploratory"] if text.startswith("SimCLR")]
    assert "DCGAN" not in other and "scratch" in other


def test_the_loser_may_stand_first_in_the_pair(report_of: Reports) -> None:
    report = report_of(6, plan={"pairs": [["random", "simclr"]]})
    assert report["verdict"]["sentences"][0].startswith("SimCLR beats random features by 34.")
    interval = report["differences"][0]["interval"]
    assert interval["high"] < 0
    against = report_of(3, plan={"pairs": [["scratch", "simclr"]]})["verdict"]["sentences"][0]
    assert against.startswith("SimCLR is ahead of scratch")
    assert "(the linear probe on frozen features; 95% interval over" in against  # one way of judging for both


def difference(values: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """A paired difference over 1,000 test images whose means over these are `values`, one per seed."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (len(values), 1000))
    units = np.array(values)[:, None] + noise - noise.mean(axis=1, keepdims=True)
    between = Gap(dict(enumerate(values)), two_way(units))
    names = {"a": "a", "b": "b", "probe": "linear", "probes": ["linear"] * 2, "label_budget": "10"}
    d = numbers(between, metric="accuracy", **names)
    d.over_seeds = over_seeds(d, 0.95)
    return d.model_dump()


def test_a_winner_needs_both_the_test_and_the_interval() -> None:
    # Six seeds of one sign: the test rejects, but one seed's outlier keeps the interval over zero.
    d = difference([0.001, 0.001, 0.001, 0.001, 0.001, 0.3])
    assert d["p"] <= 0.05
    assert verdict.outcome(d) == "none"
    assert verdict.outcome(difference([0.1, 0.11, 0.09, 0.1, 0.1, 0.12])) == "beats"
    assert verdict.outcome(difference([0.1, 0.11, 0.09])) == "ahead"
    assert verdict.outcome(difference([0.1])) == "single"


def test_true_zero_names_a_winner_rarely_and_a_true_difference_often() -> None:
    rng = np.random.default_rng(0)
    null = [verdict.outcome(difference(rng.normal(0, 0.02, 6).tolist(), i)) for i in range(400)]
    real = [verdict.outcome(difference(rng.normal(0.06, 0.02 * 2**0.5, 6).tolist(), i)) for i in range(200)]
    assert null.count("beats") / 400 <= 0.05
    assert real.count("beats") / 200 >= 0.75


def test_failed_runs_are_counted_and_said(report_of: Reports) -> None:
    report = report_of(3, fail=[("dcgan", 2)])
    failed = report["failed"][0]
    assert (failed["arm"], failed["seed"], failed["state"]) == ("dcgan", 2, "failed")
    assert "loss is nan at step 41" in failed["error"]
    assert report["missing"] == []  # it failed: said once
    assert "1 run of DCGAN did not finish" in said(report)
    assert report["verdict"]["cannot"][0].startswith("Two to three seeds cannot establish")
    assert any("DCGAN seed 2" in text for text in report["limitations"])


def test_a_failed_arm_does_not_take_the_test_from_the_others(report_of: Reports) -> None:
    pairs = [["simclr", "random"], ["dcgan", "random"], ["simclr", "dcgan"]]
    report = report_of(6, fail=[("dcgan", 5)], plan={"pairs": pairs})
    first, second = report["differences"][0], report["differences"][1]
    assert (first["n_seeds"], second["n_seeds"]) == (6, 5)
    assert first["p_adjusted"] <= 0.05 < second["p_adjusted"]
    assert "SimCLR beats random features" in report["verdict"]["sentences"][0]
    assert "SimCLR beats random features" in report["verdict"]["headline"]
    assert "Five seeds (DCGAN against random features and SimCLR against DCGAN) cannot" in said(report)


def test_reference_and_controls_are_never_ranked(report_of: Reports) -> None:
    report = report_of(3)
    roles = {a["name"]: a["role"] for a in report["arms"]}
    assert roles["supervised"] == "reference"
    assert roles["random"] == roles["pixels"] == "control"
    assert all("supervised" not in (d["a"], d["b"]) for d in report["differences"])
    with pytest.raises(UsageError, match="never ranked"):
        report_of(3, plan={"pairs": [["simclr", "supervised"]]})
    with pytest.raises(UsageError, match="at most 6"):
        report_of(3, plan={"pairs": [["simclr", "random"]] * 7})
    with pytest.raises(UsageError, match="unknown arm"):
        report_of(3, plan={"pairs": [["simclr", "byol"]]})


def test_scratch_is_judged_like_every_other_arm(report_of: Reports) -> None:
    report = report_of(3, plan={"pairs": [["simclr", "dcgan"]]})
    found = next(d for d in report["differences"] if (d["a"], d["b"]) == ("simclr", "scratch"))
    assert found["probes"] == ["linear", "linear"]
    assert found["family"] == "exploratory"
    assert found["p_adjusted"] is None


def test_unequal_compute_norm_and_data_are_said(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=2, arms=("simclr", "dcgan", "random"))
    for path in tmp_path.iterdir():
        result = json.loads((path / "result.json").read_text())
        if result.get("method") == "dcgan":
            result["spent"]["flops"] *= 3
            result["backbone"]["norm"] = "none"
        if path.name == "transfer-random-1":
            result["data"]["hash"] = "another"
        (path / "result.json").write_text(json.dumps(result))
    cautions = " ".join(build(read_runs(paths), {})["verdict"]["cautions"])
    assert "SimCLR spent 0.33 times the FLOPs of DCGAN" in cautions
    assert "differ in their normalisation. Batch: SimCLR; none: DCGAN." in cautions
    assert "data hashes differ" in cautions
    allowed = build(read_runs(paths), {"allow_norm_diff": True})["verdict"]
    assert any("(allow_norm_diff=true)" in text for text in allowed["cautions"])
    assert "not one network for all" in allowed["headline"]
    for path in tmp_path.iterdir():  # a ready-made network has no such key
        result = json.loads((path / "result.json").read_text())
        if result.get("method") == "dcgan":
            result["backbone"] |= {"norm": None, "name": "timm:tf_lite"}
        (path / "result.json").write_text(json.dumps(result))
    found = verdict._unlike(build(read_runs(paths), {"allow_norm_diff": True}))
    assert "with the network tf_lite" in found and "None" not in found


def test_a_planned_seed_that_never_ran_is_missing(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=1, arms=("random", "pixels"))
    for seeds in (2, [0, 1]):  # both ways of writing them
        report = build(read_runs(paths), fake.plan(1, ("random", "pixels")) | {"seeds": seeds})
        assert report["missing"] == [{"arm": "random", "seed": 1}, {"arm": "pixels", "seed": 1}]


def test_an_arm_without_figures_is_not_said_to_have_some(report_of: Reports) -> None:
    cautions = report_of(2, fail=[("dcgan", 0), ("dcgan", 1)])["verdict"]["cautions"]
    assert "2 runs of DCGAN did not finish; it has no scores." in cautions
    assert "0 seeds" not in " ".join(cautions)


def test_a_failed_part_is_listed_once(fake: ModuleType, tmp_path: Path) -> None:
    """As `compare` leaves it: pretraining failed, and the transfer run that waited for it holds part.json only."""
    arms = ("simclr", "random")
    paths = fake.make(tmp_path, seeds=2, arms=arms, fail=[("simclr", 1)])
    waiting = tmp_path / "waiting"
    fake.part(waiting, "simclr", 1, "transfer", "gssl transfer", [tmp_path / "simclr-1"])
    (waiting / ".lock").touch()
    fake.part(tmp_path / "queued", "random", 2, "transfer", "gssl transfer")
    paths += [waiting, tmp_path / "queued"]
    lost = [{"arm": "simclr", "seed": 1, "stage": "pretrain", "error": "FloatingPointError: loss is nan at step 41"}]
    lost += [{"arm": "simclr", "seed": 1, "stage": "transfer", "error": "its pretraining failed"}]
    report = build(read_runs(paths), fake.plan(4, arms, failed=lost))
    found = {(f["arm"], f["seed"], f["stage"]): (f["state"], f["error"]) for f in report["failed"]}
    assert len(found) == len(report["failed"]) == 3
    assert found["simclr", 1, "pretrain"][0] == "failed"
    assert found["simclr", 1, "transfer"] == ("missing", "its pretraining failed")
    assert found["random", 2, "transfer"] == ("missing", None)
    assert report["missing"] == [{"arm": a, "seed": s} for a, s in (("simclr", 2), ("simclr", 3), ("random", 3))]
    text = markdown.render(report)
    assert text.count("simclr, seed 1, transfer: missing (its pretraining failed)") == 1
    assert text.count("random, seed 2") == 1
    assert "random features, seed 2" not in text
    assert any(
        "SimCLR seed 1, SimCLR seed 2, SimCLR seed 3, random features seed 2" in t for t in report["limitations"]
    )


def test_a_killed_worker_failed(fake: ModuleType, tmp_path: Path) -> None:
    fake.status(tmp_path / "run", "transfer", "running")
    fake.part(tmp_path / "run", "random", 0, "transfer", "gssl transfer")
    lost = [{"arm": "random", "seed": 0, "stage": "transfer", "error": "killed"}]
    failed = build(read_runs([tmp_path / "run"]), fake.plan(1, ("random",), failed=lost))["failed"]
    assert [(f["state"], f["error"]) for f in failed] == [("failed", "killed")]


def test_what_a_probe_chose_and_how_long_training_took(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=1, arms=("simclr", "random"))
    for path in tmp_path.iterdir():
        result = json.loads((path / "result.json").read_text())
        result["spent"]["seconds"] = 0.3
        (path / "result.json").write_text(json.dumps(result))
    said = " ".join(build(read_runs(paths), fake.plan(1, ("simclr", "random")))["limitations"])
    assert "Pretraining took less than a second per run" in said
    assert "Settings are chosen on folds of the labels that a probe was given" in said
    assert "validation images" not in said


Amounts = dict[str, tuple[int | None, ...]]


@pytest.mark.parametrize(
    ("probes", "label_budgets", "expected"),
    [
        ({}, {}, ("linear", "10")),
        ({"random": ["knn"]}, {}, ("knn", "10")),
        (
            {"simclr": ["finetune", "knn"], "random": ["finetune", "knn"], "scratch": ["finetune"]},
            {},
            ("finetune", "10"),
        ),
        ({}, {"random": (100, 1, None)}, ("linear", "1")),
        ({}, {"simclr": (10, 100), "random": (100, None)}, ("linear", "100")),
        ({}, {"simclr": (10, None), "random": (1, None)}, ("linear", "all")),
        ({}, {"scratch": (100, None)}, ("linear", "100")),
    ],
)
def test_without_a_plan_a_rule_over_what_the_arms_share_decides(
    fake: ModuleType, tmp_path: Path, probes: dict[str, list[str]], label_budgets: Amounts, expected: tuple[str, str]
) -> None:
    paths = []
    for arm in ("simclr", "random", "scratch"):
        source = fake.pretrain(tmp_path, arm, 0) if arm == "simclr" else None
        given = {"probes": probes.get(arm), "label_budgets": label_budgets.get(arm, fake.AMOUNTS)}
        paths.append(fake.transfer(tmp_path, arm, 0, source, **given))
    report = build(read_runs(paths), {})
    primary = report["primary"]
    assert (primary["probe"], primary["label_budget"], primary["fixed_by"]) == (*expected, "rule")
    assert report["differences"][0]["mean"] is not None
    assert any("a rule over the names of arms, probes and label budgets" in t for t in report["limitations"])


def test_shares_stand_in_order() -> None:
    rows = [(arm, "linear", k) for arm in ("a", "b") for k in ("all", "10%", "5%")]
    assert menus.shared(rows) == ("linear", "5%")
    assert menus.shared([]) == ("linear", "10")
    assert menus.shared([("scratch", "finetune", "5")]) == ("finetune", "5")


def test_a_plan_by_knn_reads_right(fake: ModuleType, tmp_path: Path) -> None:
    arms = ("simclr", "scratch", "random", "pixels")
    paths = []
    for seed, arm in itertools.product((0, 1), arms):
        source = fake.pretrain(tmp_path, arm, seed) if arm == "simclr" else None
        paths.append(fake.transfer(tmp_path, arm, seed, source, probes=["knn"]))
    report = build(read_runs(paths), fake.plan(2, arms, probe="knn", pairs=[["simclr", "random"]]))
    assert (report["primary"]["probe"], report["primary"]["fixed_by"]) == ("knn", "plan")
    assert "SimCLR is ahead of random features" in report["verdict"]["headline"]
    shown = re.sub(r"<(style|script)\b.*?</\1>", "", page.render(report), flags=re.DOTALL)
    shown = shown.split('<section id="glossary">')[0]  # what a probe is names the linear one
    told = [said(report), markdown.render(report), shown, *report["limitations"]]
    assert not any("linear" in text for text in told)
    assert "Arms are evaluated by kNN on frozen features. Settings" in " ".join(report["limitations"])
    assert "fixed by the plan before any score was computed" in told[2]


def test_pixels_are_no_control_of_fine_tuning(fake: ModuleType, tmp_path: Path) -> None:
    source = fake.pretrain(tmp_path, "simclr", 0)
    paths = [
        fake.transfer(tmp_path, arm, 0, of, probes=["finetune"]) for arm, of in (("simclr", source), ("scratch", None))
    ]
    report = build(read_runs(paths), fake.plan(1, ("simclr", "scratch", "pixels"), probe="finetune"))
    assert report["primary"]["pairs"] == [["simclr", "scratch"]]
    assert "Arms are evaluated by fine-tuning" in " ".join(report["limitations"])


def test_nothing_finished_is_said_and_not_raised(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=1, arms=("simclr", "dcgan"), fail=[("simclr", 0), ("dcgan", 0)])
    report = build(read_runs(paths), fake.plan(1, ("simclr", "dcgan")))
    assert "no finished pair" in report["verdict"]["headline"]
    assert len(report["failed"]) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.03125, "= .031"), (0.25, "= .25"), (0.5, "= .5"), (1.0, "= 1"), (0.0004, "< .001"), (0.0625, "= .062")],
)
def test_p_values_are_written_plainly(value: float, text: str) -> None:
    assert words.p_text(value) == text


def test_two_comparisons_in_one_folder_are_not_averaged(fake: ModuleType, tmp_path: Path) -> None:
    """The same arm and seed under two budgets: two arms, each named by what tells it apart."""
    one = fake.make(tmp_path / "one", seeds=2, arms=("simclr", "random"))
    two = fake.make(tmp_path / "two", seeds=2, arms=("simclr",))
    for path in (tmp_path / "two").glob("simclr-*"):
        config = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(config + "budget: {steps: 9}\n")
    arms = {a["name"] for a in build(read_runs([*one, *two]), {})["arms"]}
    assert len([name for name in arms if name.startswith("simclr[")]) == 2 and "random" in arms


def test_a_searchs_trials_are_no_seeds(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=1, arms=("simclr", "random"))
    trial = fake.pretrain(tmp_path / "trials", "simclr", 1_000_000)
    part = json.loads((trial / "part.json").read_text())
    (trial / "part.json").write_text(json.dumps(part | {"trial": True}))
    report = build(read_runs([*paths, trial]), {})
    assert report["seeds"] == [0]
    assert [row["runs"] for row in report["stability"] if row["arm"] == "simclr"] == [1]
