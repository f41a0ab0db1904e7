"""What about a data set can make a verdict wrong: facts with their numbers, and a sentence each for the report.

A finding is {"kind", "text", …}. `text` is one sentence; `examples`, where there are some, are for the terminal.
Kinds: test_in_training, near_duplicates, conflicting_labels, torn_groups, missing_classes, few_test_images,
few_groups, few_per_class, imbalance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gssl.data import targets
from gssl.data.images import Images
from gssl.data.targets import Target
from gssl.words import percent

FEW = 100  # test images
FEW_PER_CLASS = 10
FEW_GROUPS = 10  # groups of test images that belong together
IMBALANCED = 2.0  # the largest class is more than so many times the smallest
SHOWN = 3  # examples

Finding = dict[str, Any]

# of what has no pixels, by its column
WORDED = {
    "text": {
        "pixel for pixel": "token for token",
        "saved again, resized or a little changed": "with the same letters and digits",
        "like copies of images": "like copies of texts",
        "like a copy of an image": "like a copy of a text",
        "picture": "text",
    },
    "audio": {
        "pixel for pixel": "sample for sample",
        "saved again, resized or a little changed": "sample for sample",
        "like copies of images": "like copies of sounds",
        "like a copy of an image": "like a copy of a sound",
        "picture": "sound",
    },
}
# What a part is, and what it means that test images are in it.
PARTS = {
    "train": ("the labelled training images", "scores of every arm"),
    "val": ("the validation images, which probes learn from too", "scores of every arm"),
    "pretrain": ("the images of pretraining", "scores of everything pretrained"),
    "folds": ("the labelled images of other folds", "scores of every arm"),
}


def find_findings(parts: Mapping[str, Images], test: Images, copies: np.ndarray) -> list[Finding]:
    """All findings. parts: train, val, and pretrain where those are other images than train.

    copies: what `near.copies` says of the test images and these parts.
    """
    found = _known(parts, test, copies) + _few_groups(test)
    if not test.classes:
        return found  # nothing is labelled, so nothing is scored
    goal = targets.of_columns(test.columns)
    if goal.marks:
        marked = {"train": class_marks(parts["train"]), "test": class_marks(test)}
        for name, own in marked.items():
            if goal.good_only and name != "test":
                continue
            found += _missing(name, own, test.classes, goal.marks[0])
        return found + _few_marked(test, goal) + _imbalance(marked, test.classes, goal)
    labelled = [part for name, part in parts.items() if name != "pretrain"]
    found += _conflicts(labelled, test)
    counts = {"train": class_counts(parts["train"]), "test": class_counts(test)}
    for name, own in counts.items():
        found += _missing(name, own, test.classes)
    return found + _few(counts["test"], test.classes, goal) + _imbalance(counts, test.classes, goal)


def worded(found: list[Finding], test: Images) -> list[Finding]:
    """Findings in the words of what has no pixels."""
    if test.store.pictures:
        return found
    goal = targets.of_columns(test.columns)

    def said(text: str) -> str:
        for word, own in WORDED[goal.task].items():
            text = text.replace(word, own)
        return goal.said(text)

    return [finding | {"text": said(finding["text"])} for finding in found]


def leaks(parts: Mapping[str, Images], test: Images, copies: np.ndarray) -> list[Finding]:
    """The findings that are about test images in training: all that holds for one of several folds alone."""
    labelled = [part for name, part in parts.items() if name != "pretrain"]
    return _known(parts, test, copies) + (_conflicts(labelled, test) if test.classes and not test.stored else [])


def across_folds(
    images: Images, sides: Sequence[tuple[np.ndarray, np.ndarray]], copies: Sequence[np.ndarray]
) -> list[Finding]:
    """Findings of labelled images, each of which is tested on in one fold and learnt from in the others.

    sides: of each fold the indices of what is tested on and of the rest. copies: what `near.copies` says of these.
    """
    content, exact, near = images.contents(), [], []
    for (here, rest), rows in zip(sides, copies, strict=True):
        first = dict(zip(content[rest].tolist()[::-1], rest.tolist()[::-1], strict=True))
        own = [(i, first[c]) for i, c in zip(here.tolist(), content[here].tolist(), strict=True) if c in first]
        exact += own
        same = {i for i, _ in own}
        near += [(int(here[i]), int(rest[j]), m) for i, _, j, m in rows.tolist() if int(here[i]) not in same]
    found = [_leak("test_in_training", "folds", images, images, exact, ", pixel for pixel")] if exact else []
    if near:
        how = f", {_what(sum(row[2] for row in near), len(near))}"
        found.append(_leak("near_duplicates", "folds", images, images, [row[:2] for row in near], how))
    found += _few_groups(images)
    goal = targets.of_columns(images.columns)
    if goal.marks:
        marked = {"test": class_marks(images), "train": []}
        return found + _few_marked(images, goal) + _imbalance(marked, images.classes, goal)
    counts = class_counts(images)
    found += _conflicts([], images) + _few(counts, images.classes, goal)
    return found + _imbalance({"test": counts, "train": []}, images.classes, goal)


def _known(parts: Mapping[str, Images], test: Images, copies: np.ndarray) -> list[Finding]:
    """Test images, and groups of theirs, that are trained on."""
    found = []
    for number, (name, part) in enumerate(parts.items()):
        found += _duplicates(name, part, test, copies[copies[:, 1] == number][:, [0, 2, 3]])
    return found + _torn(parts, test)


def class_counts(images: Images) -> list[int]:
    """Images of each class; [] where nothing is labelled, or where an image has many classes."""
    if targets.of_columns(images.columns).marks:
        return []
    return np.bincount(images.labels[images.labels >= 0], minlength=len(images.classes)).tolist()


def class_marks(images: Images) -> list[int]:
    """Where an image has many classes, how much of each there is: pixels of masks."""
    column = targets.target(images.stored or ())
    assert column is not None
    return images.store.columns[column].class_counts(images.rows, len(images.classes))


def warning(finding: Finding) -> str:
    """The finding as a line for the terminal."""
    examples = finding.get("examples")
    return finding["text"].rstrip(".") + (f" ({', '.join(examples)})" if examples else "")


# ── test images that are trained on ──────────────────────────────────────────────────────────────


def _duplicates(name: str, part: Images, test: Images, copies: np.ndarray) -> list[Finding]:
    """Exact copies, and the near ones among the other test images."""
    content, order = np.unique(part.contents(), return_index=True)
    own = test.contents()
    position = np.minimum(np.searchsorted(content, own), max(len(content) - 1, 0))
    same = content[position] == own
    found = []
    if same.any():
        pairs = [(int(i), int(order[position[i]])) for i in np.flatnonzero(same)]
        found.append(_leak("test_in_training", name, part, test, pairs, ", pixel for pixel"))
    near = [row for row in copies.tolist() if not same[row[0]]]
    if near:
        mirrored = sum(row[2] for row in near)
        how = f", {_what(mirrored, len(near))}"
        finding = _leak("near_duplicates", name, part, test, [(i, j) for i, j, _ in near], how)
        found.append(finding | {"mirrored": mirrored})
    return found


def _leak(kind: str, name: str, part: Images, test: Images, pairs: list[tuple[int, int]], how: str) -> Finding:
    what, so = PARTS[name]
    several, fraction = len(pairs) > 1, len(pairs) / len(test)
    if kind == "near_duplicates":
        verb = "look like copies of images" if several else "looks like a copy of an image"
        verb += " among"
    else:
        verb = "are among" if several else "is among"
    key = "" if name == "folds" else f" (data.{name})"
    text = f"{_of(len(pairs), len(test), 'test image')} {verb} {what}{key}{how}: {so} {_high(fraction)}."
    examples = [f"{test.name(i)} = {part.name(j)}" for i, j in pairs[:SHOWN]]
    return {"kind": kind, "text": text, "part": name, "images": len(pairs), "fraction": fraction, "examples": examples}


def _what(mirrored: int, images: int) -> str:
    if mirrored == images:
        return "mirrored"
    rest = "saved again, resized or a little changed"
    return f"{rest}, {mirrored:,} of them mirrored" if mirrored else rest


def _high(fraction: float) -> str:
    """Copies that would all be wrong without their originals are the most that they can be worth."""
    return "may be too high" + (f", by {100 * fraction:.2g} points at the most" if fraction <= 0.2 else "")


def _of(some: int, all_: int, what: str) -> str:
    """ "All 1,000 test images", "3 of 1,000 test images (0.3%)"."""
    plural = what if all_ == 1 else f"{what}s"
    if some == all_:
        return f"All {all_:,} {plural}" if all_ > 1 else f"The only {what}"
    return f"{some:,} of {all_:,} {plural} ({percent(some, all_)})"


# ── groups and labels ────────────────────────────────────────────────────────────────────────────


def _torn(parts: Mapping[str, Images], test: Images) -> list[Finding]:
    """Groups with images on both sides, as a CSV's split column or its unlabelled rows may have them."""
    if test.groups is None:
        return []
    trained = [part.groups for part in parts.values() if part.groups is not None]
    inside = np.isin(test.groups, np.concatenate(trained)) if trained else np.zeros(len(test), bool)
    if not inside.any():
        return []
    names = np.unique(test.groups[inside]).tolist()
    where = [name for name, part in parts.items() if part.groups is not None and np.isin(part.groups, names).any()]
    word = "group has" if len(names) == 1 else "groups have"
    some = _of(int(inside.sum()), len(test), "test image")
    known = f"{some[:1].lower()}{some[1:]} may be known already"
    text = (
        f"{len(names):,} {word} some of the test images and some of those trained on ({', '.join(where)}), so"
        f" {known}: scores of every arm {_high(float(inside.mean()))}."
    )
    more = {"groups": len(names), "images": int(inside.sum()), "fraction": float(inside.mean()), "parts": where}
    return [{"kind": "torn_groups", "text": text, **more, "examples": [str(name) for name in names[:SHOWN]]}]


