"""A sentence about generated images: good, fair, poor, bad or useless, relative to controls, not to constants.

The controls are real training images that were damaged (`gssl.metrics.control_images`), measured by the same evaluator
against the same real images and in the same number. A generator is graded by the worst control that it is no better
than: the low end of its KID's interval lies above the control's KID, or its KID does and recall and coverage are below
the control's as well. No torch here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Control(NamedTuple):
    """`grade`: of a generator that is farther from real images than this; `called`: as a sentence names it."""

    grade: str
    called: str


CONTROLS = {
    "half": Control("poor", "training images reduced to half their resolution"),
    "quarter": Control("bad", "training images reduced to a quarter of their resolution"),
    "eighth": Control("bad", "training images reduced to an eighth of their resolution"),
    "noise": Control("useless", "noise with the colours of the training images"),
}
GRADES = ("good", "fair", "poor", "bad", "useless")
KEPT = ("kid", "kid_low", "kid_high", "precision", "recall", "coverage", "copied", "copied_low", "copied_high")

Figures = Mapping[str, Any]


def graded(figures: Figures, real: Figures, controls: Mapping[str, Figures], split: str) -> dict[str, Any] | None:
    """`grade`, `text` (a sentence that begins with it) and `notes` (further sentences).

    figures: of generated images, with `kid`, `kid_low` and, where known, `precision`, `recall`, `coverage`; real: what
    real training images get in their place; controls: name → the same of each control. None where KIDs are absent.
    """
    if any(found.get("kid") is None for found in (figures, real, *controls.values())) or not controls:
        return None
    low = figures.get("kid_low")
    low = figures["kid"] if low is None else low
    order = sorted(controls, key=lambda name: controls[name]["kid"])
    passed = [name for name in order if low > controls[name]["kid"] or _worse(figures, controls[name])]
    nearer, wide = next((name for name in order if name not in passed), None), False
    if passed:
        grade = max((CONTROLS[name].grade for name in passed), key=GRADES.index)
        worst = next(name for name in reversed(passed) if CONTROLS[name].grade == grade)
        what = f"farther from the {split} images ({_kid(figures)}) than {_named(worst, controls)}"
    else:
        top = real.get("kid_high")
        near = low <= max(top if top is not None else real["kid"], real["kid"])
        wide = near and figures["kid"] > controls[order[0]]["kid"]  # few images: nothing is certain
        grade = "good" if near and not wide else "fair"
        what = f"as near to the {split} images ({_kid(figures)}) as real training images"
        if wide:
            what = f"not certainly farther from the {split} images ({_kid(figures)}) than real training images"
        elif not near:
            what = f"farther from the {split} images ({_kid(figures)}) than real training images"
    if nearer is not None:
        what += f", {'and ' if grade == 'good' or wide else ''}not certainly farther than {_named(nearer, controls)}"
    baseline = f"real training images have a KID of {_number(real['kid'])}"
    return {"grade": grade, "text": f"{grade}: {what}; {baseline}.", "notes": notes(figures, real)}


def _worse(figures: Figures, control: Figures) -> bool:
    """Whether it is worse than a control by distance, recall and coverage alike."""
    if any(found.get(key) is None for found in (figures, control) for key in ("recall", "coverage")):
        return False
    below = figures["recall"] < control["recall"] and figures["coverage"] < control["coverage"]
    return bool(below and figures["kid"] > control["kid"])


def notes(figures: Figures, real: Figures) -> list[str]:
    """What a metric that looks better than it is means."""
    found = []
    known = all(f.get(key) is not None for f in (figures, real) for key in ("precision", "recall"))
    if known and figures["precision"] > real["precision"] and figures["recall"] < real["recall"]:
        found.append(
            f"Precision {figures['precision']:.2f} is above that of real images ({real['precision']:.2f}) while recall"
            f" is below theirs ({figures['recall']:.2f} against {real['recall']:.2f}): generated images crowd where"
            " real ones are dense and show less variety. That is not better than real."
        )
    copied, usual = figures.get("copied_low"), real.get("copied_high")
    if copied is not None and usual is not None and copied > usual:
        found.append(
            f"{100 * figures['copied']:.0f}% of the generated images are nearer to a training image than 95% of"
            " held-out images are, more than real images: distances look good where training images are repeated."
        )
    return found


def averaged(found: Sequence[Figures]) -> dict[str, float]:
    """Means over evaluations of the figures that all of them have."""
    keys = [key for key in KEPT if all(own.get(key) is not None for own in found)]
    return {key: sum(float(own[key]) for own in found) / len(found) for key in keys}


def kept(figures: Figures) -> dict[str, Any]:
    """What is recorded of a control."""
    return {key: figures[key] for key in KEPT if figures.get(key) is not None}


def _named(name: str, controls: Mapping[str, Figures]) -> str:
    return f"{CONTROLS[name].called} ({_number(controls[name]['kid'])})"


def _kid(figures: Figures) -> str:
    low, high = figures.get("kid_low"), figures.get("kid_high")
    ends = "" if low is None or high is None else f", {_number(low)} to {_number(high)}"
    return f"KID {_number(figures['kid'])}{ends}"


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
