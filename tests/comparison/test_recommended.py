"""Which arm becomes the model: what the advice says, never a control, and the card says when nothing beat one."""

from types import SimpleNamespace

import pytest

from gssl.comparison.recommended import choose
from gssl.experiment.model_card import card


def arm(name, role="contestant", family="ssl", kind="ssl"):
    return SimpleNamespace(name=name, title=name.title(), role=role, family=family, kind=kind)


def report(means, use=None, arms=None, probe="linear", adapted=None, kept=()):
    """A report's part that is asked: scores of 10 labels per class and of all."""

    def row(name, asked=None, key=None):
        if name not in means or (asked or probe) not in (probe, "linear"):
            return None
        many = key == "all"
        return SimpleNamespace(mean=means[name] + 0.1 * many, probe=asked or probe, adapted_by=adapted, n=100 * many)

    made = arms or [arm(name) for name in means]
    cheap = [SimpleNamespace(arm=name, flops=i, seconds=i, mean=means[name]) for i, name in enumerate(kept)]
    advice = use and SimpleNamespace(use=use, kept=cheap, sentences=[f"Use {use.title()}."])
    return SimpleNamespace(
        arms=made,
        row=row,
        advice=advice,
        titles={a.name: a.title for a in made},
        primary=SimpleNamespace(probe=probe, task="classification", label_budget="10"),
        label_budgets=[SimpleNamespace(key="10"), SimpleNamespace(key="all")],
    )


def test_it_is_what_the_advice_says_with_the_score_at_the_largest_label_budget():
    made = choose(report({"simclr": 0.8, "scratch": 0.7}, use="scratch"), {"simclr", "scratch"})
    assert (made.arm.name, made.probe, made.why, made.notes) == ("scratch", "linear", "Use Scratch.", [])
    assert made.score.mean == pytest.approx(0.8) and made.score.n == 100


def test_a_control_is_no_model_and_the_card_says_that_nothing_beat_it():
    arms = [arm("simclr"), arm("dcgan"), arm("random", "control", "none", "")]
    means = {"simclr": 0.5, "dcgan": 0.49, "random": 0.52}
    made = choose(report(means, "random", arms, kept=("random", "dcgan", "simclr")), set(means))
    assert made.arm.name == "dcgan"  # the cheapest that was kept
    assert "Random" in made.notes[0] and "nothing here is shown to beat it" in made.notes[0]


def test_what_has_no_network_or_did_not_finish_is_no_model():
    arms = [arm("kmeans", family="classical", kind="classical"), arm("simclr"), arm("dcgan")]
    means = {"kmeans": 0.9, "simclr": 0.5, "dcgan": 0.8}
    made = choose(report(means, "kmeans", arms), {"kmeans", "simclr"})
    assert made.arm.name == "simclr" and "no network to be kept" in made.notes[0]
    assert choose(report({"pixels": 0.5}, arms=[arm("pixels", "control")]), {"pixels"}) is None
    references = [arm("supervised", "reference")]
    assert choose(report({"supervised": 0.9}, arms=references), {"supervised"}) is None


def test_the_adaptation_that_won_most_fits_becomes_the_head_and_knn_none():
    won = choose(report({"simclr": 0.8}, probe="adapted", adapted={"linear": 2, "finetune": 4}), {"simclr"})
    assert won.probe == "finetune"
    made = choose(report({"simclr": 0.8}, probe="knn"), {"simclr"})
    assert made.probe == "linear" and made.score.probe == "linear"  # its own score is quoted


def test_the_card_says_what_was_measured_and_what_not():
    text = {
        "task": "classification", "classes": ["cat", "dog"], "probe": "linear", "backbone": {"name": "convnet"},
        "arm": {"title": "SimCLR"}, "why": "Use SimCLR.", "notes": ["**Nothing beat random.**"],
        "source": {"words": "random weights"}, "data": {"name": "pets", "hash": "a" * 32, "with_test": True},
        "trained": {"images": 200, "chosen": {"l2": 0.1}, "images_hash": "b" * 32}, "licences": ["Apache-2.0"],
        "expected": {"metric": "accuracy", "mean": 0.781, "interval": {"low": 0.6, "high": 0.89, "level": 0.95},
                     "n_test": 32, "n_seeds": 1, "n_train": 168.0, "labels": "all labels (linear probe)"},
        "calibration": {"temperature": 1.0, "n": 8, "how": "not fitted: 8 images, fewer than 20"},
        "preprocessing": {"resize": "the shorter side to 64 px", "cut": "the central 64 × 64 px",
                          "interpolation": "bilinear"},
    }  # fmt: skip
    made = card(text)
    for part in ("accuracy 78.1%", "60.0 to 89.0", "32 images", "all 200 labelled images", "Nothing beat random",
                 "not fitted: 8 images", "Apache-2.0", "gssl predict model photos"):  # fmt: skip
        assert part in made, part
    assert "no score" in card(text | {"expected": None})
