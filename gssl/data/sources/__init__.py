"""Sources: `read(cfg, progress) -> DataSource` per name. A new one is one function, one line here and one YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # the names below must be had without torch
    import numpy as np

    from gssl.data.images import Images


MOST = 64  # pixels without a GPU: larger images take hours where these take minutes
DENSE = 128  # the same where a part of an image may be a few pixels of it


class Entry(NamedTuple):
    """Where the function is (`module:function`), the columns that it can bring, and what it makes of `data.root`.

    root: whether it reads it. folder: whether that is a folder of the user's own images, of any size. most: the side in
    pixels up to which data.size=auto goes without a GPU: more where something small is looked for in an image. row:
    what a row is called where it is no image. unit: of data.size.
    """

    where: str
    columns: tuple[str, ...] = ("image", "label")
    root: bool = True
    folder: bool = False
    most: int = MOST
    row: str = "image"
    unit: str = "px"


# data.name → source; conf/data has a file for each
SOURCES: dict[str, Entry] = {
    "mnist5k": Entry("gssl.data.sources.mnist5k:read", root=False),
    "mnist": Entry("gssl.data.sources.torchvision:read"),
    "fashion_mnist": Entry("gssl.data.sources.torchvision:read"),
    "cifar10": Entry("gssl.data.sources.torchvision:read"),
    "cifar100": Entry("gssl.data.sources.torchvision:read"),
    "svhn": Entry("gssl.data.sources.torchvision:read"),
    "stl10": Entry("gssl.data.sources.torchvision:read"),
    "imagefolder": Entry("gssl.data.sources.imagefolder:read", folder=True),
    "hf": Entry("gssl.data.sources.hf:read"),
    "webdataset": Entry("gssl.data.sources.webdataset:read"),
    "segmentation": Entry("gssl.data.sources.segmentation:read", ("image", "mask"), folder=True, most=DENSE),
    "video": Entry("gssl.data.sources.video:read", ("image", "label", "video"), folder=True),
    "detection": Entry("gssl.data.sources.detection:read", ("image", "boxes"), folder=True, most=DENSE),
    "fake": Entry("gssl.data.sources.fake:read", ("image", "label", "fake"), folder=True),
    "paired": Entry("gssl.data.sources.paired:read", ("image", "paired")),
    "unpaired": Entry("gssl.data.sources.unpaired:read", ("image", "domain")),
    "text": Entry("gssl.data.sources.text:read", ("text", "label"), row="text", unit="tokens"),
    "audio": Entry("gssl.data.sources.audio:read", ("audio", "label"), row="sound", unit="mel bands"),
    "imagetext": Entry("gssl.data.sources.imagetext:read", ("image", "label", "caption"), folder=True),
    "anomaly": Entry("gssl.data.sources.anomaly:read", ("image", "anomaly"), folder=True, most=DENSE),
}


@dataclass
class DataSource:
    """What a source brings, before the splits that it does not bring itself are made.

    keys: one string per training image that decides its side in seeded splits (of files: a content hash, so
    that neither renaming nor adding files moves an image).
    Where the training images have `groups`, none of them is torn by those splits.
    skipped: files left out because they are broken, as "path: reason". told: what else was found and is not read, and
    how folders were understood. beside: unlabelled images to pretrain on beside the training images.
    """

    train: Images
    test: Images | None
    keys: list[str] | np.ndarray
    pretrain: Images | None = None
    val: Images | None = None
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    beside: Images | None = None
