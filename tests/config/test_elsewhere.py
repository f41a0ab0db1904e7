"""Runs that go to an executor: a single one, those of a sweep, what is refused before anything is submitted."""

import json
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from typer.testing import CliRunner

from gssl import schemas
from gssl.cli import app
from gssl.comparison import whole_runs
from gssl.config import elsewhere, job
from gssl.config.composing import compose
from gssl.engine.files import find_json
from gssl.engine.recorded import finished
from gssl.engine.worker import OK, STOPPED, answered
from gssl.errors import Interrupted, UsageError
from gssl.schemas.determining import config_hash

SLURM = ("executor=slurm", "executor.cluster=local")
SWEEP = "hydra.sweep.dir=sweep"
COMMANDS = ("pretrain-ssl", "train-gan", "transfer")


def gssl(*args):
    result = CliRunner().invoke(app, list(args))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


class Here:
    """Runs jobs one after another in this process, as an executor would elsewhere."""

    def __init__(self):
        self.calls = []  # of each call: the names of its jobs
        self.jobs = []
        self.asked = None

    def run(self, jobs, executor, show, told):
        self.calls.append(list(jobs))
        self.asked = executor
        failed = {}
        for name, one in jobs.items():
            if finished(one.run_dir):
                continue
            self.jobs.append(one)
            state, why = answered(one)
            if state == STOPPED:
                raise Interrupted(75)
            if state == OK:
                told(name)
            else:
                failed[name] = why
        return failed


@pytest.fixture
def here(stubbed, monkeypatch):
    """An executor of this process, and no images to read."""
    made = Here()
    monkeypatch.setattr(whole_runs, "run", made.run)
    monkeypatch.setattr("gssl.data.load_data", lambda data, progress=False: None)
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_a_single_run_is_one_job(here, stubbed, tmp_path, command):
    given = ("weights=random",) if command == "transfer" else ()
    done = gssl(command, *given, "seed=3", "hydra.run.dir=out", *SLURM, "executor.cpus=3")
    assert done.exit_code == 0, done.stderr
    ((cfg, run_dir, _),) = stubbed.CALLS
    assert run_dir == tmp_path / "out"
    # inside its job a run is like any other, which goes on where it was stopped, with the threads that were asked for
    assert cfg.executor == schemas.LOCAL
    assert (cfg.seed, cfg.engine.resume, cfg.engine.threads) == (3, "auto", 3)
    assert here.asked.name == "slurm"
    assert "val_knn 3" in done.stdout


def test_a_single_job_that_fails_is_a_failed_run(here, stubbed, tmp_path):
    stubbed.MODES[None] = "job"
    done = gssl("pretrain-ssl", "hydra.run.dir=out", *SLURM)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("error: diverged at step 3 (log: out/log.txt")
    assert find_json(tmp_path / "out" / "status.json")["state"] == "failed"


def test_the_runs_of_a_sweep_go_together_and_each_is_on_record(here, stubbed, tmp_path):
    stubbed.MODES[1] = "fail"
    done = gssl("pretrain-ssl", "-m", "seed=0,1,2", "ssl.temperature=0.3", SWEEP, *SLURM, "--json")
    assert done.exit_code == 1
    assert here.calls == [["run 0 (seed=0)", "run 1 (seed=1)", "run 2 (seed=2)"]]
    states = [document.get("state", "finished") for document in json.loads(done.stdout)]
    assert states == ["finished", "failed", "finished"]
    assert "job 1 (seed=1 ssl.temperature=0.3" in done.stderr
    assert "ValueError: the loss is odd" in done.stderr
    # the same call again runs what is missing
    stubbed.MODES.clear()
    again = gssl("pretrain-ssl", "-m", "seed=0,1,2", "ssl.temperature=0.3", SWEEP, *SLURM, "--json")
    assert again.exit_code == 0, again.stderr
    assert [one.run_dir for one in here.jobs[3:]] == [tmp_path / "sweep" / "1"]
    assert [document["objective"]["value"] for document in json.loads(again.stdout)] == [0, 1, 2]


def test_a_directory_with_another_run_is_refused_before_anything_is_submitted(here, stubbed):
    assert gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP, *SLURM).exit_code == 0
    done = gssl("pretrain-ssl", "-m", "seed=0,5", SWEEP, *SLURM)
    assert done.exit_code == 1
    assert "job 1 (seed=5 executor=slurm executor.cluster=local): " in done.stderr
    assert "holds a run with another configuration" in done.stderr
    assert here.calls[1] == ["run 0 (seed=0)"]


def test_a_signal_ends_a_sweep_and_says_how_to_go_on(here, stubbed, tmp_path):
    stubbed.MODES[1] = "begun-interrupted"
    done = gssl("pretrain-ssl", "-m", "seed=0,1,2", SWEEP, *SLURM)
    assert done.exit_code == 75
    assert "interrupted: sweep/1; call it again with hydra.sweep.dir=sweep to go on" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "sweep" / job.JOBS).read_text().splitlines()]
    assert [(row["job"], row["state"]) for row in rows] == [("0", "finished"), ("1", "interrupted")]


