"""Devices, precision and threads: what is not there is a usage error that says what to use."""

import resource

import pytest
import torch

from gssl import schemas
from gssl.commands import pretrain_ssl
from gssl.engine.device import (
    Precision,
    arithmetic,
    cores,
    fixed_shapes,
    keep_memory,
    native_bf16_cpu,
    pick_device,
    set_kernels,
    set_threads,
)
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.schemas.determining import config_hash

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


def test_auto_is_bf16_where_a_gpu_has_it_and_fp32_elsewhere(tiny, tmp_path, monkeypatch):
    assert Precision("auto", CPU).name == "fp32"
    gpu = torch.device("cuda", 0)
    for there, name in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, there=there: there)
        assert Precision("auto", gpu).name == name and Precision("fp32", gpu).name == "fp32"
    cfg = tiny("pretrain-ssl", "budget.steps=1")
    assert cfg.engine.precision == "auto"
    pretrain_ssl.main(cfg, tmp_path)
    assert read_json(tmp_path / "environment.json")["precision"] == "fp32"


@pytest.fixture
def products():
    """Settings of torch's that are put back."""
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    yield
    torch.set_float32_matmul_precision(kept[0])
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = kept[1:]


@pytest.mark.parametrize("wanted", [True, False])
def test_tf32_and_tried_kernels_are_set_for_a_gpu_and_recorded(wanted, tiny, products, monkeypatch):
    cfg: schemas.Engine = tiny("pretrain-ssl", f"engine.tf32={wanted}", f"engine.benchmark={wanted}").engine
    before = torch.get_float32_matmul_precision()
    set_kernels(cfg, CPU)
    assert torch.get_float32_matmul_precision() == before
    gpu = torch.device("cuda", 0)
    set_kernels(cfg, gpu)
    assert torch.get_float32_matmul_precision() == ("high" if wanted else "highest")
    assert torch.backends.cudnn.allow_tf32 is wanted
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)
    with fixed_shapes(cfg, gpu):
        found = arithmetic()
        assert (found["tf32"], found["cudnn_tf32"], found["cudnn_benchmark"]) == (wanted,) * 3
    assert not torch.backends.cudnn.benchmark
    with fixed_shapes(cfg, CPU):
        assert not torch.backends.cudnn.benchmark


def test_only_what_changes_results_makes_another_run(tiny):
    hashes = [config_hash(tiny("pretrain-ssl", f"engine.{key}")) for key in ("tf32=true", "benchmark=false")]
    assert len(set(hashes)) == 1
    assert config_hash(tiny("pretrain-ssl", "engine.tf32=false")) != hashes[0]
    assert config_hash(tiny("pretrain-ssl", "engine.precision=fp32")) != hashes[0]


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
    # Given back, each of the five steps would take its 4,096 pages anew. A heap that other tests have divided may grow
    # once more, by one step at most.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2 * 4096


@pytest.mark.long
def test_tensorboard_is_an_option(tiny, tmp_path):
    """What of it is written: tests/engine/test_loggers.py."""
    pretrain_ssl.main(tiny("pretrain-ssl", "engine.loggers=[tensorboard]"), tmp_path)
    assert list((tmp_path / "tensorboard").iterdir())
