"""The data room: images come in as uint8, are split once and leave as batches; all randomness lives here."""

from gssl.data.batches import Batches, sequential
from gssl.data.draws import Draws
from gssl.data.images import Images
from gssl.data.splits import Splits, label_subset, load_data
from gssl.data.views import RandomViews, centre

__all__ = [
    "Batches",
    "Draws",
    "Images",
    "RandomViews",
    "Splits",
    "centre",
    "label_subset",
    "load_data",
    "sequential",
]
