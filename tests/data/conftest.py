"""A cache of its own for every test, a configuration and a folder of small images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gssl import schemas
from gssl.errors import UsageError


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GSSL_CACHE", str(folder))
    return folder


@pytest.fixture
def cfg() -> Callable[..., schemas.Data]:
    def make(**changes: Any) -> schemas.Data:
        values: dict[str, Any] = {
            "name": "imagefolder",
            "root": None,
            "size": 16,
            "pretrain": None,
            "train": None,
            "test": None,
            "folds": None,
            "fold": None,
            "labels": None,
            "frames": None,
            "stride": None,
            "fps": None,
            "clips_per_video": None,
            "tokenizer": None,
            "vocab": None,
            "lowercase": None,
            "long": None,
            "encoding": None,
            "caption_tokens": None,
            "rate": None,
            "seconds": None,
            "hop_ms": None,
            "held_out": None,
            "direction": None,
            "pairs": None,
            "factor": None,
            "good": None,
            "bad": None,
            "masks": None,
            "groups": None,
            "crop": None,
            "val_fraction": 0.2,
            "test_fraction": 0.25,
            "split_seed": 0,
            "limit": None,
            "range": "auto",
            "store": "auto",
            "on_error": "stop",
            "workers": 1,
            "views": None,
            "sound_views": None,
        }
        given = {key: str(v) if isinstance(v, Path) else v for key, v in (values | changes).items()}
        return schemas.Data.model_construct(None, **given)

    return make


@pytest.fixture
def refused(load: Callable[..., Any]) -> Callable[..., str]:
    """The one line of the error that a file's own `load` raises."""

    def make(root: Path | None = None, **changes: Any) -> str:
        with pytest.raises(UsageError) as caught:
            load(root, **changes)
        text = str(caught.value)
        assert "\n" not in text
        return text

    return make


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Save a small image of noise that its path determines."""

    def save(path: Path, size: tuple[int, int] = (12, 10), grey: bool = False) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = list("/".join(path.parts[-3:]).encode())
        shape = (size[1], size[0]) if grey else (size[1], size[0], 3)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
        return path

    return save


@pytest.fixture
def folders(paint: Callable[..., Path], tmp_path: Path) -> Path:
    """Three class folders of 12 images."""
    for label in "cab":
        for i in range(12):
            paint(tmp_path / "photos" / label / f"{i:02}.png")
    return tmp_path / "photos"