def _conflicts(labelled: list[Images], test: Images) -> list[Finding]:
    """Equal pixels with different labels, among what is trained on, between that and the test images, among these."""
    sides = [*labelled, test]
    content = np.concatenate([part.contents() for part in sides])
    label = np.concatenate([part.labels for part in sides])
    tested = np.arange(len(content)) >= len(content) - len(test)
    _, code = np.unique(content, return_inverse=True)
    known = label >= 0
    pairs = np.unique(np.stack([code[known], label[known]], axis=1), axis=0)
    several = np.flatnonzero(np.bincount(pairs[:, 0]) > 1)
    if not len(several):
        return []
    within, against = 0, 0  # pictures with two labels in training; test images that training calls otherwise
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], several)
    ends = np.searchsorted(code[order], several, side="right")
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        rows = order[start:end]
        rows = rows[known[rows]]
        labels_here = set(label[rows[~tested[rows]]].tolist())
        within += len(labels_here) > 1
        against += sum(bool(labels_here - {own}) for own in label[rows[tested[rows]]].tolist())
    first = order[starts[0] : ends[0]]
    offsets = np.cumsum([0, *(len(part) for part in sides)])
    owners = (np.searchsorted(offsets, first, side="right") - 1).tolist()
    names = [sides[s].name(i - int(offsets[s])) for s, i in zip(owners, first.tolist(), strict=True)]
    word = "picture occurs" if len(several) == 1 else "pictures occur"
    text = (
        f"{len(several):,} {word} with more than one label, pixel for pixel ({within:,} among the training images;"
        f" {_of(against, len(test), 'test image')} have another label than their copy there): no arm can be right on"
        " all of them."
    )
    more = {"pictures": len(several), "within_training": int(within), "test_images": int(against)}
    return [{"kind": "conflicting_labels", "text": text, **more, "examples": [" = ".join(names[:SHOWN])]}]


