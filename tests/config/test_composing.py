"""Overrides: groups, keys, syntax, sweeps, presets, configurations of one's own. No directory, no torch."""

import shlex
import tomllib
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException

from gssl.config import composing, hydra_api, paths, registry
from gssl.config.composing import check_all, compose
from gssl.errors import UsageError

METHODS = ", ".join(sorted(registry.SSL))


def refused(command, *overrides, multirun=False, config_dir=None):
    with pytest.raises(UsageError) as caught:
        check_all(command, overrides, multirun, config_dir)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("ssl=simclrr", "ssl: no choice 'simclrr'; did you mean 'simclr'? (" + METHODS + ")"),
        ("data=cifr10", "data: no choice 'cifr10'; did you mean 'cifar10'?"),
        ("data/views=naturl", "data/views: no choice 'naturl'; did you mean 'natural'?"),
        ("ssl=zzz", "ssl: no choice 'zzz'; there is: " + METHODS),
        ("sl=simclr", "no key 'sl'; did you mean 'ssl'?"),
        ("gan=dcgan", "pretrain-ssl has no group 'gan'; there is: backbone, data, engine, executor, experiment, ssl"),
        ("ssl.temprature=1", "no key 'ssl.temprature'; did you mean 'ssl.temperature'?"),
        ("temperature=1", "no key 'temperature'; did you mean 'ssl.temperature'?"),
        ("data.veiws.flip=1", "did you mean 'data.views.flip'?"),
        ("seed.x=1", "no key 'seed.x'"),
        ("+seed=1", "'+seed=1': the key is there already; leave out the '+'"),
        ("~sede", "no key 'sede'; did you mean 'seed'?"),
        ("seed=[1", "cannot read 'seed=[1': "),
        ("simclr", "cannot read 'simclr': expected key=value"),
        ("seed=0,1", "'seed=0,1' has several values: add -m"),
        ("experiment=smok", "experiment: pretrain-ssl has no preset 'smok'; did you mean 'smoke'?"),
        ("hydra.run.dri=x", "no key 'hydra.run.dri'; did you mean 'hydra.run.dir'?"),
        (
            "hydra.job.env_set={A: 5}",
            "'hydra.job.env_set={A: 5}': new names come with a '+'; write '+hydra.job.env_set={A",
        ),
        ("hydra.job.env_set.A=5", "new names come with a '+'; write '+hydra.job.env_set.A=5'"),
        ("hydra.job.env_set=5", "hydra.job.env_set: Cannot assign int to Dict[str, str]"),
        ("hydra.job.chdir=maybe", "hydra.job.chdir: Value 'maybe' is not a valid bool"),
        ("hydra/launcher=joblb", "hydra/launcher: no choice 'joblb'"),
        ("device=gpu", "engine.device: expected auto, cpu"),
    ],
)
def test_a_wrong_override_is_one_line_with_the_nearest_name(override, expected):
    assert expected in refused("pretrain-ssl", override)


UNREADABLE = [
    ("data.root=ph otos=ü", "'ü' must stand in quotes"),
    ("data.root=/a/b(c)", "'(' must stand in quotes"),
    (r"data.root=it's a \ü\'", "a quote is not closed"),
    ('data.root=a&b`c`$d"e', "'&' must stand in quotes"),
    ("data.root=wow!", "'!' must stand in quotes"),
    ("data.root=a[b", "'[' must stand in quotes"),
]


@pytest.mark.parametrize(("override", "why"), UNREADABLE)
def test_the_line_for_an_unreadable_override_has_the_form_that_works(override, why):
    message = refused("pretrain-ssl", "data=imagefolder", override)
    assert message.startswith(f"cannot read '{override}': {why}; write ")
    (typed,) = shlex.split(message.partition("; write ")[2])
    assert compose("pretrain-ssl", ["data=imagefolder", typed]).data.root == override.partition("=")[2]


