"""What the advice says: no more than the seeds carry, the cheapest of what is not told apart, what more would buy."""

from collections.abc import Callable
from typing import Any

import pytest

from gssl.report.advice import advice
from gssl.report.model import Report
from gssl.report.scores import Cell

Reports = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("seeds", "start"),
    [
        (1, "For now SimCLR, by one run of each method: it has the highest score. Another seed may say otherwise."),
        (3, "Use SimCLR: with 10 labels per class everything else compared here scores lower, by more than these few"),
        (6, "Use SimCLR: with 10 labels per class everything else compared here scores lower, by more than chance"),
    ],
)
def test_it_promises_what_the_seeds_carry(report_of: Reports, seeds: int, start: str) -> None:
    told = report_of(seeds)["advice"]["sentences"]
    assert told[0].startswith(start) and told[0].endswith(" s a run.")  # and the price
    assert told[1].startswith("More labels: going from 10 to 100 labels per class (100 to 1,000")


def test_the_cheapest_of_what_cannot_be_told_apart_is_taken(report_of: Reports) -> None:
    report = report_of(6, shift={"simclr": -0.115})
    advice = report["advice"]
    assert {kept["arm"] for kept in advice["kept"]} == {"simclr", "pixels"}
    assert (advice["best"], advice["use"]) == ("simclr", "pixels")
    first = advice["sentences"][0]
    assert first.startswith(
        "Use raw pixels. This saves the 64 s of SimCLR pretraining, which scored 1.2 points higher but is not shown to"
    )
    assert first.endswith(" is the cheapest of what these runs cannot tell apart.")
    assert advice["sentences"][1].startswith("Nothing here is shown to beat raw pixels")


@pytest.mark.long
def test_labels_that_buy_more_than_any_choice_are_said_to(report_of: Reports) -> None:
    plain, told = (report_of(6, shift=shift)["advice"]["sentences"] for shift in (None, {"simclr": -0.115}))
    assert "more than any measured difference" not in " ".join(plain)  # 10 points, where SimCLR leads DCGAN by 33
    labels = next(text for text in told if text.startswith("More labels"))
    assert "raw pixels 16" in labels and "more than any measured difference" not in labels  # DCGAN is 20 points behind
    near = report_of(6, shift={"simclr": -0.115, "dcgan": 0.16})["advice"]["sentences"]
    assert "more than any measured difference between the methods above" in next(
        t for t in near if t[:11] == "More labels"
    )


@pytest.mark.long
def test_scratch_saves_pretraining_and_what_more_would_buy_is_grouped(report_of: Reports) -> None:
    """Scratch level with both: it wins as the cheapest, and no interval stands in what to do."""
    advice = report_of(6, shift={"simclr": -0.167, "dcgan": 0.15, "pixels": -0.3})["advice"]
    assert advice["use"] == "scratch" != advice["best"]
    first = advice["sentences"][0]
    assert first.startswith("Skip pretraining: train on your labels alone. This saves the 64 s of ")
    assert first.endswith(" is the cheapest of what these runs cannot tell apart.") and "(" not in first
    higher, surer = advice["groups"]
    assert (higher["title"], surer["title"]) == ("To score higher", "To be more certain")
    assert advice["sentences"] == [first, *higher["sentences"], *surer["sentences"]]
    assert " of the doubt comes from " in surer["sentences"][0]
    assert all("(now " in text for text in surer["sentences"][1:])


def test_an_equal_score_is_said_and_rounding_decides_nothing(
    report_of: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1e-16 of a sum in another order made a control the recommendation."""
    report = Report.model_validate(report_of(1))
    at = report.primary.probe, report.primary.label_budget
    top = max(r.mean for r in report.table if (r.probe, r.label_budget) == at)
    for row in report.table:
        if row.arm in ("simclr", "random") and (row.probe, row.label_budget) == at:
            row.mean = top + (3e-16 if row.arm == "random" else 0)
    report.cost = []
    monkeypatch.setattr("gssl.report.advice.gap", lambda *_: None)  # the sentence needs no interval
    told = advice(report, {(r.arm, r.probe, r.label_budget): Cell() for r in report.table})
    assert told is not None and (told.best, told.use) == ("simclr", "simclr")
    assert "no other scores higher (random features: the same)" in told.sentences[0]


def test_labels_that_bring_nothing_are_no_way_up(report_of: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report.model_validate(report_of(3))
    step = report.advice.more_labels[0].model_copy(update={"mean": -0.1}) if report.advice else None
    monkeypatch.setattr("gssl.report.advice._more_labels", lambda *_: [step])
    monkeypatch.setattr("gssl.report.advice.gap", lambda *_: None)
    told = advice(report, {(r.arm, r.probe, r.label_budget): Cell() for r in report.table})
    assert told is not None
    text = next(text for text in told.groups[0].sentences if text.startswith("More labels"))
    assert text.startswith("More labels are not shown to help: going from 10 to 100") and "−10.0 points" in text
