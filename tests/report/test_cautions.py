"""What weakens a comparison is said wherever the report is read: verdict, cautions, --check and --explain agree."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from gssl.report.collect import read_runs
from gssl.report.explain import explain
from tests.report.documents import build, cautions, check, markdown, page, tex, verdict, views

Reports = Callable[..., dict[str, Any]]


def rewrite(fake: ModuleType, path: Path, value: Callable[[str, dict[str, Any]], float]) -> None:
    """Give every score of a transfer run another accuracy, and answers that go with it."""
    file = path / "result.json"
    result = json.loads(file.read_text())
    for score in result["scores"]:
        right = round(1000 * value(path.name, score))
        score |= {"correct": right, "accuracy": right / 1000, "balanced_accuracy": right / 1000}
    file.write_text(json.dumps(result))
    fake.answer(path, result["scores"])


def test_seeds_that_vary_nothing_establish_nothing(fake: ModuleType, tmp_path: Path) -> None:
    """pca against pixels with all labels: six equal numbers are one number, five images of a thousand no victory."""
    paths = fake.make(tmp_path, seeds=6, arms=("random", "pixels"))
    for path in paths:
        rewrite(fake, path, lambda name, _: 0.505 if "random" in name else 0.5)
    report = build(read_runs(paths), {"pairs": [["random", "pixels"]], "fraction": 1.0})
    (d,) = [d for d in report["differences"] if d["family"] == "primary"]
    assert d["fixed"] and d["p"] is None and d["p_adjusted"] is None and d["interval"]["over"] == "test images"
    assert d["interval"]["low"] < 0 < d["interval"]["high"]
    assert {row["interval"]["over"] for row in report["table"] if row["label_budget"] == "all"} == {"test images"}
    told = report["verdict"]
    assert "beats" not in str(told) and "nothing here depends on the seed" in told["sentences"][0]
    # and the other places that read a report say the same
    holds, line = check("random.linear@all > pixels.linear@all", report)
    assert not holds and "test images" in line
    (tmp_path / "report.json").write_text(json.dumps(report))
    for key in ("random.linear@all", "random.linear@all - pixels.linear@all"):
        told = explain(key, tmp_path / "report.json")
        assert told["agrees"] is True and not told["warnings"], told
        assert "± 0.00" not in " ".join(told["how"]) and "ign-flip" not in " ".join(told["how"])


def test_what_depends_on_no_seed_wins_by_its_images_alone(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=2, arms=("random", "pixels"))
    for path in paths:
        rewrite(fake, path, lambda name, _: 0.6 if "random" in name else 0.5)
    report = build(read_runs(paths), {"pairs": [["random", "pixels"]], "fraction": 1.0})
    assert "Random features beats raw pixels by 10.0 points" in report["verdict"]["sentences"][0]
    assert report["verdict"]["cannot"] == []


def test_no_caution_says_more_than_the_verdict(fake: ModuleType, tmp_path: Path) -> None:
    """Five seeds of six lose, the intervals leave out zero, the test does not reach .05."""
    paths = fake.make(tmp_path, seeds=6, arms=("simclr", "random"))

    def value(name: str, score: dict[str, Any]) -> float:
        seed = int(name[-1])
        return 0.5 if "random" in name else 0.5 - (-0.004 if seed == 5 else 0.07 + 0.002 * seed)

    for path in paths:
        if "transfer" in path.name:
            rewrite(fake, path, value)
    for pair, mine in (["simclr", "random"], -1), (["random", "simclr"], 1):
        report = build(read_runs(paths), {"pairs": [pair], "fixed_by": "plan"})
        (d,) = [d for d in report["differences"] if d["family"] == "primary"]
        assert (
            d["interval"]["low"] * d["interval"]["high"] > 0 and d["mean"] * mine > 0 and verdict.outcome(d) == "none"
        )
        told = " ".join(report["verdict"]["cautions"])
        assert "Behind" not in told and "Not shown to be ahead of random features, which learnt nothing: SimCLR" in told
        assert report["verdict"]["answer"] == "not shown"


@pytest.mark.long
def test_a_family_chosen_beside_finished_runs_is_not_called_planned(fake: ModuleType, tmp_path: Path) -> None:
    report = build(read_runs(fake.make(tmp_path, seeds=2)), {"pairs": [["simclr", "random"]], "fixed_by": "reader"})
    everything = " ".join([*report["verdict"]["cautions"], page.render(report), *report["limitations"]])
    assert "before any score was computed" not in everything
    assert any("nothing shows that no score had been seen" in told for told in report["verdict"]["cautions"])
    assert "searched before is not on record" in everything  # no plan was read


def test_a_grid_of_one_and_fewer_draws_are_told_of_who_is_fine_tuned(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=2)
    for path in paths:
        if "scratch" in path.name and "transfer" in path.name:
            config = path / "config.yaml"
            grid = {"probe": {"finetune": {"lrs": [0.001], "weight_decays": [0.05]}}}
            config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | grid))
            result = json.loads((path / "result.json").read_text())
            first = [score for score in result["scores"] if (score["probe"], score["draw"]) == ("linear", 0)]
            tuned = [score | {"probe": "finetune"} for score in first]
            result["scores"] += tuned
            (path / "result.json").write_text(json.dumps(result))
            fake.answer(path, result["scores"])
    plan = {"pairs": [["simclr", "scratch"]], "seeds": 2}
    report = build(read_runs(paths), plan)
    told = "Scratch: fine-tuned with one setting (learning rate 0.001, weight decay 0.05): no other was tried for it."
    assert told in report["verdict"]["cautions"] and told in report["limitations"]
    assert "the same draws for all arms (finetune only on the first)" in " ".join(report["limitations"])
    apart = build(read_runs(paths), plan | {"pairs": [["simclr", "dcgan"]]})
    assert told not in apart["verdict"]["cautions"] and told in apart["limitations"]
    for path in paths:  # a grid of several is chosen from
        if "scratch" in path.name and "transfer" in path.name:
            text = (path / "config.yaml").read_text().replace("- 0.001", "- 0.001\n    - 0.003")
            (path / "config.yaml").write_text(text)
    assert "one setting" not in " ".join(build(read_runs(paths), plan)["limitations"])


def test_what_decides_below_six_seeds_is_told(fake: ModuleType, tmp_path: Path) -> None:
    """The plain interval leaves out zero and the one that is widened for three pairs does not: both are written."""
    ends = {"kind": "two_way", "over": "seeds and test images", "n": 3, "items": 500}
    d = {
        "a": "simclr",
        "b": "random",
        "metric": "accuracy",
        "family": "primary",
        "probe": "linear",
        "label_budget": "10",
        "probes": ["linear", "linear"],
        "mean": 0.04,
        "p": 0.25,
        "p_adjusted": 0.25,
        "n_seeds": 3,
        "effect_size": 3.0,
        "interval": ends | {"level": 0.95, "low": 0.01, "high": 0.07},
        "per_seed": {"0": 0.03, "1": 0.04, "2": 0.05},
        "simultaneous": ends | {"level": 1 - 0.05 / 3, "low": -0.005, "high": 0.085},
        "over_seeds": None,
    }
    d |= {"fixed": False, "item_share": 0.5}
    pairs = [["simclr", "random"]] * 3
    report = build([], {"arms": ["simclr", "random"], "pairs": pairs}) | {"differences": [d] * 3}
    text = verdict.sentence(d, report)
    assert "are not shown to differ" in text and "over 3 seeds and 500 test images 1.0 to 7.0" in text
    assert "98.3%, to hold for three pairs together, −0.5 to 8.5" in text


# ── data, plan, test images, generators ──────────────────────────────────────────────────────────


def told(report: dict[str, Any], **changed: Any) -> list[str]:
    return cautions.cautions(report | changed)


def test_few_test_images_are_said_even_if_nobody_looked_for_them(report_of: Reports) -> None:
    report = report_of(3)
    few = [row | {"n_test": 20} for row in report["table"]]
    said = "There are only 20 test images, and one of them is 5 points"
    assert said in told(report, table=few)[0]
    assert not any(text.startswith("There are") for text in told(report))
    found = [{"kind": "few_test_images", "text": "There are 20.", "images": 20}]
    assert told(report, table=few, findings=found)[0] == "There are 20." and said not in str(
        told(report, table=few, findings=found)
    )


def test_few_images_of_a_class_are_said(report_of: Reports) -> None:
    report = report_of(3)
    data = [{"summary": {"class_counts": {"train": [1, 1], "test": [500, 9]}}, "runs": 1}]
    where = report["provenance"] | {"data": data}
    assert "The smallest class has 9 test images" in told(report, provenance=where)[0]
    data[0]["summary"]["class_counts"]["test"] = [500, 10]
    assert "smallest class" not in str(told(report, provenance=where))


def test_the_metric_is_said_where_classes_are_unequal(report_of: Reports) -> None:
    report = report_of(3)
    found = [{"kind": "imbalance", "text": "90% of the test images are of the class a."}]
    balanced = report["primary"] | {"metric": "balanced_accuracy"}
    assert "Scores are accuracy all the same" in told(report, findings=found)[1]
    assert told(report, findings=found, primary=balanced)[1].startswith("Scores are balanced accuracy")
    assert "accuracy" not in str(told(report))


@pytest.mark.parametrize("state", ["planned", "changed", "unknown"])
def test_what_was_changed_after_scores_were_there_is_said(report_of: Reports, state: str) -> None:
    plan = {
        "state": state,
        "text": "State.",
        "changes": [{"kind": "pairs", "text": "Pairs."}],
        "looks": 1,
        "level": 0.05,
    }
    first = told(report_of(3), preregistration=plan)[:2]
    assert {"planned": 0, "changed": 1, "unknown": 2}[state] == sum(text in ("State.", "Pairs.") for text in first)


def test_added_seeds_are_said_with_what_they_cost(report_of: Reports) -> None:
    plan = {"state": "planned", "text": "", "changes": [], "looks": 2, "seeds_at_look": [6, 10], "level": 0.0094}
    assert (
        "looked at with 6 and 10 seeds: a difference now needs stronger evidence"
        in told(report_of(3), preregistration=plan)[0]
    )
    lost = plan | {"exploratory": True}
    assert "everything here is exploratory" in told(report_of(3), preregistration=lost)[0]
    assert "looked at" not in str(told(report_of(3), preregistration=plan | {"looks": 1}))


def test_other_uses_of_the_test_images_are_said(report_of: Reports) -> None:
    report = report_of(3)
    own = cautions.own_openings(report)
    assert own == 18
    opened = {"runs": own, "settings": 6, "openings": own, "first": None, "last": None, "text": "Opened."}
    assert "Opened." not in str(told(report, openings=opened))
    assert told(report, openings=opened | {"runs": 41})[0].startswith("Opened. 18 of the 41 are of this comparison")
    assert told(report, openings=opened | {"damage": "1 line is damaged"})[0] == "Opened."  # there may be others


def test_a_dead_generator_comes_first(report_of: Reports) -> None:
    report = report_of(6)
    dead = [
        {"arm": "dcgan", "seed": seed, "step": None, "alarm": "on test images: the generator is dead"}
        for seed in (1, 4)
    ]
    found = [{"kind": "imbalance", "text": "Unequal."}]
    first = told(report, alarms=dead, findings=found)[0]
    assert first.startswith("The generator of DCGAN is dead in 2 runs (seeds 1 and 4)")
    assert "But a generator is dead: see the cautions." in views.confidence(report | {"alarms": dead})
    assert "dead" not in views.confidence(report)


def test_every_form_carries_answer_advice_cautions_and_findings(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=2, arms=("simclr", "scratch", "random"))
    finding = {"kind": "near_duplicates", "text": "3 of 1,000 test images look like copies of others."}
    for path in tmp_path.glob("transfer-*/result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"data": result["data"] | {"findings": [finding]}}))
    report = build(read_runs(paths), {"cautions": ["Runs are not alike."]})
    assert [f for f in report["findings"] if f["kind"] == "near_duplicates"] == [finding]
    shown = html.unescape(re.sub(r"<[^>]+>", "", page.render(report)))
    texts = [*report["advice"]["sentences"][:1], *report["verdict"]["cautions"]]
    assert finding["text"] in texts and "Runs are not alike." in texts
    for text in texts:
        assert (
            text in shown
            and markdown.escape(text) in markdown.render(report)
            and tex.escape(text) in tex.render(report)
        )
