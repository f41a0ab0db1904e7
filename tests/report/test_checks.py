"""Claims: what they may look like, when they hold, what their errors say."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from gssl.cli import _readable_claims, app
from gssl.errors import UsageError
from gssl.report.checks import check, parse
from gssl.report.collect import read_runs
from gssl.report.document import build
from gssl.report.judging import probes_of

Reports = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("simclr.linear@10 > random.linear@10 + 5", True),
        ("simclr.linear@10 > random.linear@10 + 60", False),
        ("simclr.linear@10>=60", True),
        ("simclr.linear@10 < 60", False),
        ("random.linear@10 <= simclr.linear@10 - 20", True),
        ("random.linear@1 < 0.5", False),  # points, not shares
        ("simclr.linear@100% > pixels.linear@all + 1", True),
        ("simclr.linear@10 > scratch.finetune@10", True),
        ("simclr.knn@100 > dcgan.knn@100 + 10", True),
        ("simclr.linear@all > simclr.linear@1 + 40", True),
    ],
)
def test_truth(report_of: Reports, claim: str, holds: bool) -> None:
    found, line = check(claim, report_of(3))
    assert found is holds
    assert line.startswith("holds: " if holds else "does not hold: ")
    assert claim in line
    assert "95% interval" in line
    assert "\n" not in line


def test_equality_is_not_decided_by_rounding(report_of: Reports) -> None:
    import copy

    report = copy.deepcopy(report_of(3))
    row = next(r for r in report["table"] if (r["arm"], r["probe"], r["amount"]) == ("simclr", "linear", "10"))
    row["mean"] = 0.1 + 0.2 + 0.3  # 0.6000000000000001
    assert check("simclr.linear@10 >= 60", report)[0]
    assert not check("simclr.linear@10 > 60", report)[0]


def test_the_line_says_when_only_the_mean_holds(report_of: Reports) -> None:
    report = report_of(2)
    d = next(d for d in report["differences"] if (d["a"], d["b"], d["amount"]) == ("dcgan", "random", "10"))
    assert d["interval"]["low"] < 0 < d["mean"]
    claim = "dcgan.linear@10 > random.linear@10"
    holds, line = check(claim, report)
    assert holds
    assert "on the mean alone" in line
    assert not check(claim, report, strict=True)[0]
    holds, line = check("simclr.linear@10 > random.linear@10 + 5", report, strict=True)
    assert holds
    assert "the interval holds too" in line


def test_one_seed_uses_the_images(report_of: Reports) -> None:
    assert "test images, one seed" in check("simclr.linear@10 > random.linear@10", report_of(1))[1]


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("simclr.linear@10", ["expected one of > >= < <="]),
        ("simclr.linear@10 > 5 > 3", ["expected one of"]),
        ("simclr.linear > 5", ["cannot read 'simclr.linear'", "arm.probe@labels"]),
        ("simclr@10 > 5", ["cannot read 'simclr@10'"]),
        ("simclr.linear@ten > 5", ["cannot read"]),
        ("simclr.linear@10 > random.linear@10 + five", ["on the right"]),
        ("simclr.linear@0% > 5", ["no share of the labels"]),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_with_the_way_out(
    report_of: Reports, claim: str, words: list[str]
) -> None:
    with pytest.raises(UsageError) as error:
        check(claim, report_of(3))
    assert repr(claim) in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


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
    assert "linear" not in report["probes"]
    holds, line = check(claim, report)
    assert not holds
    assert "no finished run has dcgan.linear@10; seed 0 pretrain: failed, FloatingPointError: loss is nan" in line
    assert "\n" not in line
    assert "no finished run has dcgan" in check("scratch.finetune@10 > dcgan.linear@10", report)[1]
    (tmp_path / "part").mkdir()
    fake.part(tmp_path / "part", "random", 0, "transfer", "gssl transfer")
    nothing = build(read_runs([tmp_path / "part"]), fake.plan(1, ("random",)))
    assert "seed 0 transfer: missing)" in check("random.linear@10 > 1", nothing)[1]


ACCEPTED = [
    "simclr.linear@5 > scratch.finetune@5 - 100",
    "simclr.linear@5 >= 10",
    "pixels.linear@1% > 1",
    "random.finetune@all > simclr.linear@100%",
]
REFUSED = {
    "scratch.linear@5 > 1": "scratch.linear@5 will not be judged; scratch is judged by finetune @ 5, 1%, all",
    "simclr.linear@7 > 1": "simclr.linear@7 will not be judged; simclr is judged by linear, finetune @ 5, 1%, all",
    "pixels.finetune@5 > 1": "pixels is judged by linear @ 5",
    "simclr.linear@5 > pixels.knn@5": "pixels.knn@5 will not be judged",
    "simclr.liner@5 > 1": "did you mean 'linear'?",
    "simclr.linear@10% > 1": "@ 5, 1%, all",
    "simlcr.linear@5 > 1": "unknown arm 'simlcr'; did you mean 'simclr'? known: simclr, scratch, random, pixels",
}


def config(claim: str, runs: str | None = None, use: tuple[str, ...] = ("linear", "finetune")) -> Any:
    arms = ["simclr", "scratch", "random", "pixels"]
    probe = SimpleNamespace(use=list(use))
    return SimpleNamespace(
        check=[claim], runs=runs, arms=arms, probe=probe, labels_per_class=[5], fractions=[0.01, 1.0]
    )


def test_claims_are_held_against_what_will_be_judged() -> None:
    for claim in ACCEPTED:
        _readable_claims(config(claim))
    for claim, text in REFUSED.items():
        with pytest.raises(UsageError) as error:
            _readable_claims(config(claim))
        assert repr(claim) in str(error.value)
        assert text in str(error.value)
        assert "\n" not in str(error.value)
        _readable_claims(config(claim, runs="runs/*"))  # only the form is known before these are read
    with pytest.raises(UsageError, match="cannot read"):
        _readable_claims(config("simclr@5 > 1", runs="runs/*"))
    _readable_claims(config("simclr.linear@5 > scratch.finetune@5 - 100", use=("linear",)))
    with pytest.raises(UsageError, match="pixels.finetune@5 will not be judged; nothing judges it"):
        _readable_claims(config("pixels.finetune@5 > 1", use=("finetune",)))


def test_a_claim_about_nothing_judged_is_exit_2_before_anything_runs(tmp_path: Path) -> None:
    words = ["compare", "--check", "scratch.linear@5 > 1", "labels_per_class=[5]", "probe.use=[linear]"]
    done = CliRunner().invoke(app, [*words, f"hydra.run.dir={tmp_path / 'run'}"])
    assert done.exit_code == 2
    assert "scratch is judged by finetune @ 5" in done.output
    assert not (tmp_path / "run").exists()


def test_parse_normalises_amounts_and_knows_variants() -> None:
    assert parse("a.linear@100% > 1").left.amount == "all"
    assert parse("a.linear@1.0% > 1").left.amount == "1%"
    assert parse("a.linear@010 > 1").left.amount == "10"
    variant = parse("simclr[ssl.temperature=0.2].linear@10 > simclr[ssl.temperature=0.5].linear@10 + 1.5")
    assert variant.left.arm == "simclr[ssl.temperature=0.2]"
    assert variant.right
    assert variant.right.arm == "simclr[ssl.temperature=0.5]"
    assert variant.offset == pytest.approx(0.015)
