"""One sound file becomes one row: decoded, checked, one channel, one rate, so many samples of 16 bits.

soundfile reads WAV of every kind, FLAC, and OGG and MP3 where its library does. It reads a WAV that was cut off without
a word, so the sizes in the header are compared with the file first. A row is as long as `Shape.samples`: what
is shorter lies in the middle of silence, of what is longer the middle is kept.
"""

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gssl.errors import UsageError

SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".mp3")
EXTRA = "sound files need soundfile; install it: pip install 'gssl[audio]'"
STREAMED = 0xFFFFFFFF  # size of data that were written before it was known
SILENT = 1e-3  # peak: -60 dB of full scale
FULL_SCALE, CLIPPED = 0.999, 0.01  # from which a sample counts as cut off, and the share of such samples
CANCELLED = 0.01  # of a channel's energy: what is left where channels are each other's opposite
LEVELS = 32768  # of 16 bits, on either side of 0


class WrongAudio(Exception):
    """kind: a key of `gssl.data.sources.audio.WHAT`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Shape(NamedTuple):
    """Of all rows of a data set."""

    rate: int  # samples per second
    samples: int


@dataclass
class Row:
    """samples: int16 (n,). length: of the file at that rate. notes: (kind, text) of what is to be known of it."""

    samples: np.ndarray
    length: int
    notes: list[tuple[str, str]] = field(default_factory=list)


def need_soundfile() -> Any:
    """Raises UsageError where it is not installed."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: its library is missing
        raise UsageError(f"data=audio: {EXTRA}") from error
    return soundfile


def is_audio(name: str) -> bool:
    """Whether a file of this name is read as sound."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def rate_of(path: str) -> int:
    """Samples per second, by the file's header. Raises WrongAudio."""
    soundfile = need_soundfile()
    try:
        return int(soundfile.info(path).samplerate)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise WrongAudio("file", _reason(error)) from error


def read(path: str, shape: Shape) -> Row:
    """Raises WrongAudio."""
    soundfile = need_soundfile()
    whole(path)
    try:
        found, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise WrongAudio("file", _reason(error)) from error
    return row_of(found, int(rate), shape)


def row_of(found: np.ndarray, rate: int, shape: Shape) -> Row:
    """Of float32 (n, channels) at a rate, 1 being full scale. Raises WrongAudio."""
    if not len(found):
        raise WrongAudio("empty", "0 frames")
    if not np.isfinite(found).all():
        raise WrongAudio("finite", f"{int((~np.isfinite(found)).any(axis=1).sum()):,} frames with NaN or infinity")
    notes: list[tuple[str, str]] = []
    mono, channels = found.mean(axis=1, dtype=np.float64), found.shape[1]
    peak = float(np.abs(found).max())
    if channels > 1:
        notes.append(("channels", f"{channels} channels"))
        loudest = float(np.square(found, dtype=np.float64).mean(axis=0).max())
        if peak >= SILENT and np.square(mono).mean() < CANCELLED * loudest:
            notes.append(("opposite", f"{channels} channels"))
    if peak < SILENT:
        notes.append(("silent", f"peak {20 * math.log10(max(peak, 1e-9)):.0f} dB"))
    if (share := float((np.abs(found) >= FULL_SCALE).mean())) > CLIPPED:
        notes.append(("clipped", f"{100 * share:.0f}% of samples"))
    if rate != shape.rate:
        mono = resampled(mono, rate, shape.rate)
        if rate < shape.rate:
            notes.append(("raised", f"{rate:,} Hz"))
    length = len(mono)
    if length > shape.samples:
        notes.append(("cut", f"{length / shape.rate:.2f} s"))
    samples = np.round(fitted(mono, shape.samples) * LEVELS).clip(-LEVELS, LEVELS - 1).astype("<i2")
    return Row(samples, length, notes)


def resampled(x: np.ndarray, rate: int, goal: int) -> np.ndarray:
    """Of (n,) at `rate`, at `goal` samples per second: by a polyphase filter, nothing above half the lower rate."""
    from scipy.signal import resample_poly  # takes a while to import

    common = math.gcd(rate, goal)
    found: np.ndarray = resample_poly(x, goal // common, rate // common)
    return found


def fitted(x: np.ndarray, samples: int) -> np.ndarray:
    """(samples,): the middle of `x` (n,), or `x` in the middle of zeros."""
    spare = samples - len(x)
    if spare <= 0:
        return x[-spare // 2 :][:samples]
    return np.pad(x, (spare // 2, spare - spare // 2))


def whole(path: str) -> None:
    """Compares the sizes that a WAV file's header says with the file. Raises WrongAudio where it was cut off."""
    try:
        size = Path(path).stat().st_size
        with open(path, "rb") as file:
            said = _data_of_wav(file)
    except (OSError, ValueError) as error:  # ValueError: a path that none can be
        raise WrongAudio("file", _reason(error)) from error
    if said is None:
        return
    start, promised = said
    if promised == STREAMED:
        return
    if promised == 0 or start >= size:
        raise WrongAudio("empty", "0 frames")
    if start + promised > size:
        raise WrongAudio("truncated", f"{size - start:,} of {promised:,} bytes of sound")


def _data_of_wav(file: BinaryIO) -> tuple[int, int] | None:
    """(where the sound begins, how many bytes it has) by the header of a RIFF file; None of other files and of those
    whose header is cut off, which say so when they are read."""
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    while len(chunk := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == b"data":
            return file.tell(), length
        file.seek(length + length % 2, 1)
    return None


def _reason(error: Exception) -> str:
    """Why, without the path that the message around it names."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).rstrip(".") or type(error).__name__
