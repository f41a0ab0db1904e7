"""Sweepers: the objective's direction, the search space on the command line, what plugins log."""

import json
import sys

import pytest
import yaml
from omegaconf import OmegaConf
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import COMMANDS
from gssl.config import hydra_api, job, sweeps
from gssl.errors import UsageError
from gssl.names import load

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
VALUES = {0: 0.4, 1: 0.5, 2: 0.6}  # of the stub, by seed


def gssl(*args):
    result = CliRunner().invoke(app, list(args))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def composed(sweeper):
    tree = {"sweeper": sweeper, "runtime": {"choices": {"hydra/sweeper": "mine"}}}
    return OmegaConf.create({"hydra": tree})


@pytest.mark.parametrize(
    ("command", "sweeper", "texts", "sign"),
    [
        ("pretrain-ssl", {"direction": "minimize"}, ("hydra.sweeper.direction=maximize",), 1),
        ("transfer", {"direction": "minimize"}, ("hydra.sweeper.direction=maximize",), 1),
        ("train-gan", {"direction": "minimize"}, (), 1),
        ("train-gan", {"direction": "maximize"}, ("hydra.sweeper.direction=minimize",), 1),
        ("pretrain-ssl", {"direction": "maximize"}, (), 1),
        (
            "pretrain-ssl",
            {"ax_config": {"experiment": {"minimize": True}}},
            ("hydra.sweeper.ax_config.experiment.minimize=false",),
            1,
        ),
        ("train-gan", {"ax_config": {"experiment": {"minimize": True}}}, (), 1),
        ("pretrain-ssl", {"optim": {"maximize": False}}, ("hydra.sweeper.optim.maximize=true",), 1),
        ("train-gan", {"optim": {"maximize": False}}, (), 1),
        ("pretrain-ssl", {"_target_": "somebody.Sweeper"}, (), -1),  # one that knows one direction minimises
        ("train-gan", {"_target_": "somebody.Sweeper"}, (), 1),
    ],
)
def test_every_sweeper_is_told_the_direction(command, sweeper, texts, sign):
    found = sweeps.aim(command, composed(sweeper), [])
    assert (found.texts, found.sign) == (texts, sign)
    assert bool(found.note) == bool(texts or sign < 0)  # what is changed is said


def test_a_direction_that_is_given_stays_and_is_said():
    text = "hydra.sweeper.direction=minimize"
    found = sweeps.aim("pretrain-ssl", composed({"direction": "minimize"}), [text])
    assert not found.texts and found.sign == 1
    assert found.note.startswith("warning: hydra.sweeper.direction=minimize: the smallest objective is sought")


@pytest.mark.parametrize(
    ("command", "sweeper", "said"),
    [
        ("compare", {"direction": "minimize"}, "compare has no single number to optimise"),
        ("pretrain-ssl", {"direction": ["minimize", "maximize"]}, "has one objective"),
    ],
)
def test_what_cannot_be_optimised_is_refused(command, sweeper, said):
    with pytest.raises(UsageError, match=said):
        sweeps.aim(command, composed(sweeper), [])


@pytest.mark.long
@pytest.mark.parametrize("command", sweeps.OBJECTIVES)
def test_the_directions_are_those_of_the_results(command, tiny, tmp_path):
    """`OBJECTIVES` repeats what the commands write in result.json."""
    more = ["weights=random", "probe.use=[knn]"] if command == "transfer" else ["budget.steps=1"]
    load(COMMANDS[command].where)(tiny(command, *more), tmp_path)
    objective = json.loads((tmp_path / "result.json").read_text())["objective"]
    assert objective["direction"] == sweeps.OBJECTIVES[command]


def test_the_sign_is_of_what_the_sweeper_gets_only(stubbed, tmp_path):
    with hydra_api.session(None):
        whole = hydra_api.composed("pretrain-ssl", ["seed=4", f"hydra.sweep.dir={tmp_path}"])
    OmegaConf.set_struct(whole, False)
    whole.hydra.runtime.output_dir, whole.hydra.job.num = str(tmp_path), 0
    cfg = whole.copy()
    del cfg["hydra"]
    with hydra_api.hydra_values(whole):
        assert job.Task("pretrain-ssl", "stub:main", "c", True, -1.0)(cfg) == -4
    assert json.loads((tmp_path / "result.json").read_text())["objective"]["value"] == 4