def test_the_form_that_works_to_the_letter():
    assert "; write \"runs='~/x/*'\"" in refused("compare", "runs=~/x/*")
    assert "; write \"data.root='ph otos=ü'\"" in refused("pretrain-ssl", "data.root=ph otos=ü")
    assert "; write \"check=['a > b','c > d']\"" in refused("compare", "check=[a > b, c > d]")


@pytest.mark.parametrize("override", ["check=[a > b", "data.root='abc", "a b=c", "seed=[1", "data.root=ü\nx"])
def test_no_form_is_made_up_where_the_meaning_is_unclear(override):
    message = refused("compare", override)
    assert "^" not in message and "; write " not in message and "stand in quotes" in message


def test_the_keys_of_the_chosen_method_count():
    assert compose("pretrain-ssl", ["ssl=supervised", "ssl.label_smoothing=0.1"]).ssl.label_smoothing == 0.1
    assert "no key 'ssl.label_smoothing'" in refused("pretrain-ssl", "ssl.label_smoothing=0.1")
    assert "no key 'ssl.temperature'" in refused("pretrain-ssl", "ssl=supervised", "ssl.temperature=1")


def test_short_keys():
    cfg = compose("train-gan", ["device=cpu", "precision=bf16", "resume=auto"])
    assert (cfg.engine.device, cfg.engine.precision, cfg.engine.resume) == ("cpu", "bf16", "auto")


def test_a_path_with_spaces_and_equals_signs():
    cfg = compose("pretrain-ssl", ["data=imagefolder", "data.root='/a b/c=d, e'"])
    assert cfg.data.root == "/a b/c=d, e"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=0,1,a"], "seed: expected an integer"),
        (["ssl=simclr,spervised"], "ssl: no choice 'spervised'; did you mean 'supervised'?"),
        (["ssl=simclr,supervised", "ssl.temperature=0.1,0.2"], "no key 'ssl.temperature'"),
        (["ssl.temperature=interval(0,1)"], "ssl.temperature: expected a number, above 0; got 0.0"),
        (["ssl.temperature=range(1,-1,-1)"], "ssl.temperature: expected a number, above 0; got 0.0"),
        (["ssl=glob(x*)"], "'ssl=glob(x*)' matches nothing"),
    ],
)
def test_a_sweep_is_checked_choice_by_choice(overrides, expected):
    assert expected in refused("pretrain-ssl", *overrides, multirun=True)


@pytest.mark.long
def test_a_right_sweep_passes():
    others = [name for name, entry in registry.SSL.items() if entry.column != "image"]  # digits are none
    words = f"ssl=glob(*,exclude=[{','.join(others)}])"
    typed, _, texts = check_all("pretrain-ssl", [words, "seed=range(2,5)", "experiment=smoke"], True)
    assert typed.ssl.name in registry.SSL and typed.seed == 2
    assert texts[2] == "experiment=pretrain_ssl/smoke"


@pytest.mark.long
def test_of_a_long_sweep_the_last_value_is_checked_too():
    values = ",".join(str(i) for i in [*range(100), -1])
    assert "seed: expected an integer, at least 0; got -1" in refused("pretrain-ssl", f"seed={values}", multirun=True)


def test_own_configs_and_presets(tmp_path):
    mine = tmp_path / "conf with space"
    (mine / "ssl").mkdir(parents=True)
    (mine / "experiment" / "pretrain_ssl").mkdir(parents=True)
    (mine / "ssl" / "warm.yaml").write_text("defaults: [simclr, _self_]\ntemperature: 9\n")
    (mine / "experiment" / "pretrain_ssl" / "big.yaml").write_text("# @package _global_\nseed: 7\n")
    (mine / "experiment" / "loose.yaml").write_text("seed: 7\n")
    cfg = compose("pretrain-ssl", ["ssl=warm", "experiment=big"], str(mine))
    assert cfg.ssl.temperature == 9 and cfg.seed == 7
    assert "needs '# @package _global_'" in refused("pretrain-ssl", "experiment=loose", config_dir=str(mine))
    assert "did you mean 'warm'" in refused("pretrain-ssl", "ssl=wram", config_dir=str(mine))
    assert "no choice 'warm'" in refused("pretrain-ssl", "ssl=warm")
    assert "--config-dir: no directory" in refused("pretrain-ssl", config_dir=str(mine / "nowhere"))


