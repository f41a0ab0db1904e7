"""The cache: built once, by one process, never read half-built, found again without reading files."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gssl.data import cache
from gssl.errors import UsageError


def _build(writer: cache.Writer, shapes: list[tuple[int, int, int]]) -> None:
    for i, shape in enumerate(shapes):
        image = np.full(shape, i, dtype=np.uint8)
        writer.add([image], [cache.image_hash(image)])
    writer.finish({"note": "x"}, {"labels": np.arange(len(shapes))})


def _entry(shapes: list[tuple[int, int, int]], key: str = "k") -> cache.Store:
    return cache.entry(key, lambda: 1, lambda writer: _build(writer, shapes))


def test_uniform_and_ragged() -> None:
    store = _entry([(2, 3, 1)] * 4)
    assert store.uniform and store.pixels.shape == (4, 2, 3, 1) and store.channels == 1
    assert (store.image(3) == 3).all() and (store.array("labels") == np.arange(4)).all()
    ragged = _entry([(2, 3, 3), (5, 4, 3)], "r")
    assert not ragged.uniform and ragged.image(1).shape == (5, 4, 3) and (ragged.image(1) == 1).all()
    assert not ragged.image(0).flags.writeable


def test_mixed_grey_becomes_rgb_with_the_same_hash() -> None:
    store = _entry([(2, 2, 1), (2, 2, 3)])
    assert store.channels == 3 and store.image(0).shape == (2, 2, 3)
    grey = cache.image_hash(np.zeros((2, 2, 1), np.uint8))
    assert store.hashes[0].tobytes() == grey == cache.image_hash(np.zeros((2, 2, 3), np.uint8))
    assert cache.image_hash(np.zeros((4, 1, 1), np.uint8)) != grey


def test_respects_the_environment(cache_folder: Path) -> None:
    store = _entry([(1, 1, 1)])
    assert store.path == cache_folder / "images" / "k"


def test_second_call_does_not_build_and_pickles_small() -> None:
    _entry([(8, 8, 3)] * 50)

    def fail(writer: cache.Writer) -> None:
        raise AssertionError("built again")

    store = cache.entry("k", lambda: 1, fail)
    raw = pickle.dumps(store)
    assert len(raw) < 1000
    assert (pickle.loads(raw).pixels == store.pixels).all()


def test_failed_build_leaves_nothing(cache_folder: Path) -> None:
    def fail(writer: cache.Writer) -> None:
        writer.add([np.zeros((1, 1, 1), np.uint8)], [bytes(16)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry("k", lambda: 1, fail)
    assert [p.name for p in (cache_folder / "images").iterdir()] == ["k.lock"]
    assert len(_entry([(1, 1, 1)])) == 1


def test_damaged_and_half_built_entries_are_built_anew(cache_folder: Path) -> None:
    store = _entry([(4, 4, 1)] * 3)
    os.truncate(store.path / "pixels.bin", 7)
    part = cache_folder / "images" / "k.part"  # what a killed process leaves behind
    part.mkdir()
    (part / "pixels.bin").write_bytes(b"xx")
    assert len(_entry([(4, 4, 1)] * 2)) == 2
    assert not part.exists()


def test_too_small_disk_is_one_line() -> None:
    with pytest.raises(UsageError, match="GSSL_CACHE: .* need about") as error:
        cache.entry("k", lambda: 10**18, lambda writer: None)
    assert "\n" not in str(error.value)


def test_full_disk_is_one_line(cache_folder: Path) -> None:
    def fill(writer: cache.Writer) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UsageError, match="GSSL_CACHE: the disk of .* is full"):
        cache.entry("k", lambda: 1, fill)
    assert not (cache_folder / "images" / "k.part").exists()


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="GSSL_CACHE: cannot write"):
        _entry([(1, 1, 1)])


def _build_slowly(log: str) -> None:
    def build(writer: cache.Writer) -> None:
        with open(log, "a") as file:
            file.write("built\n")
        time.sleep(0.3)
        _build(writer, [(2, 2, 1)] * 3)

    assert len(cache.entry("k", lambda: 1, build)) == 3


@pytest.mark.long
def test_two_processes_build_once(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    # by the file's path: an installed package may be called `tests` too, and then ours has no name
    code = "import runpy, sys; build = runpy.run_path(sys.argv[1])['_build_slowly']\n"
    code += "print(); input(); build(sys.argv[2])"
    child = subprocess.Popen(
        [sys.executable, "-c", code, __file__, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin and child.stdout
    child.stdout.readline()  # it has imported all it needs
    child.stdin.write("\n")
    child.stdin.flush()
    _build_slowly(log)
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert (tmp_path / "log").read_text() == "built\n"


def test_contents_reads_only_what_changed(tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "files"
    root.mkdir()
    for name in ("a", "b"):
        (root / name).write_text(name)
    read: list[str] = []
    original = cache._file_hash
    monkeypatch.setattr(cache, "_file_hash", lambda path: read.append(Path(path).name) or original(path))
    first = cache.contents(root, ["a", "b", "gone"])
    assert first[0] != first[1] and first[2] == ""
    read.clear()
    assert cache.contents(root, ["b", "a"]) == [first[1], first[0]] and read == []
    (root / "a").write_text("other")
    assert cache.contents(root, ["a", "b"])[1] == first[1] and read == ["a"]
    index = next((cache_folder / "index").iterdir())
    index.write_text("not json")  # a torn index is only slow
    assert cache.contents(root, ["b"]) == [first[1]]
    assert json.loads(index.read_text())["b"][2] == first[1]
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    assert cache.contents(moved, ["b"]) == [first[1]]
