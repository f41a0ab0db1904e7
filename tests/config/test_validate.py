"""Typed configs: what is refused, in which words; what the hash of a config depends on."""

import re

import pytest

from gssl import names, schemas
from gssl.config import registry, rules
from gssl.config.composing import check_all, compose
from gssl.config.keys import keys_of, renamed_flag
from gssl.data.sources import SOURCES
from gssl.errors import UsageError
from gssl.nets.backbone import BACKBONES
from gssl.schemas import ssl
from gssl.schemas.determining import config_hash

COMMANDS = sorted(schemas.commands.COMMANDS)


def refused(command, *overrides):
    with pytest.raises(UsageError) as caught:
        compose(command, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_to_its_schema(command):
    needed = {"transfer": ["weights=random"], "curve": ["sources=[random]"]}
    cfg = compose(command, needed.get(command, []))
    assert type(cfg) is schemas.commands.COMMANDS[command]
    assert isinstance(cfg.data.views, schemas.Views)
    assert isinstance(cfg.engine.log_every, int)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_smoke_preset_composes_and_is_tiny(command):
    cfg = compose(command, ["experiment=smoke"])
    assert cfg.data.limit <= 500
    assert cfg.backbone.width <= 24
    assert command in ("transfer", "curve") or cfg.budget.steps <= 20


@pytest.mark.long
@pytest.mark.parametrize("family", sorted(registry.FAMILIES))
def test_every_method_composes_with_its_own_schema(family):
    command = {"ssl": "pretrain-ssl", "gan": "train-gan"}[family]
    for name, entry in registry.FAMILIES[family].items():
        source = rules.BRINGS.get(entry.column, entry.column)
        data = [] if source == "image" else [f"data={source}", "data.root=mine"]
        cfg = compose(command, [f"{family}={name}", *data])
        assert type(getattr(cfg, family)) is entry.schema
        assert getattr(cfg, family).name == name


def test_every_data_config_has_its_own_views():
    for name in SOURCES:
        method = ["ssl=mlm"] if "text" in SOURCES[name].columns else []
        cfg = compose("pretrain-ssl", [f"data={name}", *method, *(["data.root=x"] if SOURCES[name].root else [])])
        assert cfg.data.name == name
        turned = name in ("mnist5k", "mnist", "svhn", "imagetext")  # mirrored, a digit and a caption are wrong
        assert (cfg.data.views.flip == 0) == turned


def test_every_backbone_composes():
    for name in BACKBONES.keys() - {"timm"}:
        patch = ["backbone.patch=4"] * name.startswith("vit")
        data = ["data=text", "ssl=mlm"] if name.startswith("text") else []
        command = "pretrain-ssl"
        if name == "text_conv":  # of a discriminator
            command, data = "train-gan", ["data=text", "gan=textgan"]
        found = compose(command, [f"backbone={name}", *patch, *data]).backbone.name
        assert BACKBONES[found] == BACKBONES[name]  # convnet_plain is a convnet


@pytest.mark.parametrize("command", ["pretrain-ssl", "transfer", "compare"])
def test_a_network_of_timm_is_a_backbone_by_its_name(command):
    more = {"pretrain-ssl": ["ssl=mae"], "transfer": ["weights=random"], "compare": ["arms=[simclr,scratch]"]}[command]
    for name in ("timm:convnext_tiny.in12k", "timm:vit_tiny_patch16_224?img_size=64&depth=4"):
        assert compose(command, [*more, f"backbone={name}"]).backbone.name == name
        assert compose(command, [*more, f"backbone='{name}'"]).backbone.name == name


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["backbone=timm"], "backbone.name must be given"),
        (["backbone.name=timm:"], "backbone.name: expected one of convnet,"),
        (["backbone.name=resnet1"], "or timm:convnext_tiny; got 'resnet1'; did you mean 'resnet18'?"),
        (["backbone=timm:a,convnet"], "cannot stand in one sweep"),
    ],
)
def test_what_is_no_network_of_timm_is_one_line(overrides, expected):
    assert expected in refused("pretrain-ssl", *overrides)


def test_several_processes_mix_no_sounds():
    with pytest.raises(UsageError, match="data.sound_views.mix: several processes mix other sounds"):
        compose("pretrain-ssl", ["data=audio", "data.root=.", "engine.processes=2"])
    compose("pretrain-ssl", ["data=audio", "data.root=.", "engine.processes=2", "data.sound_views.mix=0"])


def test_a_gan_of_sounds_reads_no_views_that_are_mixed():
    assert compose("train-gan", ["gan=specgan", "data=audio", "data.root=a", "engine.processes=2"])