def test_a_wrong_key_in_an_own_file_is_found(tmp_path):
    (tmp_path / "ssl").mkdir()
    (tmp_path / "ssl" / "odd.yaml").write_text("defaults: [simclr, _self_]\ntemprature: 9\n")
    message = refused("pretrain-ssl", "ssl=odd", config_dir=str(tmp_path))
    assert "no key 'ssl.temprature'; did you mean 'ssl.temperature'?" in message


def test_a_method_may_ask_for_another_backbone_and_the_user_still_wins(tmp_path):
    (tmp_path / "ssl").mkdir()
    text = "defaults:\n  - simclr\n  - override /backbone@_global_.backbone: vit_tiny\n  - _self_\n"
    (tmp_path / "ssl" / "masked.yaml").write_text(text)
    (tmp_path / "gan").mkdir()
    (tmp_path / "gan" / "masked.yaml").write_text(text.replace("simclr", "dcgan"))
    mine = str(tmp_path)
    assert compose("pretrain-ssl", ["ssl=masked"], mine).backbone.name == "vit_tiny"
    assert compose("pretrain-ssl", ["ssl=masked", "backbone=resnet18"], mine).backbone.name == "resnet18"
    assert compose("train-gan", ["gan=masked"], mine).backbone.name == "vit_tiny"


def test_the_packaged_conf_comes_first(tmp_path, monkeypatch):
    package = tmp_path / "gssl"
    package.mkdir()
    monkeypatch.setattr(paths, "PACKAGE", package)
    assert paths.conf_dir() == tmp_path / "conf"
    (package / "conf").mkdir()
    assert paths.conf_dir() == package / "conf"
    assert paths.conf_dir().is_absolute()


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compose("train-gan")
    refused("train-gan", "seed=-1")
    assert list(Path().iterdir()) == []
    assert not hydra_api.GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("hydra/launcher=joblib", r"pip install 'gssl\[joblib\]'"),
        ("hydra/launcher=slurm", r"pip install 'gssl\[slurm\]' and write hydra/launcher=submitit_slurm"),
        ("hydra/launcher=submitit_slurm", r"pip install 'gssl\[slurm\]'$"),
        ("hydra/launcher=ray", r"pip install 'hydra-ray-launcher'"),
        ("hydra/sweeper=optuna", r"pip install 'gssl\[optuna\]'"),
        ("hydra/launcher=joblob", "hydra/launcher: no choice 'joblob'"),
    ],
)
def test_a_plugin_that_is_not_installed_is_named_with_its_extra(choice, said, monkeypatch):
    plugins = ("joblib", "submitit_slurm", "submitit_local", "ray", "optuna")
    there = hydra_api.exists
    monkeypatch.setattr(hydra_api, "exists", lambda group, name: name not in plugins and there(group, name))
    monkeypatch.setattr(hydra_api, "composed", _fails(hydra_api.composed, choice))
    with pytest.raises(UsageError, match=said):
        check_all("pretrain-ssl", [choice, "seed=1,2"], True)
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    named = {package for group in composing.PLUGINS.values() for package, _ in group.values()}
    known = {f"gssl[{extra}]" for extra in extras["optional-dependencies"]}
    assert named - known == {"hydra-ray-launcher"}  # its pins and joblib's exclude each other


def _fails(real, choice):
    """Composing as it is where a plugin's package is missing."""

    def composed(command, overrides):
        if choice in overrides:
            raise ConfigCompositionException(f"Could not find '{choice}'")
        return real(command, overrides)

    return composed
