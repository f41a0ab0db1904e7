"""Clips as what learns from single images takes them: every frame is an image."""

import numpy as np

from gssl.data.columns import VideoColumn
from gssl.data.images import Images


def column_of(images: Images) -> VideoColumn | None:
    """The clips of images, None where they are no clips."""
    return images.column_of(VideoColumn)


def frames_of(images: Images) -> Images:
    """All frames of clips as images, clip by clip in the order of time, with what is known of their clip; images that
    are no clips, as they are."""
    column = column_of(images)
    if column is None:
        return images
    count = column.frames
    rest = tuple(name for name in images.stored or () if images.store.columns[name] is not column)
    names = None
    if images.names is not None:
        names = np.array([f"{name} frame {t}" for name in images.names for t in range(count)])
    groups = None if images.groups is None else np.repeat(images.groups, count)
    rows = column.members(images.rows).ravel()
    return Images(images.store, rows, np.repeat(images.labels, count), images.classes, names, groups, rest)
