"""What the advice says: no more than the seeds carry, the cheapest of what is not told apart, what more would buy."""

from collections.abc import Callable
from typing import Any

import pytest

Reports = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("seeds", "start"),
    [
        (1, "For now SimCLR, by one run of each arm: it has the highest score. Another seed may say otherwise."),
        (3, "Use SimCLR: with 10 labels per class everything else compared here scores lower, by more than these few"),
        (6, "Use SimCLR: with 10 labels per class everything else compared here scores lower, by more than chance"),
    ],
)
def test_it_promises_what_the_seeds_carry(report_of: Reports, seeds: int, start: str) -> None:
    told = report_of(seeds)["advice"]["sentences"]
    assert told[0].startswith(start) and told[0].endswith(" s a run.")  # and the price
    assert told[1].startswith("More labels: going from 10 labels per class to 100 labels per class (100 to 1,000")


def test_the_cheapest_of_what_cannot_be_told_apart_is_taken(report_of: Reports) -> None:
    report = report_of(6, shift={"simclr": -0.115})
    advice = report["advice"]
    assert {kept["arm"] for kept in advice["kept"]} == {"simclr", "pixels"}
    assert (advice["best"], advice["use"]) == ("simclr", "pixels")
    first = advice["sentences"][0]
    assert first.startswith(
        "Use raw pixels: it costs no training here, where SimCLR takes 64.0 s, and SimCLR, which has"
    )
    assert "points ahead, " in first and "is not shown to be better." in first
    assert advice["sentences"][1].startswith("Nothing here is shown to beat raw pixels")


def test_labels_that_buy_more_than_any_choice_are_said_to(report_of: Reports) -> None:
    plain, told = (report_of(6, shift=shift)["advice"]["sentences"] for shift in (None, {"simclr": -0.115}))
    assert "more than any difference" not in " ".join(plain)  # 10 points, where SimCLR leads DCGAN by 33
    labels = next(text for text in told if text.startswith("More labels"))
    assert "raw pixels +16" in labels and "more than any difference" not in labels  # DCGAN is 20 points behind
    near = report_of(6, shift={"simclr": -0.115, "dcgan": 0.16})["advice"]["sentences"]
    assert "more than any difference between the arms compared above" in next(
        t for t in near if t[:11] == "More labels"
    )
