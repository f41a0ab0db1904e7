"""Shell completion: bash splits words at `=`, other shells do not."""

import pytest

from gssl.config import paths, registry
from gssl.config.shell_completion import complete


@pytest.fixture(autouse=True)
def no_shell(monkeypatch):
    for name in ("COMP_WORDS", "COMP_CWORD", "_TYPER_COMPLETE_ARGS"):
        monkeypatch.delenv(name, raising=False)


def bash(monkeypatch, *words):
    """What is offered for the last word, given as bash splits it."""
    monkeypatch.setenv("COMP_WORDS", "\n".join(["gssl", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    return complete(words[0], "" if words[-1] == "=" else words[-1])


def test_bash_gets_the_value_alone(monkeypatch):
    assert bash(monkeypatch, "pretrain-ssl", "ssl", "=", "s") == sorted(
        name for name in registry.SSL if name.startswith("s")
    )
    assert bash(monkeypatch, "pretrain-ssl", "ssl", "=", "superv") == ["supervised"]
    assert bash(monkeypatch, "pretrain-ssl", "ssl", "=") == sorted(registry.SSL)
    assert bash(monkeypatch, "pretrain-ssl", "-m", "ssl", "=", "simclr,superv") == ["simclr,supervised"]


def test_other_shells_get_the_whole_word():
    assert complete("pretrain-ssl", "ssl=superv") == ["ssl=supervised"]
    assert complete("train-gan", "gan=dc") == ["gan=dcgan"]


@pytest.mark.parametrize(
    ("command", "typed", "offered"),
    [
        ("pretrain-ssl", "data/views=", ["data/views=digits", "data/views=natural"]),
        ("pretrain-ssl", "data=mn", ["data=mnist", "data=mnist5k"]),
        ("pretrain-ssl", "engine.precision=b", ["engine.precision=bf16"]),
        ("pretrain-ssl", "precision=b", ["precision=bf16"]),
        ("pretrain-ssl", "ssl.optim.name=a", ["ssl.optim.name=adam", "ssl.optim.name=adamw"]),
        ("pretrain-ssl", "engine.progress=", ["engine.progress=false", "engine.progress=true"]),
        ("transfer", "weights=r", ["weights=random"]),
        ("transfer", "weights=p", ["weights=pca", "weights=pixels", "weights=position"]),
        ("transfer", "classical.kmeans.c", ["classical.kmeans.centres=", "classical.kmeans.contrast="]),
        ("transfer", "probe.use=[knn,l", ["probe.use=[knn,linear", "probe.use=[knn,linear_multilayer"]),
        ("compare", "arms=[ra", ["arms=[random"]),
        ("pretrain-ssl", "seed=", []),
        ("pretrain-ssl", "nothing=", []),
    ],
)
def test_values(command, typed, offered):
    assert complete(command, typed) == offered


def test_keys():
    assert {"ssl=", "ssl.temperature=", "ssl.optim.lr=", "seed="} <= set(complete("pretrain-ssl", ""))
    assert not any(k.startswith("gan") for k in complete("pretrain-ssl", ""))
    assert {"probe.knn.k=", "weights="} <= set(complete("transfer", ""))
    assert complete("pretrain-ssl", "ssl.optim.w") == ["ssl.optim.weight_decay=", "ssl.optim.warmup="]


def test_a_single_key_says_what_it_takes_and_gets_no_space():
    assert complete("pretrain-ssl", "see") == ["seed=", "seed=<an integer, at least 0>"]
    assert complete("curve", "exp") == ["experiment=smoke"]


def test_keys_of_the_method_on_the_line(monkeypatch):
    assert "ssl.temperature=" in bash(monkeypatch, "pretrain-ssl", "ssl.")
    offered = bash(monkeypatch, "pretrain-ssl", "ssl", "=", "supervised", "ssl.")
    assert "ssl.label_smoothing=" in offered and "ssl.temperature=" not in offered


def test_presets_are_this_commands():
    folder = paths.conf_dir() / "experiment" / "compare"
    assert complete("compare", "experiment=") == sorted(f"experiment={p.stem}" for p in folder.glob("*.yaml"))


def test_own_configs(monkeypatch, tmp_path):
    (tmp_path / "ssl").mkdir()
    (tmp_path / "ssl" / "zzz_own.yaml").touch()
    assert bash(monkeypatch, "pretrain-ssl", "-cd", str(tmp_path), "ssl", "=", "zzz") == ["zzz_own"]
