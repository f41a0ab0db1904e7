"""One process trains: an environment that asks for several is refused. Of several, each takes a GPU of its own."""

import json

import pytest
import torch

from gssl.commands import pretrain_ssl, train_gan, transfer
from gssl.data import division
from gssl.engine import dist
from gssl.engine.device import pick_device
from gssl.errors import UsageError

COMMANDS = {"pretrain-ssl": pretrain_ssl.main, "train-gan": train_gan.main, "transfer": transfer.main}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("size", ["2", "8", "many"])
def test_several_processes_are_a_usage_error(tiny, tmp_path, monkeypatch, command, size):
    cfg = tiny(command, *(["weights=random"] if command == "transfer" else []))
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UsageError, match=rf"^WORLD_SIZE={size}: expected 1.*; unset it") as error:
        COMMANDS[command](cfg, tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_one_process_may_say_so(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=1"), tmp_path / "run")


@pytest.mark.parametrize("command", ["pretrain-ssl", "train-gan"])
@pytest.mark.parametrize("words", [{"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}, {"RANK": "1"}])
def test_what_a_cluster_sets_for_one_process_leaves_it_all_of_every_batch(tiny, tmp_path, monkeypatch, command, words):
    cfg = tiny(command, "budget.steps=1")
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    COMMANDS[command](cfg, tmp_path / "run")
    spent = json.loads((tmp_path / "run" / "result.json").read_text())["spent"]
    assert spent["images"] == getattr(cfg, "ssl" if command == "pretrain-ssl" else "gan").batch_size
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 1


@pytest.fixture
def joining(monkeypatch):
    """What `dist.join` does, in order, on a machine that seems to have four GPUs; nobody else is needed."""
    done: list[tuple[str, object]] = []
    monkeypatch.setattr(dist, "_joined", dist.Group())
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(("gpu", device)))
    together = torch.distributed
    monkeypatch.setattr(together, "init_process_group", lambda backend, **_: done.append(("group", backend)))
    monkeypatch.setattr(together, "new_group", lambda **_: done.append(("control", None)))
    yield done
    division.use(division.One())


@pytest.mark.parametrize(("own", "local"), [(1, None), (5, "1"), (5, "3")])
def test_each_process_takes_its_own_gpu_before_there_is_a_group(joining, monkeypatch, own, local):
    """What names no device, NCCL among it, would else go to the first GPU, from every process."""
    if local is not None:
        monkeypatch.setenv("LOCAL_RANK", local)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    dist.join(own, 8, "env://", gpus=True)
    mine = own if local is None else int(local)
    assert joining == [("gpu", mine), ("group", "cpu:gloo,cuda:nccl"), ("control", None)]
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda", mine)


def test_without_gpus_none_is_taken_and_too_few_are_told_when_all_have_met(joining):
    dist.join(1, 2, "env://")
    assert joining == [("group", "gloo"), ("control", None)]
    joining.clear()
    dist.join(4, 5, "env://", gpus=True)
    assert [what for what, _ in joining] == ["group", "control"]
    with pytest.raises(UsageError, match="engine.processes: each needs a GPU of its own, and this machine has 4"):
        pick_device("auto")
