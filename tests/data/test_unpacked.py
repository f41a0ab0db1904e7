"""What is known of unpacked images comes back, and a start keeps no object for each of them."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gssl.data import cache, sides, unpacked
from gssl.data.checksums import Damaged
from gssl.data.unpacked import Unpacked, Unpacking

ROWS = 20_000


def many(folder: Path, count: int = ROWS, grouped: bool = True) -> None:
    rows = Unpacking(grouped)
    for i in range(count):
        rows.add(f"{i:07}-ä.png", f"{i:032x}", None if i % 10 == 9 else f"class {i % 7}", f"patient {i // 4}")
    assert len(rows) == count
    rows.write(folder)


@pytest.mark.parametrize("grouped", [True, False])
def test_rows_come_back(tmp_path: Path, grouped: bool) -> None:
    many(tmp_path, 25, grouped)
    found = Unpacked.read(tmp_path)
    assert list(found.names) == [f"{i:07}-ä.png" for i in range(25)]
    assert list(found.labels) == [None if i % 10 == 9 else f"class {i % 7}" for i in range(25)]
    assert (found.groups is not None and list(found.groups) == [f"patient {i // 4}" for i in range(25)]) is grouped
    assert found.contents.tolist() == [f"{i:032x}".encode() for i in range(25)]


def test_there_may_be_none(tmp_path: Path) -> None:
    many(tmp_path, 0)
    assert list(Unpacked.read(tmp_path).names) == []


def traced(start) -> int:
    """Bytes that are taken at the most."""
    tracemalloc.start()
    try:
        start()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_them_takes_no_memory_for_each(tmp_path: Path) -> None:
    many(tmp_path)
    assert traced(lambda: Unpacked.read(tmp_path).labels.used()) < 6 * ROWS  # np.unique sorts a copy of the codes


def test_sides_are_decided_with_few_hashes_at_a_time() -> None:
    units = np.array([f"{i:032x}" for i in range(ROWS)], "S32")
    assert sides.chances_of(units, 3, "test").tolist() == sides.chances_of(units.tolist(), 3, "test").tolist()
    assert traced(lambda: sides.chances_of(units, 3, "test")) < 50 * ROWS  # a list of them alone would be 73


@pytest.mark.parametrize("whole", [True, False])
def test_files_that_changed_are_named(cache_folder: Path, tmp_path: Path, whole: bool) -> None:
    rows = Unpacking(grouped=False)
    for name in "ab":
        (tmp_path / name).write_text(name)
        rows.add(name, cache.content_hash(name.encode()), None, "")
    rows.write(tmp_path)
    time.sleep(0.06)
    unpacked.compare(tmp_path, whole)
    (tmp_path / "b").write_text("c")
    with pytest.raises(Damaged, match="1 of 2 files are damaged, such as b"):
        unpacked.compare(tmp_path, whole)
