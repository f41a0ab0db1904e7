"""Checkpoints: whole or not there."""

import pytest
import torch

from gssl.engine import checkpoint

CPU = torch.device("cpu")


def write(folder, step, keep=2):
    tensors = {"b": torch.arange(4.0), "a": torch.full((2, 2), float(step))}
    return checkpoint.write(folder, step, tensors, {"0/0.exp_avg": torch.ones(3)}, {"seconds": 1.5}, keep)


def test_round_trip_and_pruning(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    path, damaged = checkpoint.newest(tmp_path)
    assert path is not None and path.name == "step-00000003" and not damaged
    model, optim, state = checkpoint.read(path, CPU)
    assert torch.equal(model["a"], torch.full((2, 2), 3.0))
    assert torch.equal(optim["0/0.exp_avg"], torch.ones(3))
    assert state["step"] == 3 and state["seconds"] == 1.5


@pytest.mark.parametrize("harm", ["flip", "cut", "no manifest"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, harm):
    write(tmp_path, 1)
    bad = write(tmp_path, 2)
    file = bad / "model.safetensors"
    if harm == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        (bad / "manifest.json").unlink()
    path, damaged = checkpoint.newest(tmp_path)
    assert path is not None and path.name == "step-00000001"
    assert damaged == [bad]


def test_equal_tensors_make_equal_bytes(tmp_path):
    one, two = write(tmp_path / "a", 1), write(tmp_path / "b", 1)
    for name in ("model.safetensors", "optim.safetensors", "manifest.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_leftover_of_a_kill_is_no_checkpoint(tmp_path):
    write(tmp_path, 1)
    (tmp_path / ".tmp-step-00000002").mkdir()
    path, _ = checkpoint.newest(tmp_path)
    assert path is not None and path.name == "step-00000001"
    assert write(tmp_path, 2).name == "step-00000002"
