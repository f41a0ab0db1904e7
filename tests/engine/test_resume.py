"""Killed anywhere and called again: the same bytes as without the kill."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gssl.commands import pretrain_ssl, train_gan
from gssl.engine.files import read_json, sha256
from gssl.engine.loop import Trainer
from gssl.engine.run import Run
from gssl.errors import Interrupted, JobError, UsageError


class Killed(BaseException):
    """Ends a run without any of its own clean-up in the loop."""


def weights(run: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted((run / "weights").glob("*.safetensors"))}


def die_at(monkeypatch, step: int, error: type[BaseException] = Killed):
    """Raise before the update of `step`."""
    original = Trainer.fit

    def fit(self, method, *args, **kwargs):
        update = method.update

        def dying(batch, now):
            if now == step:
                raise error
            return update(batch, now)

        method.update = dying
        return original(self, method, *args, **kwargs)

    monkeypatch.setattr(Trainer, "fit", fit)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), pytest.param(4, marks=pytest.mark.long), 5])
@pytest.mark.parametrize("command", ["pretrain-ssl", "train-gan"])
def test_a_resumed_run_is_bit_identical(tiny, tmp_path, monkeypatch, command, step):
    main = {"pretrain-ssl": pretrain_ssl.main, "train-gan": train_gan.main}[command]
    extra = ["engine.checkpoint_every=2", "engine.log_every=1", "eval.every=3"]
    cfg = tiny(command, "engine.resume=auto", *extra)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    value = main(cfg, whole)
    with monkeypatch.context() as patch:
        die_at(patch, step)
        with pytest.raises(Killed):
            main(cfg, broken)
    assert read_json(broken / "status.json")["state"] == "failed"
    assert main(cfg, broken) == value
    assert weights(broken) == weights(whole) and weights(whole)
    lines = [json.loads(line) for line in (broken / "metrics.jsonl").read_text().splitlines()]
    reference = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    free = ("seconds", "images_per_second")
    assert [{k: v for k, v in entry.items() if k not in free} for entry in lines] == [
        {k: v for k, v in entry.items() if k not in free} for entry in reference
    ]


def test_a_damaged_checkpoint_costs_time_not_the_result(tiny, tmp_path, monkeypatch, capsys):
    cfg = tiny("pretrain-ssl", "engine.resume=auto", "engine.checkpoint_every=2")
    pretrain_ssl.main(cfg, tmp_path / "whole")
    with monkeypatch.context() as patch:
        die_at(patch, 5)
        with pytest.raises(Killed):
            pretrain_ssl.main(cfg, tmp_path / "broken")
    newest = tmp_path / "broken" / "checkpoints" / "step-00000004" / "optim.safetensors"
    newest.write_bytes(newest.read_bytes()[:-3])
    pretrain_ssl.main(cfg, tmp_path / "broken")
    assert "damaged" in capsys.readouterr().err
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_finished_means_finished(tiny, tmp_path):
    cfg = tiny("pretrain-ssl", "engine.resume=auto")
    value = pretrain_ssl.main(cfg, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    assert pretrain_ssl.main(cfg, tmp_path) == value
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}


def test_another_configuration_is_refused_and_named(tiny, tmp_path):
    pretrain_ssl.main(tiny("pretrain-ssl", "engine.resume=auto"), tmp_path)
    with pytest.raises(UsageError, match="ssl.temperature: 0.5 then, 0.7 now"):
        pretrain_ssl.main(tiny("pretrain-ssl", "engine.resume=auto", "ssl.temperature=0.7"), tmp_path)
    with pytest.raises(UsageError, match="resume=auto"):
        pretrain_ssl.main(tiny("pretrain-ssl"), tmp_path)


def test_another_number_of_threads_is_warned_about(tiny, tmp_path, monkeypatch, capsys):
    extra = ["engine.resume=auto", "engine.checkpoint_every=2"]
    with monkeypatch.context() as patch:
        die_at(patch, 3)
        with pytest.raises(Killed):
            pretrain_ssl.main(tiny("pretrain-ssl", *extra), tmp_path)
    environment = read_json(tmp_path / "environment.json")
    (tmp_path / "environment.json").write_text(json.dumps(environment | {"threads": 77}))
    pretrain_ssl.main(tiny("pretrain-ssl", *extra), tmp_path)
    assert "begun with 77" in capsys.readouterr().err


def test_a_directory_has_one_process(tiny, tmp_path):
    cfg = tiny("pretrain-ssl")
    with Run(tmp_path, "pretrain-ssl", cfg), pytest.raises(UsageError, match="another process"):
        pretrain_ssl.main(cfg, tmp_path)


def test_a_signal_saves_and_the_run_goes_on(tiny, tmp_path, monkeypatch):
    cfg = tiny("pretrain-ssl", "engine.resume=auto", "engine.checkpoint_every=100")
    pretrain_ssl.main(cfg, tmp_path / "whole")
    original = Trainer.fit

    def fit(self, method, *args, **kwargs):
        update = method.update

        def interrupting(batch, step):
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return update(batch, step)

        method.update = interrupting
        return original(self, method, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", fit)
        with pytest.raises(Interrupted) as stopped:
            pretrain_ssl.main(cfg, tmp_path / "stopped")
    assert stopped.value.code == 75
    assert read_json(tmp_path / "stopped" / "status.json")["state"] == "interrupted"
    assert (tmp_path / "stopped" / "checkpoints" / "step-00000003").is_dir()
    pretrain_ssl.main(cfg, tmp_path / "stopped")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")


def test_divergence_stops_the_run_and_keeps_the_last_finite_checkpoint(tiny, tmp_path):
    cfg = tiny(
        "pretrain-ssl", "ssl.optim.lr=1e30", "ssl.optim.warmup=0", "engine.checkpoint_every=1",
        "backbone.norm=none", "budget.steps=50",
    )  # fmt: skip
    with pytest.raises(JobError, match="diverged at step"):
        pretrain_ssl.main(cfg, tmp_path)
    status = read_json(tmp_path / "status.json")
    assert status["state"] == "failed" and "diverged" in status["error"]
    assert status["spent"]["steps"] > 0 and status["spent"]["flops"] > 0 and status["spent"]["seconds"] > 0
    assert not (tmp_path / "result.json").exists()


@pytest.mark.long
@pytest.mark.parametrize("command", ["pretrain-ssl", "train-gan"])
def test_sigkill_at_a_random_instant(pictures, tmp_path, command):
    """The real thing: a process that is killed from outside, and the command line that goes on with it."""
    words = [sys.executable, "-m", "gssl", command, "data=imagefolder", f"data.root={pictures}", "data.size=16"]
    words += ["backbone.width=8", "engine.threads=1", "engine.device=cpu", "engine.checkpoint_every=5", "resume=auto"]
    words += (
        ["ssl.batch_size=32"] if command == "pretrain-ssl" else ["gan.batch_size=32", "gan.width=4", "evaluator=random"]
    )
    words += ["budget.steps=120"]

    def start(folder: str) -> subprocess.Popen[bytes]:
        with (tmp_path / f"{folder}.err").open("ab") as err:
            return subprocess.Popen(
                [*words, f"hydra.run.dir={tmp_path / folder}"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=err
            )

    def said(folder: str) -> str:
        return (tmp_path / f"{folder}.err").read_text()

    with start("whole") as whole, start("killed") as killed:
        try:
            deadline = time.monotonic() + 240
            # any but that of step 0, after which nothing has happened yet
            while not list((tmp_path / "killed").glob("checkpoints/step-*[1-9]*")):
                assert killed.poll() is None and time.monotonic() < deadline, said("killed")
                time.sleep(0.01)
            time.sleep(random.random() * 0.4)
            killed.kill()
            killed.wait()
            assert whole.wait(240) == 0, said("whole")
        finally:
            whole.kill()
            killed.kill()
    with start("killed") as again:
        assert again.wait() == 0, said("killed")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole") != {}


@pytest.mark.long
def test_other_images_or_weights_are_refused(tiny, tmp_path, pictures, monkeypatch):
    import shutil

    root = tmp_path / "mine"
    shutil.copytree(pictures, root)
    words = [f"data.root={root}", "engine.resume=auto", "engine.checkpoint_every=2"]
    with monkeypatch.context() as patch:
        die_at(patch, 3)
        with pytest.raises(Killed):
            pretrain_ssl.main(tiny("pretrain-ssl", *words), tmp_path / "run")
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    (moved / "train" / "a" / "000.png").unlink()
    words[0] = f"data.root={moved}"
    with pytest.raises(UsageError, match="began with other images"):
        pretrain_ssl.main(tiny("pretrain-ssl", *words), tmp_path / "run")
    shutil.copy(pictures / "train" / "a" / "000.png", moved / "train" / "a" / "000.png")
    pretrain_ssl.main(tiny("pretrain-ssl", *words), tmp_path / "run")  # the same images in another place will do

    one, two = tmp_path / "one", tmp_path / "two"
    pretrain_ssl.main(tiny("pretrain-ssl"), one)
    pretrain_ssl.main(tiny("pretrain-ssl", "seed=1"), two)
    pretrain_ssl.main(tiny("pretrain-ssl", "engine.resume=auto", f"weights={one}"), tmp_path / "chain")
    with pytest.raises(UsageError, match="began with other weights"):
        pretrain_ssl.main(tiny("pretrain-ssl", "engine.resume=auto", f"weights={two}"), tmp_path / "chain")
