"""The table that a comparison prints when it ends."""

import json

import pytest

from gssl.cli import comparison_table


@pytest.mark.parametrize(
    ("over", "more", "said"),
    [
        ("test images", {}, "over 40 test"),
        ("seeds and test images", {}, "over seeds and 40 test"),
        ("seeds and test images", {"items": 3, "grouped": True}, "over seeds and 3 groups of test images"),
    ],
)
def test_the_brackets_are_over_what_was_repeated(tmp_path, capsys, over, more, said):
    """One seed shows nothing about other seeds, and images of one group are one observation."""
    row = {"arm": "a", "probe": "linear", "label_budget": "5", "mean": 0.5, "n_test": 40}
    row["interval"] = {"low": 0.4, "high": 0.6, "over": over} | more
    report = {"primary": {"probe": "linear", "metric": "accuracy", "task": "classification"}, "table": [row]}
    report["label_budgets"] = [{"key": "5", "label": "5 labels per class"}]
    report["arms"] = [{"name": "a", "title": "A", "role": "contestant"}]
    (tmp_path / "report.json").write_text(json.dumps(report))
    comparison_table.show(tmp_path, {})
    assert f"95% intervals {said}" in capsys.readouterr().out
