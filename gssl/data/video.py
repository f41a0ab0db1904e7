"""Films to clips: which frames of a video make a clip, and their pixels.

A film is a video file (PyAV, the extra `video`), an animated GIF, WebP or APNG (Pillow), or a folder of numbered
pictures (Pillow). Frames are taken by number (`stride`) or by time (`fps`): where frame rates differ, only time says
the same of two films. Nothing is repeated to fill a clip, and a frame that is not asked for is not converted.

What containers name elsewhere is never opened: playlists and lists of files are no formats that are read here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from gssl.data import checksums, decode
from gssl.data.opening import opened
from gssl.data.sources.films import ANIMATED, Film
from gssl.data.sources.folders import one_line
from gssl.errors import UsageError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,asf,flv"  # of FFmpeg
UNEVEN = 0.25  # fraction of the usual time between frames, from which on another one is another frame rate
EXTRA = "videos are read with PyAV: pip install 'gssl[video]'"


class WrongVideo(ValueError):
    """What is wrong with a film: `kind`, the same for films with the same mistake, and the text about this one."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class _Fewer(Exception):
    """Fewer frames can be decoded than there are packets."""


class Sampling(NamedTuple):
    """Which frames: `clips` clips of `frames` frames each, every `stride`-th, or `fps` of a second where that is given.

    Clips are spread evenly over the film, a single one lies in its middle.
    """

    frames: int
    stride: int = 1
    fps: float | None = None
    clips: int = 1


@dataclass
class Clips:
    """uint8 (n, T, h, w, c), c in {1, 3}; notes: what is to be known of the film, (kind, text)."""

    frames: np.ndarray
    notes: list[tuple[str, str]] = field(default_factory=list)


def read(film: Film, root: str, sampling: Sampling, size: int) -> Clips:
    """The clips of a film, for networks of `size` pixels. Raises WrongVideo; UsageError where PyAV is not there."""
    paths = [name if name.startswith("/") else f"{root}/{name}" for name in film.files]
    if film.folder:
        return _by_pictures(paths, film, sampling, size)
    if film.name.lower().endswith(ANIMATED):
        return _by_pillow(paths[0], film, sampling, size)
    return _by_av(paths[0], film, sampling, size)


# ── which frames ─────────────────────────────────────────────────────────────────────────────────


def chosen(count: int, times: np.ndarray | None, sampling: Sampling) -> np.ndarray:
    """int64 (n, frames): the frames of each clip, of `count` at `times` (count,) in seconds, ascending.

    n is sampling.clips, or fewer where a film has no more different beginnings. Raises WrongVideo for a short film.
    """
    steps = np.arange(sampling.frames)
    if sampling.fps is None:
        need = (sampling.frames - 1) * sampling.stride + 1
        if count < need:
            raise WrongVideo("short", f"{count} frames, {need} are needed")
        return _spread(count - need, sampling.clips)[:, None] + steps * sampling.stride
    if times is None:
        raise WrongVideo("times", "its frames have no times")
    usual = float(np.median(np.diff(times))) if count > 1 else 0.0
    lasts, need_s = float(times[-1] - times[0]) + usual, (sampling.frames - 1) / sampling.fps
    if lasts <= need_s:
        raise WrongVideo("short", f"{lasts:.3g} s, more than {need_s:.3g} s are needed")
    room = lasts - need_s
    where = np.array([0.5]) if sampling.clips == 1 else np.linspace(0, 1, sampling.clips)
    # the last moment belongs to no frame: the film is over then
    begins = times[0] + np.minimum(where * room, room - 1e-6)
    wanted = begins[:, None] + steps / sampling.fps
    found = np.searchsorted(times, wanted + 1e-6, side="right") - 1  # what is shown at that time
    return np.unique(np.clip(found, 0, count - 1), axis=0)


