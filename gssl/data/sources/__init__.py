"""Sources: `read(cfg, progress) -> Source` per name. A new one is one function, one line here and one YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names below must be had without torch
    from gssl.data.images import Images

# data.name → module:function; conf/data has a file for each
SOURCES: dict[str, str] = {
    "mnist5k": "gssl.data.sources.mnist5k:read",
    "mnist": "gssl.data.sources.torchvision:read",
    "fashion_mnist": "gssl.data.sources.torchvision:read",
    "cifar10": "gssl.data.sources.torchvision:read",
    "cifar100": "gssl.data.sources.torchvision:read",
    "svhn": "gssl.data.sources.torchvision:read",
    "stl10": "gssl.data.sources.torchvision:read",
    "imagefolder": "gssl.data.sources.imagefolder:read",
}


@dataclass
class Source:
    """What a source brings, before the splits that it does not bring itself are made.

    keys: one string per training image that decides its side in seeded splits (of files: a content hash, so
    that neither renaming nor adding files moves an image).
    Where the training images have `groups`, none of them is torn by those splits.
    skipped: files left out because they are broken, as "path: reason".
    """

    train: Images
    test: Images | None
    keys: list[str]
    pretrain: Images | None = None
    val: Images | None = None
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