def test_pairs_of_images_have_no_labels_to_divide_or_to_evaluate_by():
    paired = ["data=paired", "data.root=a"]
    with pytest.raises(UsageError, match="data.test=folds: is for images with labels"):
        compose("train-gan", ["gan=pix2pix", *paired, "data.test=folds"])
    with pytest.raises(UsageError, match="data=paired: has no labels, which gssl transfer evaluates by"):
        compose("transfer", ["weights=random", *paired])


def test_a_discriminator_is_no_network_of_timm():
    assert "set backbone=convnet, not timm:resnet18" in refused("train-gan", "backbone=timm:resnet18")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("ssl.temperature=abc", "ssl.temperature: expected a number, above 0; got 'abc'"),
        ("ssl.temperature=", "ssl.temperature: expected a number, above 0; got ''"),
        ("ssl.temperature=0", "ssl.temperature: expected a number, above 0; got 0.0"),
        ("ssl.temperature=nan", "ssl.temperature: expected a number, above 0; got nan"),
        ("ssl.temperature=null", "ssl.temperature: expected a number, above 0; got null"),
        ("seed=-1", "seed: expected an integer, at least 0; got -1"),
        ("seed=true", "seed: expected an integer, at least 0; got True"),
        ("budget.steps=1e4", "budget.steps: expected an integer, at least 1, or null; got 10000.0"),
        ("data.views.flip=2", "data.views.flip: expected a number, at least 0, at most 1; got 2.0"),
        ("engine.progress=maybe", "engine.progress: expected true or false; got 'maybe'"),
        ("engine.precision=fp15", "expected one of auto, fp32, bf16, fp16; got 'fp15'; did you mean 'fp16'?"),
        ("backbone.name=convnt", "did you mean 'convnet'?"),
        ("data.views.crop_scale=0.4", "data.views.crop_scale: expected a list of 2 numbers"),
        ("data.views.crop_scale=[0.4]", "got [0.4]"),
        ("data.views.crop_scale=[0.9,0.4]", "the smaller first; got [0.9, 0.4]"),
        ("data.views.crop_scale=[0.9,a]", "data.views.crop_scale: expected a list of 2 numbers"),
        ("ssl.optim.betas=[0.9,1.0]", "below 1; got [0.9, 1.0]"),
        ("ssl.head=[]", "1 or more of them; got []"),
        ("ssl.optim=3", "ssl.optim: expected a section with name, lr,"),
        ("ssl.optim=null", "ssl.optim: expected a section with name, lr,"),
        ("~ssl", "ssl: a method is needed, such as ssl=simclr"),
        ("ssl.name=simclrr", "ssl.name: no method 'simclrr'; did you mean 'simclr'?"),
        ("~ssl.temperature", "ssl.temperature must be given: a number, above 0"),
        ("+ssl.foo=1", "no key 'ssl.foo'; ssl has batch_size, head, name, optim, temperature"),
        ("+ssl.optim.lrr=1", "no key 'ssl.optim.lrr'; did you mean 'ssl.optim.lr'?"),
        ("+foo=1", "no key 'foo'; there is:"),
        ("engine.device=gpu", "engine.device: expected auto, cpu, cuda, cuda:N or mps; got 'gpu'"),
        ("data.name=mnst", "data.name: no source 'mnst'; did you mean 'mnist'?"),
        ("data.train=photos", "data.train is for data=imagefolder; mnist5k brings its own split"),
        ("data=imagefolder", "data.root must be given: the folder of your images"),
        (
            "data.root=photos",
            "data.root: data=mnist5k does not read it; for a folder of your own images write data=imagefolder"
            " data.root=photos",
        ),
        ("seed=${nowhere}", "seed: Interpolation key 'nowhere' not found"),
    ],
)
def test_a_wrong_value_is_one_line(override, expected):
    assert expected in refused("pretrain-ssl", override)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [],
            "weights must be given: random, pixels, majority, position, pca, kmeans, tfidf, mel_stats, mfcc, loudness,",
        ),
        (["weights=random", "probe.use=[linaer]"], "probe.use: no probe 'linaer'; did you mean 'linear'?"),
        (["weights=random", "probe.use=[knn,knn]"], "probe.use: knn stands there twice"),
        (["weights=random", "probe.use=[]"], "probe.use is empty"),
        (["weights=random", "fractions=[0]"], "fractions: expected a list of numbers, above 0, at most 1"),
        (
            ["weights=random", "labels_per_class=[0]"],
            "labels_per_class: expected a list of integers, at least 1",
        ),
        (["weights=random", "labels_per_class=[]", "fractions=[]"], "labels_per_class and fractions are both empty"),
        (
            ["weights=random", "data=anomaly", "data.root=x", "images_labelled=[]", "fractions=[]"],
            "images_labelled and fractions are both empty",
        ),
        (
            ["weights=random", "probe.linear.l2_low=10", "probe.linear.l2_high=1"],
            "is above probe.linear.l2_high",
        ),
        (["weights=random", "backbone=vit_tiny", "backbone.patch=5"], "5 does not divide data.size 28"),
    ],
)
def test_transfer_checks_what_no_single_key_tells(overrides, expected):
    assert expected in refused("transfer", *overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["arms=[simclr,dcgn]"], "arms: no arm 'dcgn'; did you mean 'dcgan'?"),
        (["arms=[simclr,simclr]"], "arms: simclr stands there twice"),
        (["arms=[]"], "arms is empty"),
        (["overrides={simclrr: ['seed=1']}"], "overrides: no arm 'simclrr'; did you mean 'simclr'?"),
        (
            ["overrides={simclr: ['ssl.temprature=1']}"],
            "overrides.simclr: no key 'ssl.temprature'; did you mean",
        ),
        (
            ["overrides={dcgan: ['gan.latent=0']}"],
            "overrides.dcgan: gan.latent: expected an integer, at least 1",
        ),
        (["overrides={random: ['probe.knn.k=0']}"], "overrides.random: probe.knn.k: expected an integer"),
        (["overrides={simclr: ['seed=1']}"], "overrides.simclr: seed cannot be an arm's own; a comparison has one for"),
        (["overrides={simclr: ['++data.size=8']}"], "overrides.simclr: data.size cannot be an arm's own"),
        (["overrides={simclr: ['data/views=natural']}"], "data/views cannot be an arm's own"),
        (["overrides={simclr: ['backbone=resnet18']}"], "backbone cannot be an arm's own"),
        (["overrides={dcgan: ['budget.steps=8']}"], "budget.steps cannot be an arm's own"),
        (["overrides={dcgan: ['eval.every=8']}"], "eval.every cannot be an arm's own"),
        (["overrides={simclr: ['device=cpu']}"], "device cannot be an arm's own"),
        (["overrides={simclr: ['hydra.run.dir=x']}"], "hydra.run.dir cannot be an arm's own"),
        (["overrides={simclr: ['weights=torchvision']}"], "weights cannot be an arm's own"),
        (["overrides={random: ['draws=1']}"], "overrides.random: draws cannot be an arm's own"),
        (["overrides={random: ['labels_per_class=[1]']}"], "labels_per_class cannot be an arm's own"),
        (["overrides={simclr: ['probe.use=[knn]']}"], "probe.use cannot be an arm's own"),
        (
            ["overrides={scratch: ['allow_partial=true']}"],
            "overrides.scratch: allow_partial has no place here: scratch",
        ),
        (["overrides={pixels: ['ssl.temperature=1']}"], "of the rest a comparison has one for all"),
        (["overrides={simclr: 'seed=1'}"], "overrides: expected a mapping such as"),
    ],
)
def test_compare_checks_its_arms(overrides, expected):
    assert expected in refused("compare", *overrides)


