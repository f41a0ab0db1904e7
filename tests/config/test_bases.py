"""What is remembered of compositions: the same as Hydra makes of everything anew, also after a file has changed."""

import os
import shutil

import pytest
from omegaconf import DictConfig, OmegaConf

from gssl.config import hydra_api, paths
from gssl.errors import UsageError

PLAIN = [
    ("pretrain-ssl", []),
    ("pretrain-ssl", ["seed=3", "budget.steps=5", "data.views.flip=0.1"]),
    ("pretrain-ssl", ["ssl=byol", "ssl.batch_size=8", "engine.device=cpu", "data=cifar10", "seed=3"]),
    ("pretrain-ssl", ["seed=4", "ssl=mae", "backbone=vit_tiny", "backbone.patch=4", "experiment=pretrain_ssl/smoke"]),
    ("train-gan", ["gan=acgan", "gan.latent=7", "hydra.run.dir=a b", "hydra.sweep.dir=c", "hydra.mode=MULTIRUN"]),
    ("transfer", ["weights=random", "labels_per_class=[1,5]", "probe.finetune.lrs=[0.1]", "data.root='x=y, z'"]),
    ("compare", ["seeds=2", "arms=[simclr,scratch]", "++overrides.simclr=['ssl.batch_size=8']", "+overrides.a=[b]"]),
    ("compare", ["++overrides={simclr: ['probe.linear.l2_count=2']}", "minutes=null", "primary.probe=linear"]),
    ("compare", ["executor=slurm", "executor.max_jobs=3", "data.root=${oc.env:HOME}", "parts='${now:%f}'"]),
    ("curve", ["sources=[random]", "hydra/launcher=joblib", "seed=5"]),
]
# left to Hydra: a key taken away, a package, what its job is called, a mapping in a group's place
UNCOMMON = [
    ("pretrain-ssl", ["~data.views.flip", "seed=1"]),
    ("pretrain-ssl", ["+data@other=mnist5k"]),
    ("pretrain-ssl", ["hydra.job.name=mine", "+hydra.job.env_set.A=b"]),
    ("pretrain-ssl", ["data={size: 8}", "data.root=x"]),
]


def everything(whole: DictConfig) -> object:
    """Values and flags of every node, interpolations as they are written."""

    def flags(node: DictConfig) -> object:
        plain = [k for k in node if not (OmegaConf.is_missing(node, k) or OmegaConf.is_interpolation(node, k))]
        inner = {key: flags(node[key]) for key in plain if OmegaConf.is_dict(node[key])}
        return OmegaConf.is_readonly(node), OmegaConf.is_struct(node), inner

    return OmegaConf.to_container(whole), flags(whole), OmegaConf.get_type(whole.hydra)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(hydra_api, "_BASES", hydra_api.bases.Bases())


@pytest.fixture
def own_copy(tmp_path, monkeypatch):
    """gssl's own directory of files, to be changed."""
    copy = tmp_path / "conf"
    shutil.copytree(paths.conf_dir(), copy)
    monkeypatch.setattr(hydra_api, "conf_dir", lambda: copy)
    return copy


@pytest.mark.parametrize(("command", "overrides"), [*PLAIN, *UNCOMMON])
def test_values_set_afterwards_give_what_hydra_composes(command, overrides):
    with hydra_api.session(None):
        groups = [text for text in overrides if hydra_api.is_group(text.partition("=")[0])]
        hydra_api.composed(command, [*groups, "seed=77"] if command != "compare" else groups)
        expected = everything(hydra_api._by_hydra(command, overrides))
        for _ in range(2):
            assert everything(hydra_api.composed(command, overrides)) == expected


def test_groups_are_composed_once(monkeypatch):
    calls = []
    there = hydra_api._by_hydra
    monkeypatch.setattr(hydra_api, "_by_hydra", lambda *words: calls.append(words) or there(*words))
    with hydra_api.session(None):
        for seed in range(3):
            assert hydra_api.composed("pretrain-ssl", [f"seed={seed}", "ssl=byol", f"budget.steps={seed}"]).seed == seed
        assert calls == [("pretrain-ssl", ["ssl=byol"])]
        hydra_api.composed("pretrain-ssl", ["ssl=simclr"])
        assert len(calls) == 2


