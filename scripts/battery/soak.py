"""Short runs, one after another in one process: memory and open files must not grow. `BATTERY_SOAK` seconds (7,200)."""

import os
import shutil
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


def soaked(where: Path) -> Found:
    end = time.monotonic() + SECONDS
    names, count, first = ["simclr", "transfer", "dcgan", "byol"], 0, (0, 0)
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
    last = max(peak), len(os.listdir("/proc/self/fd"))
    note = f"{count} runs in {SECONDS:,.0f} s: resident memory {first[0] / 1e6:.0f} then {last[0] / 1e6:.0f} MB,"
    note += f" open files {first[1]} then {last[1]}"
    if last[0] > ALLOWED * first[0] or last[1] > first[1]:
        return f"grew: {note}", {}
    return "", {"note": note}


def trials() -> list[tuple[str, Trial]]:
    return [("one-process", soaked)]
