"""A few trials of the battery as `make battery` runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tried(out: Path, groups: list[str], match: str) -> list[dict]:
    words = [sys.executable, "-m", "scripts.battery", "--out", str(out), "--match", match, "--only", *groups]
    env = {key: value for key, value in os.environ.items() if key != "GSSL_CACHE"}
    done = subprocess.run(words, cwd=ROOT, env=env | {"BATTERY_SOAK": "0"}, capture_output=True, text=True, timeout=600)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert done.returncode == 0 and not [row for row in rows if row["what"]], done.stdout + done.stderr
    return rows


def test_a_kill_a_full_disk_and_hostile_input(tmp_path):
    match = r"^(save-0-simclr|ENOSPC-once-0-simclr|override-[0-2]|hostile-0)$"
    rows = tried(tmp_path / "rows.jsonl", ["kill", "disk", "malformed"], match)
    assert len(rows) == 6
    assert [row["held"] for row in rows if row["group"] == "disk"][0] in ("one line", "no harm")


@pytest.mark.long
@pytest.mark.parametrize(
    "groups, match, count",
    [
        (["flips"], r"^[0-7]-", 8),
        (["signals"], r"^(1|2|4)-", 3),
        (["fuzz", "malformed"], r"^(call-1?[0-9]|(weights|image|table|layout)-1)$", 24),
        (["crowd"], r"^cache-0$", 1),
        (["kill"], r"^((evaluation-1|end-2|file-7|forward-0)-.*|dropped-(nothing|queue.|step)-moco)$", 7),
        (["disk"], r"^(write-EIO-1|full-0|quota-0|descriptors-1|memory-2)-", 5),
    ],
)
def test_a_sample_of_each_group(tmp_path, groups, match, count):
    assert len(tried(tmp_path / "rows.jsonl", groups, match)) == count


@pytest.mark.slow
def test_a_short_soak(tmp_path):
    assert "then" in tried(tmp_path / "rows.jsonl", ["soak"], "")[0]["note"]
