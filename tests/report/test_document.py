"""What carries a report's verdict: who is in the family, on which terms, by which metric."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gssl.config.menus import probes_of
from gssl.report.collect import Run
from gssl.report.document import unequal
from gssl.report.scores import Predictions
from tests.report.documents import build, verdict

LABELS = np.arange(400) % 4


def run(arm, seed, right, labels=LABELS, probe="adapted", **result):
    """A finished transfer run in memory with one fit; right: bool (n,)."""
    score = {"probe": probe, "labels_per_class": 10, "fraction": None, "draw": 0, "n_train": 40, "n_test": len(labels)}
    recall = [right[labels == c].mean() for c in np.unique(labels)]
    score |= {"correct": int(right.sum()), "accuracy": float(right.mean()), "balanced_accuracy": float(np.mean(recall))}
    text = {"command": "transfer", "seed": seed, "scores": [score], **result}
    found = Predictions(labels, right[None])
    where = Path(f"{arm}-{seed}")
    return Run(where, arm, seed, "transfer", "finished", None, "", text, {}, {}, {}, {}, predictions=found)


def hard(share, seed, arm=0, labels=LABELS):
    """A share of right answers; the same images are hard for everyone, with some noise of the arm and the seed."""
    own = np.random.default_rng([seed, arm]).random(len(labels))
    order = np.argsort(np.random.default_rng(0).random(len(labels)) + 0.3 * own)
    right = np.zeros(len(labels), dtype=bool)
    right[order[: round(share * len(labels))]] = True
    return right


def runs(shares, seeds=6):
    return [run(arm, s, hard(p, s, i)) for i, (arm, p) in enumerate(shares.items()) for s in range(seeds)]


def test_the_ready_made_network_is_in_the_family_and_in_the_answer():
    shares = {"simclr": 0.7, "dcgan": 0.6, "ready": 0.9, "scratch": 0.65, "random": 0.5}
    described = {"ready": {"family": "file", "source": "timm:resnet18"}}
    report = build(runs(shares), {"arms": list(shares), "seeds": 6, "described": described})
    pairs = [frozenset(pair) for pair in report["primary"]["pairs"]]
    kinds = ["simclr", "dcgan", "ready", "scratch"]
    assert len(pairs) == len(set(pairs)) == 6  # every two of the four kinds
    assert all(frozenset((a, b)) in pairs for a in kinds for b in kinds if a != b)
    assert report["advice"]["use"] == "ready" and "ready" in report["advice"]["sentences"][0]
    assert report["advice"]["best"] == "ready" and "ready beats training from scratch" in report["verdict"]["headline"]


def test_seeds_that_are_equal_by_chance_make_a_sentence_like_any_other():
    right = hard(0.8, 0)
    other = right.copy()
    other[[np.flatnonzero(right)[0], np.flatnonzero(~right)[0]]] = [False, True]  # as many, other images
    both = [
        run("simclr", 0, right),
        run("simclr", 1, other),
        run("scratch", 0, hard(0.79, 0, 1)),
        run("scratch", 1, hard(0.79, 1, 1)),
    ]
    report = build(both, {"arms": ["simclr", "scratch"], "seeds": 2})
    (d,) = [d for d in report["differences"] if d["family"] == "primary"]
    assert not d["fixed"] and d["p"] == 0.5 and d["interval"]["low"] < d["interval"]["high"]
    assert verdict.outcome(d) == "none"  # equal differences of two seeds are no certainty
    assert "scatter" not in report["verdict"]["headline"] and "alike" not in report["verdict"]["headline"]


@pytest.mark.parametrize("use", [["adapted", "linear", "finetune"], ["linear", "knn"], ["finetune"]])
def test_every_network_is_judged_on_the_same_terms(use):
    assert probes_of("scratch", use) == probes_of("simclr", use) == probes_of("timm:resnet18", use) == use
    assert "finetune" not in probes_of("random", use) and "finetune" not in probes_of("pixels", use)


def test_where_classes_are_unequal_every_class_counts_alike():
    """At 90/10 who always says the majority is right in 90%, and an arm that knows both classes in 86%."""
    labels = (np.arange(500) % 10 == 0).astype(int)
    rng = np.random.default_rng(0)
    made = []
    for seed in range(6):
        made.append(run("lazy", seed, labels == 0, labels))
        made.append(run("simclr", seed, rng.random(500) < 0.86, labels))
    report = build(made, {"arms": ["simclr", "lazy"], "seeds": 6, "pairs": [["simclr", "lazy"]]})
    assert report["primary"]["metric"] == "balanced_accuracy"
    (d,) = [d for d in report["differences"] if d["family"] == "primary"]
    assert d["metric"] == "balanced_accuracy" and d["mean"] > 0.25 and verdict.outcome(d) == "beats"
    lazy = next(r for r in report["table"] if r["arm"] == "lazy")
    assert lazy["mean"] == 0.5 and lazy["metrics"]["accuracy"] == 0.9
    plain = build(made, {"arms": ["simclr", "lazy"], "seeds": 6, "pairs": [["simclr", "lazy"]], "metric": "accuracy"})
    assert next(d["mean"] for d in plain["differences"]) < 0
    assert not unequal([10, 20]) and unequal([10, 21]) and not unequal([0, 30])


def test_a_tiny_difference_is_shown_and_yet_not_called_large():
    """.3 points on 10,000 images, the same for every seed: shown, but below the smallest difference of interest."""
    labels = np.arange(10_000) % 10
    made = []
    for seed in range(6):
        right = hard(0.8, seed, 0, labels)
        better = right.copy()
        better[np.flatnonzero(~right)[:30]] = True
        made += [run("simclr", seed, better, labels), run("scratch", seed, right, labels)]
    report = build(made, {"arms": ["simclr", "scratch"], "seeds": 6, "margin": 0.005})
    (d,) = [d for d in report["differences"] if d["family"] == "primary"]
    assert verdict.outcome(d) == "beats" and verdict.size(d, 0.005) == "equivalent"
    assert verdict.size(d, 0.001) == "at_least"


def test_few_test_images_keep_a_winner_from_being_named():
    """20 images: 10.8 points between two arms whose answers scatter is not shown, whatever the seeds say."""
    labels, made = np.arange(20) % 2, []
    wrong = {"simclr": [0, 1, 2, 3], "scratch": [2, 3, 4, 5, 6, 7]}
    for seed in range(6):
        for arm, places in wrong.items():
            right = ~np.isin(np.arange(20), places)
            right[8 + seed] ^= arm == "scratch"  # one answer of each seed is its own
            made.append(run(arm, seed, right, labels))
    report = build(made, {"arms": ["simclr", "scratch"], "seeds": 6})
    (d,) = [d for d in report["differences"] if d["family"] == "primary"]
    assert d["p"] <= 0.05 and abs(d["mean"]) > 0.1  # what the old rule went by
    assert d["over_seeds"]["low"] > 0 or d["over_seeds"]["high"] < 0
    assert verdict.outcome(d) == "none" and d["item_share"] > 0.5
    assert any("20 test images" in text for text in report["verdict"]["cautions"])


def test_the_advice_keeps_what_is_not_shown_to_be_worse_and_takes_the_cheapest():
    shares = {"simclr": 0.70, "scratch": 0.69, "pixels": 0.4}
    report = build(runs(shares), {"arms": list(shares), "seeds": 6})
    report_kept = {k["arm"] for k in report["advice"]["kept"]}
    assert report_kept == {"simclr", "scratch"}  # pixels are shown to be worse
    assert all(k["behind"] is None or k["behind"]["interval"]["low"] <= 0 for k in report["advice"]["kept"])
    shares = {"simclr": 0.70, "scratch": 0.69, "pixels": 0.71}
    report = build(runs(shares), {"arms": list(shares), "seeds": 6})
    assert report["advice"]["use"] == "pixels"
    assert any("Nothing here is shown to beat" in text for text in report["advice"]["sentences"])


def test_needs_say_how_many_images_or_seeds_would_tell_a_pair_apart():
    report = build(runs({"simclr": 0.70, "scratch": 0.69}), {"arms": ["simclr", "scratch"], "seeds": 6})
    (need,) = report["needs"]
    assert need["now"] > need["half"] >= 0.005
    assert need["items"] is None or need["items"] > len(LABELS)
    assert need["seeds"] is None or need["seeds"] > 6


def test_a_no_of_few_seeds_is_no_more_than_perhaps_not():
    for seeds, answer in ((3, "perhaps not"), (6, "no")):
        report = build(runs({"simclr": 0.5, "scratch": 0.8}, seeds), {"arms": ["simclr", "scratch"], "seeds": seeds})
        assert report["verdict"]["answer"] == answer


@pytest.mark.long
def test_the_advice_knows_no_more_than_the_verdict():
    """Whoever the verdict cannot tell from the best is kept, though an interval of its own may exclude zero."""
    for seed in range(40):
        shares = {"simclr": 0.75, "dcgan": 0.71 + 0.001 * seed, "scratch": 0.6, "pixels": 0.5}
        report = build(runs(shares), {"arms": list(shares), "seeds": 6})
        kept, best = {k["arm"] for k in report["advice"]["kept"]}, report["advice"]["best"]
        for d in report["differences"]:
            if d["family"] == "primary" and best in (d["a"], d["b"]) and verdict.outcome(d) == "none":
                assert {d["a"], d["b"]} <= kept


def test_equal_answers_of_two_seeds_are_no_certainty_where_labels_are_drawn():
    """What is right everywhere with both seeds may be luck: the fewest seeds for a test are six all the same."""
    right, wrong = np.ones(400, dtype=bool), np.zeros(400, dtype=bool)
    made = [run(arm, s, right if arm == "simclr" else wrong) for arm in ("simclr", "scratch") for s in range(2)]
    report = build(made, {"arms": ["simclr", "scratch"], "seeds": 2})
    (d,) = [d for d in report["differences"] if d["family"] == "primary"]
    assert not d["fixed"] and verdict.outcome(d) == "ahead" and report["verdict"]["answer"] == "perhaps"


def test_a_constant_answer_is_nothing_that_pretraining_could_pay_against():
    report = build(
        runs({"simclr": 0.7, "vicreg": 0.6, "majority": 0.25}), {"arms": ["simclr", "vicreg", "majority"], "seeds": 6}
    )
    assert "majority" not in {name for pair in report["primary"]["pairs"] for name in pair}
    assert report["verdict"]["answer"] == "open"
    alone = build(runs({"scratch": 0.7, "random": 0.5}), {"arms": ["scratch", "random"], "seeds": 6})
    assert alone["primary"]["pairs"] == [["scratch", "random"]] and "beats random" in alone["verdict"]["headline"]
    none = build(runs({"majority": 0.25}, 1), {"arms": ["majority"], "seeds": 1})
    assert "make no pair" in none["verdict"]["headline"]


def test_the_answers_count_where_result_json_says_otherwise():
    made = runs({"simclr": 0.6, "scratch": 0.7})
    for s in made[0].result["scores"]:
        s |= {"accuracy": 0.99, "correct": 396}
    report = build(made, {"arms": ["simclr", "scratch"], "seeds": 6})
    row = next(r for r in report["table"] if r["arm"] == "simclr")
    assert row["per_seed"]["0"] == pytest.approx(0.6)
    assert any("simclr seed 0" in text and "predictions.npz counts" in text for text in report["verdict"]["cautions"])


def test_answers_that_are_gone_are_said():
    made = runs({"simclr": 0.6, "scratch": 0.7})
    made[3] = replace(made[3], predictions=None)
    report = build(made, {"arms": ["simclr", "scratch"], "seeds": 6})
    assert any(
        "predictions of simclr seed 3 for single test images are not there" in text
        for text in report["verdict"]["cautions"]
    )


def test_a_class_of_six_images_leaves_its_recall_open():
    """Six of six right: a recall near .6 is still possible, and balanced accuracy near .8."""
    labels = (np.arange(60) < 6).astype(int)
    made = [run("simclr", s, np.ones(60, dtype=bool), labels) for s in range(6)]
    report = build(made, {"arms": ["simclr"], "seeds": 6})
    assert report["primary"]["metric"] == "balanced_accuracy"
    assert report["table"][0]["interval"]["low"] < 0.8
