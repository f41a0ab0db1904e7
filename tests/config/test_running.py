"""Running under Hydra: what is made, what is printed, how it ends."""

import fcntl
import json
import logging
import os
import pickle
import sys
from pathlib import Path

import pytest
from omegaconf import open_dict
from typer.testing import CliRunner

from gssl.cli import app
from gssl.config import composing, hydra_api, job, running

RUN = "hydra.run.dir=out"
SWEEP = "hydra.sweep.dir=sweep"


def gssl(*args):
    result = CliRunner().invoke(app, list(args))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lines(text):
    return [line for line in text.splitlines() if line]


def test_a_run_finishes(stubbed, tmp_path):
    done = gssl("pretrain-ssl", "seed=3", RUN)
    assert done.exit_code == 0
    (cfg, run_dir, _), *more = stubbed.CALLS
    assert not more
    assert cfg.seed == 3 and cfg.engine.resume == "no" and cfg.ssl.temperature > 0
    assert run_dir == tmp_path / "out"
    assert lines(done.stdout) == ["val_knn 3", "spent: 5 steps", "run: out"]
    assert "noise" in done.stderr
    assert not (tmp_path / "out" / ".hydra").exists()


def test_the_directory_is_named_by_command_and_time(stubbed, tmp_path):
    assert gssl("train-gan").exit_code == 0
    (run_dir,) = (tmp_path / "runs" / "train_gan").iterdir()
    assert run_dir == stubbed.CALLS[0][1]


@pytest.mark.long
def test_directories_with_odd_names(stubbed, tmp_path):
    assert gssl("train-gan", "hydra.run.dir='it''s'").exit_code == 2  # two strings, no value
    done = gssl("train-gan", "hydra.run.dir='a b, c=[d]'")
    assert done.exit_code == 0
    assert (tmp_path / "a b, c=[d]" / "result.json").is_file()
    assert gssl("train-gan", r"hydra.run.dir='it\'s \a'").exit_code == 0
    assert (tmp_path / r"it's \a" / "result.json").is_file()


def test_json_is_exactly_one_document(stubbed):
    done = gssl("pretrain-ssl", "--json", RUN)
    document = json.loads(done.stdout)
    assert document["schema"] == "gssl.result/2" and document["run"] == "out"


@pytest.mark.long
@pytest.mark.parametrize("args", [("-m", "seed=1"), ("seed=1", "-m"), ("-m", "--json", "seed=1", SWEEP)])
def test_flags_stand_before_and_after_overrides(stubbed, args):
    assert gssl("train-gan", *args).exit_code == 0
    assert stubbed.CALLS[0][0].seed == 1


