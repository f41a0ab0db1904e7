"""The cache: built once, by one process, never read half-built, found again without reading files."""

import errno
import fcntl
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gssl.data import cache, checksums, encoding
from gssl.data.columns import stored_array
from gssl.data.store import EncodedWriter
from gssl.errors import UsageError


def _build(writer: cache.Writer, shapes: list[tuple[int, int, int]]) -> None:
    for i, shape in enumerate(shapes):
        image = np.full(shape, i, dtype=np.uint8)
        writer.add([image], [cache.image_hash(image)])
    writer.finish({"note": "x"}, {"labels": np.arange(len(shapes))})


def _build_encoded(writer: EncodedWriter, shapes: list[tuple[int, int, int]]) -> None:
    for i, shape in enumerate(shapes):
        writer.add_file(*encoding.made(np.full(shape, i, dtype=np.uint8)))
    writer.finish({"note": "x"}, {"labels": np.arange(len(shapes))})


def _entry(shapes: list[tuple[int, int, int]], key: str = "k", kind: str = "pixels") -> cache.Store:
    if kind == "jpeg":
        return cache.entry(key, lambda: 1, lambda writer: _build_encoded(writer, shapes), writer=EncodedWriter)
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


@pytest.mark.parametrize("kind", ["pixels", "jpeg"])
def test_second_call_does_not_build_and_pickles_small(kind: str) -> None:
    built = _entry([(8, 8, 3)] * 50, kind=kind)

    def fail(writer: cache.Writer) -> None:
        raise AssertionError("built again")

    store = cache.entry("k", lambda: 1, fail)
    raw = pickle.dumps(store)
    assert len(raw) < 1000 and type(store) is type(built)
    assert (pickle.loads(raw).image(7) == built.image(7)).all()


@pytest.mark.parametrize("kind", ["pixels", "jpeg"])
def test_what_was_opened_is_there_whatever_happens_to_the_folder(kind: str) -> None:
    store = _entry([(8, 8, 3)] * 3, kind=kind)
    shutil.rmtree(store.path)
    assert (store.image(2) == 2).all() and store.array("labels").tolist() == [0, 1, 2]
    with pytest.raises(KeyError):
        store.array("others")