# ── the search space on the command line ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["hydra.sweeper.params={seed: 'choice(0,1)'}", "a=1"], ["seed=choice(0,1)", "a=1"]),
        (["+hydra.sweeper.params={ssl.lr: 'interval(0.1,1)', x: 3}"], ["ssl.lr=interval(0.1,1)", "x=3"]),
        (["hydra.sweeper.params.seed='range(0,3)'"], ["seed=range(0,3)"]),
        (["+hydra.sweeper.params.ssl.lr=0.1,0.2"], ["ssl.lr=0.1,0.2"]),
        (["hydra.sweeper.params={seed: 'choice(0,1)'}", "seed=2"], ["seed=2"]),  # what is given wins
        (["hydra.sweeper.params={seed: choice(0,1), a.b: 'x, y', c: 2}"], ["seed=choice(0,1)", "a.b=x, y", "c=2"]),
        (["hydra.sweeper.params=null"], ["hydra.sweeper.params=null"]),
    ],
)
def test_params_are_ordinary_overrides(texts, expected):
    with hydra_api.session(None):
        assert sweeps.search_space(texts) == expected


@pytest.mark.parametrize("value", ["{seed: [0,1]}", "3", "{seed", "choice(0,1)"])
def test_params_that_are_no_mapping_are_one_line(stubbed, tmp_path, value):
    done = gssl("pretrain-ssl", "-m", f"hydra.sweeper.params={value}")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: hydra.sweeper.params: expected a mapping from keys to choices")
    assert list(tmp_path.iterdir()) == []


def test_params_are_checked_as_all_overrides_are(stubbed):
    done = gssl("pretrain-ssl", "-m", "hydra.sweeper.params={sed: 'choice(0,1)'}")
    assert done.exit_code == 2 and "no key 'sed'; did you mean 'seed'?" in done.stderr


@pytest.mark.long
def test_hydras_own_sweeper_takes_params(stubbed):
    assert gssl("pretrain-ssl", "-m", "hydra.sweeper.params={seed: 'choice(0,2)'}", "hydra.sweep.dir=s").exit_code == 0
    assert [cfg.seed for cfg, _, _ in stubbed.CALLS] == [0, 2]


# ── with Optuna ──────────────────────────────────────────────────────────────────────────────────


def valued(stubbed, monkeypatch, values):
    """The stub returns `values` by seed."""

    def main(cfg, run_dir, *, dry_run=False):
        stubbed.finish(cfg, run_dir, cfg.seed)
        return values[cfg.seed]

    monkeypatch.setattr(stubbed, "main", main)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of the libraries behind the plugin
@pytest.mark.parametrize(("command", "best"), [("pretrain-ssl", 0.6), ("train-gan", 0.4)])
def test_optuna_takes_the_best(stubbed, tmp_path, monkeypatch, command, best):
    """The best of .4, .5 and .6 is .6 where the objective should be large."""
    valued(stubbed, monkeypatch, VALUES)
    sweeper = [
        "hydra/sweeper=optuna",
        "hydra/sweeper/sampler=grid",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1",
    ]
    space = "hydra.sweeper.params={seed: 'choice(0,1,2)'}"
    done = gssl(command, "-m", *sweeper, space, "hydra.sweep.dir=sweep")
    assert done.exit_code == 0, done.stderr
    found = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    assert found["best_value"] == best
    assert ("note: hydra.sweeper.direction=maximize" in done.stderr) == (command == "pretrain-ssl")
    assert "alembic" not in done.stderr and "A new study" not in done.stderr


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_optuna_without_any_value_is_one_line(stubbed, monkeypatch):
    valued(stubbed, monkeypatch, dict.fromkeys(VALUES))
    done = gssl(
        "pretrain-ssl", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "seed=0,1", "hydra.sweep.dir=s"
    )
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("error: hydra/sweeper: ValueError: ")
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_joblib_runs_the_jobs_of_a_sweep(tmp_path, pictures):
    """Its workers load the task anew, in processes of their own."""
    import subprocess

    small = [f"data.root={pictures}", "data=imagefolder", "data.size=16", "backbone.width=8", "ssl.batch_size=16"]
    small += ["budget.steps=2", "engine.threads=1", "engine.progress=false"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}/s", "seed=0,1"]
    command = [sys.executable, "-m", "gssl", "pretrain-ssl", "-m", *small, *launcher, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [d["seed"] for d in json.loads(done.stdout)] == [0, 1]
