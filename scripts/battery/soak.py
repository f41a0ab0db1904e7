"""Short runs, one after another in one process: memory and open files must not grow. `BATTERY_SOAK` seconds (7,200)."""

import ctypes
import gc
import os
import shutil
import sys
import time
from pathlib import Path

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


def alive() -> tuple[int, int]:
    """Bytes that malloc has given out, and Python's blocks, all still in use: what is kept, whatever holes are left."""
    gc.collect()
    counted = ctypes.CDLL(None).mallinfo2
    counted.restype = Allocated
    return counted().uordblks, sys.getallocatedblocks()


def soaked(where: Path) -> Found:
    end = time.monotonic() + SECONDS
    names, count, first, kept = ["simclr", "transfer", "dcgan", "byol"], 0, (0, 0), (0, 0)
    peak: list[int] = []
    while time.monotonic() < end or count < 3 * WARM:
        said = call(*words_of(names[count % 4]), f"hydra.run.dir={where / str(count)}")
        if said.code:
            return f"run {count}: exit {said.code}: {said.err[-300:]}"
        shutil.rmtree(where / str(count))
        count += 1
        peak = [*peak, resident()][-WARM:]
        if count == 2 * WARM:
            first = max(peak), len(os.listdir("/proc/self/fd"))
            kept = alive()
    last = max(peak), len(os.listdir("/proc/self/fd"))
    note = f"{count} runs in {SECONDS:,.0f} s: resident memory {first[0] / 1e6:.0f} then {last[0] / 1e6:.0f} MB,"
    note += f" open files {first[1]} then {last[1]}; in use of it {kept[0] / 1e6:.1f} then {alive()[0] / 1e6:.1f} MB,"
    note += f" Python's blocks {kept[1]:,} then {alive()[1]:,}"
    if last[0] > ALLOWED * first[0] or last[1] > first[1]:
        return f"grew: {note}", {}
    return "", {"note": note}


def trials() -> list[tuple[str, Trial]]:
    return [("one-process", soaked)]