def test_failed_build_leaves_nothing(cache_folder: Path) -> None:
    def fail(writer: cache.Writer) -> None:
        writer.add([np.zeros((1, 1, 1), np.uint8)], [bytes(16)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry("k", lambda: 1, fail)
    assert [p.name for p in (cache_folder / "images").iterdir()] == ["k.lock"]
    assert len(_entry([(1, 1, 1)])) == 1


@pytest.mark.parametrize(("kind", "file"), [("pixels", "pixels.bin"), ("jpeg", "bytes.bin")])
def test_damaged_and_half_built_entries_are_built_anew(cache_folder: Path, kind: str, file: str) -> None:
    store = _entry([(4, 4, 1)] * 3, kind=kind)
    os.truncate(store.path / file, 7)
    part = cache_folder / "images" / "k.part"  # what a killed process leaves behind
    part.mkdir()
    (part / file).write_bytes(b"xx")
    assert len(_entry([(4, 4, 1)] * 2, kind=kind)) == 2
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


def settled(folder: Path) -> None:
    """Wait until files that were just written are old enough to be told by their times."""
    newest = max(path.stat().st_ctime_ns for path in folder.iterdir())
    while time.time_ns() - newest <= cache.FRESH:
        time.sleep(0.01)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content was read."""
    names: list[str] = []
    original = cache._content
    monkeypatch.setattr(cache, "_content", lambda path: names.append(Path(path).name) or original(path))
    return names


def test_contents_reads_only_what_changed(
    tmp_path: Path, cache_folder: Path, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "files"
    root.mkdir()
    for name in ("a", "b"):
        (root / name).write_text(name)
    settled(root)
    first = cache.contents(root, ["a", "b", "gone"])
    assert first[0] != first[1] and first[2] == ""
    read.clear()
    assert cache.contents(root, ["b", "a"]) == [first[1], first[0]] and read == []
    (root / "a").write_text("other")
    settled(root)
    assert cache.contents(root, ["a", "b"])[1] == first[1] and read == ["a"]
    index = next((cache_folder / "index").iterdir())
    whole, known = index.read_bytes(), first[1].encode()
    assert known in whole
    for damaged in (b"not sealed", whole.replace(known, b"0" * len(known)), whole[:-1], b""):
        index.write_bytes(damaged)  # a torn or changed index is only slow
        assert cache.contents(root, ["b"]) == [first[1]]
        assert known in checksums.read(index)
    assert capsys.readouterr().err.count("the files are read again") == 4
    checksums.write(index, json.dumps({"b": [1, 2, 3, 4, "0" * 32]}).encode())  # as earlier versions wrote it
    assert cache.contents(root, ["b"]) == [first[1]] and capsys.readouterr().err == ""
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    assert cache.contents(moved, ["b"]) == [first[1]]


@pytest.mark.parametrize("how", ["rewritten", "replaced", "exchanged"])
def test_content_of_equal_size_and_time_is_told_by_what_no_tool_puts_back(tmp_path: Path, how: str) -> None:
    (tmp_path / "files").mkdir()
    path, other = tmp_path / "files" / "a.png", tmp_path / "b.png"
    path.write_bytes(b"first")
    other.write_bytes(b"other")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    os.utime(other, ns=times)
    settled(path.parent)
    before = cache.contents(path.parent, [path.name])
    if how == "rewritten":
        path.write_bytes(b"other")
    elif how == "replaced":
        other.replace(path)
    else:
        other.rename(tmp_path / "c")
        path.rename(other)
        (tmp_path / "c").rename(path)
    os.utime(path, ns=times)
    assert path.stat().st_mtime_ns == times[1] and path.stat().st_size == 5
    after = cache.contents(path.parent, [path.name])
    assert after != before and after == cache.contents(path.parent, [path.name])


def test_a_file_that_changed_lately_is_read_again(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("1")
    monkeypatch.setattr(cache, "FRESH", 10**12)  # it may change within one tick of the clock that stamps files
    found = [cache.contents(tmp_path, ["a"])[0] for _ in range(3)]
    assert len(set(found)) == 1 and read == ["a"] * 3
    monkeypatch.setattr(cache, "FRESH", 0)
    time.sleep(0.01)
    assert cache.contents(tmp_path, ["a"]) == cache.contents(tmp_path, ["a"]) == found[:1] and len(read) == 4


def test_what_is_no_regular_file_has_no_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "real").write_text("r")
    (tmp_path / "link.png").symlink_to("real")
    found = cache.contents(tmp_path, ["x.png", "zero.png", "folder.png", "link.png"])
    assert found[:3] == ["", "", ""] and found[3] == cache.contents(tmp_path, ["real"])[0]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    root.mkdir()
    name = os.fsdecode(b"\xff.png")
    (root / name).write_text("x")
    settled(root)
    assert cache.contents(root, [name]) == cache.contents(root, [name]) != [""]


# ── damage ───────────────────────────────────────────────────────────────────────────────────────


def _damage(store: cache.Store, kind: str) -> None:
    file, _, how = kind.partition(":")
    path = store.path / file
    if how == "objects":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif how == "zeros":
        path.write_bytes(bytes(path.stat().st_size))
    elif how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "gone":
        path.unlink()
    elif how == "fifo":
        path.unlink()
        os.mkfifo(path)
    else:
        data = bytearray(path.read_bytes())
        data[int(how)] ^= 4
        path.write_bytes(data)


IMAGES = [
    f"{file}:{how}" for file in ("pixels.bin", "bytes.bin") for how in ("0", "-1", "zeros", "cut", "gone", "fifo")
]
EACH = [
    *("labels.npy:-1", "labels.npy:zeros", "labels.npy:objects", "labels.npy:gone", "hashes.npy:-3"),
    *("shapes.npy:-1", "shapes.npy:20", "shapes.npy:objects", "shapes.npy:empty", "shapes.npy:cut"),
    *("meta.json:3", "meta.json:zeros", "meta.json:empty", "checksums:5", "checksums:70", "checksums:gone"),
]
ENCODED = [
    "starts.npy:-1",
    "starts.npy:zeros",
    "starts.npy:objects",
    "starts.npy:gone",
    "turns.npy:-1",
    "turns.npy:cut",
]


@pytest.mark.parametrize(
    ("stored", "kind"),
    [*(("pixels", kind) for kind in IMAGES[:6] + EACH), *(("jpeg", kind) for kind in IMAGES[6:] + ENCODED + EACH)],
)
def test_a_damaged_entry_is_built_anew_and_that_is_said(
    stored: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = _entry([(4, 4, 1)] * 3, kind=stored)
    _damage(store, kind)
    again = _entry([(4, 4, 1)] * 3, kind=stored)
    assert all((again.image(i) == i).all() for i in range(3)) and (again.array("labels") == np.arange(3)).all()
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(store.path) in line and line.endswith("it is built anew\n")
    _entry([(4, 4, 1)] * 3, kind=stored)
    assert capsys.readouterr().err == ""


def test_one_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    cache.say("cache: a\nb\x1b[31m\udcff: is damaged")
    assert capsys.readouterr().err == "cache: a\\nb\\x1b[31m\\udcff: is damaged\n"


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"channels": 7}', '{"channels": "3"}', '"x"', "[" * 9999])
def test_entries_of_a_stranger_are_built_anew(content: str) -> None:
    store = _entry([(4, 4, 1)] * 3)
    (store.path / "meta.json").write_text(content)
    for name in (checksums.CHECKSUMS, checksums.VERIFIED):
        (store.path / name).unlink()
    checksums.close(store.path)  # the checksums hold
    assert len(_entry([(4, 4, 1)] * 3)) == 3


def test_an_entry_in_the_place_of_another_is_built_anew() -> None:
    one, other = _entry([(4, 4, 1)] * 3), _entry([(4, 4, 1)] * 2, "other")
    away = one.path.with_name("away")
    one.path.rename(away)
    other.path.rename(one.path)
    away.rename(other.path)
    assert len(_entry([(4, 4, 1)] * 3)) == 3 and len(_entry([(4, 4, 1)] * 2, "other")) == 2


def test_an_array_that_claims_to_be_huge_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "shapes.npy"
    np.save(path, np.zeros((3, 2), np.int32))
    path.write_bytes(path.read_bytes().replace(b"(3, 2), }" + b" " * 11, b"(99999999999999, 2)}", 1))
    with pytest.raises(ValueError):
        stored_array(path, np.int32, 2)


def test_an_entry_of_an_earlier_version_gets_checksums(capsys: pytest.CaptureFixture[str]) -> None:
    store = _entry([(4, 4, 1)] * 3)
    for name in (checksums.CHECKSUMS, checksums.VERIFIED):
        (store.path / name).unlink()
    assert len(_entry([(4, 4, 1)] * 3)) == 3
    assert "has no checksums" in capsys.readouterr().err


def test_remembered_arrays_are_computed_again_where_they_are_damaged(
    cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def make() -> np.ndarray:
        asked.append(1)
        return np.arange(5)

    def get() -> list[int]:
        return cache.remembered("near", "k", make).tolist()

    assert get() == get() == [0, 1, 2, 3, 4] and len(asked) == 1
    path = cache_folder / "near" / "k.sealed"
    whole = path.read_bytes()
    for at in (0, 64, 65, 80, len(whole) - 1):
        data = bytearray(whole)
        data[at] ^= 1
        path.write_bytes(data)
        assert get() == [0, 1, 2, 3, 4]
        assert "it is computed anew" in capsys.readouterr().err
    path.write_bytes(b"")
    assert get() == get() == [0, 1, 2, 3, 4] and len(asked) == 7


# ── trouble with the disk ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE])
def test_trouble_while_an_entry_is_finished_is_one_line(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checksums, "flush", fail)
    with pytest.raises(UsageError, match="^GSSL_CACHE: (cannot write to|the disk of)") as error:
        _entry([(4, 4, 1)])
    assert "\n" not in str(error.value)
    assert [p.name for p in (cache_folder / "images").iterdir()] == ["k.lock"]


def test_errors_about_files_elsewhere_pass(tmp_path: Path) -> None:
    def build(writer: cache.Writer) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "photo.png"))

    with pytest.raises(PermissionError):
        cache.entry("k", lambda: 1, build)


def test_what_only_saves_time_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, *body: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(checksums, "write", fail)
    assert cache.contents(tmp_path, ["a"]) != [""]
    assert cache.remembered("near", "k", lambda: np.arange(3)).tolist() == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("cannot be written (No space left on device)" in line for line in lines)


def test_no_home_directory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GSSL_CACHE")
    monkeypatch.setattr(Path, "expanduser", nowhere)
    with pytest.raises(UsageError, match="GSSL_CACHE: this user has no home directory"):
        cache.cache_root()


@pytest.mark.parametrize("name", ["k.lock", "k.part", "k"])
def test_links_in_the_cache_change_nothing_outside(tmp_path: Path, cache_folder: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    (cache_folder / "images").mkdir(parents=True)
    (cache_folder / "images" / name).symlink_to(outside / "mine" if name == "k.lock" else outside)
    if name == "k.lock":
        with pytest.raises(UsageError, match="GSSL_CACHE: cannot write"):
            _entry([(4, 4, 1)])
    else:
        assert len(_entry([(4, 4, 1)])) == 1
        assert not (cache_folder / "images" / name).is_symlink()
    assert (outside / "mine").read_text() == "mine" and len(list(outside.iterdir())) == 1


# ── locks ────────────────────────────────────────────────────────────────────────────────────────


def test_who_waits_is_told_for_whom(cache_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = cache_folder / "images" / "k.lock"
    path.parent.mkdir(parents=True)
    with cache._lock(path):
        waiting = threading.Thread(target=lambda: os.close(cache._held(path, patience=0.1)))
        waiting.start()
        waiting.join(0.4)
        assert waiting.is_alive()
    waiting.join(5)
    assert not waiting.is_alive()
    line = capsys.readouterr().err
    assert (
        line == f"cache: waiting for process {os.getpid()} on {socket.gethostname()}, which works on {path.parent}/k\n"
    )


def test_a_lock_that_was_deleted_is_none(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cache_folder / "k.lock"
    path.parent.mkdir(parents=True)
    taken = []

    def flock(handle: int, how: int, own: Callable[[int, int], None] = fcntl.flock) -> None:
        own(handle, how)
        taken.append(handle)
        if len(taken) == 1:
            path.unlink()  # by its former holder, between this process's opening it and having it

    monkeypatch.setattr(fcntl, "flock", flock)
    held = cache._held(path)
    assert len(taken) == 2 and os.path.samestat(os.fstat(held), os.stat(path))
    os.close(held)
