"""What a data report says in sentences: problems, the gravest first, and what to do. Every number comes from the text.

A problem is {"kind", "grave", "text"}; a suggestion {"text", "overrides"}.
"""

from typing import Any

from gssl.config import rules
from gssl.data import layout
from gssl.data.targets import TARGETS, Target
from gssl.words import count, listed, percent

FEW_LABELS, FEW_PER_CLASS = 200, 20  # below: folds instead of one test part
FEW_TEST = 100
IMBALANCED = 2.0  # largest class ÷ smallest
ALIKE = 1.5  # times as often as by chance: names that begin alike belong together
TELLING = 2.0  # times the chance of the largest class: below, neighbours do not know the labels
SHOWN = 3

Problem = dict[str, Any]


def problems(text: dict[str, Any]) -> list[Problem]:
    """All that is remarkable, the gravest first."""
    found = [*_copies(text), *_files(text), *_classes(text), *_features(text)]
    goal = _target(text)
    return sorted(
        (problem | {"text": goal.said(problem["text"])} for problem in found), key=lambda problem: not problem["grave"]
    )


def _problem(kind: str, text: str, grave: bool = False) -> Problem:
    return {"kind": kind, "grave": grave, "text": text}


def _target(text: dict[str, Any]) -> Target:
    return TARGETS[text.get("column", "label")]


def _of(some: int, all_: int, what: str) -> str:
    return f"{some:,} of {all_:,} {what}s ({percent(some, all_)})"


def _a(text: dict[str, Any]) -> str:
    """A row of the data with its article."""
    row = _target(text).row
    return f"{'an' if row[0] in 'aeiou' else 'a'} {row}"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _copies(text: dict[str, Any]) -> list[Problem]:
    own, parts = text["duplicates"], text["parts"]
    found = []
    if own["test_images"]:
        many = _of(own["test_images"], parts["test"], "test image")
        what = f"{many} {'has' if own['test_images'] == 1 else 'have'} copies among the other parts: scores would be"
        found.append(_problem("test_copies", f"{what} too high. Remove the copies from one side.", True))
    if own["conflicting"]:
        what = _target(text).named
        many = count(own["conflicting"], "group") + f" of copies {'has' if own['conflicting'] == 1 else 'have'}"
        found.append(_problem("conflicting_labels", f"{many} different {what}: one of them is wrong.", True))
    if own["groups"]:
        kinds = [f"{own['exact']:,} of equal pixels"] if own["exact"] else []
        kinds += [f"{own['near']:,} of near copies"] if own["near"] else []
        rows, groups = count(own["images"], _target(text).row), count(own["groups"], "group")
        many = f"{rows} form {groups} of copies ({listed(kinds)})"
        found.append(_problem("duplicates", f"{many}: {own['superfluous']:,} could be left out."))
    return found


def _files(text: dict[str, Any]) -> list[Problem]:
    found = []
    if text["skipped"]:
        what = f"{count(len(text['skipped']), 'file')} cannot be used"
        found.append(
            _problem(
                "unreadable", f"{what}, the first is {text['skipped'][0]}. data.on_error=skip leaves them out.", True
            )
        )
    for suffix, own in text["unused"].items():
        what = f"{count(own['n'], 'file')} ({suffix}) {_are(own['n'])} not used, the first is {own['examples'][0]}"
        why = "no part of the data set lists it" if own["readable"] else f"this suffix is not read as {_a(text)}"
        found.append(_problem("unused", f"{what}: {why}.", own["readable"]))
    for kind, own in text["remarkable"].items():
        what = f"{_of(own['n'], text['images'], _target(text).row)} {_are(own['n'])} {kind}"
        found.append(_problem(kind, f"{what}: {own['text']}.", kind == "blank"))
    found += [_problem("warning", f"{line}.") for line in text["warnings"]]
    return found + [_problem("found", f"{line}.") for line in text.get("told", [])]


