"""What cannot work is said before anything is submitted, on one line that says what to do."""

import math
import os
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gssl import schemas
from gssl.comparison import whole_runs
from gssl.comparison.executors import checks, slurm
from gssl.config import comparison_rules
from gssl.config.composing import compose
from gssl.config.paths import conf_dir
from gssl.errors import UsageError
from gssl.schemas.determining import config_hash
from gssl.schemas.executors import EXECUTORS, on_this_machine

DATA = schemas.Data.model_construct(root=None, pretrain=None, train=None, labels=None)
SHARED = {"unshared": []}


def made(name: str, **values):
    """An executor as its YAML has it, with other values: by hand, for Hydra takes half a second each time."""
    tree = OmegaConf.to_container(OmegaConf.load(conf_dir() / "executor" / f"{name}.yaml"))
    return EXECUTORS[name].model_validate({**tree, **values})


def asks(executor, parts: str = "/shared/parts", root: str | None = None) -> None:
    data = schemas.replace(DATA, root=root)
    checks.check(executor, {"parts": parts}, data)


def refused(executor, *places) -> str:
    with pytest.raises(UsageError) as error:
        asks(executor, *places)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A folder of programs that say what Slurm's would: `cluster(sinfo="main|main*|infinite")`."""

    def make(sinfo: str | None = "main|main*|infinite", sbatch: str = "exit 0") -> None:
        for name in checks.PROGRAMS:
            program(name, "exit 0")
        program("sinfo", "exit 1" if sinfo is None else f"printf '%s\\n' {' '.join(map(repr, sinfo.split()))}")
        program("sbatch", sbatch)

    def program(name: str, body: str) -> None:
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    return make


def test_a_package_that_is_not_there_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'gssl[slurm]'" in refused(made("slurm"))
    assert "pip install 'gssl[ray]'" in refused(made("ray"))
    asks(made("local"))


def test_a_folder_that_other_machines_do_not_have_is_refused(tmp_path, monkeypatch, cluster):
    monkeypatch.chdir(Path(__file__).parent)
    monkeypatch.setattr(sys, "prefix", "/shared/env")
    cluster()
    below = ["/dev/shm", "/private"]
    own = made("slurm", unshared=below)
    asks(own)
    assert "/private/parts (parts) lies below /private" in refused(own, "/private/parts")
    assert "/dev/shm/images (data.root)" in refused(own, "/shared/parts", "/dev/shm/images")
    (tmp_path / "link").symlink_to("/dev/shm")  # a name elsewhere does not help
    assert "/dev/shm/parts (parts)" in refused(own, f"{tmp_path}/link/parts")
    monkeypatch.setattr(sys, "prefix", "/private/env")
    assert "/private/env (the Python environment)" in refused(own)
    asks(made("slurm", unshared=below, cluster="local"), "/private/parts")  # one machine has all that it has