def test_a_failing_job(stubbed, tmp_path):
    stubbed.MODES[None] = "fail"
    done = gssl("train-gan", RUN, "--json")
    assert done.exit_code == 1
    assert lines(done.stderr)[1:] == ["error: ValueError: the loss is odd (log: out/log.txt)"]
    assert json.loads(done.stdout)["error"] == "ValueError: the loss is odd"
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "Traceback" in log and "stub.py" in log
    status = json.loads((tmp_path / "out" / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", "ValueError: the loss is odd")
    assert len(status["config_hash"]) == 16


def test_a_failure_keeps_what_the_run_itself_wrote(tmp_path):
    job.note_status(tmp_path, "x", "h", "failed", "first")
    job.note_status(tmp_path, "x", "h", "failed", "second")
    assert json.loads((tmp_path / "status.json").read_text())["error"] == "first"
    status = {"state": "running", "step": 40, "started": "then", "pid": os.getpid()}
    (tmp_path / "status.json").write_text(json.dumps(status))
    job.note_status(tmp_path, "x", "h", "interrupted", None)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["step"], status["started"]) == ("interrupted", 40, "then")


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_a_living_run_of_another_process_keeps_its_status(tmp_path, state):
    text = json.dumps({"state": "running", "step": 40, "pid": os.getppid()})
    (tmp_path / "status.json").write_text(text)
    job.note_status(tmp_path, "x", "h", state, None)
    assert (tmp_path / "status.json").read_text() == text


def test_an_interrupt_before_the_run_began_is_not_noted(tmp_path):
    job.note_status(tmp_path, "x", "h", "interrupted", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_failed_claim_exits_1_with_its_result(stubbed):
    stubbed.MODES[None] = "claim"
    done = gssl("compare", RUN, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["schema"] == "gssl.result/2"
    assert "error: does not hold: a > b" in done.stderr
    stubbed.MODES[None] = "job"  # the next call fails before it has a result of its own
    again = gssl("compare", RUN, "resume=auto", "--json")
    assert json.loads(again.stdout)["schema"] == "gssl.job/1"
    assert json.loads(again.stdout)["error"] == "diverged at step 3"


def test_a_usage_error_found_late_leaves_nothing(stubbed, tmp_path):
    stubbed.MODES[None] = "usage"
    done = gssl("transfer", "weights=nowhere", "hydra.run.dir=deep/er/out")
    assert done.exit_code == 2
    assert lines(done.stderr)[1:] == ["error: weights: no such file"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_usage_error_after_the_run_began_removes_nothing(stubbed, tmp_path):
    stubbed.MODES[None] = "begun-usage"
    done = gssl("transfer", "weights=nowhere", RUN)
    assert done.exit_code == 2
    assert lines(done.stderr)[-1] == "error: this run began with other images"
    assert (tmp_path / "out" / "status.json").is_file()


def test_what_another_process_holds_is_not_removed(tmp_path):
    new = tmp_path / "out"
    new.mkdir()
    with (new / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running._remove([new])
        assert new.is_dir()
    running._remove([new])
    assert not new.exists()


@pytest.mark.parametrize(
    ("folder", "why"), [("afile", "afile is a file"), ("afile/sub", "afile is a file"), ("/proc/xx", "No such file")]
)
@pytest.mark.parametrize("flags", [("hydra.run.dir",), ("hydra.sweep.dir", "-m")])
def test_a_directory_that_cannot_be_made_is_one_line(stubbed, tmp_path, folder, why, flags):
    (tmp_path / "afile").touch()
    key, *more = flags
    done = gssl("train-gan", *more, f"{key}={folder}")
    assert done.exit_code == 2
    line = lines(done.stderr)[-1]
    assert line.startswith(f"error: {key}={folder}: cannot make or write this directory ({why}")
    assert line.endswith(f"; choose another, such as {key}=runs/mine")
    assert [p.name for p in tmp_path.iterdir()] == ["afile"]


def test_a_directory_that_cannot_be_written_is_one_line(stubbed, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(job.os, "access", lambda *_: False)  # root may write anywhere
    done = gssl("train-gan", RUN)
    assert done.exit_code == 2 and stubbed.CALLS == []
    assert lines(done.stderr) == ["error: out: cannot write this directory; choose another hydra.run.dir"]


@pytest.mark.long
def test_a_wrong_second_call_changes_nothing(stubbed, tmp_path):
    assert gssl("transfer", "weights=random", RUN).exit_code == 0
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*")}
    stubbed.MODES[None] = "usage"
    assert gssl("transfer", "weights=random", "seed=4", RUN).exit_code == 2
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*")} == before


def test_a_usage_error_found_late_keeps_a_directory_that_was_there(stubbed, tmp_path):
    stubbed.MODES[None] = "usage"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert gssl("transfer", "weights=nowhere", RUN).exit_code == 2
    assert (tmp_path / "out" / "mine").is_file()


@pytest.mark.parametrize(
    "args",
    [
        ("pretrain-ssl", "ssl.tempo=1"),
        ("pretrain-ssl", "-m", "seed=0,x"),
        ("pretrain-ssl", "--dry-run", "ssl=foo"),
        ("pretrain-ssl", "--cfg", "job", "seed=x"),
        ("pretrain-ssl", "-m", "--cfg", "job"),
        ("compare", "--plan", "--dry-run"),
        ("compare", "--plan", "-m"),
        ("pretrain-ssl", "--resolve"),
        ("pretrain-ssl", "--json", "--info"),
        ("pretrain-ssl", "--cfg", "job", "-p", "nowhere"),
        ("pretrain-ssl", "--cfg", "job", "--json", "-p", "ssl.nowhere"),
        ("pretrain-ssl", "-cd", "nowhere"),
        ("compare", "--check", "simclr.linear@10 >> 3"),
        ("compare", "--check", "simcr.linear@10 > 3"),
        ("transfer",),
    ],
)
def test_a_usage_error_is_one_line_and_makes_nothing(stubbed, tmp_path, args):
    done = gssl(*args)
    assert done.exit_code == 2
    (line,) = lines(done.stderr)
    assert line.startswith("error: ")
    assert done.stdout == "" and stubbed.CALLS == []
    assert list(tmp_path.iterdir()) == []


def test_interrupted(stubbed, tmp_path):
    stubbed.MODES[None] = "begun-interrupted"
    done = gssl("train-gan", RUN)
    assert done.exit_code == 75
    assert "resume=auto hydra.run.dir=out" in lines(done.stderr)[-1]
    assert json.loads((tmp_path / "out" / "status.json").read_text())["state"] == "interrupted"


def test_interrupted_before_the_run_began(stubbed, tmp_path):
    stubbed.MODES[None] = "interrupted"
    done = gssl("train-gan", "hydra.run.dir=deep/out")
    assert done.exit_code == 75
    assert lines(done.stderr)[-1] == "interrupted before the run began; nothing was kept"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_sweep_does_not_report_another_calls_results(stubbed):
    assert gssl("train-gan", "-m", "seed=0,1", SWEEP).exit_code == 0
    stubbed.MODES[None] = "usage"  # as the engine says of a directory with another configuration
    stubbed.MODES[6] = "fail"
    again = gssl("train-gan", "-m", "seed=5,6", SWEEP, "--json")
    assert again.exit_code == 1
    found = [(d["schema"], d["state"], d["error"]) for d in json.loads(again.stdout)]
    assert found == [
        ("gssl.job/1", "usage", "weights: no such file"),
        ("gssl.job/1", "failed", "ValueError: the loss is odd"),
    ]


@pytest.mark.long
def test_a_sweep_runs_all_and_says_which_failed(stubbed, tmp_path):
    stubbed.MODES[1] = "fail"
    stubbed.MODES[2] = "usage"
    done = gssl("pretrain-ssl", "-m", "seed=0,1,2,3", SWEEP, "--json")
    assert done.exit_code == 1
    assert [c.seed for c, _, _ in stubbed.CALLS] == [0, 1, 2, 3]
    documents = json.loads(done.stdout)
    assert [d.get("state", "finished") for d in documents] == ["finished", "failed", "usage", "finished"]
    assert documents[3]["objective"]["value"] == 3
    last = lines(done.stderr)[-1]
    assert last.startswith("error: 2 of 4 jobs failed: job 1 (seed=1): ValueError: the loss is odd (log: ")
    assert "2 (seed=2): weights: no such file" in last
    assert "Error executing job" not in done.stderr
    assert (tmp_path / "sweep" / "1" / "log.txt").is_file()


@pytest.mark.long
def test_a_sweep_for_people(stubbed):
    done = gssl("pretrain-ssl", "-m", "seed=0,1", "ssl.temperature=0.2,0.5", SWEEP)
    assert done.exit_code == 0 and len(stubbed.CALLS) == 4
    # the stub writes no configuration: the overrides say what differs; seeds are averaged over
    rows = [line.split() for line in done.stdout.splitlines() if "finished" in line]
    assert [row[:5] for row in rows] == [["0.2", "0", "1", "2", "finished"], ["0.5", "0", "1", "2", "finished"]]
    assert "val_knn ↑" in done.stdout and "0.5 ± 0.71" in done.stdout


@pytest.mark.long
def test_jobs_of_a_sweep_go_on_where_they_stopped(stubbed):
    stubbed.MODES[1] = "fail"
    assert gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP).exit_code == 1
    stubbed.MODES.clear()
    again = gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP, "--json")
    assert again.exit_code == 0
    assert len(json.loads(again.stdout)) == 2  # of this call, not of both
    # the engine leaves finished runs alone and continues others when asked to
    assert {c.engine.resume for c, _, _ in stubbed.CALLS} == {"auto"}


@pytest.mark.long
def test_a_signal_ends_the_whole_sweep(stubbed):
    stubbed.MODES[0] = "interrupted"
    done = gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP)
    assert done.exit_code == 75
    assert len(stubbed.CALLS) == 1


@pytest.mark.long
def test_optimising_sweepers_get_value_and_failure(stubbed, tmp_path, monkeypatch):
    """They read the task's return value, or its exception, from Hydra's JobReturn."""
    with hydra_api.session(None):
        whole = composing._composed("pretrain-ssl", ["seed=4", f"hydra.sweep.dir={tmp_path}"])
    config = whole.copy()
    with open_dict(whole), open_dict(config):
        whole.hydra.runtime.output_dir = str(tmp_path)
        whole.hydra.job.num = 0
        del config["hydra"]
    with hydra_api.hydra_values(whole):
        assert job.Task("pretrain-ssl", "stub:main", "c", True)(config) == 4
        stubbed.MODES[4] = "job"
        with pytest.raises(job.JobError, match="diverged"):
            job.Task("pretrain-ssl", "stub:main", "c", True)(config)
        assert job.Task("pretrain-ssl", "stub:main", "c", False)(config) is None
    assert [r.state for r in job.read_jobs(tmp_path / job.JOBS, "c")] == ["finished", "failed", "failed"]


def test_a_damaged_line_of_a_sweep_is_said_and_costs_no_other_job(tmp_path, capsys):
    path = tmp_path / job.JOBS
    for number in range(4):
        job.append(path, job.Record("run\xff", "finished", job=str(number), overrides=("seed=1",), call="c"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"seed", b"s\xffed") + b'{"call": "c"}\n' + lines[2] + lines[3][:20])
    job.append(path, job.Record("run", "failed", job="4", call="c"))  # a line that a kill cut off takes none with it
    assert [r.job for r in job.read_jobs(path, "c")] == ["0", "2", "4"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: 3 lines of {path} are damaged: ")


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_run_gives_back_what_the_one_before_it_kept(stubbed):
    """A process that runs many jobs is not as large as all that ever came together in it."""
    from gssl.engine.device import keep_memory

    if not keep_memory():
        pytest.skip("the C library is not glibc, or MALLOC_… is set")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    assert gssl("pretrain-ssl", "hydra.run.dir=first").exit_code == 0
    blocks = [bytearray(os.urandom(1 << 20)) for _ in range(128)]
    full = resident()
    del blocks
    assert resident() > full - (32 << 20)  # kept for the next step
    assert gssl("pretrain-ssl", "hydra.run.dir=second").exit_code == 0
    assert resident() < full - (96 << 20)


def test_the_task_can_be_pickled():
    task = job.Task("train-gan", "stub:main", "c")
    assert pickle.loads(pickle.dumps(task)) == task


def test_dry_run_leaves_nothing(stubbed, tmp_path):
    done = gssl("train-gan", "--dry-run", "seed=2")
    assert done.exit_code == 0
    ((cfg, run_dir, dry),) = stubbed.CALLS
    assert dry and cfg.seed == 2 and not run_dir.exists()
    assert lines(done.stdout)[-1] == "one batch of 7"
    assert "one batch of 7" in json.loads(gssl("train-gan", "--dry-run", "--json").stdout)["message"]
    assert list(tmp_path.iterdir()) == []


def test_cfg_prints_the_checked_configuration(stubbed, tmp_path):
    done = gssl("pretrain-ssl", "--cfg", "job", "seed=5")
    assert done.exit_code == 0 and "seed: 5\n" in done.stdout and "hydra:" not in done.stdout
    part = gssl("pretrain-ssl", "-c", "job", "-p", "ssl.optim", "--resolve")
    assert part.stdout.startswith("# @package ssl.optim\nname: ")
    assert json.loads(gssl("pretrain-ssl", "--cfg", "job", "--json").stdout)["ssl"]["name"] == "simclr"
    assert isinstance(json.loads(gssl("pretrain-ssl", "-c", "job", "-p", "seed", "--json").stdout), int)
    assert "sweep:" in gssl("pretrain-ssl", "--cfg", "hydra").stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [("--info", "seed=1"), ("--info", "defaults"), ("seed=1", "--info")])
def test_info(stubbed, tmp_path, args):
    done = gssl("pretrain-ssl", *args)
    assert done.exit_code == 0
    assert "ssl/simclr" in done.stdout or "simclr" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_command_on_record_is_whole(stubbed, tmp_path, monkeypatch):
    """Workers have no other place to read it from."""
    argvs = []

    def main(cfg, run_dir, *, dry_run=False):
        argvs.append(sys.argv[:])

    monkeypatch.setattr(stubbed, "main", main)
    mine = tmp_path / "mine"
    mine.mkdir()
    gssl("train-gan", "-m", "--config-dir", str(mine), "seed=0", SWEEP)
    assert (
        argvs and argvs[0][:4] == ["gssl train-gan", "--multirun", "--config-dir", str(mine)] and "seed=0" in argvs[0]
    )


@pytest.mark.long
def test_the_process_is_as_before(stubbed):
    argv, handlers = sys.argv[:], logging.getLogger().handlers[:]
    for mode in ("ok", "fail", "usage", "interrupted"):
        stubbed.MODES[None] = mode
        gssl("train-gan", f"hydra.run.dir={mode}")
    assert (sys.argv, logging.getLogger().handlers) == (argv, handlers)
    assert len(stubbed.CALLS) == 4


def test_logging_goes_to_the_runs_log(stubbed, tmp_path, monkeypatch):
    def main(cfg, run_dir, *, dry_run=False):
        logging.getLogger("another").info("hello from below")

    monkeypatch.setattr(stubbed, "main", main)
    done = gssl("train-gan", RUN)
    assert "hello from below" in (tmp_path / "out" / "log.txt").read_text()
    assert "hello" not in done.stdout + done.stderr


@pytest.mark.long
def test_composing_inside_a_job_sees_its_own_configs(stubbed, tmp_path, monkeypatch):
    """compare composes its parts' configs while Hydra runs it."""
    (tmp_path / "mine" / "ssl").mkdir(parents=True)
    (tmp_path / "mine" / "ssl" / "warm.yaml").write_text("defaults: [simclr, _self_]\ntemperature: 9\n")
    seen = []

    def main(cfg, run_dir, *, dry_run=False):
        seen.append(composing.compose("pretrain-ssl", ["ssl=warm"]).ssl.temperature)

    monkeypatch.setattr(stubbed, "main", main)
    done = gssl("compare", "-cd", "mine", RUN)
    assert done.exit_code == 0, done.stderr
    assert seen == [9]


def test_a_log_that_cannot_be_set_up_is_one_line_and_leaves_nothing(stubbed, tmp_path):
    done = gssl("train-gan", "hydra.job_logging.root.level=X", RUN)
    assert done.exit_code == 2
    assert lines(done.stderr)[-1].startswith("error: hydra.job_logging: Unknown level: 'X'")
    assert not (tmp_path / "out").exists()
