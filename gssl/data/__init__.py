"""The data room: images come in as uint8, are split once and leave as batches; all randomness lives here.

The names below are imported when they are first asked for: the names of the sources must be known without torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "batches": ("Batches", "sequential"),
    "draws": ("Draws",),
    "images": ("Images",),
    "splits": ("Splits", "label_subset", "load_data"),
    "views": ("RandomViews", "centre"),
}


def __getattr__(name: str) -> Any:
    from gssl.names import load

    module = next((module for module, names in _MODULES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module 'gssl.data' has no attribute '{name}'")
    return load(f"gssl.data.{module}:{name}")
