"""Peak memory is a run's own, not the process's."""

import sys

import numpy as np
import pytest
import torch

from gssl.engine.loop import peak_memory, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak can be reset on Linux only")
def test_a_peak_is_seen_and_forgotten():
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    block = np.ones(40_000_000 // 8)
    with_block = peak_memory(CPU)
    assert with_block - before > 30_000_000 and block[0] == 1
    del block
    reset_peak_memory(CPU)
    assert peak_memory(CPU) < with_block - 20_000_000
