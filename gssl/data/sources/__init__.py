"""Sources: `read(cfg, progress) -> Source` per name in `gssl.config.registry.DATA`."""

from dataclasses import dataclass, field

from gssl.data.images import Images


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
