"""What lies in the cache is told apart, damage is found, and nothing goes that somebody needs."""

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gssl.data import cache, checksums, encoding, upkeep
from gssl.data.store import EncodedWriter
from gssl.data.unpacked import Unpacking
from gssl.data.upkeep import Kept

KEY = {name: cache.entry_key(name) for name in "abc"}


def build(name: str, count: int = 3) -> cache.Store:
    def fill(writer: cache.Writer) -> None:
        for i in range(count):
            image = np.full((4, 4, 1), i % 256, dtype=np.uint8)
            writer.add([image], [cache.image_hash(image)])
        writer.finish({}, {"labels": np.arange(count)})

    return cache.entry(KEY[name], lambda: 1, fill)


@pytest.fixture
def filled(cache_folder: Path, tmp_path: Path) -> Path:
    """One thing of each kind."""
    build("a")
    cache.remembered("near", KEY["a"], lambda: np.arange(3))
    files = tmp_path / "files"
    files.mkdir()
    (files / "x").write_text("x")
    time.sleep(0.06)
    cache.contents(files, ["x"])
    features = cache_folder / "features" / KEY["a"]
    features.mkdir(parents=True)
    (features / f"{checksums.name_of(b'rows', features)}.npz").write_bytes(b"rows")
    (cache_folder / "evaluators").mkdir()
    checksums.write(cache_folder / "evaluators" / f"classifier2-{KEY['a']}-32-0.sealed", b"weights")
    unpacked = cache_folder / "unpacked" / KEY["a"]
    unpacked.mkdir(parents=True)
    (unpacked / "0.png").write_bytes(b"image")
    rows = Unpacking(grouped=False)
    rows.add("0.png", cache.content_hash(b"image"), "cat", "")
    rows.write(unpacked)
    times = {"a": {"fixed": 1.0}}
    (cache_folder / "timings.json").write_text(json.dumps({"sha256": checksums.summed(times), "timings": times}))
    (cache_folder / "openings").mkdir()
    (cache_folder / "openings" / "h.jsonl").write_text("{}\n")
    return cache_folder


def build_encoded(name: str) -> cache.Store:
    def fill(writer: EncodedWriter) -> None:
        for i in range(3):
            writer.add_file(*encoding.made(np.full((9, 9, 1), 80 * i, dtype=np.uint8)))
        writer.finish({}, {})

    return cache.entry(KEY[name], lambda: 1, fill, "photos", EncodedWriter)


def test_an_entry_of_jpeg_files_is_listed_and_every_flipped_byte_of_it_is_found(cache_folder: Path) -> None:
    store = build_encoded("a")
    (kept,) = upkeep.listed(cache_folder)
    assert (kept.kind, kept.count, kept.about, kept.useless) == ("images", 3, "photos", "")
    assert upkeep.damage(kept) == "" and going(cache_folder) == {}
    for file in ("bytes.bin", "starts.npy", "turns.npy", "shapes.npy", "hashes.npy", "meta.json"):
        path = store.path / file
        data = path.read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :])
            assert file in upkeep.damage(kept) and list(going(cache_folder)) == [f"images/{KEY['a']}"]
        path.write_bytes(data)
    assert upkeep.damage(kept) == ""


def kinds(found: list[Kept]) -> list[str]:
    return [kept.kind for kept in found]


def going(root: Path, **limits: float) -> dict[str, str]:
    return {f"{kept.kind}/{kept.name}": why for kept, why in upkeep.useless(upkeep.listed(root), **limits)}


def test_everything_is_listed_with_its_size_and_is_whole(filled: Path) -> None:
    found = upkeep.listed(filled)
    assert kinds(found) == [*upkeep.KINDS[:2], "near", "index", "evaluators", "unpacked", "files", "openings"]
    assert [kept.count for kept in found[:2]] == [3, 1] and all(kept.bytes > 0 for kept in found)
    locks = sum(path.stat().st_size for path in filled.rglob("*.lock"))
    assert sum(kept.bytes for kept in found) == sum(p.stat().st_size for p in filled.rglob("*") if p.is_file()) - locks
    assert all(upkeep.damage(kept) == upkeep.damage(kept, whole=False) == "" for kept in found)
    assert going(filled) == {}
    assert upkeep.listed(filled / "nowhere") == []


def test_damage_of_every_kind_is_found(filled: Path) -> None:
    for path in sorted(p for p in filled.rglob("*") if p.is_file()):
        if path.suffix == ".lock" or path.parent.name == "openings" or path.name == checksums.VERIFIED:
            continue
        whole = path.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 1):
            data = bytearray(whole)
            data[at] ^= 1
            path.write_bytes(data)
            bad = [kept for kept in upkeep.listed(filled) if upkeep.damage(kept)]
            if path.name == "timings.json":
                assert len(bad) == 1 or json.loads(data)["timings"] == {"a": {"fixed": 1.0}}
            else:
                assert len(bad) == 1 and path.is_relative_to(bad[0].path), path
        path.write_bytes(whole)
    assert going(filled) == {}


def test_what_is_damaged_goes_and_is_made_again(filled: Path) -> None:
    path = filled / "images" / KEY["a"] / "pixels.bin"
    path.write_bytes(bytes(48))
    ((kept, why),) = upkeep.useless(upkeep.listed(filled))
    assert why == "damaged: the checksum of pixels.bin does not hold"
    assert upkeep.delete(kept) and not any((filled / "images").iterdir())
    assert (build("a").image(2) == 2).all()


