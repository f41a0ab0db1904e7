"""Image files are opened here: regular files only. A queue, a device or a socket is refused before it is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from gssl.data import checksums


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """An image, not yet decoded. Errors: OSError, also where it is no regular file; whatever Pillow raises."""
    with checksums.opened(path) as handle, open(handle, "rb", closefd=False) as file:
        try:
            image = Image.open(file)
        except UnidentifiedImageError:  # its message names the descriptor
            raise UnidentifiedImageError(f"cannot identify image file {str(path)!r}") from None
        with image:
            yield image
