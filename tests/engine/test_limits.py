"""Containers' quotas, as the kernel writes them down."""

import pytest

from gssl.engine import device, limits


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """`kernel({"sys/cpu.max": "150000 100000"}, own="0::/")`: what the files of the machine say."""
    monkeypatch.setattr(limits, "ROOT", tmp_path / "sys")
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    monkeypatch.setattr(limits, "MEMINFO", tmp_path / "meminfo")

    def write(files, own="0::/\n"):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"sys/cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"sys/cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"sys/cpu.max": "max 100000", "sys/job/cpu.max": "50000 100000"}, "0::/job\n", 0.5),
        ({"sys/job/cpu.max": "200000 100000", "sys/job/step/cpu.max": "max 100000"}, "0::/job/step\n", 2.0),
        ({"sys/cpu/cpu.cfs_quota_us": "300000", "sys/cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/\n", 3.0),
        ({"sys/cpu/cpu.cfs_quota_us": "-1", "sys/cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/\n", None),
        ({}, "", None),
        ({"sys/cpu.max": "what"}, "0::/\n", None),
    ],
)
def test_processors(kernel, files, own, expected):
    kernel(files, own)
    assert limits.processors() == expected


def test_threads_are_no_more_than_the_quota_pays_for(kernel, monkeypatch):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: set(range(8)))
    kernel({"sys/cpu.max": "150000 100000"})
    assert device.cores() == 2
    kernel({"sys/cpu.max": "10000 100000"})
    assert device.cores() == 1
    kernel({"sys/cpu.max": "max 100000"})
    assert device.cores() == 8


def test_memory_is_the_least_that_anybody_grants(kernel):
    kernel({"meminfo": "MemTotal: 9 kB\nMemAvailable:  4096 kB\n"})
    assert limits.memory() == 4096 * 1024
    kernel({"sys/memory.max": "3000000", "sys/memory.current": "1000000"})
    assert limits.memory() == 2000000
    kernel({"sys/memory.max": "max"})
    assert limits.memory() == 4096 * 1024
