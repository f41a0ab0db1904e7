"""Image files are opened here, and nowhere else: regular files of known formats, and none whose decoding never ends.
A path may lead into a tar archive (`gssl.data.tars`).

A name says nothing about what a file is. A queue, a device or a socket is refused before it is read, and so is what
Pillow would hand to another program (EPS to Ghostscript). Long texts and colour profiles of PNG files are never needed:
what Pillow refuses for their size is read without them.
"""

import io
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

from PIL import Image, UnidentifiedImageError

from gssl.data import checksums, tars

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "AVIF", "TGA")  # MPO is a JPEG
MOST = 178_956_970  # pixels, of which Pillow refuses twice as many: a gigabyte of RGB
SCANS, WORK = 20, 200_000_000  # of a progressive JPEG: more scans, and more pixels times scans, take seconds
LEAST = 11  # bytes of a scan
PNG = b"\x89PNG\r\n\x1a\n"
UNNEEDED = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
BORNE = ("chunk_zTXt", "chunk_iTXt", "chunk_tEXt")
BLOCK = 1 << 20

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # of half of that: it is no bomb


class Refused(ValueError):
    """A file that is not decoded, for what it would take."""


@contextmanager
def opened(path: str | Path, whole: bool = True) -> Iterator[Image.Image]:
    """An image, not yet decoded. whole: it will be, which takes no longer than its pixels say.

    Errors: OSError, also where it is no regular file; Refused; whatever Pillow raises on malformed files.
    """
    with readable(path) as file, _image(file) as image:
        if whole and image.format == "PNG":
            _bear_texts(image)
        if whole and "progressive" in image.info:
            _check_scans(image, file)
        yield image


@contextmanager
def readable(path: str | Path) -> Iterator[IO[bytes]]:
    """What is in a regular file, or in a member of an archive. Errors: OSError; tars.Broken."""
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(checksums.opened(path))
        except NotADirectoryError:
            file: IO[bytes] = io.BytesIO(tars.read(str(path)))
        else:
            file = stack.enter_context(open(handle, "rb", closefd=False))
        yield file


def signature(path: str) -> list[int]:
    """As `checksums.signature`, of a member too. Raises OSError."""
    try:
        return checksums.signature(os.stat(path))
    except NotADirectoryError:
        return tars.signature(path)


def is_file(path: str) -> bool:
    """Whether there is a regular file, or a member of an archive."""
    if os.path.isfile(path):
        return True
    try:
        return bool(tars.INSIDE.search(path) and tars.signature(path))
    except (OSError, tars.Broken):
        return False


@cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _image(file: IO[bytes]) -> Image.Image:
    try:
        return Image.open(file, formats=_formats())
    except Image.DecompressionBombError as error:
        raise Refused(f"more than {2 * MOST:,} pixels; shrink it or cut it into tiles") from error
    except UnidentifiedImageError:
        raise UnidentifiedImageError("cannot identify image file") from None  # Pillow's text names the descriptor
    except ValueError:
        file.seek(0)
        if file.read(len(PNG)) != PNG:
            raise
        return Image.open(_without_texts(file), formats=_formats())


def _without_texts(file: IO[bytes]) -> IO[bytes]:
    """The PNG file that begins before the current position, without what is not needed."""
    kept = io.BytesIO()
    kept.write(PNG)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in UNNEEDED:
            file.seek(length + 4, io.SEEK_CUR)
        else:
            kept.write(head)
            kept.write(file.read(length + 4))
    kept.seek(0)
    return kept


def _bear_texts(image: Any) -> None:
    """Texts after the pixels that Pillow refuses for their size are left out."""
    for name in BORNE:
        setattr(image.png, name, partial(_borne, getattr(image.png, name)))


def _borne(read: Any, position: int, length: int) -> Any:
    with suppress(ValueError):  # what it was to read is read by then
        return read(position, length)
    return b""


def _check_scans(image: Image.Image, file: IO[bytes]) -> None:
    """Raises Refused for a JPEG that goes over its pixels so often that it would take long."""
    here, count, last = file.tell(), 0, b""
    size, pixels = file.seek(0, io.SEEK_END), image.width * image.height
    room = size // LEAST * pixels > WORK  # for so many
    file.seek(0)
    while room and (block := file.read(min(BLOCK, size))):
        count += (last + block).count(b"\xff\xda")
        last = block[-1:] if block[-1:] == b"\xff" else b""
    file.seek(here)
    if count > SCANS and count * pixels > WORK:
        raise Refused(f"a JPEG of {count} scans would take long to decode; save it again")