def test_arms_have_overrides_of_both_their_commands():
    cfg = compose("compare", ["overrides={simclr: ['ssl.temperature=1', 'probe.knn.k=3'], random: ['probe.knn.k=3']}"])
    assert cfg.overrides["simclr"] == ["ssl.temperature=1", "probe.knn.k=3"]


def test_compare_that_only_reads_needs_no_arms():
    assert compose("compare", ["runs=runs/*", "arms=[]"]).runs == "runs/*"
    assert compose("compare", ["runs=[runs/a,'runs/b*']", "arms=[]"]).runs == ["runs/a", "runs/b*"]


@pytest.mark.parametrize(
    ("name", "options", "near"),
    [
        ("lr", ["ssl.optim.lr", "seed"], "ssl.optim.lr"),
        ("ssl.lr", ["gan.optim.lr", "ssl.optim.lr"], "ssl.optim.lr"),
        ("temprature", ["ssl.temperature", "data.size"], "ssl.temperature"),
        ("sede", ["seed", "data.size"], "seed"),
        ("zzz", ["seed", "data.size"], None),
        ("weight", ["probe.fixmatch.weight", "weights", "seed"], "weights"),
        ("temperature", ["seed", "data.size", "probe.knn.temperature"], "probe.knn.temperature"),
    ],
)
def test_nearest(name, options, near):
    assert names.nearest(name, options) == near


