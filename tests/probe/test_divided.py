"""Several processes extract features and fine-tune as one does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
CALL = (
    "import sys; sys.path[:0] = [{root!r}, {root!r} + '/tests/engine', {root!r} + '/tests/probe'];"
    " from probing_ranks import main; main({own}, {count}, {folder!r})"
)


def run(count: int, folder: Path) -> list[dict[str, Any]]:
    folder.mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CALL.format(root=str(ROOT), own=i, count=count, folder=str(folder))],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for i in range(count)
    ]
    assert [process.wait(300) for process in started] == [0] * count
    made = [torch.load(folder / f"{i}.pt", weights_only=False) for i in range(count)]
    for one in made:
        assert "error" not in one, one["error"]
    return made


@pytest.mark.long
def test_two_processes_extract_and_fine_tune_as_one(tmp_path: Path) -> None:
    (one,), (first, second) = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    for name in ("features", "few features"):
        assert np.array_equal(one[name], first[name]) and np.array_equal(first[name], second[name])
        del one[name]
    for name, alone in one.items():
        mine, other = first[name], second[name]
        for key, value in mine["state"].items():
            assert torch.equal(value, other["state"][key]), (name, key)
            assert float((value.double() - alone["state"][key].double()).abs().max()) < 1e-9, (name, key)
        assert np.abs(mine["guess"] - alone["guess"]).max() < 1e-6 and np.array_equal(mine["guess"], other["guess"])
        assert mine["kinds"] == alone["kinds"] and mine["curve"] == alone["curve"]
        assert mine["accuracy"] == other["accuracy"] == alone["accuracy"]
        chosen = [dict(each["chosen"]) for each in (mine, other, alone)]
        used = [each.pop("used", 0.0) for each in chosen]
        assert chosen[0] == chosen[1] == chosen[2] and used == pytest.approx([used[2]] * 3)
