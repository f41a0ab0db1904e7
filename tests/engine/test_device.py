"""Devices, precision and threads: what is not there is a usage error that says what to use."""

import resource

import pytest
import torch

from gssl.commands import pretrain_ssl
from gssl.engine.device import Precision, cores, keep_memory, native_bf16_cpu, pick_device, set_threads
from gssl.engine.files import read_json
from gssl.errors import UsageError

CPU = torch.device("cpu")


def test_auto_finds_something():
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    assert pick_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="engine.device=cuda:1: .*no CUDA device"):
        pick_device("cuda:1")


def test_fp16_needs_a_gpu():
    with pytest.raises(UsageError, match="fp16: needs a GPU"):
        Precision("fp16", CPU)


def test_bf16_runs_where_the_cpu_can_and_is_refused_elsewhere(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("gssl.engine.device.native_bf16_cpu", lambda: False)
    with pytest.raises(UsageError, match="no bf16 arithmetic"):
        Precision("bf16", CPU)
    monkeypatch.setattr("gssl.engine.device.native_bf16_cpu", lambda: True)
    pretrain_ssl.main(tiny("pretrain-ssl", "engine.precision=bf16"), tmp_path)
    assert read_json(tmp_path / "status.json")["state"] == "finished"
    assert native_bf16_cpu() in (True, False)


def test_threads(monkeypatch):
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == 1 == torch.get_num_threads()
        assert set_threads(0) == cores() == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_memory_that_a_step_frees_is_there_for_the_next():
    if not keep_memory():
        pytest.skip("the C library is not glibc, or MALLOC_… is set")

    def step() -> None:
        layers = [torch.ones(1 << 20) for _ in range(4)]  # 16 MB, of which the last is on top of the heap
        layers.reverse()

    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2048  # given back, 4,096 for each step


@pytest.mark.long
def test_tensorboard_is_an_option(tiny, tmp_path):
    """What of it is written: tests/engine/test_loggers.py."""
    pretrain_ssl.main(tiny("pretrain-ssl", "engine.loggers=[tensorboard]"), tmp_path)
    assert list((tmp_path / "tensorboard").iterdir())