def test_a_run_of_a_sweep_whose_images_cannot_be_read_fails_alone(here, stubbed, monkeypatch):
    def load(data, progress=False):
        if data.val_fraction == 0.3:
            raise UsageError("data.root: no such folder")

    monkeypatch.setattr("gssl.data.load_data", load)
    done = gssl("pretrain-ssl", "-m", "data.val_fraction=0.1,0.3", SWEEP, *SLURM)
    assert done.exit_code == 1
    assert "data.root: no such folder" in done.stderr
    assert here.calls == [["run 0 (data.val_fraction=0.1)"]]


def test_a_sweeper_that_optimises_gets_objectives_and_failures(here, stubbed, tmp_path):
    task = job.Task("train-gan", "stub:main", "call", True, -1.0, whole_runs)

    def waiting(seed: int) -> job.Waiting:
        place = tmp_path / str(seed)
        place.mkdir()
        cfg = schemas.replace(compose("train-gan", SLURM), seed=seed)
        return job.Waiting(job.Place(place, None, tmp_path, str(seed), (f"seed={seed}",)), cfg, cfg)

    stubbed.MODES[5] = "job"
    answers = task.sent([waiting(4), waiting(5)])
    assert answers[0] == -4
    assert isinstance(answers[1], Exception) and str(answers[1]) == "diverged at step 3"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-m", "executor=slurm,local"), "executor=slurm,local: all runs go to one executor; give one value"),
        (("-m", *SLURM, "executor.cpus=1,2"), "executor.cpus=1,2: all runs go to one executor"),
        (("-m", *SLURM, "hydra/launcher=joblib"), "hydra/launcher=joblib: executor=slurm starts the runs"),
        ((*SLURM, "+hydra.job.env_set.A=b"), "hydra.job.env_set: does not reach the jobs of executor=slurm"),
        ((*SLURM, "hydra.job.chdir=true"), "hydra.job.chdir: jobs of executor=slurm run in this directory"),
        (
            ("-m", "executor=ray", "executor.address=nobody", "executor.unshared=[]"),
            "executor.address=nobody: expected HOST:PORT",
        ),
        (
            ("-m", "executor=ray", "executor.address=a:1", "budget.seconds=9"),
            "budget.seconds: in a second unlike machines",
        ),
        ((*SLURM, "resume=extend"), "resume=extend: a finished run is lengthened here, not by executor=slurm"),
        (("executor.cpus=2",), "executor.cpus: is a key of executor=slurm; write executor=slurm before it"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_made(here, tmp_path, words, says):
    if "hydra/launcher=joblib" in words:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    if "executor=ray" in words:
        pytest.importorskip("ray")
    done = gssl("pretrain-ssl", *words)
    assert done.exit_code == 2
    assert says in done.stderr
    assert not here.calls
    assert list(tmp_path.iterdir()) == []


def test_an_unshared_folder_is_refused_where_jobs_run_on_other_machines(here, monkeypatch, tmp_path):
    monkeypatch.setattr("gssl.comparison.executors.checks._slurm", lambda executor: None)
    done = gssl("pretrain-ssl", "-m", "executor=slurm", f"executor.unshared=[{tmp_path}]", SWEEP)
    assert done.exit_code == 2
    assert f"{tmp_path}/sweep (hydra.run.dir or hydra.sweep.dir) lies below {tmp_path}" in done.stderr
    assert not (tmp_path / "sweep").exists()


def test_a_dry_run_of_a_sweep_says_how_many_runs_there_are_and_what_would_be_submitted(here, stubbed, tmp_path):
    done = gssl("pretrain-ssl", "-m", "seed=0,1", "ssl.temperature=0.1,0.2,0.3", SWEEP, *SLURM, "--dry-run")
    assert done.exit_code == 0, done.stderr
    last = done.stdout.splitlines()[-2:]
    assert last == [
        "first of 6 runs",
        "executor=slurm: 6 jobs, each with submitit's processes here, 240 minutes each; 32 at once",
    ]
    ((cfg, _, dry),) = stubbed.CALLS
    assert dry and cfg.seed == 0 and cfg.executor == schemas.LOCAL
    assert not here.calls and not (tmp_path / "sweep").exists()


def test_comparisons_submit_their_parts_by_themselves():
    for command, wanted in (("compare", False), ("pretrain-ssl", True)):
        assert elsewhere.wanted(compose(command, SLURM)) is wanted
        assert not elsewhere.wanted(compose(command))


def test_where_runs_run_is_no_part_of_what_determines_them():
    assert config_hash(compose("pretrain-ssl")) == config_hash(compose("pretrain-ssl", SLURM))


def test_the_launcher_is_hydras_again_afterwards(here):
    assert gssl("pretrain-ssl", "-m", "seed=0", SWEEP, *SLURM).exit_code == 0
    assert "instantiate_launcher" not in vars(Plugins.instance())
    assert OmegaConf.load(Path("sweep") / "multirun.yaml")
