"""The same command by one and by two processes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gssl.engine.files import read_json


def by_one_and_two(words: Sequence[str], where: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both result.json; the runs are `where`/1 and `where`/2."""
    found = []
    for processes in (1, 2):
        own = ["engine.threads=1", "engine.device=cpu", "engine.progress=false", f"engine.processes={processes}"]
        run = where / str(processes)
        subprocess.run(
            [sys.executable, "-m", "gssl", *words, *own, f"hydra.run.dir={run}"],
            check=True, cwd=where, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE,
        )  # fmt: skip
        found.append(read_json(run / "result.json"))
    assert read_json(where / "2" / "environment.json")["processes"] == 2
    assert found[1]["test_openings"] == 1
    return found[0], found[1]