def _spread(room: int, clips: int) -> np.ndarray:
    """Beginnings in 0 … room: the middle one, or so many evenly spread ones that differ."""
    return np.array([room // 2]) if clips == 1 else np.unique(np.linspace(0, room, clips).round().astype(np.int64))


def _uneven(times: np.ndarray) -> bool:
    gaps = np.diff(times)
    return len(gaps) > 1 and bool((np.abs(gaps - np.median(gaps)) > UNEVEN * np.median(gaps)).any())


def _within(times: np.ndarray | None, count: int, film: Film) -> np.ndarray:
    """The frames of `count` that lie in the film's span. Raises WrongVideo."""
    if film.span is None:
        return np.arange(count)
    if times is None:
        raise WrongVideo("times", "its frames have no times")
    start, end = film.span
    inside = np.flatnonzero((times - times[0] >= start - 1e-6) & (times - times[0] < end - 1e-6))
    if not len(inside):
        raise WrongVideo("short", f"no frame from {start:g} to {end:g} s")
    return inside


def _clips(
    film: Film, count: int, times: np.ndarray | None, sampling: Sampling, get: Callable[[list[int]], list[np.ndarray]]
) -> Clips:
    """The clips of a film of which `get` gives frames by their numbers, ascending."""
    if not count:
        raise WrongVideo("empty", "no frame in it")
    inside = _within(times, count, film)
    own = None if times is None else times[inside]
    index = inside[chosen(len(inside), own, sampling)]
    numbers = sorted(set(index.ravel().tolist()))
    pixels = get(numbers)
    channels = max(frame.shape[2] for frame in pixels)
    by_number = {
        n: p if p.shape[2] == channels else np.repeat(p, 3, axis=2) for n, p in zip(numbers, pixels, strict=True)
    }
    notes = []
    if sampling.fps is not None and (again := int((np.diff(index, axis=1) == 0).sum(axis=1).max(initial=0))):
        notes.append(("repeated", f"{again} of {sampling.frames} frames are those before them"))
    if own is not None and sampling.fps is None and sampling.frames > 1 and _uneven(own):
        notes.append(("variable", "its frame rate varies"))
    return Clips(np.array([[by_number[i] for i in clip] for clip in index.tolist()]), notes)


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def _by_pictures(paths: Sequence[str], film: Film, sampling: Sampling, size: int) -> Clips:
    sizes = set()
    for path in paths:
        try:
            with opened(path, whole=False) as image:
                sizes.add(image.size)
        except Exception as error:  # Pillow raises anything on malformed files
            raise WrongVideo("file", f"{Path(path).name}: {one_line(str(error))}") from error
    if len(sizes) > 1:
        listed = ", ".join(f"{width}×{height}" for width, height in sorted(sizes)[:3])
        raise WrongVideo("sizes", f"pictures of {listed} pixels (width × height)")

    def get(numbers: list[int]) -> list[np.ndarray]:
        try:
            return [decode.decode(paths[number], size) for number in numbers]
        except Exception as error:
            raise WrongVideo("file", one_line(f"{type(error).__name__}: {error}")) from error

    return _clips(film, len(paths), None, sampling, get)


def _by_pillow(path: str, film: Film, sampling: Sampling, size: int) -> Clips:
    """Pillow puts frames that are parts of a picture on the one before them."""
    try:
        with opened(path) as image:
            count = getattr(image, "n_frames", 1)
            ends = []
            for number in range(count):
                image.seek(number)
                ends.append(max(image.info.get("duration", 0), 1) / 1000)  # known once a frame is read

            def get(numbers: list[int]) -> list[np.ndarray]:
                found = []
                for number in numbers:
                    image.seek(number)
                    found.append(_pixels(decode.flatten(image.copy()), size))
                return found

            times = np.concatenate([[0.0], np.cumsum(ends)[:-1]])
            return _clips(film, count, times, sampling, get)
    except WrongVideo:
        raise
    except Exception as error:
        raise WrongVideo("file", one_line(f"{type(error).__name__}: {error}")) from error


def _pixels(image: Image.Image, size: int) -> np.ndarray:
    """uint8 (h, w, c), shrunk as images are (`decode.target`)."""
    goal = decode.target(*image.size, size)
    if goal != image.size:
        image = image.resize(goal, Image.Resampling.LANCZOS, reducing_gap=3.0)
    found = np.array(image)
    return found[:, :, None] if found.ndim == 2 else found


# ── containers ───────────────────────────────────────────────────────────────────────────────────


def need_av() -> Any:
    """PyAV. Raises UsageError where it is not installed."""
    try:
        import av
        import av.error
        import av.logging
    except ImportError as error:
        raise UsageError(f"data=video: {EXTRA}") from error
    av.logging.set_level(None)  # what is wrong is said in our own words
    return av


def _by_av(path: str, film: Film, sampling: Sampling, size: int) -> Clips:
    av = need_av()
    try:
        with checksums.opened(path) as handle, open(handle, "rb", closefd=False) as file:
            times, promised = _times(av, file)
            count = len(times)
            found = _some_frames(av, file, times, film, sampling, size)
            if found is None:  # data are missing: what can be decoded is all there is
                count = _decodable(av, file)
                found = _some_frames(av, file, times[:count], film, sampling, size)
            if found is None:
                raise WrongVideo("file", "frames change when it is read again")
    except WrongVideo:
        raise
    except (OSError, av.error.FFmpegError) as error:
        raise WrongVideo("file", one_line(getattr(error, "strerror", None) or str(error))) from error
    if count < max(promised, len(times)):
        found.notes.append(("truncated", f"{count} of {max(promised, len(times))} frames"))
    return found


@contextmanager
def _stream(av: Any, file: IO[bytes]) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream."""
    file.seek(0)
    with av.open(file, options={"format_whitelist": FORMATS, "protocol_whitelist": ""}) as container:
        if not container.streams.video:
            raise WrongVideo("stream", "no video stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # several films are read side by side
        yield container, stream


def _times(av: Any, file: IO[bytes]) -> tuple[np.ndarray, int]:
    """Seconds of all frames, ascending (from packets, without decoding), and how many the header says."""
    stamps = []
    with _stream(av, file) as (container, stream):
        with suppress(av.error.FFmpegError):  # it ends there
            for packet in container.demux(stream):
                if packet.size:
                    stamps.append(packet.pts if packet.pts is not None else packet.dts)
        base, promised, rate = stream.time_base, int(stream.frames or 0), stream.average_rate
    if any(stamp is None for stamp in stamps):  # a raw stream
        return np.arange(len(stamps)) / float(rate or 25), promised
    return np.sort(np.array(stamps, dtype=np.int64)) * float(base), promised


def _decoded(av: Any, file: IO[bytes]) -> Iterator[Any]:
    """Frames in the order in which they are shown; what is damaged is left out, and it ends where the data do."""
    with _stream(av, file) as (container, stream):
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)  # the last one is empty and brings what the decoder still holds
            except av.error.FFmpegError:
                packet = None
            with suppress(av.error.FFmpegError):
                yield from stream.codec_context.decode(packet)
            if packet is None:
                return


def _decodable(av: Any, file: IO[bytes]) -> int:
    return sum(1 for _ in _decoded(av, file))


def _some_frames(
    av: Any, file: IO[bytes], times: np.ndarray, film: Film, sampling: Sampling, size: int
) -> Clips | None:
    """The clips of a film whose frames stand at `times`; None where fewer frames can be decoded."""

    def get(numbers: list[int]) -> list[np.ndarray]:
        wanted, found, seen = set(numbers), [], 0
        for number, frame in enumerate(_decoded(av, file)):
            seen = number + 1
            if number in wanted:
                found.append(_pixels(_upright(frame), size))
        if seen < len(times) or len(found) < len(wanted):
            raise _Fewer
        return found

    try:
        return _clips(film, len(times), times, sampling, get)
    except _Fewer:
        return None


def _upright(frame: Any) -> Image.Image:
    """RGB, rotated as the container says: phones store what they saw and how they were held."""
    pixels = frame.to_ndarray(format="rgb24")
    quarter = round(frame.rotation / 90) % 4  # counterclockwise
    return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, quarter)))
