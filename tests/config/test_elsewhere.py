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
from gssl.engine.worker import OK, STOPPED, USAGE, answered
from gssl.errors import Interrupted, JobError, UsageError
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
                failed[name] = UsageError(why) if state == USAGE else JobError(why)
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
    answers = task.sent([waiting(4), waiting(5)], [])
    assert here.calls == [["run 4 (seed=4)", "run 5 (seed=5)"]]
    assert answers[0] == -4
    assert isinstance(answers[1], Exception) and str(answers[1]) == "diverged at step 3"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-m", "executor=slurm,local"), "executor: differs between the runs of this sweep, and all of them go to one"),
        (("-m", "executor=local,slurm"), "executor: differs between the runs of this sweep, and all of them go to one"),
        (("-m", *SLURM, "executor.cpus=1,2"), "executor: differs between the runs of this sweep"),
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


def test_a_sweep_of_presets_goes_to_one_executor(here, tmp_path):
    own = tmp_path / "conf" / "experiment"
    own.mkdir(parents=True)
    (own / "small.yaml").write_text("# @package _global_\nseed: 1\n")
    (own / "large.yaml").write_text("# @package _global_\ndefaults:\n  - override /executor: slurm\n")
    done = gssl("pretrain-ssl", "-m", "experiment=small,large", "--config-dir", "conf", SWEEP)
    assert (done.exit_code, here.calls) == (2, [])
    assert "executor: differs between the runs of this sweep" in done.stderr


def test_a_job_that_refuses_what_it_was_given_leaves_nothing_to_go_on_with(here, stubbed, tmp_path):
    stubbed.MODES[None] = "usage"
    done = gssl("pretrain-ssl", "hydra.run.dir=out", *SLURM)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "error: weights: no such file")
    assert not (tmp_path / "out").exists()
    assert gssl("pretrain-ssl", "-m", "seed=0", SWEEP, *SLURM).exit_code == 1
    assert find_json(tmp_path / "sweep" / "0" / "status.json") is None
    stubbed.MODES.clear()
    assert gssl("pretrain-ssl", "-m", "seed=0", SWEEP, *SLURM).exit_code == 0


def test_what_is_unforeseen_before_a_run_is_handed_over_fails_it_alone(here, stubbed, monkeypatch):
    def load(data, progress=False):
        if data.val_fraction == 0.3:
            raise OSError("the disk has gone")

    monkeypatch.setattr("gssl.data.load_data", load)
    done = gssl("pretrain-ssl", "-m", "data.val_fraction=0.1,0.3,0.2", SWEEP, *SLURM, "--json")
    assert done.exit_code == 1
    assert [document.get("state", "finished") for document in json.loads(done.stdout)] == [
        "finished",
        "failed",
        "finished",
    ]
    assert "OSError: the disk has gone (log: sweep/1/log.txt" in done.stderr


def test_runs_of_one_directory_do_not_run_side_by_side(here, stubbed):
    done = gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP, "hydra.sweep.subdir=x", *SLURM)
    assert done.exit_code == 1
    assert "sweep/x: is the directory of run 0 (seed=0), too; hydra.sweep.subdir must name one for each" in done.stderr
    assert [cfg.seed for cfg, *_ in stubbed.CALLS] == [0]


def test_an_executor_that_takes_no_run_is_the_error_whatever_else_failed(here, stubbed, monkeypatch):
    def refuse(jobs, executor, show, told):
        raise UsageError("executor=ray: no machine of this Ray has 9 cpus")

    monkeypatch.setattr(whole_runs, "run", refuse)
    assert gssl("pretrain-ssl", "-m", "seed=5", SWEEP).exit_code == 0
    done = gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP, *SLURM)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        2,
        "error: executor=ray: no machine of this Ray has 9 cpus",
    )


def test_a_finished_run_needs_its_images_no_more(here, stubbed, monkeypatch):
    assert gssl("pretrain-ssl", "-m", "seed=0", SWEEP, *SLURM).exit_code == 0

    def load(data, progress=False):
        raise UsageError("data.root: no such folder")

    monkeypatch.setattr("gssl.data.load_data", load)
    done = gssl("pretrain-ssl", "-m", "seed=0", SWEEP, *SLURM)
    assert done.exit_code == 0, done.stderr


def test_a_signal_after_the_last_run_has_ended_ends_the_sweep(here, stubbed, monkeypatch):
    def run(*args):
        here.run(*args)
        raise Interrupted(130)

    monkeypatch.setattr(whole_runs, "run", run)
    done = gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP, *SLURM)
    assert done.exit_code == 130
    assert "interrupted: sweep; call it again with hydra.sweep.dir=sweep to go on" in done.stderr
    rows = [json.loads(line) for line in Path("sweep", job.JOBS).read_text().splitlines()]
    assert [row["state"] for row in rows] == ["finished", "finished"]


def test_an_interrupted_sweep_names_no_run_that_was_finished_before(here, stubbed, monkeypatch):
    assert gssl("pretrain-ssl", "-m", "seed=0", SWEEP, *SLURM).exit_code == 0

    def run(*args):
        raise Interrupted(130)

    monkeypatch.setattr(whole_runs, "run", run)
    done = gssl("pretrain-ssl", "-m", "seed=0,1", SWEEP, *SLURM)
    assert done.exit_code == 130
    assert "interrupted: sweep/1; call it again with hydra.sweep.dir=sweep to go on" in done.stderr


def test_processes_share_the_cores_of_a_job(here, stubbed):
    assert gssl("pretrain-ssl", "engine.processes=2", "hydra.run.dir=out", *SLURM, "executor.cpus=6").exit_code == 0
    assert stubbed.CALLS[0][0].engine.threads == 3


def test_a_dry_run_counts_what_a_preset_sweeps(here, stubbed, tmp_path):
    own = tmp_path / "conf" / "experiment"
    own.mkdir(parents=True)
    (own / "many.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 0,1,2\n"
    )
    done = gssl("pretrain-ssl", "experiment=many", "ssl.temperature=0.1", "--config-dir", "conf", *SLURM, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "first of 3 runs\nexecutor=slurm: 3 jobs" in done.stdout
    words = ("pretrain-ssl", "experiment=many", "--config-dir", "conf", *SLURM, SWEEP, "--json")
    assert "executor=slurm: 1 job," in gssl(*words[:4], *SLURM, "seed=5", "--dry-run").stdout
    assert [document["seed"] for document in json.loads(gssl(*words).stdout)] == [0, 1, 2]


def test_torchrun_and_an_executor_do_not_go_together(here, monkeypatch, tmp_path):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1234"}.items():
        monkeypatch.setenv(name, value)
    done = gssl("pretrain-ssl", "hydra.run.dir=out", *SLURM)
    assert done.exit_code == 2
    assert "executor=slurm: torchrun has started this run; leave one of the two out" in done.stderr
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_there_are_said_before_anything_is_submitted(here):
    done = gssl("transfer", "-m", "weights=nothing,random", SWEEP, *SLURM)
    assert done.exit_code == 1
    assert "weights=nothing: no such file or directory" in done.stderr
    assert here.calls == [["run 1 (weights=random)"]]
    table = json.loads(Path("sweep", "sweep.json").read_text())
    assert not [key for key in json.dumps(table).split('"') if key.startswith("executor.")]