def test_slurm_must_be_there_and_take_such_a_job(monkeypatch, cluster, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch is not on this machine" in refused(made("slurm", **SHARED))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    cluster(sinfo=None)
    assert "controller cannot be reached" in refused(made("slurm", **SHARED))
    cluster(sinfo="cpu|cpu|infinite gpu|gpu|2-00:00:00")
    assert "executor.partition: Slurm has no default here; give one of cpu, gpu" in refused(made("slurm", **SHARED))
    assert "did you mean 'gpu'" in refused(made("slurm", **SHARED, partition="gpus"))
    asks(made("slurm", **SHARED, partition="gpu", time=2880))
    text = refused(made("slurm", **SHARED, partition="gpu", time=2881))
    assert "executor.time=2881: gpu runs jobs for 2880 minutes at most" in text
    said = "echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1"
    cluster(sinfo="cpu|cpu*|infinite", sbatch=said)
    text = refused(made("slurm", **SHARED))
    assert "sbatch refuses such a job: Batch job submission failed: Invalid account" in text
    cluster(sinfo="cpu|cpu*|infinite", sbatch=f"cat > {tmp_path}/script")
    options = {"account": "mine", "exclusive": True}
    asks(made("slurm", **SHARED, memory=1.5, gpus=2, cpus=3, setup=["module load cuda"], options=options))
    lines = (tmp_path / "script").read_text().splitlines()
    for line in ("mem=1536MB", "gpus-per-node=2", "cpus-per-task=3", "account=mine", "exclusive", "no-requeue",
                 "signal=USR2@90", "time=240"):  # fmt: skip
        assert f"#SBATCH --{line}" in lines
    assert "module load cuda" in lines and not any("partition" in line or "wckey" in line for line in lines)


def test_a_ray_must_answer(monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(checks, "RAY", "/nowhere")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "`ray start --head`" in refused(made("ray", **SHARED, address="auto"))
    assert "expected HOST:PORT" in refused(made("ray", **SHARED, address="head"))
    assert "no answer" in refused(made("ray", **SHARED, address="127.0.0.1:1"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30:00", 30), ("1:00:00", 60), ("1-12:00:00", 2160), ("infinite", math.inf), ("n/a", math.inf), ("0:30", 0.5)],
)
def test_times_of_slurm_are_read(text, expected):
    assert checks.minutes(text) == expected


def test_budgets_that_machines_would_make_unlike_are_refused():
    cfg = compose("compare", ["budget.seconds=5"])

    def checked(executor, **changes) -> None:
        comparison_rules.check(schemas.replace(cfg, executor=executor, **changes))

    free = schemas.replace(cfg.budget, seconds=None)
    for name in ("slurm", "ray"):
        with pytest.raises(UsageError, match="minutes: is measured on this machine"):
            checked(made(name), minutes=5.0, budget=free)
        checked(made(name), budget=free)
    for name, address in (("slurm", {}), ("ray", {"address": "head:6379"})):
        with pytest.raises(UsageError, match="in a second unlike machines do unlike work"):
            checked(made(name, **address))
        checked(made(name, **address, homogeneous=True))
    checked(made("slurm", cluster="local"))
    checked(made("ray"))
    checked(made("local"))


@pytest.mark.parametrize("name", ["slurm", "ray"])
def test_gpus_that_no_process_of_a_job_would_use_are_refused(name):
    engine = schemas.Engine.model_construct(processes=1)
    said = "a process uses one GPU and a job has engine.processes=1, so 1 would stay idle; give executor.gpus=1 "
    with pytest.raises(UsageError, match=f"^executor.gpus=2: {said}"):
        comparison_rules.check_gpus(made(name, gpus=2), engine)
    pair = schemas.replace(engine, processes=2)
    with pytest.raises(UsageError, match=r"engine.processes=2, so 6 would stay idle; give executor.gpus=2 "):
        comparison_rules.check_gpus(made(name, gpus=8), pair)
    for executor, own in ((made(name, gpus=2), pair), (made(name, gpus=1), engine), (made(name), pair)):
        comparison_rules.check_gpus(executor, own)
    comparison_rules.check_gpus(made("ray", gpus=0.25), engine)
    comparison_rules.check_gpus(made("local"), engine)


@pytest.mark.parametrize(("command", "words"), [("compare", []), ("curve", ["sources=[random]"])])
def test_they_are_refused_with_the_configuration(command, words):
    with pytest.raises(UsageError, match="^executor.gpus=2: "):
        compose(command, [*words, "executor=slurm", "executor.gpus=2"])
    assert compose(command, [*words, "executor=ray", "executor.gpus=1"]).executor.gpus == 1


@pytest.mark.long
def test_keys_of_an_executor_are_those_of_the_chosen_one():
    for words, said in (
        (["executor.partition=gpu"], "executor.partition: is a key of executor=slurm; write executor=slurm before it"),
        (["executor=ray", "executor.partion=a"], "no key 'executor.partion'"),
        (["executor=slrum"], "executor: no choice 'slrum'; did you mean 'slurm'"),
        (["executor=slurm", "executor.time=0"], "executor.time: expected an integer, at least 1; got 0"),
        (["executor=slurm", "executor.name=pbs"], "executor.name: no executor 'pbs'"),
    ):
        with pytest.raises(UsageError) as error:
            compose("compare", words)
        assert said in str(error.value)
    assert compose("pretrain-ssl", ["executor=slurm"]).executor.name == "slurm"
    options = ["executor.options={account: mine, exclusive: true}", "executor.options.qos=low"]
    found = compose("compare", ["executor=slurm", *options]).executor.options
    assert found == {"account": "mine", "exclusive": True, "qos": "low"}


def test_where_parts_run_changes_no_part_and_no_hash():
    cfg = compose("compare")
    own = [made(name) for name in EXECUTORS]
    assert len({config_hash(schemas.replace(cfg, executor=one)) for one in own}) == 1
    assert [one.name for one in own if on_this_machine(one)] == ["local", "ray"]
    # a part is named by its threads: as many as its job has cores, whatever this machine has
    assert [checks.threads(one, cfg.engine, 1) for one in own[1:]] == [one.cpus for one in own[1:]]
    fixed = schemas.replace(cfg.engine, threads=7)
    assert {checks.threads(one, fixed, 2) for one in own} == {7}


def test_a_plan_says_what_would_be_submitted():
    found = checks.described(made("slurm", partition="gpu", gpus=1, max_jobs=5), 1, 12)
    assert (found["name"], found["at_once"], found["jobs"]) == ("slurm", 5, 12)
    assert {"--partition=gpu", "--gpus-per-node=1", "--time=240"} <= set(found["request"])
    assert "cpus=1" in checks.described(made("ray"), 1, 3)["request"]
    assert checks.described(made("local"), 2, 3) == {"name": "local", "at_once": 2, "jobs": 3, "request": []}


def test_what_sbatch_complains_of_is_one_line():
    text = "Job has not been submitted\nsbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job failed"
    assert slurm.complaint(text) == "QOSMaxSubmitJobPerUserLimit; Batch job failed"
    assert slurm.complaint("") == "no word why"


def test_one_squeue_knows_all_jobs_and_silence_is_no_end(monkeypatch, capsys):
    own = slurm.Slurm(made("slurm"))
    answers = ["7|RUNNING|a.x|None\n8|PENDING|b.y|PartitionTimeLimit\n", None, ""]
    asked = []
    monkeypatch.setattr(slurm, "asked", lambda *words: asked.append(words) or answers.pop(0))
    traces = {name: type("T", (), {"id": name, "token": name})() for name in ("7", "8", "9")}
    own._traces = {Path(name): trace for name, trace in traces.items()}

    def alive() -> list[bool | None]:
        own._ask(0.0)
        return [own._alive(path, trace) for path, trace in own._traces.items()]

    assert alive() == [True, True, False]
    assert "Slurm says PartitionTimeLimit" in capsys.readouterr().err
    own._ask(60.0)  # not again so soon
    assert alive() == [None, None, None]
    assert "squeue does not answer" in capsys.readouterr().err
    assert alive() == [False, False, False]
    assert [words[:4] for words in asked] == [("squeue", "-h", "-u", str(os.getuid()))] * 3


def test_every_run_of_a_sweep_is_asked_for_its_own_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/shared/env")
    monkeypatch.chdir("/")
    mine = tmp_path / "runs" / "gan"
    mine.mkdir(parents=True)
    words = [
        f"executor.unshared=[{tmp_path}]",
        "executor=slurm",
        "data=imagefolder",
        "data.root=/shared/images",
        "weights=random",
    ]
    for key, value in (("weights", mine), ("generated.run", mine), ("data.root", mine)):
        cfg = compose("transfer", [*words, f"{key}={value}"])
        with pytest.raises(UsageError, match=f"{mine} .{key}. lies below {tmp_path}"):
            whole_runs.ready("transfer", cfg, Path("/shared/run"))
