"""Files inside archives: every member is read at its place, nothing is unpacked, and damage is one line."""

import gzip
import io
import os
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from gssl.data import cache, opening, tars


def add(archive, name, data=b"", **more):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(data))


def pack(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            add(archive, name, data)
    return path


def listed(path):
    found = []
    tars.members(str(path), lambda member, file: found.append((member, file.read(min(member.place[1], 9999)))))
    return found


MEMBERS = [(f"a/{i:03}.bin", os.urandom(i * 37)) for i in range(60)]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz"])
def test_members_are_read_in_order_and_one_by_one_from_several_threads(tmp_path, suffix):
    path = pack(tmp_path / f"x.{suffix}", MEMBERS, "w" if suffix == "tar" else "w:gz")
    assert [(member.name, data) for member, data in listed(path)] == MEMBERS
    order = np.random.default_rng(0).permutation(len(MEMBERS)).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: tars.read(f"{path}/{MEMBERS[i][0]}"), order))
    assert found == [MEMBERS[i][1] for i in order]
    assert sorted(os.listdir(tmp_path)) == [path.name]


def test_a_compressed_archive_that_is_read_in_order_is_decompressed_once(tmp_path, monkeypatch):
    path = pack(tmp_path / "x.tar.gz", MEMBERS, "w:gz")
    tars.read(f"{path}/{MEMBERS[0][0]}")
    monkeypatch.setattr(tars.gzip, "GzipFile", lambda **how: pytest.fail("opened again"))
    assert [tars.read(f"{path}/{name}") for name, _ in MEMBERS[1:]] == [data for _, data in MEMBERS[1:]]


