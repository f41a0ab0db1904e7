"""Tiny films for tests: a bright square that moves by two pixels a frame, and whatever else a film may have."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

LOSSLESS = ("libx264rgb", {"qp": "0"}, "rgb24")
CODECS = {
    ".mp4": LOSSLESS,
    ".mkv": LOSSLESS,
    ".mov": LOSSLESS,
    ".m4v": LOSSLESS,
    ".avi": ("ffv1", {}, "bgr0"),
    ".webm": ("libvpx-vp9", {"lossless": "1"}, "yuv444p"),
}


def moving(count: int = 8, start: int = 0, width: int = 24, height: int = 20, seed: int = 0) -> np.ndarray:
    """uint8 (count, height, width, 3): a square on still noise; frame t has it at column start + 2 t."""
    still = np.random.default_rng(seed).integers(0, 60, (height, width, 3), dtype=np.uint8)
    found = np.repeat(still[None], count, axis=0)
    for t, frame in enumerate(found):
        for column in range(5):
            frame[6:11, (start + 2 * t + column) % width] = (230, 200, 40)
    return found


def film(path: Path, frames: np.ndarray, times: Sequence[float] | None = None, rate: int = 10) -> Path:
    """A video file with a codec that loses nothing (webm: next to nothing). times: of the frames, in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, options, pixels = CODECS[path.suffix]
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4v" else None) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        base = Fraction(1, rate) if times is None else Fraction(1, 1000)
        stream.codec_context.time_base = base
        for number, pixels_of in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_of), format="rgb24")
            frame.time_base = base
            frame.pts = number if times is None else round(1000 * times[number])
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def gif(path: Path, frames: np.ndarray, durations: Sequence[int] | int = 100) -> Path:
    """An animated GIF or WebP; durations in milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(frame) for frame in frames]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **lossless)
    return path


def folder(path: Path, frames: np.ndarray, name: str = "{}.png") -> Path:
    """A frame folder; names count from 1 without zeros before."""
    path.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(path / name.format(number))
    return path


def set_of_films(
    root: Path, per_class: int = 6, suffix: str = ".mp4", parts: Sequence[str] = ("train", "test")
) -> Path:
    """{train,test}/{left,right}/gN_M.mp4: what moves to the left and what moves to the right, three groups a part."""
    for k, part in enumerate(parts):
        for c, label in enumerate(("left", "right")):
            for i in range(per_class):
                frames = moving(start=i, seed=100 * k + i)
                film(root / part / label / f"{part}{i % 3}_{i}.mp4", frames[::-1] if c == 0 else frames)
    return root
