"""What torchrun's environment means: several processes of one training, or a refusal; never part of the data."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gssl import cli
from gssl.config import ranks
from gssl.config.composing import compose
from gssl.engine import torchrun
from gssl.errors import UsageError
from tests.engine.test_launch import losses, state

WHOLE = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1234"}
COMMANDS = sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)


@pytest.fixture
def environment(monkeypatch):
    def put(**values: str) -> None:
        for name in (*WHOLE, "TORCHELASTIC_RESTART_COUNT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def test_alone_unless_the_environment_says_so(environment):
    for values in ({}, {"WORLD_SIZE": "1"}, {"RANK": "1"}, {"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}):
        environment(**values)
        assert torchrun.found() is None
    environment(**WHOLE)
    assert torchrun.found() == torchrun.Place(1, 2, restarted=False)
    environment(**WHOLE, TORCHELASTIC_RESTART_COUNT="1")
    assert torchrun.found() == torchrun.Place(1, 2, restarted=True)


@pytest.mark.parametrize("without", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_number_of_processes_that_cannot_meet_is_refused(environment, without):
    environment(**{key: value for key, value in WHOLE.items() if key != without})
    with pytest.raises(UsageError, match=rf"^WORLD_SIZE=2: .* no {without} beside it"):
        torchrun.found()
    environment(**WHOLE | {"RANK": "2"})
    with pytest.raises(UsageError, match="RANK=2 beside it"):
        torchrun.found()


@pytest.mark.parametrize("values", [{"WORLD_SIZE": "4"}, {**WHOLE, "RANK": "0"}])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_but_three_is_refused_in_one_line(environment, monkeypatch, capsys, tmp_path, command, values):
    monkeypatch.chdir(tmp_path)
    environment(**values)
    monkeypatch.setattr(sys, "argv", ["gssl", command])
    with pytest.raises(SystemExit) as end:
        cli.run()
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    if len(values) == 1:
        assert "WORLD_SIZE=4: expected 1" in said
    elif command in torchrun.TOGETHER:
        assert "hydra.run.dir: expected" in said or "weights" in said
    else:
        assert "start gssl without torchrun" in said
    assert not list(tmp_path.iterdir())


def test_help_is_for_everybody(environment, monkeypatch, capsys):
    environment(WORLD_SIZE="4")
    monkeypatch.setattr(sys, "argv", ["gssl", "transfer", "--help"])
    with pytest.raises(SystemExit) as end:
        cli.run()
    assert end.value.code == 0 and "Usage: gssl transfer" in capsys.readouterr().out


def test_all_processes_must_know_the_directory():
    place = torchrun.Place(0, 2, False)
    ranks.need_directory(place, ["seed=1", "hydra.run.dir=runs/mine"])
    for words in ([], ["hydra.run.dir=runs/${now:%H}"], ["hydra.sweep.dir=runs/mine"]):
        with pytest.raises(UsageError, match="hydra.run.dir: expected a directory by its name"):
            ranks.need_directory(place, words)


@pytest.mark.parametrize(
    ("words", "values", "asked"),
    [
        (["engine.processes=2"], {}, "engine.processes=2"),
        (["hydra.run.dir=run"], {**WHOLE, "RANK": "0"}, "torchrun's 2 processes"),
    ],
)
def test_one_gpu_for_all_processes_is_refused(environment, monkeypatch, capsys, tmp_path, words, values, asked):
    monkeypatch.chdir(tmp_path)
    environment(**values)
    monkeypatch.setattr(sys, "argv", ["gssl", "pretrain-ssl", "--dry-run", "engine.device=cuda:1", *words])
    with pytest.raises(SystemExit) as end:
        cli.run()
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1 and not list(tmp_path.iterdir())
    assert f"engine.device=cuda:1: {asked} would all take this one GPU; leave engine.device at auto or cuda" in said


@pytest.mark.parametrize("device", ["auto", "cuda", "cpu", "cuda:1"])
def test_other_devices_are_not(environment, device):
    environment()
    count = 1 if device == "cuda:1" else 2
    assert compose("pretrain-ssl", [f"engine.device={device}", f"engine.processes={count}"]).engine.device == device


def test_a_stop_that_was_asked_for_is_no_failure_to_torchrun():
    assert [ranks.ended(code) for code in (0, 1, 2, 75, 130)] == [0, 1, 2, 0, 0]


# ── the real thing ───────────────────────────────────────────────────────────────────────────────

WORDS = ["ssl.batch_size=32", "engine.threads=1", "engine.log_every=1", "engine.checkpoint_every=5"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def agents(run: Path, *words: str, nodes: int = 1, each: int = 2, restarts: int = 0) -> list[subprocess.Popen[str]]:
    """One torchrun per machine, all of them here."""
    environment = {key: value for key, value in os.environ.items() if key not in WHOLE} | {"OMP_NUM_THREADS": "1"}
    shape = [f"--nnodes={nodes}", f"--nproc-per-node={each}", f"--max-restarts={restarts}", "--rdzv-id=here"]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}", "--monitor-interval=0.2"]
    command = [sys.executable, "-m", "torch.distributed.run", *shape, *meeting, "-m", "gssl", *words]
    return [
        subprocess.Popen(
            [*command, f"hydra.run.dir={run}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            cwd=run.parent, env=environment,
        )
        for _ in range(nodes)
    ]  # fmt: skip


def ended(processes: list[subprocess.Popen[str]], code: int = 0) -> list[str]:
    said = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), said
    return said


def training(run: Path, restarts: int = 0) -> tuple[subprocess.Popen[str], dict[int, int]]:
    """A training by two processes that has made steps, and their ids by rank."""
    (process,) = agents(run, "pretrain-ssl", *WORDS, "budget.steps=60", restarts=restarts)
    for _ in range(900):
        time.sleep(0.1)
        if (run / "metrics.jsonl").is_file() and len(losses(run)) > 6:
            break
    found = {}
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        values = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(value[5:]): int(child) for value in values if value.startswith(b"RANK=")}
    assert sorted(found) == [0, 1]
    return process, found


@pytest.mark.long
def test_two_machines_train_as_one_process(tmp_path: Path) -> None:
    words = ["pretrain-ssl", *WORDS, "budget.steps=3"]
    said = ended(agents(tmp_path / "two", *words, nodes=2, each=1))
    assert sum("val_knn" in text or "warning" in text for text in said) <= 1  # one of them speaks
    subprocess.run(
        [sys.executable, "-m", "gssl", *words, f"hydra.run.dir={tmp_path / 'one'}"], check=True, cwd=tmp_path
    )
    assert losses(tmp_path / "two")[0] == pytest.approx(losses(tmp_path / "one")[0], rel=1e-5)
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    said = ended(agents(tmp_path / "two", *words, "resume=auto", nodes=2, each=1))
    assert sum("finished already" in text for text in said) == 1


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_one_that_is_killed_is_started_again_with_the_others_and_the_run_goes_on(tmp_path: Path) -> None:
    process, ids = training(tmp_path / "run", restarts=1)
    os.kill(ids[1], signal.SIGKILL)
    ended([process])
    assert state(tmp_path / "run") == "finished"
    assert len(losses(tmp_path / "run")) == 60  # each step once


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_signal_to_one_stops_all_after_saving_and_torchrun_starts_none_again(tmp_path: Path) -> None:
    process, ids = training(tmp_path / "run", restarts=1)
    os.kill(ids[1], signal.SIGTERM)
    (said,) = ended([process])
    assert state(tmp_path / "run") == "interrupted" and "Traceback" not in said
    assert said.count("interrupted") == 1


@pytest.mark.long
def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    (said,) = ended(agents(tmp_path / "run", "pretrain-ssl", "ssl.batch_size=33", "budget.steps=1"), code=1)
    assert said.count("ssl.batch_size=33: expected a multiple of 2") == 1
    assert not (tmp_path / "run").exists()
