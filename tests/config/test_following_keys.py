"""Keys and flags of progress, loggers and longer runs: how they are written, and what old ones are answered."""

import pytest
from typer.testing import CliRunner

from gssl.cli import app
from gssl.config.composing import compose
from gssl.schemas.determining import config_hash


def gssl(*args):
    result = CliRunner().invoke(app, list(args))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("flag", "expected"), [("json", (True, "json")), ("text", (True, "text")), ("none", (False, "text"))]
)
def test_the_flag_of_progress_sets_the_keys(stubbed, flag, expected):
    assert gssl("train-gan", "--progress", flag, "engine.progress=false", "hydra.run.dir=out").exit_code == 0
    ((cfg, _, _),) = stubbed.CALLS
    assert (cfg.engine.progress, cfg.engine.progress_format) == expected


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("engine.tensorboard=true", "no key 'engine.tensorboard'; it is now 'engine.loggers=[tensorboard]'"),
        ("engine.loggers=[foo]", "engine.loggers: expected a list of names among tensorboard, wandb, mlflow, trackio"),
        ("engine.loggers=[wandb,wandb]", "engine.loggers: wandb stands there twice"),
        ("resume=longer", "engine.resume: expected one of no, auto, extend; got 'longer'"),
    ],
)
def test_a_wrong_value_is_one_line(stubbed, tmp_path, override, said):
    done = gssl("pretrain-ssl", override)
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1 and said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_none_of_them_makes_another_run():
    """A run may go on with other loggers; parts of comparisons keep their names."""
    plain = compose("pretrain-ssl")
    more = ["engine.loggers=[wandb]", "engine.progress_format=json", "resume=extend"]
    assert config_hash(compose("pretrain-ssl", more)) == config_hash(plain)
    assert config_hash(compose("pretrain-ssl", ["budget.steps=7"])) != config_hash(plain)


@pytest.mark.parametrize(("given", "seen"), [("no", "auto"), ("extend", "extend"), ("auto", "auto")])
@pytest.mark.long
def test_jobs_of_a_sweep_go_on_or_are_lengthened(stubbed, given, seen):
    assert gssl("pretrain-ssl", "-m", "seed=0", f"engine.resume='{given}'", "hydra.sweep.dir=s").exit_code == 0
    assert stubbed.CALLS[0][0].engine.resume == seen
