"""What lies in a run directory is taken for what it is: lost, damaged and changed files, and kills at bad moments."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from gssl.commands import pretrain_ssl, train_gan, transfer
from gssl.engine import checkpoint, loop
from gssl.engine import run as run_module
from gssl.engine.files import sha256
from gssl.errors import Interrupted, UsageError

MAIN = {"pretrain-ssl": pretrain_ssl.main, "train-gan": train_gan.main}


def made(tiny, run, *words):
    return pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=4", "engine.log_every=1", *words), run)


def lines(run):
    return (run / "metrics.jsonl").read_text().splitlines()


def kinds(run):
    return [(entry["step"], "lr" in entry, entry.get("alarm")) for entry in map(json.loads, lines(run))]


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "list"])
@pytest.mark.parametrize("resume", ["no", "auto"])
def test_without_its_status_a_directory_is_of_no_other_run(tiny, tmp_path, how, resume):
    run = tmp_path / "run"
    made(tiny, run)
    status = run / "status.json"
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p != status}
    text = {"empty": "", "cut": status.read_text()[:40], "list": "[]"}.get(how)
    status.unlink() if text is None else status.write_text(text)
    with pytest.raises(UsageError, match=r"status\.json is (gone|damaged)"):
        made(tiny, run, f"engine.resume={resume}", "seed=7")
    assert {p: p.read_bytes() for p in before} == before


def test_a_folder_in_the_place_of_a_status_is_refused(tiny, tmp_path):
    (tmp_path / "run" / "status.json").mkdir(parents=True)
    with pytest.raises(UsageError, match="status.json: is a folder; remove it"):
        made(tiny, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir() if p.name != ".lock"] == ["status.json"]


def test_the_same_run_goes_on_without_its_status(tiny, tmp_path, capsys):
    run = tmp_path / "run"
    made(tiny, run)
    weights, log = sha256(run / "weights" / "backbone.safetensors"), kinds(run)
    (run / "status.json").unlink()
    made(tiny, run, "engine.resume=auto")
    assert "status.json is gone; the checkpoints are this run's" in capsys.readouterr().err
    assert sha256(run / "weights" / "backbone.safetensors") == weights
    assert kinds(run) == log


def test_trouble_before_the_first_status_leaves_a_run_that_can_be_called_again(tiny, tmp_path, monkeypatch):
    def none_left():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(run_module, "environment", none_left)
        made(tiny, tmp_path / "run")
    made(tiny, tmp_path / "run", "engine.resume=auto")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


def test_a_status_of_no_configuration_is_a_damaged_one(tiny, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "status.json").write_text('{"state": "failed", "ended": "2026-01-01T00:00:00+00:00"}')
    with pytest.raises(UsageError, match=r"status\.json is damaged"):
        made(tiny, run, "engine.resume=auto")


def test_inputs_are_compared_by_the_checkpoints_where_the_status_is_lost(tiny, tmp_path):
    run = tmp_path / "run"
    made(tiny, run)
    (run / "status.json").unlink()
    with pytest.raises(UsageError, match="another configuration|began with other images"):
        made(tiny, run, "engine.resume=auto", "data.limit=300")


@pytest.mark.parametrize("how", ["gone", "cut", "changed"])
def test_a_result_that_is_not_what_was_written_is_made_again(tiny, tmp_path, capsys, how):
    run = tmp_path / "run"
    made(tiny, run)
    result = run / "result.json"
    whole, log = json.loads(result.read_text()), kinds(run)
    if how == "gone":
        result.unlink()
    else:
        text = result.read_text()
        result.write_text(text[: len(text) // 2] if how == "cut" else text.replace('"seed": 0', '"seed": 3'))
    made(tiny, run, "engine.resume=auto")
    assert "result.json is gone or not what was written" in capsys.readouterr().err
    again = json.loads(result.read_text())
    assert again["objective"] == whole["objective"] and again["seed"] == 0
    assert kinds(run) == log


@pytest.mark.parametrize("name", ["backbone.safetensors", "backbone.json"])
def test_weights_that_are_not_what_was_written_are_made_again(tiny, tmp_path, capsys, name):
    run, other = tmp_path / "run", tmp_path / "other"
    made(tiny, run)
    made(tiny, other, "seed=1")
    whole, log = sha256(run / "weights" / name), kinds(run)
    made(tiny, run, "engine.resume=auto")
    assert "gone" not in capsys.readouterr().err
    shutil.copy(other / "weights" / name, run / "weights" / name)
    assert sha256(run / "weights" / name) != whole
    made(tiny, run, "engine.resume=auto")
    assert f"{run}/weights/{name} is gone or not what was written; it is made again" in capsys.readouterr().err
    assert sha256(run / "weights" / name) == whole
    assert kinds(run) == log
    made(tiny, run, "engine.resume=auto")
    assert "finished already" in capsys.readouterr().err


@pytest.mark.parametrize("command", list(MAIN))
def test_killed_after_the_last_line_nothing_stands_twice(tiny, tmp_path, monkeypatch, command):
    run, cfg = tmp_path / "run", tiny(command, "budget.steps=4", "engine.log_every=1")
    calm = tmp_path / "calm"
    MAIN[command](cfg, calm)

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gssl.experiment.training.Training.export", killed)
        with pytest.raises(KeyboardInterrupt):
            MAIN[command](cfg, run)
    MAIN[command](tiny(command, "budget.steps=4", "engine.log_every=1", "engine.resume=auto"), run)
    assert kinds(run) == kinds(calm)


@pytest.mark.parametrize("harm", [lambda line: line[:-5], lambda line: line.replace(b"lr", b"l\xff")])
def test_a_damaged_line_in_the_middle_is_said(tiny, tmp_path, capsys, harm):
    run = tmp_path / "run"
    made(tiny, run)
    (run / "result.json").unlink()
    text = (run / "metrics.jsonl").read_bytes().splitlines()
    text[2] = harm(text[2])
    (run / "metrics.jsonl").write_bytes(b"\n".join(text) + b"\n")
    made(tiny, run, "engine.resume=auto")
    assert "metrics.jsonl: line 3 is damaged (1 in all)" in capsys.readouterr().err


def test_a_signal_in_the_last_step_saves_and_is_no_end(tiny, tmp_path, monkeypatch):
    run = tmp_path / "run"
    update = loop.CountedUpdate.__call__

    def signalled(self, batch, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGHUP)
        return update(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop.CountedUpdate, "__call__", signalled)
        with pytest.raises(Interrupted) as found:
            made(tiny, run)
    assert found.value.code == 75
    assert checkpoint.newest(run / "checkpoints")[0].name == "step-00000004"
    made(tiny, run, "engine.resume=auto")
    made(tiny, tmp_path / "calm")
    assert kinds(run) == kinds(tmp_path / "calm")


@pytest.mark.parametrize("moment", ["old", "new", "both"])
def test_with_one_kept_checkpoint_a_kill_while_it_is_replaced_leaves_one(tiny, tmp_path, moment):
    run = tmp_path / "run"
    made(tiny, run, "engine.keep_checkpoints=1")
    folder = run / "checkpoints"
    final = folder / "step-00000004"
    if moment in ("new", "both"):
        shutil.copytree(final, folder / ".tmp-step-00000004")
    if moment in ("old", "both"):
        shutil.copytree(final, folder / ".old-step-00000004")
    shutil.rmtree(final)
    for path in folder.glob("step-*"):
        shutil.rmtree(path)
    found, damaged = checkpoint.newest(folder)
    assert found and checkpoint.whole(found) and not damaged


@pytest.mark.parametrize("text", ['{"model.safetensors": {"byte": 1}}', '{"model.safetensors": 3}', "[]", "null", "{"])
def test_a_damaged_manifest_is_a_damaged_checkpoint(tiny, tmp_path, text):
    run = Path(tmp_path / "run")
    made(tiny, run, "engine.checkpoint_every=2")
    newest = run / "checkpoints" / "step-00000004"
    (newest / "manifest.json").write_text(text)
    found, damaged = checkpoint.newest(run / "checkpoints")
    assert damaged == [newest] and found.name == "step-00000002"


@pytest.mark.parametrize("what", ["configuration", "images"])
def test_checkpoints_of_another_run_are_not_gone_on_from(tiny, tmp_path, pictures, what):
    """The status is whole; what lies in checkpoints/ has come from somewhere else."""
    run, other = tmp_path / "run", tmp_path / "other"
    made(tiny, run)
    made(tiny, other, "seed=7" if what == "configuration" else "data.limit=100")
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    (run / "result.json").unlink()
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match="newest checkpoint was made (with another configuration|from other images)"):
        made(tiny, run, "engine.resume=auto")
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_lengthened_run_may_go_on_from_the_checkpoints_of_its_shorter_budget(tiny, tmp_path):
    run = tmp_path / "run"
    made(tiny, run)
    made(tiny, run, "budget.steps=6", "engine.resume=extend")
    (run / "result.json").unlink()
    made(tiny, run, "budget.steps=6", "engine.resume=auto")
    assert json.loads((run / "result.json").read_text())["spent"]["steps"] == 6


def test_a_full_disk_leaves_the_checkpoint_before_and_no_half_of_the_next(tiny, tmp_path, monkeypatch):
    run, save = tmp_path / "run", checkpoint.save_file

    def full(tensors, path):
        if "step-00000002" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(OSError, match="No space"):
            made(tiny, run, "engine.checkpoint_every=2")
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000000"]
    made(tiny, run, "engine.checkpoint_every=2", "engine.resume=auto")
    made(tiny, tmp_path / "calm", "engine.checkpoint_every=2")
    assert kinds(run) == kinds(tmp_path / "calm")


def test_a_fit_of_another_run_is_not_taken_over(tiny, tmp_path, capsys, monkeypatch):
    """Fine-tuning keeps its checkpoints below the run; those of another configuration are left alone and said."""
    words = ["weights=random", "probe.use=[finetune]", "labels_per_class=[5]"]
    with monkeypatch.context() as patch:
        patch.setattr("gssl.engine.fits.Fits.forget", lambda self: None)
        transfer.main(tiny("transfer", *words, "seed=7"), tmp_path / "other")
        transfer.main(tiny("transfer", *words), tmp_path / "calm")
    run = tmp_path / "run"
    theirs, ours = (
        sorted(path.parents[1] for path in (tmp_path / name / "finetune").rglob("state.json"))
        for name in ("other", "calm")
    )
    for their, our in zip(theirs, ours, strict=True):  # under this run's names, which say what determines a fit
        shutil.copytree(their, run / our.relative_to(tmp_path / "calm"), dirs_exist_ok=True)
    capsys.readouterr()
    transfer.main(tiny("transfer", *words), run)
    assert "is of another run or fit; it is not used" in capsys.readouterr().err
    mine, calm = (json.loads((folder / "result.json").read_text())["scores"] for folder in (run, tmp_path / "calm"))
    assert [score["correct"] for score in mine] == [score["correct"] for score in calm]
