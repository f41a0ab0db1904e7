"""Targets of unlike tasks: each is recognised, has its own probes, budgets and size, and what the user gave counts."""

import re

import numpy as np
import pytest
from PIL import Image

from gssl.comparison.sources_by_targets import PanelSource, baseline, jobs_of
from gssl.comparison.targets import targets_of
from gssl.config.composing import compose
from gssl.config.image_size import chosen
from gssl.errors import UsageError


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """A folder of two images with masks."""
    root = tmp_path_factory.mktemp("targets") / "street"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((24, 32), i, np.uint8)).save(root / kind / f"{i}.png")
    (root / "classes.json").write_text('["sky", "road"]')
    return root


def ask(*words, sources="random,scratch"):
    return compose("curve", [f"sources=[{sources}]", "engine.device=cpu", *words])


def of(cfg, sizes=()):
    return targets_of(cfg, set(sizes))


def jobs(cfg, tmp_path):
    sources = [PanelSource(text) for text in cfg.sources]
    found, left_out = jobs_of(cfg, sources, of(cfg), tmp_path)
    return {(s.name, to): child for s, to, child, _ in found}, left_out


@pytest.mark.long
def test_folders_are_told_apart_by_what_is_in_them_and_have_the_defaults_of_their_kind(pictures, street, capsys):
    found = of(ask(f"to=[mnist5k,{pictures}/,{street}/]"))
    assert {name: target.task.name for name, target in found.items()} == {
        "mnist5k": "classification", "pictures0": "classification", "street": "segmentation",
    }  # fmt: skip
    assert [t.own["probe"].use for t in found.values()] == [["knn", "linear"], ["knn", "linear"], ["segment"]]
    assert found["street"].data.root == str(street) and found["street"].record()["task"] == "segmentation"
    said = capsys.readouterr().err
    assert f"to: {street}: 2 images with masks" in said
    assert "street: segmentation by linear probe on dense features; label budgets: 5 and 20 labelled images" in said
    assert "classification by kNN and linear probe; label budgets: 1, 10 and 100 labels per class, all labels" in said


def test_of_probes_that_were_given_each_target_has_those_that_serve_it(pictures, street):
    where = f"to=[{pictures}/,{street}/]"

    def use(*words):
        return [target.own["probe"].use for target in of(ask(where, *words)).values()]

    assert use("probe.use=[linear,finetune,segment]") == [["linear", "finetune"], ["finetune", "segment"]]
    assert use("probe.use=[linear]") == [["linear"], ["segment"]]  # else its own


def test_what_was_given_counts_for_every_target_and_the_rest_is_its_own(pictures, street):
    words = ["labels_per_class=[3]", "images_labelled=[2]", "draws=4", "probe.segment.l2_count=2"]
    for target in of(ask(f"to=[{pictures}/,{street}/]", *words)).values():
        own = target.own
        assert (own["labels_per_class"], own["images_labelled"], own["draws"]) == ([3], [2], 4)
        assert own["probe"].segment.l2_count == 2 and own["fractions"] == [1.0]


def test_the_data_of_the_command_is_a_target_by_its_name(street):
    cfg = ask("to=[segmentation,mnist5k]", "data=segmentation", f"data.root={street}", "data.size=[12,16]")
    found = of(cfg)
    assert found["segmentation"].data == cfg.data and found["mnist5k"].data.size == 28
    assert [target.own["probe"].use for target in found.values()] == [["segment"], ["knn", "linear"]]


@pytest.mark.long
def test_images_that_are_no_squares_have_their_own_size(pictures, street):
    def sizes(*words, made=(), street=f"{street}/"):
        return [t.data.size for t in of(ask(f'to=[{pictures}/,"{street}"]', *words), made).values()]

    own = compose("transfer", ["weights=random", "data=segmentation", f"data.root={street}"]).data.size
    side = chosen({"name": "imagefolder", "root": str(pictures)}, "cpu")
    assert sizes() == [side, own]
    assert sizes(made=[48]) == [48, own]  # what a network was made for are squares
    assert sizes("data.size=20") == [20, 20]
    assert sizes("data.size=20", street=f"{street}/?size=[12,16]") == [20, [12, 16]]
    assert sizes(street=f"{street}/?size=40") == [side, 40]


