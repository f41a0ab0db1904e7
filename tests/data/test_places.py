"""Where images lie: recorded so that it holds from every working directory, and found again after a move."""

import shutil
from pathlib import Path

import pytest

from gssl.data.sources import places
from gssl.data.splits import load_data


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("photos/train/a", "photos/pool", "more"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "list.csv").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"root": "photos"}, {"root": "{}/photos"}),
        ({"root": "./more/../photos"}, {"root": "{}/photos"}),
        (
            {"root": "photos", "pretrain": "pool"},
            {"root": "{}/photos", "pretrain": "pool"},
        ),  # below root, moves with it
        ({"root": "photos", "pretrain": "more"}, {"root": "{}/photos", "pretrain": "{}/more"}),
        ({"root": "photos", "labels": "list.csv"}, {"root": "{}/photos", "labels": "{}/list.csv"}),
        ({"train": "photos/train", "test": "folds"}, {"train": "{}/photos/train", "test": "folds"}),
        ({"root": "photos", "labels": "folders"}, {"root": "{}/photos", "labels": "folders"}),
        ({"name": "hf", "root": "org/name", "labels": "more"}, {"name": "hf", "root": "org/name", "labels": "more"}),
        ({"root": None, "size": 32}, {"root": None, "size": 32}),
        ({"root": "x" * 5000, "test": "y" * 5000}, {"root": "x" * 5000, "test": "y" * 5000}),
    ],
)
def test_what_is_recorded(home, given, expected):
    expected = {key: v.format(home) if isinstance(v, str) else v for key, v in expected.items()}
    assert places.recorded(given) == expected
    assert places.recorded(places.recorded(given)) == expected


def test_images_that_moved_are_found_again(cfg, folders: Path, paint, tmp_path):
    for i in range(40):
        paint(folders / "more" / f"{i}.png")
    listed = ("train", "test", "pretrain")
    ways = [{"root": folders, "pretrain": "more"}, {"train": folders, "pretrain": folders / "more"}]
    ways.append({"root": folders, "pretrain": folders / "more"})
    before = [load_data(cfg(**way)).hash for way in ways]
    sections = [{key: str(way[key]) if key in way else None for key in ("root", *listed)} for way in ways]
    away = tmp_path / "elsewhere/photos"
    shutil.move(folders, away)
    for way, section, digest in zip(ways, sections, before, strict=True):
        root = away if "root" in way else away.parent
        assert load_data(cfg(**places.moved(section, str(root)))).hash == digest