def test_a_copy_may_be_changed():
    with hydra_api.session(None):
        hydra_api.composed("pretrain-ssl", ["seed=1"]).data.size = 5
        assert hydra_api.composed("pretrain-ssl", ["seed=1"]).data.size != 5


def test_a_file_that_was_changed_added_or_removed_counts(own_copy):
    with hydra_api.session(None):
        before = hydra_api.composed("pretrain-ssl", ["seed=1"])
        file = own_copy / "backbone" / f"{before.hydra.runtime.choices.backbone}.yaml"
        text = file.read_text()
        file.write_text(text.replace(f"width: {before.backbone.width}", "width: 77"))
        assert hydra_api.composed("pretrain-ssl", ["seed=1"]).backbone.width == 77
        (own_copy / "backbone" / "mine.yaml").write_text(text.replace("width:", "width: 99 #"))
        assert hydra_api.composed("pretrain-ssl", ["backbone=mine"]).backbone.width == 99
        (own_copy / "backbone" / "mine.yaml").unlink()
        with pytest.raises(hydra_api.ERRORS):
            hydra_api.composed("pretrain-ssl", ["backbone=mine"])
        file.write_text("width: [")
        with pytest.raises(UsageError, match=r"backbone.*line 1: no YAML"):
            hydra_api.composed("pretrain-ssl", ["seed=1"])


def test_a_file_of_the_same_size_and_time_that_took_its_place_counts(own_copy):
    with hydra_api.session(None):
        before = hydra_api.composed("pretrain-ssl", ["seed=1"])
        file = own_copy / "backbone" / f"{before.hydra.runtime.choices.backbone}.yaml"
        at = file.stat()
        width = str(before.backbone.width)
        other = file.with_suffix(".new")
        other.write_text(file.read_text().replace(f"width: {width}", "width: " + "7" * len(width)))
        os.utime(other, ns=(at.st_atime_ns, at.st_mtime_ns))
        assert other.stat().st_size == at.st_size
        other.replace(file)
        assert hydra_api.composed("pretrain-ssl", ["seed=1"]).backbone.width == int("7" * len(width))


def test_a_directory_that_becomes_a_group_counts(own_copy):
    with hydra_api.session(None):
        assert not hydra_api.is_group("fresh")
        (own_copy / "fresh").mkdir()
        (own_copy / "fresh" / "one.yaml").write_text("a: 1\n")
        assert hydra_api.is_group("fresh")
        assert hydra_api.composed("pretrain-ssl", ["+fresh=one"]).fresh.a == 1


def test_the_working_directory_and_the_environment_count(tmp_path, monkeypatch, own_copy):
    file = own_copy / "pretrain_ssl.yaml"
    file.write_text(file.read_text().replace("ssl: simclr", "ssl: ${oc.env:OF_A_TEST}"))
    with hydra_api.session(None):
        for method in ("byol", "vicreg"):
            monkeypatch.setenv("OF_A_TEST", method)
            assert hydra_api.composed("pretrain-ssl", ["seed=1"]).ssl.name == method
        monkeypatch.chdir(tmp_path)
        assert hydra_api.composed("pretrain-ssl", ["seed=1"]).hydra.runtime.cwd == str(tmp_path)


def test_files_of_ones_own_are_read_every_time(tmp_path):
    mine = tmp_path / "experiment" / "mine.yaml"
    mine.parent.mkdir()
    for width in (8, 12):
        mine.write_text(f"# @package _global_\nbackbone:\n  width: {width}\n")
        with hydra_api.session(str(tmp_path)):
            assert hydra_api.composed("pretrain-ssl", ["experiment=mine", "seed=1"]).backbone.width == width


def test_a_value_that_does_not_fit_is_refused_in_the_words_of_hydra():
    with hydra_api.session(None):
        for overrides in (["nothing=1"], ["data.nothing=1"], ["+seed=1"], ["+data.size=1"], ["seed=1,2"], ["~nothing"]):
            with pytest.raises(hydra_api.ERRORS) as anew:
                hydra_api._by_hydra("pretrain-ssl", overrides)
            with pytest.raises(hydra_api.ERRORS) as again:
                hydra_api.composed("pretrain-ssl", overrides)
            assert str(again.value) == str(anew.value)