# ── counts of classes ────────────────────────────────────────────────────────────────────────────


def _missing(name: str, counts: list[int], classes: list[str], unit: str = "image") -> list[Finding]:
    gone = [classes[i] for i, n in enumerate(counts) if n == 0]
    if not gone:
        return []
    what = "training" if name == "train" else "test"
    so = "no arm can be right on them" if name == "train" else "the scores say nothing of them"
    many = f"{len(gone):,} of {len(classes):,} classes have" if len(gone) > 1 else f"1 of {len(classes):,} classes has"
    text = f"{many} no {what} {unit} ({_listed(gone)}): {so}."
    return [{"kind": "missing_classes", "text": text, "part": name, "classes": gone}]


def _few(counts: list[int], classes: list[str], goal: Target) -> list[Finding]:
    n, found = sum(counts), []
    if 0 < n < FEW:
        one = f", and one of them is {100 / n:.2g} points of accuracy" if goal.accuracy else ""
        text = f"There are {n} test images only{one}: differences"
        found.append({"kind": "few_test_images", "text": f"{text} of a few points cannot be shown.", "images": n})
    few = [i for i, count in enumerate(counts) if 0 < count < FEW_PER_CLASS]
    if few:
        least = min(few, key=lambda i: counts[i])
        many = f"{len(few):,} of {len(classes):,} classes {'have' if len(few) > 1 else 'has'}"
        text = (
            f"{many} fewer than {FEW_PER_CLASS} test images (fewest: {classes[least]}, {counts[least]}): accuracies of"
            " single classes, and balanced accuracy, are uncertain."
        )
        own = {classes[i]: counts[i] for i in few}
        found.append({"kind": "few_per_class", "text": text, "classes": own})
    return found