def test_keys_carry_type_and_bounds():
    found = keys_of(schemas.PretrainSSL, {"ssl": ssl.SimCLR})
    assert found["ssl.temperature"].number
    assert found["budget.steps"].optional and found["budget.steps"].types[0]["type"] == "integer"
    assert found["ssl.optim.name"].choices == ["sgd", "lars", "adam", "adamw"]
    assert "ssl" not in found and "ssl.optim" not in found
    assert not any(k.startswith("ssl") for k in keys_of(schemas.PretrainSSL))


def test_the_hash_sees_what_decides_the_result_and_nothing_else():
    composed = compose("pretrain-ssl")
    one = config_hash(composed)
    assert one == config_hash(compose("pretrain-ssl"))
    assert one == config_hash(compose("pretrain-ssl", ["resume=auto", "engine.progress=false"]))
    for override in ("seed=1", "ssl.optim.lr=0.7", "engine.precision=bf16", "data.views.flip=0.5"):
        assert one != config_hash(compose("pretrain-ssl", [override]))
    assert composed.model_dump()["engine"]["resume"] == "no"  # hashing leaves the config as it was


def test_what_the_environment_gives_may_be_a_number(monkeypatch):
    monkeypatch.setenv("STEPS", "7")
    assert compose("pretrain-ssl", ["budget.steps=${oc.env:STEPS}"]).budget.steps == 7
    monkeypatch.setenv("STEPS", "many")
    assert "budget.steps: expected an integer" in refused("pretrain-ssl", "budget.steps=${oc.env:STEPS}")
    assert "budget.steps: expected an integer" in refused("pretrain-ssl", "budget.steps='7'")


def test_the_primary_metric_is_one_of_the_datas_task():
    assert compose("compare", ["primary.metric=balanced_accuracy"]).primary.metric == "balanced_accuracy"
    words = ["data=segmentation", "data.root=street", "arms=[random,position]", "probe.use=[segment]"]
    assert compose("compare", [*words, "primary.metric=pixel_accuracy"]).primary.metric == "pixel_accuracy"
    assert refused("compare", "primary.metric=mean_iou").endswith("is scored by accuracy, balanced_accuracy")
    assert "mean_iou, pixel_accuracy" in refused("compare", *words, "primary.metric=accuracy")


@pytest.mark.parametrize(
    ("command", "override", "said"),
    [
        ("train-gan", "judge=random", "no key 'judge'; it is now 'evaluator'"),
        ("compare", "generation.judge=random", "no key 'generation.judge'; it is now 'generation.evaluator'"),
        ("transfer", "plain.kmeans.patch=8", "no key 'plain.kmeans.patch'; it is now 'classical.kmeans.patch'"),
        (
            "transfer",
            "plain.pixels.size=8",
            "'plain' is now 'classical', which has kmeans, loudness, mel_stats, mfcc, pca",
        ),
    ],
)
def test_a_key_of_earlier_versions_is_answered_with_its_name_of_today(command, override, said):
    assert said in refused(command, override)


@pytest.mark.parametrize(
    ("data", "override", "said"),
    [
        ("mnist5k", "images_labelled=[5]", "use labels_per_class=[5]"),
        ("segmentation", "labels_per_class=[5]", "use images_labelled=[5]"),
    ],
)
def test_label_budgets_of_another_kind_of_data_are_refused(data, override, said):
    folder = ["data.root=x"] if data != "mnist5k" else []
    words = ["weights=random", f"data={data}", *folder, "probe.use=[finetune]"]
    check_all("transfer", words, False)
    with pytest.raises(UsageError, match=re.escape(said)):
        check_all("transfer", [*words, override], False)


def test_a_flag_of_earlier_versions_is_answered_with_its_name_of_today():
    known = ["--evaluator", "--evaluator-weights", "--split"]
    assert renamed_flag("--judge", known) == "--evaluator"
    assert renamed_flag("--judge-weights", known) == "--evaluator-weights"
    assert renamed_flag("--splitt", known) is None and renamed_flag("--judge", ["--split"]) is None


@pytest.mark.parametrize("data", ["segmentation", "detection", "anomaly", "video", "webdataset", "text"])
def test_unlabelled_images_may_stand_beside_targets_of_every_kind(data):
    more = ["ssl=mlm"] if data == "text" else []
    found = compose("pretrain-ssl", [f"data={data}", *more, "data.root=here", "data.pretrain=there"])
    assert found.data.pretrain == "there"
