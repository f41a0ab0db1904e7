"""What a container grants this process: processors and memory of its control group, version 2 or 1. No torch here."""

from collections.abc import Iterator
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
UNLIMITED = 1 << 60  # bytes; version 1 says a huge number where there is no limit


def processors() -> float | None:
    """Processors that the quota pays for, such as 1.5; None where there is none."""
    found = []
    for folder in _folders(""):
        words = _words(folder / "cpu.max")
        if len(words) == 2 and words[0].isdigit() and int(words[1]):
            found.append(int(words[0]) / int(words[1]))
    for folder in _folders("cpu"):
        quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
        if quota and period and quota[0].isdigit() and int(period[0]):
            found.append(int(quota[0]) / int(period[0]))
    return min(found, default=None)


def granted() -> int | None:
    """Bytes that the container may take in all; None where there is no limit."""
    return min((most for most, _ in _memory()), default=None)


def memory() -> int | None:
    """Bytes that this process may still take, by its container and by the machine; None where neither says."""
    found = [most - used for most, used in _memory() if used is not None]
    for line in _text(MEMINFO).splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    return max(0, min(found)) if found else None


def _memory() -> Iterator[tuple[int, int | None]]:
    """Every limit of memory in bytes, with what is used of it."""
    files = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
    for name, (limit, used) in files.items():
        for folder in _folders(name):
            most, now = _words(folder / limit), _words(folder / used)
            if most and most[0].isdigit() and int(most[0]) < UNLIMITED:
                yield int(most[0]), int(now[0]) if now and now[0].isdigit() else None


def _folders(controller: str) -> list[Path]:
    """The control groups that this process is in, from its own to the outermost. A limit of any holds."""
    top = ROOT / controller
    own = ""
    for line in _text(OWN).splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if (number == "0" and not controllers) if not controller else controller in controllers.split(","):
            own = path
    inner = top / own.lstrip("/")
    return [inner, *[p for p in inner.parents if p == top or top in p.parents]] if inner != top else [top]


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