def test_streams_that_wait_are_few(tmp_path):
    for i in range(tars.STREAMS + 5):
        tars.read(f"{pack(tmp_path / f'{i}.tgz', MEMBERS[:2], 'w:gz')}/{MEMBERS[1][0]}")
    assert len(tars._streams._idle) <= tars.STREAMS


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./a/b.jpg", "a/b.jpg"),
        ("/etc/passwd.jpg", "etc/passwd.jpg"),
        ("../../b.jpg", "__/__/b.jpg"),
        ("a/.././/b.jpg", "a/__/b.jpg"),
        ("a\\b.jpg", "a\\b.jpg"),
        ("caf\udce9.jpg", "caf\udce9.jpg"),
    ],
)
def test_a_hostile_name_is_a_key_and_no_path(tmp_path, name, path):
    (tmp_path / "b.jpg").write_bytes(b"outside")
    archive = pack(tmp_path / "deep.tar", [(name, b"inside")])
    assert tars.inside(name) == path and not os.path.isabs(path)
    assert os.path.normpath(f"{archive}/{path}") == f"{archive}/{path}"
    assert tars.read(f"{archive}/{path}") == b"inside"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_what_is_no_file_is_no_member(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.jpg", type=kind, linkname="/etc/passwd")
    assert [member.kind for member, _ in listed(tmp_path / "x.tar")] != ["file"]
    with pytest.raises(FileNotFoundError):
        tars.read(f"{tmp_path}/x.tar/a.jpg")


def broken(tmp_path, data):
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(tars.Broken) as error:
        listed(tmp_path / "x.tar")
    assert "\n" not in str(error.value)
    return str(error.value)


def header(data, place, **fields):
    """The archive with a header that says something else, and whose own checksum holds."""
    info = tarfile.TarInfo.frombuf(data[place : place + 512], "utf-8", "surrogateescape")
    for key, value in fields.items():
        setattr(info, key, value)
    return data[:place] + info.tobuf(tarfile.GNU_FORMAT) + data[place + 512 :]


def test_every_truncated_archive_is_told(tmp_path):
    whole = pack(tmp_path / "y.tar", [("a.jpg", b"x" * 700), ("b.cls", b"1")]).read_bytes()
    end = 4 * 512 + 512  # two headers, two blocks and one: behind them are zeros
    assert not any(whole[end:])
    for size in (0, 100, 512, 700, 1211, 1536, 1700, 2048, 2049, end, end + 100):
        found = broken(tmp_path, whole[:size])
        if 0 < size < 512:
            assert found == "is no tar archive, or damaged (truncated header)"
        else:
            assert found == ("ends early" if size else "is no tar archive, or damaged (empty file)")
    zipped = gzip.compress(whole)
    for size in (20, len(zipped) // 2, len(zipped) - 4):
        assert broken(tmp_path, zipped[:size]) == "ends early", size


def test_a_damaged_archive_is_told(tmp_path):
    whole = pack(tmp_path / "y.tar", [("a.jpg", b"x" * 700), ("b.cls", b"1")]).read_bytes()
    assert broken(tmp_path, whole[:1600] + b"?" + whole[1601:]) == "has a damaged header"
    assert "is no tar archive" in broken(tmp_path, b"?" * 4096)
    assert "has more behind its end" in broken(tmp_path, whole + whole)
    zipped = bytearray(gzip.compress(os.urandom(5000)))
    zipped[2500] ^= 255
    assert "is no tar archive" in broken(tmp_path, bytes(zipped))
    for mode, name in (("w:bz2", "bzip2"), ("w:xz", "xz")):
        packed = pack(tmp_path / "z", MEMBERS[:3], mode).read_bytes()
        assert broken(tmp_path, packed) == f"is compressed by {name}, and gzip alone is read"


@pytest.mark.parametrize("size", [-512, -1, -(10**6), 2**40, 2**70])
def test_sizes_that_are_none_end(tmp_path, size):
    whole = pack(tmp_path / "y.tar", [("a.jpg", b"x" * 700), ("b.cls", b"1")]).read_bytes()
    started = time.process_time()
    assert broken(tmp_path, header(whole, 1536, size=size))
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE):
        assert broken(tmp_path, header(whole, 1536, size=size, type=kind))
    assert time.process_time() - started < 2


def test_a_large_member_and_one_that_changed_are_not_read(tmp_path, monkeypatch):
    path = pack(tmp_path / "x.tar", MEMBERS[:20])
    own = tars.members(str(path), lambda member, file: None)
    tars.know(str(path), lambda: (own, {"a/019.bin": (0, 10), "large": (0, tars.MOST + 1)}))
    assert len(tars.read(f"{path}/a/019.bin")) == 10
    with pytest.raises(tars.Broken, match="more than the"):
        tars.read(f"{path}/large")
    os.utime(path, ns=(0, own[1] + 10**9))
    with pytest.raises(OSError, match="was changed since it was read first"):
        tars.read(f"{path}/a/019.bin")


@pytest.mark.parametrize("path", ["x.tar/none", "none.tar/a", "plain.txt/a", "x.tar.d/none"])
def test_what_is_not_there_is_told(tmp_path, path):
    pack(tmp_path / "x.tar", MEMBERS[:1])
    (tmp_path / "plain.txt").touch()
    (tmp_path / "x.tar.d").mkdir()
    assert not opening.is_file(f"{tmp_path}/{path}")
    with pytest.raises(OSError), opening.readable(f"{tmp_path}/{path}"):
        pass
    assert cache.contents(tmp_path, [path]) == [""]


def test_a_member_is_told_by_its_size_and_its_archive(tmp_path):
    path = pack(tmp_path / "x.tar", MEMBERS[:9])
    assert cache.contents(tmp_path, ["x.tar/a/008.bin"]) == [cache.content_hash(MEMBERS[8][1])]
    assert opening.signature(f"{path}/a/008.bin") == [8 * 37, *opening.signature(str(path))[1:]]
    assert opening.is_file(f"{path}/a/008.bin") and opening.is_file(str(path))


def test_a_pipe_in_place_of_an_archive_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    done = threading.Event()

    def work():
        with pytest.raises(OSError):
            listed(tmp_path / "x.tar")
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(10)


def test_a_progressive_photograph_inside_is_opened(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG", progressive=True)
    path = pack(tmp_path / "x.tgz", [("a.jpg", buffer.getvalue())], "w:gz")
    with opening.opened(f"{path}/a.jpg") as image:
        assert np.array(image).shape == (48, 64, 3)