@pytest.mark.parametrize("name", ["meta.json", "hashes.npy", checksums.VERIFIED, checksums.CHECKSUMS])
def test_devices_and_queues_are_listed_and_go(filled: Path, name: str) -> None:
    path = filled / "images" / KEY["a"] / name
    for make in (lambda: path.symlink_to("/dev/zero"), lambda: os.mkfifo(path), lambda: path.write_text("[3]")):
        build("a")
        path.unlink()
        make()
        (kept,) = (kept for kept in upkeep.listed(filled) if kept.kind == "images")
        if name != checksums.VERIFIED:  # without it all is compared
            assert upkeep.damage(kept) and upkeep.delete(kept)
    assert Path("/dev/zero").exists()


def test_what_this_user_may_not_read_is_said_and_stays(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def barred(folder: Path, whole: bool) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(checksums, "compare", barred)
    found = upkeep.listed(filled)
    assert upkeep.damage(found[0]) == "cannot be read: Permission denied" and going(filled) == {}
    upkeep.cache.remove(found[0].path)
    assert upkeep.damage(found[0]) == ""  # somebody has deleted it since


def test_leftovers_go_and_work_in_progress_stays(filled: Path) -> None:
    images, old = filled / "images", time.time() - 2 * upkeep.ABANDONED
    (images / f"{KEY['b']}.part").mkdir()
    (images / f"{KEY['b']}.part" / "pixels.bin").write_bytes(b"xx")
    (images / f"{KEY['c']}.lock").touch()
    for folder, name in (
        ("index", ".x.sealed.12.34.part"),
        ("near", "tmpabcd1234"),
        (f"features/{KEY['a']}", "tmpz_9876ab"),
    ):
        (filled / folder / name).touch()
        os.utime(filled / folder / name, (old, old))
    (filled / "index" / ".y.sealed.12.34.part").touch()  # perhaps somebody writes to it now
    (filled / "near" / f"{KEY['b']}.npy").touch()  # of an earlier version
    (filled / "index" / f"{KEY['b']}.json").touch()
    earlier = images / cache.entry_key("earlier")
    earlier.mkdir()
    (earlier / "pixels.bin").touch()
    with cache._lock(images / f"{KEY['b']}.lock"):
        found = going(filled)
        assert len(found) == 7 and f"images/{KEY['b']}.part" not in found
    found = going(filled)
    assert len(found) == 8 and found[f"images/{KEY['b']}.part"] == upkeep.EARLY
    assert found[f"images/{earlier.name}"] == found[f"near/{KEY['b']}.npy"] == upkeep.EARLIER
    for kept, _ in list(upkeep.useless(upkeep.listed(filled))):
        assert upkeep.delete(kept)
    assert going(filled) == {} and (filled / "index" / ".y.sealed.12.34.part").exists()
    assert [p.name for p in images.iterdir() if p.suffix == ".lock"] == [f"{KEY['a']}.lock"]
    assert len(build("a")) == 3


def test_what_another_process_makes_is_left(filled: Path) -> None:
    (kept,) = (kept for kept in upkeep.listed(filled) if kept.kind == "images")
    with cache._lock(kept.lock):
        assert not upkeep.delete(kept) and kept.path.exists()
    assert upkeep.delete(kept) and not kept.path.exists()


def test_what_is_used_stays_by_age_and_by_size(filled: Path, age: Callable[[Path, float], None]) -> None:
    build("b", 1000)
    age(filled / "images" / KEY["a"] / checksums.VERIFIED, 10)
    age(filled / "images" / KEY["b"] / checksums.VERIFIED, 20)
    assert going(filled, days=15) == {f"images/{KEY['b']}": "not used for 20 days"}
    assert set(going(filled, days=5)) == {f"images/{KEY['b']}", f"images/{KEY['a']}"}
    build("b", 1000)  # opened: it is used
    assert set(going(filled, days=5)) == {f"images/{KEY['a']}"}
    total = sum(kept.bytes for kept in upkeep.listed(filled) if kept.kind in upkeep.KINDS)
    assert set(going(filled, gigabytes=(total - 1) / 1e9)) == {f"images/{KEY['a']}"}
    assert going(filled, gigabytes=(total + 1000) / 1e9) == {}
    assert "unpacked" not in " ".join(going(filled, gigabytes=(total + 1000) / 1e9))


@pytest.fixture
def age() -> Callable[[Path, float], None]:
    def make(path: Path, days: float) -> None:
        when = time.time() - days * 86_400
        os.utime(path, (when, when))

    return make


def test_nothing_of_anybody_else_goes(filled: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "pixels.bin").write_text("mine")
    images = filled / "images"
    (images / KEY["b"]).symlink_to(mine)
    (images / "holiday").mkdir()
    (images / "holiday" / "1.jpg").write_text("photo")
    (images / cache.entry_key("c")).mkdir()  # a name as ours, and nothing of ours in it
    (images / cache.entry_key("c") / "1.jpg").write_text("photo")
    for name in ("photo.jpg", "notes.part", "my.lock", "tmpabcd1234.jpg", ".x.part"):
        (images / name).write_text("photo")
        (filled / "index" / name).write_text("photo")
    (filled / "unpacked" / KEY["b"]).mkdir()
    (filled / "photos").mkdir()
    (filled / "photos" / "2.jpg").write_text("photo")
    before = sorted(str(p) for p in filled.rglob("*") if p.is_file())
    kept = [str(p) for p in before if "photo" in p or "holiday" in p or "notes" in p]
    gone = list(upkeep.useless(upkeep.listed(filled), days=0.0, gigabytes=0.0))
    assert all(upkeep.delete(kept) for kept, _ in gone)
    for path in kept:
        assert Path(path).exists(), path
    assert (mine / "pixels.bin").read_text() == "mine" and (images / KEY["b"]).is_symlink()
    assert (images / cache.entry_key("c") / "1.jpg").exists() and (filled / "openings" / "h.jsonl").exists()
    assert (images / ".x.part").exists() and (images / "my.lock").exists()
