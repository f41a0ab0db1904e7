"""Peak memory is a run's own, not the process's."""

import subprocess
import sys

import pytest

# in a process of its own: what earlier tests left to the garbage collector would count
PROGRAM = """
import numpy as np, torch
from gssl.engine.device import peak_memory, reset_peak_memory
cpu = torch.device("cpu")
reset_peak_memory(cpu)
before = peak_memory(cpu)
block = np.ones(160_000_000 // 8)
with_block = peak_memory(cpu)
del block
reset_peak_memory(cpu)
print(before, with_block, peak_memory(cpu))
"""


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be reset on Linux only")
def test_a_peak_is_seen_and_forgotten():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, with_block, after = map(int, done.stdout.split())
    assert with_block - before > 120_000_000
    assert after < with_block - 120_000_000