def _few_groups(test: Images) -> list[Finding]:
    """Images of one group are one observation: of two videos nobody can say how a third would be."""
    groups = test.group_codes()
    count = 0 if groups is None else len(np.unique(groups))
    if not 0 < count < FEW_GROUPS:
        return []
    what = f"The {len(test):,} test images fall into {count} group{'s' if count > 1 else ''}"
    text = f"{what}, and what belongs together counts as one observation: intervals over so few are very wide."
    return [{"kind": "few_groups", "text": text, "groups": count}]


def _few_marked(test: Images, goal: Target) -> list[Finding]:
    n = len(test)
    if n >= FEW or not goal.marks:
        return []
    what = "" if goal.marks[0] == "image" else f", and {goal.marks[1]} of one image are not independent"
    text = f"There are {n} test images only{what}: differences of a few points"
    return [{"kind": "few_test_images", "text": f"{text} cannot be shown.", "images": n}]


def _imbalance(counts: Mapping[str, list[int]], classes: list[str], goal: Target) -> list[Finding]:
    """Test images first: those are what a score is of."""
    unit, fair = goal.marks[1] if goal.marks else "images", goal.fair
    parts: dict[str, dict[str, Any]] = {}
    for name in ("test", "train"):
        own = [(n, i) for i, n in enumerate(counts[name]) if n]
        if not own:
            continue
        most, least = max(own, key=lambda c: (c[0], -c[1])), min(own)
        if most[0] > IMBALANCED * least[0]:
            fraction = most[0] / sum(counts[name])
            named = {"largest": classes[most[1]], "smallest": classes[least[1]]}
            parts[name] = {**named, "ratio": most[0] / least[0], "majority_fraction": fraction}
    if not parts or not fair:
        return []
    texts = [
        f"{100 * own['majority_fraction']:.3g}% of the {'test' if name == 'test' else 'training'} {unit} are of the"
        f" class {own['largest']}, {own['ratio']:.3g} times as many as of {own['smallest']}"
        for name, own in parts.items()
    ]
    return [{"kind": "imbalance", "text": f"{'; '.join(texts)}: {fair}.", "parts": parts}]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
