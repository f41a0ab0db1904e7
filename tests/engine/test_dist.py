"""One process trains: an environment that asks for several is refused."""

import json

import pytest

from gssl.commands import pretrain_ssl, train_gan, transfer
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
