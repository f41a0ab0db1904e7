"""Columns that a task predicts, and what code that knows no task must know of them. No NumPy, no torch."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from gssl.data.sources import SOURCES

# Texts are written about images: what else the rows of a data set may be called. Not what generators made, nor what of
# the training images is compared with that: those are single images, whatever the rows are.
ROWS = re.compile(
    r"(?<!real )(?<!nearest )(?<!near-copies of )(?<![\w/])"
    r"((?:labelled|[Tt]est|training|validation|[Tt]hese|which|more|copies of)[ \n])"
    r"image(s?)(?![\w/])"
)
BALANCED = "always answering the largest class scores well by accuracy, so balanced accuracy is the fair measure"
LABELLED = re.compile(r"(?<![\w/])labelled image(s?)(?![\w/])")


class Target(NamedTuple):
    """What is predicted.

    task: its name. unit: what is labelled one by one: "label" (a class per image), or another word for what label
    budgets count, such as "image" (all that is marked in one). words: its plural, as a budget counts it. row: what a
    row of the data is called. labelled: a row with what is learned from it. grouped: where the data name groups, a
    budget counts these, and all rows of a group are labelled. rectangles: images are stored at a height and a width of
    their own (`data.size=[h,w]`) and are not cut to squares before they are evaluated. marks: where an image has a
    class many times, what has it, one and several. named: how data with such targets are called. fair: the warning
    where classes are of unlike size, "" for none. part: what `gssl export --part` calls a network with its head.
    pipeline: the task's name on model cards, does: what a model does there, knows: what it cannot know. whole: folds of
    labels tear no group. classes: a row has one class, its label, whatever the column is. good_only: training images
    are of the first class alone, and that they have no other is no finding. folds: data.test=folds and split may be
    asked for. accuracy: one of n test rows is 100/n points of the first metric. validates: validation images can be
    scored by the task's metrics.
    """

    task: str
    unit: str
    words: str
    row: str = "image"
    labelled: str = "labelled image"
    grouped: bool = False
    rectangles: bool = False
    marks: tuple[str, str] | None = None
    named: str = "labels"
    fair: str = ""
    part: str = "classifier"
    pipeline: str = "image-classification"
    does: str = "gives every image one of {classes}"
    knows: str = "It knows these classes only and gives one of them to every image."
    whole: bool = False
    classes: bool = False
    good_only: bool = False
    folds: bool = False
    accuracy: bool = False
    validates: bool = True

    def said(self, text: str, budgets: Sequence[str] = (), groups: bool = False) -> str:
        """A text about images with the words of this target for its rows and for what is labelled.

        budgets: label budgets in it as `gssl.words.label_budget_text` has them; groups: whether they count groups.
        """
        if groups and self.grouped:
            for budget in sorted(budgets, key=len, reverse=True):
                text = re.sub(rf"(?<![\d,]){re.escape(budget)}(?!s)", LABELLED.sub(r"labelled group\1", budget), text)
        if self.good_only:  # what is learned from has no labels
            text = text.replace("all labels", f"all {self.words}").replace("% of the labels", f"% of the {self.words}")
        if self.labelled != "labelled image":
            text = LABELLED.sub(rf"{self.labelled}\1", text)
        if self.row == "image":
            return text
        return ROWS.sub(rf"\g<1>{self.row}\2", text.replace("copy of an image", f"copy of a {self.row}"))


# in the order in which one is chosen where a data set brings several
TARGETS: dict[str, Target] = {
    "mask": Target(
        "segmentation",
        "image",
        "labelled images",
        rectangles=True,
        marks=("pixel", "pixels"),
        named="masks",
        part="segmenter",
        pipeline="image-segmentation",
        does="gives every pixel one of {classes}",
        knows="It knows these classes only and gives one of them to every pixel.",
        fair="pixel accuracy is mostly about the largest class, so the mean IoU over classes is the fair measure",
    ),
    "boxes": Target(
        "detection",
        "image",
        "labelled images",
        rectangles=True,
        marks=("box", "boxes"),
        named="boxes",
        part="detector",
        pipeline="object-detection",
        does="finds objects of {classes}, each with a box and a score",
        knows="It knows these classes only: other objects are taken for one of them, or not found.",
    ),
    "video": Target(
        "action",
        "clip",
        "labelled clips, or groups of them",
        row="clip",
        labelled="labelled clip",
        grouped=True,
        accuracy=True,
        part="clip_classifier",
        pipeline="video-classification",
        does="gives every clip one of {classes}",
        knows="It knows these classes only and gives one of them to every clip.",
        fair=BALANCED,
        classes=True,
    ),
    "anomaly": Target(
        "anomaly",
        "image",
        "good images",
        labelled="good image",
        rectangles=True,
        marks=("image", "images"),
        named="good images and defects",
        part="detector",
        pipeline="image-feature-extraction",
        does="says how unlike good images an image is, and where; it was measured by {classes}",
        knows="What is unlike good images in another way, as by another light or camera, has a high score, too. No"
        " threshold is set: choose one on good images of your own.",
        good_only=True,
        validates=False,
    ),
    "fake": Target(
        "fake",
        "label",
        "labels per class",
        does="tells real images from generated ones: {classes}",
        knows="It knows the generators that it learned from; images of others may pass for real.",
        classes=True,
        validates=False,
    ),
    "text": Target(
        "text",
        "label",
        "labels per class",
        row="text",
        labelled="labelled text",
        part="text_classifier",
        pipeline="text-classification",
        does="gives every text one of {classes}",
        knows="It knows these classes only and gives one of them to every text.",
        fair=BALANCED,
        classes=True,
    ),
    "audio": Target(
        "audio",
        "label",
        "labels per class",
        row="sound",
        labelled="labelled sound",
        part="sound_classifier",
        pipeline="audio-classification",
        does="gives every sound one of {classes}",
        whole=True,
        knows="It knows these classes only and gives one of them to every sound.",
        fair=BALANCED,
        classes=True,
        folds=True,
        accuracy=True,
    ),
    "label": Target(
        "classification",
        "label",
        "labels per class",
        classes=True,
        folds=True,
        accuracy=True,
        fair=BALANCED,
    ),
}


def target(columns: Sequence[str]) -> str | None:
    """The column that a task predicts, None where there is none."""
    return next((name for name in TARGETS if name in columns), None)


def of_columns(columns: Sequence[str]) -> Target:
    """What is known of the target among columns; where there is none, of labels."""
    return TARGETS[target(columns) or "label"]


def column(data: str) -> str:
    """The column that is predicted of the data set `data=name`."""
    return (target(SOURCES[data].columns) if data in SOURCES else None) or "label"


def of_data(data: str) -> Target:
    """What is known of it."""
    return TARGETS[column(data)]


def of_task(task: str) -> Target:
    """What is known of the target of a task by its name; of an unknown one what is known of labels."""
    return next((target for target in TARGETS.values() if target.task == task), TARGETS["label"])
