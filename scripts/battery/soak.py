"""Short runs, one after another in one process: memory and open files must not grow. `BATTERY_SOAK` seconds (7,200).

Of memory the median of twelve runs is compared, three of each kind: which pages malloc has given back when a run ends
differs from one to the next by up to 30 MB. The highest of the twelve is told beside it.

Every twelve runs a line of soak.jsonl, beside the cache, says what the process holds: it shows when something grew (a
step or a slope) and in whose hands it is, malloc's, Python's or the system's.
"""

import ctypes
import functools
import gc
import json
import linecache
import logging
import os
import re
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from scripts.battery.kill import words_of
from scripts.battery.trial import Found, Trial, call

WARM = 12  # runs until everything is imported and every pool has its size
ALLOWED = 1.02
SECONDS = float(os.environ.get("BATTERY_SOAK", "7200"))
LONGEST = SECONDS + 600  # of its one trial


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


COUNTS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


class Allocated(ctypes.Structure):
    """What glibc's mallinfo2 answers."""

    _fields_ = [(name, ctypes.c_size_t) for name in COUNTS]


def given_out() -> dict[str, int]:
    """Bytes in malloc's hands. `uordblks`: given out, in all arenas; `fordblks`: free; `hblkhd`: mapped one by one."""
    counted = ctypes.CDLL(None).mallinfo2
    counted.restype = Allocated
    found = counted()
    return {name: getattr(found, name) for name in COUNTS}


def alive() -> tuple[int, int]:
    """Bytes that malloc has given out, and Python's blocks, all still in use: what is kept, whatever holes are left."""
    gc.collect()
    return given_out()["uordblks"], sys.getallocatedblocks()


def held(count: int) -> dict[str, Any]:
    """What the process holds after `count` runs, before and after Python has looked for garbage."""
    lines = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    system = {name: int(value.split()[0]) for name, _, value in lines if name[:3] in ("VmR", "Rss", "VmP", "Thr")}
    before = given_out()["uordblks"]
    garbage = gc.collect()
    python: dict[str, Any] = {"blocks": sys.getallocatedblocks()}
    objects = gc.get_objects()
    caches = {
        f"{found.__module__}.{found.__qualname__}": found.cache_info().currsize
        for found in objects
        if type(found) is functools._lru_cache_wrapper
    }
    sizes = (sys.getsizeof(found) for found in objects if type(found) in (dict, list, set, tuple))
    python |= {
        "objects": len(objects),
        "boxes": sum(sizes),  # bytes of dicts, lists, sets and tuples
        "modules": len(sys.modules),
        "loggers": len(logging.Logger.manager.loggerDict),
        "patterns": len(re._cache),  # type: ignore[attr-defined]
        "sources": sum(len(line) for entry in linecache.cache.values() if len(entry) == 4 for line in entry[2]),
        "cached": sum(caches.values()),
        "caches": dict(sorted(caches.items(), key=lambda item: -item[1])[:12]),
    }
    maps: dict[str, int] = {}
    with Path("/proc/self/smaps").open() as lines_of_maps:  # line by line: what is looked at must not grow by looking
        for words in map(str.split, lines_of_maps):
            if not words[0].endswith(":"):
                place = words[5] if len(words) > 5 else "anonymous"
                place = place if place[0] == "[" or place == "anonymous" else "files"
            elif words[0] == "Rss:":
                maps[place] = maps.get(place, 0) + int(words[1])
    return {"run": count, "garbage": garbage, "before": before, **system, **given_out(), "maps": maps, **python}


class Held(NamedTuple):
    usual: float  # bytes resident after a run, median of the last twelve
    most: int  # the highest of them
    files: int  # open now

    @classmethod
    def of(cls, sizes: list[int]) -> "Held":
        return cls(median(sizes), max(sizes), len(os.listdir("/proc/self/fd")))


def soaked(where: Path) -> Found:
    begun = time.monotonic()
    end = begun + SECONDS
    names, count = ["simclr", "transfer", "dcgan", "byol"], 0
    first, kept, sizes = Held(0, 0, 0), (0, 0), list[int]()
    record = Path(os.environ.get("GSSL_CACHE", where / "cache")).with_name("soak.jsonl")
    record.unlink(missing_ok=True)
    while time.monotonic() < end or count < 3 * WARM:
        said = call(*words_of(names[count % 4]), f"hydra.run.dir={where / str(count)}")
        if said.code:
            return f"run {count}: exit {said.code}: {said.err[-300:]}"
        shutil.rmtree(where / str(count))
        count += 1
        sizes = [*sizes, resident()][-WARM:]
        if count == 2 * WARM:
            first, kept = Held.of(sizes), alive()
        if count % WARM == 0:
            with record.open("a") as file:
                file.write(json.dumps(held(count) | {"seconds": round(time.monotonic() - begun, 1)}) + "\n")
    last = Held.of(sizes)
    note = f"{count} runs in {SECONDS:,.0f} s: resident memory {first.usual / 1e6:.0f} then {last.usual / 1e6:.0f} MB"
    note += f" (highest of {WARM} runs {first.most / 1e6:.0f} and {last.most / 1e6:.0f}), open files {first.files} then"
    note += f" {last.files}; in use of it {kept[0] / 1e6:.1f} then {alive()[0] / 1e6:.1f} MB, Python's blocks"
    note += f" {kept[1]:,} then {alive()[1]:,}"
    if last.usual > ALLOWED * first.usual or last.files > first.files:
        return f"grew: {note}", {}
    return "", {"note": note}


def trials() -> list[tuple[str, Trial]]:
    return [("one-process", soaked)]