def _classes(text: dict[str, Any]) -> list[Problem]:
    found = []
    goal = _target(text)
    marks = goal.marks[1] if goal.marks else "images"
    counts = text.get(f"class_{marks}") or text.get("class_counts") or {}
    for part, own in counts.items():
        gone = [name for name, n in zip(text["classes"], own, strict=True) if n == 0]
        if gone and (part == "test" or (part == "train" and not goal.good_only)):
            named = listed(gone[:SHOWN]) + (f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else "")
            many = (
                f"{len(gone)} of {len(own)} classes {'has' if len(gone) == 1 else 'have'} no {part} {marks} ({named})"
            )
            found.append(_problem("missing_classes", f"{many}.", True))
    known = [n for n in counts.get("train", []) if n]
    if known and max(known) > IMBALANCED * min(known):
        names = dict(zip(text["classes"], counts["train"], strict=True))
        most, least = max(names, key=lambda c: names[c]), min((c for c in names if names[c]), key=lambda c: names[c])
        times = f"{max(known) / min(known):.3g} times as many training {marks} are of {most} as of {least}"
        so = f": {goal.fair}" if goal.fair else ""
        found.append(_problem("imbalance", f"{times}{so}."))
    test = text["parts"].get("test")
    if test is not None and test < FEW_TEST:
        point = f": one of them is {100 / test:.2g} points of accuracy" if goal.accuracy else ""
        rest = "" if point else ", too few to show differences of a few points"
        what = f"There {_are(test)} {count(test, 'test image')}{point}{rest}."
        found.append(_problem("few_test_images", what, True))
    return found


def _features(text: dict[str, Any]) -> list[Problem]:
    found = []
    if (own := text["suspects"]) and own["n"]:
        labelled = min(text["labelled"], text["features"]["n"])
        what = f"{_of(own['n'], labelled, 'label')} differ{'s' if own['n'] == 1 else ''} from what the neighbours carry"
        trust = f"neighbours name the given label of {100 * own['agreement']:.0f}% of the {_target(text).row}s"
        weak = own["agreement"] < TELLING * own["chance"] and own["agreement"] < 0.9
        so = "they know these classes too little for a suspicion to mean much" if weak else "look at the first ones"
        found.append(_problem("suspects", f"{what}; {trust}, so {so}."))
    if (far := text["outliers"]) and far["n"]:
        rows = count(far["n"], _target(text).row)
        found.append(_problem("outliers", f"{rows} {_are(far['n'])} unlike all others by features."))
    return found


# ── what to do ───────────────────────────────────────────────────────────────────────────────────


def suggestions(text: dict[str, Any]) -> list[dict[str, Any]]:
    """Size, folds, groups, and the command that follows."""
    found = [_size(text)] if not _target(text).marks else []
    found += _folds(text) if _target(text).folds else []
    if (names := text.get("names")) and names["excess"] > ALIKE and _grouped(text):
        many = f"{names['groups']:,} groups, such as {listed(names['examples'])}"
        groups = rules.reads(text["data"]["name"], "groups")
        how = "data.groups='{group}_*' names them" if groups else "a column group in labels.csv names them"
        found.append(
            {
                "text": f"Names begin alike in {many}, and {_a(text)}'s nearest neighbour is of its own group"
                f" {names['excess']:.2g} times as often as by chance: keep groups together in splits ({how}).",
                "overrides": [],
            }
        )
    if not text["labelled"]:
        said = "Nothing is labelled: networks can be pretrained on this, and compared only once some have labels"
        found.append({"text": f"{said} (class folders or labels.csv).", "overrides": []})
    return [own | {"text": _target(text).said(own["text"])} for own in found]


def _grouped(text: dict[str, Any]) -> bool:
    """Whether something can say which images belong together."""
    name = text["data"]["name"]
    return rules.reads(name, "groups") or rules.reads(name, "labels")


def _size(text: dict[str, Any]) -> dict[str, Any]:
    middle = text["shapes"]["shorter"]["median"]
    size = layout.chosen_size([round(middle)])
    said = f"data.size={size}: half of the {_target(text).row}s have a shorter side of at least {middle:g} pixels"
    more = ", and cost grows with the area" if middle >= 2 * size else ""
    return {
        "text": f"{said}{more}. A ready-made network reads its own size, whatever this is.",
        "overrides": [f"data.size={size}"],
    }


def _folds(text: dict[str, Any]) -> list[dict[str, Any]]:
    """Few labels, or no test part: who is tested on."""
    counts = text.get("class_counts")
    if not counts or not text["labelled"]:
        return []
    totals = [sum(own[i] for own in counts.values()) for i in range(len(text["classes"]))]
    least = min(totals)
    if text["labelled"] < FEW_LABELS or least < FEW_PER_CLASS:
        few = f"There are {count(text['labelled'], 'labelled image')}, {least} of the smallest class"
        how = "test on folds, so that every labelled image is a test image once"
        return [{"text": f"{few}: {how} (data.test=folds).", "overrides": ["data.test=folds"]}]
    if "test" not in text["parts"]:
        said = "There is no test part: gssl divides one off by the content of the files (data.test_fraction)"
        return [
            {
                "text": f"{said}; a folder test/ of your own is better where {_target(text).row}s belong together.",
                "overrides": [],
            }
        ]
    return []
