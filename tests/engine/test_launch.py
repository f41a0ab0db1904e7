"""One training by several processes: as one would train, and how it ends where one of them does not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gssl.engine import launch
from gssl.engine.device import prepare
from gssl.errors import UsageError
from tests.engine.several import by_one_and_two

pytestmark = pytest.mark.long
COMMAND = [sys.executable, "-m", "gssl", "pretrain-ssl", "ssl.batch_size=32", "engine.threads=1", "engine.log_every=1"]


def start(run: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, f"hydra.run.dir={run}", *words], stderr=subprocess.PIPE, text=True, cwd=run.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ended(run: Path, *words: str, code: int = 0) -> str:
    process = start(run, *words)
    said = process.communicate(timeout=200)[1]
    assert process.returncode == code, said
    return said


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [entry["loss"] for entry in lines(run) if "loss" in entry]


def state(run: Path) -> str:
    found: str = json.loads((run / "status.json").read_text())["state"]
    return found


def training(run: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A training by two processes that has made steps, and their ids."""
    process = start(run, "engine.processes=2", "budget.steps=100000")
    for _ in range(600):
        time.sleep(0.1)
        if (run / "metrics.jsonl").is_file() and losses(run):
            break
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
    assert len(found) == 2
    return process, found


def test_two_processes_log_what_one_logs_and_another_number_goes_on(tmp_path: Path) -> None:
    ended(tmp_path / "one", "budget.steps=3")
    ended(tmp_path / "two", "budget.steps=3", "engine.processes=2")
    assert losses(tmp_path / "two")[0] == pytest.approx(losses(tmp_path / "one")[0], rel=1e-5)
    keys = [sorted(entry) for entry in lines(tmp_path / "one")]
    assert [sorted(entry) for entry in lines(tmp_path / "two")] == keys
    spent = json.loads((tmp_path / "two" / "result.json").read_text())["spent"]
    assert spent["images"] == 3 * 32
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    said = ended(tmp_path / "two", "budget.steps=6", "resume=extend")
    assert "begun with 2 processes and resumed with 1" in said
    assert len(losses(tmp_path / "two")) == 6


def test_what_one_process_began_two_finish(tmp_path: Path) -> None:
    """Order, draws and weights are the whole batch's: at the next step the loss is the one that one process has."""
    ended(tmp_path / "one", "budget.steps=3")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    ended(tmp_path / "one", "budget.steps=6", "resume=extend")
    said = ended(tmp_path / "two", "budget.steps=6", "resume=extend", "engine.processes=2")
    assert "begun with 1 process and resumed with 2: the same training" in said
    alone, both = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(alone) == len(both) == 6 and both[:3] == alone[:3]
    assert both[3] == pytest.approx(alone[3], rel=1e-5)
    assert both[4:] == pytest.approx(alone[4:], rel=1e-2)
    assert state(tmp_path / "two") == "finished"
    spent = [json.loads((tmp_path / run / "result.json").read_text())["spent"]["images"] for run in ("one", "two")]
    assert spent == [6 * 32] * 2


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize("who", ["parent", "preempted", "both", "one"])
def test_a_signal_ends_all_of_them_and_nothing_is_lost(tmp_path: Path, who: str) -> None:
    run = tmp_path / "run"
    process, children = training(run)
    told = {"parent": [process.pid], "preempted": [process.pid], "both": [process.pid, *children], "one": children[1:]}[
        who
    ]
    for pid in told:
        os.kill(pid, {"both": signal.SIGINT, "preempted": signal.SIGUSR2}.get(who, signal.SIGTERM))
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if who == "both" else 75), said
    assert state(run) == "interrupted" and "Traceback" not in said
    last = max(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))
    assert last >= 1
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_ends_the_others_and_the_run_goes_on_later(tmp_path: Path, rank: int) -> None:
    run = tmp_path / "run"
    process, children = training(run)
    os.kill(children[rank], signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and "Traceback" not in said
    assert "a process of this training" in said and "resume=auto" in said
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    again = start(run, "engine.processes=2", "budget.steps=100000", "resume=auto")
    time.sleep(20)
    again.send_signal(signal.SIGTERM)
    said = again.communicate(timeout=60)[1]
    assert again.returncode == 75, said


def test_what_cannot_be_divided_is_said(tmp_path: Path) -> None:
    said = ended(tmp_path / "run", "ssl.batch_size=33", "budget.steps=1", "engine.processes=2", code=2)
    assert "ssl.batch_size=33: expected a multiple of 2" in said and said.count("\n") == 1
    said = ended(tmp_path / "few", "data.limit=21", "budget.steps=1", "engine.processes=2", code=2)
    assert "there are 21 training images, which 2 processes cannot share equally" in said
    assert "set ssl.batch_size=20, or engine.processes=1" in said and not (tmp_path / "few").exists()
    assert not (tmp_path / "run").exists()


def test_more_processes_than_cores_can_run_are_refused(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="engine.processes=5000: this machine has .* cores; give at most"):
        launch.several("gssl.commands.pretrain_ssl:main", tiny("pretrain-ssl", "engine.processes=5000"), tmp_path)


def test_other_commands_refuse_it(tiny: Any) -> None:
    cfg = tiny("curve", "sources=[random]", "engine.processes=2")
    with pytest.raises(UsageError, match="engine.processes=2: only train-gan"):
        prepare(cfg.engine)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_stopped_is_given_up_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setenv("GSSL_SILENT_SECONDS", "3")
    run = tmp_path / "run"
    process, children = training(run)
    os.kill(children[rank], signal.SIGSTOP)
    before = len(losses(run))
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and said.strip().count("\n") == 0, said
    assert "resume=auto" in said and ("not answered for 3 seconds" in said or rank == 0)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    saved = max(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))
    ended(run, f"budget.steps={saved + 2}", code=2)  # another budget is another run
    again = start(run, "engine.processes=2", "budget.steps=100000", "resume=auto")
    for _ in range(300):
        time.sleep(0.1)
        if state(run) == "running" and len(losses(run)) > before:
            break
    again.send_signal(signal.SIGTERM)
    said = again.communicate(timeout=60)[1]
    assert again.returncode == 75, said
    assert [entry["step"] for entry in lines(run) if "loss" in entry] == list(range(1, len(losses(run)) + 1))


def test_transfer_by_two_processes_says_what_one_says(tmp_path: Path) -> None:
    words = ["transfer", "experiment=smoke", "probe.use=[linear,finetune]", "data.limit=300"]
    words += ["probe.finetune.batch_size=8", "labels_per_class=[2]", "fractions=[]", "draws=1", "diagnose.map=false"]
    words += ["diagnose.pictures=false", "diagnose.corruptions=false"]
    one, two = ({entry["probe"]: entry for entry in result["scores"]} for result in by_one_and_two(words, tmp_path))
    assert one["linear"] == two["linear"] and one.keys() == two.keys()
    assert abs(one["finetune"]["correct"] - two["finetune"]["correct"]) <= 3
