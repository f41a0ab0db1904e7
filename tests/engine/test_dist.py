"""One process trains: an environment that asks for several is refused."""

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
