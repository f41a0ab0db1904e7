"""Checkpoints: whole or not there."""

import contextlib

import pytest
import torch

from gssl.engine import checkpoint

CPU = torch.device("cpu")


def write(folder, step, keep=2, **state):
    tensors = {"b": torch.arange(4.0), "a": torch.full((2, 2), float(step))}
    return checkpoint.write(folder, step, tensors, {"0/0.exp_avg": torch.ones(3)}, {"seconds": 1.5, **state}, keep)


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


def test_milestones_stay_whatever_comes_after(tmp_path):
    folder = tmp_path / "checkpoints"
    write(folder, 1, milestone=True)
    for step in (2, 3, 4):
        write(folder, step, keep=1)
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000001", "step-00000004"]
    assert checkpoint.milestones(folder) == [{"step": 1, "seconds": 1.5, "checkpoint": "checkpoints/step-00000001"}]
    assert checkpoint.newest(folder)[0].name == "step-00000004"  # a resumed run goes on from the last one


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


def best(folder, step, value=0.5):
    checkpoint.write_best(folder, step, {"a": torch.full((2,), float(step))}, {"val_kid": value, "figures": {"n": 3}})


def test_the_best_stays_whatever_happens_to_the_checkpoints(tmp_path):
    assert checkpoint.read_best(tmp_path, CPU) is None
    write(tmp_path, 1)
    best(tmp_path, 1)
    for step in (2, 3, 4):
        write(tmp_path, step, keep=1)
    model, state = checkpoint.read_best(tmp_path, CPU)
    assert torch.equal(model["a"], torch.full((2,), 1.0)) and list(model) == ["a"]
    assert state["step"] == 1 and state["val_kid"] == 0.5 and state["figures"] == {"n": 3}
    assert checkpoint.newest(tmp_path)[0].name == "step-00000004"  # it is no checkpoint to go on from
    best(tmp_path, 3, 0.25)
    assert checkpoint.read_best(tmp_path, CPU)[1]["step"] == 3


def test_a_damaged_best_is_none(tmp_path):
    best(tmp_path, 1)
    file = tmp_path / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert checkpoint.read_best(tmp_path, CPU) is None


class Killed(BaseException):
    pass


@pytest.mark.parametrize("call", range(20))
def test_a_kill_while_the_best_is_replaced_leaves_the_old_one_or_the_new_one(tmp_path, call, monkeypatch):
    """Dies before the `call`th operation that touches the disk."""
    best(tmp_path, 1)
    left = [call]

    def dying(original):
        def run(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*args, **kwargs)

        return run

    with monkeypatch.context() as patch:
        for owner, name in [
            (checkpoint.shutil, "rmtree"), (checkpoint, "save_file"), (checkpoint, "write_json"),
            (checkpoint, "fsync"), (type(tmp_path), "rename"), (type(tmp_path), "mkdir"),
        ]:  # fmt: skip
            patch.setattr(owner, name, dying(getattr(owner, name)))
        with contextlib.suppress(Killed):
            best(tmp_path, 2)
    found = checkpoint.read_best(tmp_path, CPU)
    assert found is not None and found[1]["step"] in (1, 2)
    assert torch.equal(found[0]["a"], torch.full((2,), float(found[1]["step"])))
    best(tmp_path, 3)
    assert checkpoint.read_best(tmp_path, CPU)[1]["step"] == 3


def test_the_lowest_figure_is_kept_and_a_run_that_begins_forgets_an_earlier_one(tmp_path):
    model = torch.nn.Linear(2, 1)
    for step, value in ((1, 0.5), (2, 0.7), (3, 0.4), (4, 0.4)):
        checkpoint.keep_best(tmp_path, step, model, "js", {"js": value, "n": step})
    kept = checkpoint.best_state(tmp_path)
    assert kept["step"] == 3 and kept["val_js"] == 0.4 and kept["figures"] == {"js": 0.4, "n": 3}
    checkpoint.keep_best(tmp_path, 0, model, "js", {"js": 0.1})
    assert checkpoint.best_state(tmp_path) is None
