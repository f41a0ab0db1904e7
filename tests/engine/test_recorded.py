"""Predictions and weights of a finished run are those on record; runs of earlier versions have no list."""

import os
from pathlib import Path

import pytest

from gssl.engine import recorded
from gssl.engine.files import read_json, sha256, write_json
from gssl.errors import Damaged

FILES = ["items.npy", "predictions.npz", "weights/backbone.json", "weights/backbone.safetensors"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    for name in (*FILES, "metrics.jsonl", "weights/notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    write_json(tmp_path / "result.json", {"schema": "gssl.result/2"})
    record(tmp_path, files=recorded.listed(tmp_path))
    return tmp_path


def record(run: Path, **more: object) -> None:
    known = {"schema": "gssl.status/1", "state": "finished", "result_sha256": sha256(run / "result.json")}
    write_json(run / "status.json", known | more)


def lost(run: Path) -> list[str]:
    return [one.path.relative_to(run).as_posix() for one in recorded.damages(run, read_json(run / "status.json"))]


def test_what_a_result_is_read_by_is_listed(run: Path) -> None:
    found = recorded.listed(run)
    assert sorted(found) == FILES
    assert found["items.npy"] == {"bytes": len("items.npy"), "sha256": sha256(run / "items.npy")}


@pytest.mark.parametrize("name", [*FILES, "result.json"])
@pytest.mark.parametrize("how", ["gone", "longer", "other", "folder", "pipe"])
def test_what_is_not_as_on_record_is_named(run: Path, name: str, how: str) -> None:
    assert recorded.finished(run) and lost(run) == []
    old = (run / name).read_bytes()
    (run / name).unlink()
    if how == "longer":
        (run / name).write_bytes(old + b" ")
    elif how == "other":
        (run / name).write_bytes(bytes([old[0] ^ 1]) + old[1:])
    elif how == "folder":
        (run / name).mkdir()
    elif how == "pipe":
        os.mkfifo(run / name)
    assert lost(run) == [name]
    assert not recorded.finished(run)
    if how != "folder" and name != "result.json":
        with pytest.raises(Damaged, match=name):
            recorded.verified(run, name)


def test_a_file_is_hashed_once_and_again_when_it_was_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    real = recorded.hashlib.file_digest
    monkeypatch.setattr(recorded.hashlib, "file_digest", lambda file, how: read.append(file.name) or real(file, how))
    recorded.finished(run)
    recorded.finished(run)
    assert len(read) == 2 * len(FILES)  # just written: the times may stay as they are
    monkeypatch.setattr(recorded, "SETTLED", -1.0)
    recorded.finished(run)
    read.clear()
    assert recorded.finished(run) and not read
    (run / "items.npy").write_bytes(b"items.npz")
    os.utime(run / "items.npy", ns=(1, 1))
    assert not recorded.finished(run) and len(read) == 1


def test_a_run_of_an_earlier_version_is_whole_without_a_list(run: Path) -> None:
    record(run)
    (run / "predictions.npz").write_bytes(b"others")
    assert recorded.finished(run) and recorded.on_record(run) is None
    assert recorded.verified(run, "predictions.npz") == b"others"


def test_a_file_that_the_run_did_not_write_is_none_of_its(run: Path) -> None:
    (run / "predictions.npz").unlink()
    record(run, files=recorded.listed(run))
    (run / "predictions.npz").write_bytes(b"late")
    with pytest.raises(Damaged):
        recorded.verified(run, "predictions.npz")
