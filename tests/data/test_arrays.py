"""Named arrays in a sealed file: they come back, mapped, and damage is found."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gssl.data import arrays, cache, checksums

ARRAYS = {
    "codes": np.arange(5, dtype=np.int32) - 1,
    "places": np.arange(12, dtype=np.int64).reshape(6, 2),
    "contents": np.array([b"ab", b"", b"abc"], "S3"),
    "none": np.zeros((0, 2), np.int64),
    "text": np.frombuffer(b"odd", np.uint8),
}


def test_arrays_come_back(tmp_path: Path) -> None:
    file = tmp_path / "a.sealed"
    for given in (ARRAYS, {}, {"mirrored": ARRAYS["places"][::-1, ::-1]}):
        arrays.write(file, given)
        found = arrays.read(file)
        assert list(found) == list(given)
        for name, value in given.items():
            assert found[name].dtype == value.dtype and found[name].tolist() == value.tolist()
            assert not found[name].flags.writeable and found[name].flags.aligned


def test_they_are_mapped(tmp_path: Path) -> None:
    file = tmp_path / "a.sealed"
    arrays.write(file, {"many": np.arange(1 << 20)})
    tracemalloc.start()
    try:
        found = arrays.read(file)["many"]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[-1] == (1 << 20) - 1 and most < 1 << 16


def test_damage_is_found_and_what_is_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.sealed"
    arrays.write(file, ARRAYS)
    whole = file.read_bytes()
    for at in [*range(0, 65, 8), 65, 80, len(whole) - 1]:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(checksums.Damaged):
            arrays.read(file)
    for cut in (0, 1, 64, 65, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with pytest.raises(checksums.Damaged):
            arrays.read(file)
    for body in (b"", b"{}", bytes(30), b"x" * 100):
        checksums.write(file, body)
        with pytest.raises(cache.BROKEN):
            arrays.read(file)


def test_what_is_remembered_is_made_once(cache_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"a": np.arange(3)}

    for _ in range(2):
        assert cache.remembered_arrays("tars", "k", make)["a"].tolist() == [0, 1, 2]
    (file,) = (cache_folder / "tars").glob("*.sealed")
    file.unlink()
    file.write_bytes(b"x" * 200)
    assert cache.remembered_arrays("tars", "k", make)["a"].tolist() == [0, 1, 2]
    assert len(made) == 2 and "it is computed anew" in capsys.readouterr().err