def test_a_key_of_one_target_may_be_a_pattern(street):
    (found,) = of(ask(f'to=["{street}/?groups={{group}}_*&size=[12,16]"]')).values()
    assert found.data.groups == "{group}_*" and found.data.size == [12, 16]


@pytest.mark.long
def test_keys_of_one_target_stand_behind_its_name(pictures):
    cfg = ask(f'to=["{pictures}/?val_fraction=0.25&size=24",mnist5k]', "data.val_fraction=0.3")
    assert [t.data.val_fraction for t in of(cfg).values()] == [0.25, 0.3]


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("nowhere/", "to: nowhere/: there is no such folder"),
        ("'mnist5k?sighs=3'", "to: mnist5k?sighs=3: behind the ? stand keys of data"),
        ("'imagefolder?size=3'", "these are the images of data=; write data.size=3"),
        ("nothing", "to: nothing: expected the name of a data set"),
    ],
)
def test_what_is_no_target_is_one_line(pictures, to, message):
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        of(ask(f"to=[{to}]", "data=imagefolder", f"data.root={pictures}", "data.size=16"))
    assert "\n" not in str(error.value)


def test_a_source_that_has_nothing_for_a_task_is_left_out_there_with_a_note(pictures, street, tmp_path, capsys):
    cfg = ask(f"to=[{pictures}/,{street}/]", "probe.use=[linear]", sources="pca,position,random,scratch")
    found, left_out = jobs(cfg, tmp_path)
    assert {key: child.probe.use for key, child in found.items()} == {
        ("pca", "pictures0"): ["linear"],
        ("random", "pictures0"): ["linear"],
        ("scratch", "pictures0"): ["finetune"],
        ("position", "street"): ["segment"],
        ("random", "street"): ["segment"],
        ("scratch", "street"): ["finetune"],
    }
    assert found["random", "street"].data.name == "segmentation" and found["random", "street"].to == []
    assert left_out == {
        "position on pictures0": "it has no features for classification",
        "pca on street": "it has no features for segmentation",
    }
    assert "note: pca on street is left out: it has no features for segmentation" in capsys.readouterr().err


def test_a_target_that_nothing_can_be_evaluated_on_is_an_error(street, tmp_path):
    for sources in ("pca,kmeans", "pca,kmeans,scratch"):
        with pytest.raises(
            UsageError, match=r"to: street: .*nothing of pca and kmeans .* position, pixels and majority"
        ):
            jobs(ask(f"to=[{street}/]", sources=sources), tmp_path)


@pytest.mark.long
def test_a_menu_without_training_is_no_training_from_scratch(pictures, tmp_path):
    where = (f"to=[{pictures}/]", "probe.use=[adapted]")
    assert jobs(ask(*where), tmp_path)[0]["scratch", "pictures0"].probe.use == ["adapted"]
    frozen = jobs(ask(*where, "probe.adapted.menu=[linear]", "probe.adapted.one_shot=linear"), tmp_path)[0]
    assert frozen["scratch", "pictures0"].probe.use == ["finetune"]


def test_where_nothing_trains_from_scratch_gains_are_over_an_untrained_network(street, monkeypatch):
    from gssl.config.registry import PROBE

    cfg = ask(f"to=[{street}/]", sources="base@scratch,random")
    sources, target = [PanelSource(text) for text in cfg.sources], of(cfg)["street"]
    assert baseline(sources, target, {"base", "random"}) == "base"
    assert baseline(sources, target, {"random"}) is None  # scratch could have been asked for
    monkeypatch.setitem(PROBE, "finetune", PROBE["finetune"]._replace(tasks=("classification",)))
    monkeypatch.setitem(PROBE, "adapted", PROBE["adapted"]._replace(tasks=("classification",)))
    assert baseline(sources, target, {"random"}) == "random"
    assert baseline(sources, target, {"pixels"}) is None
