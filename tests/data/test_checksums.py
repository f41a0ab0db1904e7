"""Checksums: no changed byte passes, small folders and changed files are compared whole, the rest in samples."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from gssl.data import checksums
from gssl.data.checksums import Damaged


def made(folder: Path) -> Path:
    """A finished folder with a file of 1,000 bytes and a small one."""
    folder.mkdir()
    (folder / "pixels.bin").write_bytes(random.Random(0).randbytes(1000))
    (folder / "labels.npy").write_bytes(b"labels")
    checksums.close(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "folder")


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same in blocks of 10 bytes, and no folder is small: what is true of terabytes."""
    monkeypatch.setattr(checksums, "BLOCK", 10)
    monkeypatch.setattr(checksums, "SMALL", 0)
    return made(tmp_path / "large")


def flip(path: Path, at: int, bit: int = 0, secretly: bool = False) -> None:
    """Change one bit; secretly: as a disk does that rots, with no trace in the times that `verified` has."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)
    if secretly:
        seen = {p.name: checksums.signature(p.stat()) for p in path.parent.iterdir()}
        for name in (checksums.CHECKSUMS, checksums.VERIFIED):
            seen.pop(name)
        checksums.write(path.parent / checksums.VERIFIED, json.dumps(seen).encode())


def test_every_flipped_bit_of_every_file_is_found(folder: Path) -> None:
    rng = random.Random(1)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for _ in range(12):
            flip(path, rng.randrange(len(whole)), rng.randrange(8))
            if path.name == checksums.VERIFIED:  # it says what need not be compared: damaged, all is compared
                checksums.compare(folder)
            else:
                with pytest.raises(Damaged):
                    checksums.compare(folder)
            path.write_bytes(whole)
    checksums.compare(folder)


@pytest.mark.parametrize("name", ["pixels.bin", "labels.npy", checksums.CHECKSUMS])
def test_cut_lengthened_emptied_and_lost_files_are_found(folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    for data in (whole[:-1], whole + b"\0", b"", bytes(len(whole))):
        path.write_bytes(data)
        with pytest.raises(Damaged):
            checksums.compare(folder)
    path.unlink()
    with pytest.raises(Damaged, match=f"{name}: no such file"):
        checksums.compare(folder)


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_regular_file_is_never_waited_for_nor_followed(folder: Path, kind: str, tmp_path: Path) -> None:
    path = folder / "labels.npy"
    path.rename(tmp_path / "outside")
    {"fifo": os.mkfifo, "folder": os.mkdir, "link": lambda p: os.symlink(tmp_path / "outside", p)}[kind](path)
    with pytest.raises(Damaged, match=r"labels\.npy"):
        checksums.compare(folder)


def test_checksums_can_be_written_anew(folder: Path) -> None:
    (folder / "labels.npy").write_bytes(b"others")
    checksums.close(folder)
    checksums.compare(folder, whole=True)


def test_other_content_of_equal_size_is_found(folder: Path) -> None:
    times = os.stat(folder / "labels.npy")
    (folder / "labels.npy").write_bytes(b"slebal")
    os.utime(folder / "labels.npy", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(Damaged, match=r"the checksum of labels\.npy does not hold"):
        checksums.compare(folder)


def test_a_large_file_is_sampled_while_nothing_wrote_to_it(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(os, "pread", lambda h, n, at, own=os.pread: read.append(at) or own(h, n, at))
    for _ in range(200):
        read.clear()
        checksums.compare(large)
        assert len(read) <= checksums.SAMPLES + 1 and {0, 990} <= set(read)  # and the small file beside it
    read.clear()
    checksums.compare(large, whole=True)
    assert len(read) == 101
    copy = large.parent / "elsewhere" / large.name
    shutil.copytree(large, copy)  # other inodes: whole once, then known
    for count in (101, checksums.SAMPLES + 1):
        read.clear()
        checksums.compare(copy)
        assert len(read) <= count and len(read) >= min(count, 5)
    flip(large / "labels.npy", 3, secretly=True)  # small files are compared whatever was seen
    with pytest.raises(Damaged, match=r"labels\.npy"):
        checksums.compare(large)


def test_every_block_is_among_the_samples_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (9, 10, 99, 100, 1000):
        clock = iter(range(10**9))
        monkeypatch.setattr(checksums.time, "time_ns", lambda clock=clock: next(clock))
        seen = [checksums._some(count) for _ in range(count)]
        assert {block for blocks in seen for block in blocks} == set(range(count))
        assert all(len(blocks) <= checksums.SAMPLES for blocks in seen)


def test_a_large_file_that_was_written_to_is_compared_whole_even_where_its_time_was_put_back(large: Path) -> None:
    path = large / "pixels.bin"
    for block in range(0, 100, 9):
        whole, times = path.read_bytes(), os.stat(path)
        flip(path, 10 * block)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(Damaged, match=r"the checksum of pixels\.bin"):
            checksums.compare(large)
        path.write_bytes(whole)
        checksums.compare(large)


def test_rot_in_a_large_file_is_found_on_demand(large: Path) -> None:
    flip(large / "pixels.bin", 555, secretly=True)
    with pytest.raises(Damaged, match=r"the checksum of pixels\.bin"):
        checksums.compare(large, whole=True)


def test_what_stands_in_the_place_of_something_else_is_damaged(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "other")
    with pytest.raises(Damaged, match="checksums|its checksum"):
        checksums.compare(tmp_path / "other")
    (tmp_path / "near").mkdir()
    checksums.write(tmp_path / "near" / "a.sealed", b"a")
    (tmp_path / "near" / "a.sealed").rename(tmp_path / "near" / "b.sealed")
    with pytest.raises(Damaged):
        checksums.read(tmp_path / "near" / "b.sealed")


def test_sealed_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for body in (b"", b"x", bytes(1000)):
        checksums.write(path, body)
        assert checksums.read(path) == body
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    whole = path.read_bytes()
    for at in [*range(0, 70, 7), len(whole) - 1]:
        flip(path, at)
        with pytest.raises(Damaged):
            checksums.read(path)
        path.write_bytes(whole)
    for cut in (0, 1, 64, 65, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(Damaged):
            checksums.read(path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    checksums.write(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        checksums.write(path, b"new")
    assert checksums.read(path) == b"old" and len(list(tmp_path.iterdir())) == 1


def test_nothing_but_regular_files_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="is no regular file"), checksums.opened(path):
            pass
