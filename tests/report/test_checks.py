"""Claims: what they may look like, when they hold, what their errors say."""

from collections.abc import Callable
from typing import Any

import pytest

from gssl.errors import UsageError
from gssl.report.checks import check, parse

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
        ("simlcr.linear@10 > 5", ["unknown arm 'simlcr'", "did you mean 'simclr'?"]),
        ("simclr.liner@10 > 5", ["unknown probe 'liner'", "did you mean 'linear'?"]),
        ("simclr.linear@10 > randm.linear@10", ["unknown arm 'randm'", "'random'"]),
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


def test_parse_normalises_amounts_and_knows_variants() -> None:
    assert parse("a.linear@100% > 1").left.amount == "all"
    assert parse("a.linear@1.0% > 1").left.amount == "1%"
    assert parse("a.linear@010 > 1").left.amount == "10"
    variant = parse("simclr[ssl.temperature=0.2].linear@10 > simclr[ssl.temperature=0.5].linear@10 + 1.5")
    assert variant.left.arm == "simclr[ssl.temperature=0.2]"
    assert variant.right
    assert variant.right.arm == "simclr[ssl.temperature=0.5]"
    assert variant.offset == pytest.approx(0.015)
