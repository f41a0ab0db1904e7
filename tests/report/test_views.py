"""The first screen: the answer in a word, how sure, what to do, the facts; what a reader without statistics needs."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.report.documents import page, verdict, views

Reports = Callable[..., dict[str, Any]]


@pytest.mark.long
def test_no_pays_nothing_and_no_word_is_said_without_a_base(report_of: Reports) -> None:
    """Scratch above both, then a family that has neither scratch nor a control."""
    report = report_of(6, shift={"simclr": -0.35})
    assert report["verdict"]["answer"] == "no"
    assert "training from scratch beats SimCLR by" in report["verdict"]["headline"]
    pair = report_of(6, plan={"pairs": [["simclr", "dcgan"]]})
    assert (pair["verdict"]["answer"], views.short(pair)) == ("open", "")
    assert pair["verdict"]["headline"].startswith("With 10 labels per class: SimCLR beats DCGAN by")
    assert views.headline(pair) == pair["verdict"]["headline"]


def test_no_p_value_on_the_first_screen(report_of: Reports) -> None:
    for report in (report_of(1), report_of(3), report_of(6)):
        first = [
            views.short(report),
            views.headline(report),
            views.confidence(report),
            *views.advice(report),
        ]
        first += [text for _, text in views.facts(report)] + report["verdict"]["cautions"]
        assert not re.search(r"\bp\b|sign-flip", " ".join(first))


def test_the_facts_of_the_comparison(report_of: Reports) -> None:
    facts = dict(views.facts(report_of(6)))
    assert facts["Test images"] == "1,000"
    assert facts["Labels"] == "100 (10 per class)"
    assert facts["Seeds"] == "6 (everything repeated 6 times with other random numbers)"
    assert facts["Training"] == "64.0 s a run for SimCLR and DCGAN; 21.7 min in all, including testing"
    assert (facts["Network"], facts["Data"]) == ("small convolutional network, 16 channels wide", "mnist5k")
    assert dict(views.facts(report_of(1)))["Seeds"] == "1 (nothing was repeated)"


def test_an_effect_too_small_to_matter_is_called_that(report_of: Reports) -> None:
    report = copy.deepcopy(report_of(6))
    report["primary"]["margin"] = 0.5
    for d in report["differences"]:
        if d["family"] == "primary":
            assert verdict.sentence(d, report).count("which may be less than the smallest difference of interest (50)")
    assert "the gain may be below 50 points, too small to matter" in views.confidence(report)


def test_what_takes_from_the_answer_is_said_with_it(report_of: Reports) -> None:
    report = report_of(6)
    assert "But " not in views.confidence(report)
    plan = {"state": "planned", "text": "", "changes": [], "looks": 1, "level": 0.05}
    for changed, text in (
        ({"findings": [{"kind": "near_duplicates", "text": "Copies."}]}, "some test images are known from training"),
        ({"preregistration": plan | {"state": "changed"}}, "the plan was changed after scores were there"),
        ({"preregistration": plan | {"state": "unknown"}}, "nothing shows that the comparisons were chosen before"),
    ):
        assert f"But {text}" in views.confidence(report | changed)
    harmless = {"findings": [{"kind": "imbalance", "text": "x"}], "preregistration": plan}
    assert "But " not in views.confidence(report | harmless)


def test_what_is_undecided_is_not_called_well_supported(report_of: Reports) -> None:
    """Nothing is shown against scratch, while one of the two beats the other: both are said."""
    report = copy.deepcopy(report_of(6))
    ends = report["differences"][1]["simultaneous"] | {"low": -0.02, "high": 0.03}
    for d in report["differences"][1:3]:
        d |= {"mean": 0.004, "interval": ends, "simultaneous": ends}
    report["verdict"] = verdict.verdict(report)
    assert report["verdict"]["answer"] == "not shown" and verdict.outcome(report["differences"][0]) == "beats"
    told = views.confidence(report)
    assert told.startswith(
        "Undecided, not equal: pretraining could still help by up to 3.0 points (SimCLR) or hurt by up to 2.0"
    )
    assert told.endswith("What is said to beat something is well supported.")


def test_arms_that_took_about_as_long_stand_together(report_of: Reports) -> None:
    report = copy.deepcopy(report_of(6))
    for row in report["cost"]:
        if (row["arm"], row["metric"]) == ("dcgan", "seconds"):
            row["mean"] *= 3
    assert views.training(report).startswith("64.0 s a run for SimCLR; 3.2 min a run for DCGAN; ")


def test_what_is_undecided_is_said_with_name_and_direction(report_of: Reports) -> None:
    """By the very ranges that the headline gives: one comparison has one range on the first screen."""
    report = report_of(6, shift={"simclr": -0.175, "dcgan": 0.15})
    assert (report["verdict"]["answer"], views.short(report)) == ("not shown", "Cannot tell yet")
    headline = views.headline(report)
    start = "With 10 labels per class we cannot tell whether SimCLR or DCGAN is better than training from scratch. "
    assert headline.startswith(start) and headline.count("plausibly") == 1
    help_, hurt = re.search(
        r"help by up to ([\d.]+) points .*hurt by up to ([\d.]+) ", views.confidence(report)
    ).groups()  # type: ignore[union-attr]
    assert f"to {help_} higher" in headline and f"{hurt} lower to" in headline


@pytest.mark.long
def test_the_page_lists_few_entries_and_failures_only_where_there_are(report_of: Reports) -> None:
    for report in (report_of(3), report_of(3, fail=(("dcgan", 0),))):
        nav = page.render(report).split("<nav")[1].split("</nav>")[0]
        shown, _, folded = nav.partition("<details>")
        assert 5 <= shown.count("<a ") <= 6 and folded.count("<a ") > 10
        assert ("#failed" in shown) == bool(report["failed"])
