"""The images of a folder as `gssl predict` reads them one by one, where a model says more than a class of each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from gssl.data import decode
from gssl.data.cache import join
from gssl.data.opening import opened
from gssl.data.sources.folders import SUFFIXES, Told, images_below, one_line
from gssl.data.values import Mapping
from gssl.errors import UsageError
from gssl.experiment import told


class NewPictures:
    """Going through it gives every name with its image, None where it cannot be read; what was left out is told then.

    value_range: which values became black and white in training, None of 8 bits. names: relative to the
    folder, sorted. skipped: "path (why)". Raises UsageError where there are no images, and at the end where none can be
    read.
    """

    def __init__(self, value_range: Any, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder of images")
        self.folder, self.beside, self.skipped = folder, Told(), list[str]()
        self.range = value_range
        self.names = images_below(folder, [], self.beside)
        if not self.names:
            rest = "".join(f"; {text}" for text in self.beside.texts())
            raise UsageError(
                f"{folder}: no images in it; expected files that end in {', '.join(SUFFIXES[:4])} or the like{rest}"
            )

    def __iter__(self) -> Iterator[tuple[str, Image.Image | None]]:
        mapping = Mapping(self.range)
        given = mapping.of("new", join(self.folder, self.names), None, decode.threads(0)) or "full"
        for name in self.names:
            path = self.folder / name
            try:
                with opened(path) as source:
                    image = decode.picture(source, str(path), given)
            except Exception as error:  # Pillow raises anything on malformed files
                self.skipped.append(f"{path} ({one_line(f'{type(error).__name__}: {error}')})")
                yield name, None
            else:
                yield name, image
        told.left_out(self.beside)
        told.skipped(self.skipped, len(self.names))
        told.mapping(mapping, "this network")
        if len(self.skipped) == len(self.names):
            raise UsageError(f"{self.folder}: none of its {len(self.names)} images can be read")
