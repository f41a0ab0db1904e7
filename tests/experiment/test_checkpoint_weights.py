"""A checkpoint in the middle of a run, evaluated like the run's own export."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gssl.commands import pretrain_ssl, train_gan
from gssl.engine.device import set_threads
from gssl.engine.files import read_json, sha256, write_json
from gssl.errors import UsageError
from gssl.experiment import checkpoint_weights, weight_sources
from gssl.nets import save_weights

pytestmark = pytest.mark.long

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    set_threads(1)  # sums on a CPU depend on it


def trained(tiny, command: str, path: Path, *words: str) -> Path:
    main = {"pretrain-ssl": pretrain_ssl.main, "train-gan": train_gan.main}[command]
    main(tiny(command, "engine.checkpoint_every=3", "engine.keep_checkpoints=9", *words), path)
    return path


@pytest.fixture(scope="module")
def ssl(tmp_path_factory, pictures) -> Path:
    from gssl.config.composing import compose

    path = tmp_path_factory.mktemp("runs") / "ssl"
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "ssl.batch_size=16"]
    words += ["budget.steps=6", "engine.checkpoint_every=3", "engine.keep_checkpoints=9"]
    set_threads(1)
    pretrain_ssl.main(
        compose("pretrain-ssl", [*words, "engine.progress=false", "engine.device=cpu", "engine.threads=1"]), path
    )
    return path


@pytest.fixture
def copy(ssl, tmp_path) -> Path:
    shutil.copytree(ssl, tmp_path / "run")
    return tmp_path / "run"


def resolved(path: Path) -> weight_sources.WeightSource:
    return checkpoint_weights.resolve(weight_sources.find_weights(str(path)), CPU)


def digest(origin: weight_sources.WeightSource, folder: Path) -> str:
    return save_weights(origin.kept["state"], folder / "w.safetensors")


def test_the_last_checkpoint_is_the_export_byte_for_byte(ssl, tmp_path) -> None:
    origin = resolved(ssl / "checkpoints" / "step-00000006")
    file = ssl / "weights" / "backbone.safetensors"
    assert digest(origin, tmp_path) == sha256(file)
    net, report = weight_sources.build(origin, None, 32, 0)
    built, own = weight_sources.build(weight_sources.find_weights(str(ssl)), None, 32, 0)
    assert report == own and report["missing"] == [] == report["unexpected"]
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), built.eval()(x))


def test_what_it_is_stands_in_the_record(ssl) -> None:
    path = ssl / "checkpoints" / "step-00000003"
    origin = resolved(path)
    assert origin.record() == {
        "kind": "checkpoint",
        "path": str(path),
        "method": "simclr",
        "sha256": sha256(path / "model.safetensors"),
        "labels_used": False,
        "step": 3,
    }
    assert (origin.backbone.name, origin.size, origin.seed) == ("convnet", 16, 0)


def test_an_earlier_one_has_its_own_weights_and_statistics(ssl, tmp_path) -> None:
    steps = [ssl / "checkpoints" / f"step-{step:08d}" for step in (0, 3, 6)]
    states = [resolved(path).kept["state"] for path in steps]
    assert len({digest(resolved(path), tmp_path) for path in steps}) == 3
    for path, state in zip(steps, states, strict=True):
        stored = load_file(path / "model.safetensors")
        for key, value in state.items():
            same = torch.equal(value, stored[f"backbone.{key}"])
            assert same != key.endswith(("running_mean", "running_var", "num_batches_tracked")), key


@pytest.mark.parametrize(("words", "name"), [
    (["gan=sngan"], "best"),  # spectral norm is folded; the best evaluation is what such a run exports
    (["gan=bigan", "export=last"], "step-00000006"),  # the encoder, not the discriminator
    (["gan=acgan", "export=last", "data.pretrain={other}"], "step-00000006"),  # reads labels: not of these images
])  # fmt: skip
def test_gans(tiny, tmp_path, pictures, words, name) -> None:
    run = trained(tiny, "train-gan", tmp_path / "run", *(word.format(other=pictures / "test") for word in words))
    assert digest(resolved(run / "checkpoints" / name), tmp_path) == sha256(run / "weights" / "backbone.safetensors")


def test_a_teacher_is_exported_where_the_method_hands_it_on(tiny, tmp_path) -> None:
    run = trained(tiny, "pretrain-ssl", tmp_path / "run", "ssl=dino", "ssl.batch_size=8", "budget.steps=3")
    origin = resolved(run / "checkpoints" / "step-00000003")
    assert digest(origin, tmp_path) == sha256(run / "weights" / "backbone.safetensors")


def test_an_unfinished_run_will_do(tiny, tmp_path, killed, ssl) -> None:
    run = tmp_path / "run"
    killed(pretrain_ssl.main, tiny("pretrain-ssl", "engine.checkpoint_every=3"), run, step=4)
    assert not (run / "weights").exists()
    origin = resolved(run / "checkpoints" / "step-00000003")
    assert digest(origin, tmp_path) == digest(resolved(ssl / "checkpoints" / "step-00000003"), tmp_path)


def test_a_chains_network_is_that_of_its_beginning(tiny, tmp_path, killed, ssl) -> None:
    run = tmp_path / "run"
    words = ["backbone.width=4", f"weights={ssl}", "engine.checkpoint_every=3"]
    killed(pretrain_ssl.main, tiny("pretrain-ssl", *words), run, step=4)
    origin = resolved(run / "checkpoints" / "step-00000003")
    assert origin.backbone.width == 8
    assert weight_sources.build(origin, None, 16, 0)[1]["missing"] == []
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(str(ssl), str(tmp_path / "gone")))
    with pytest.raises(UsageError, match="what its run began with cannot be had: weights=.*gone: no such file"):
        weight_sources.find_weights(str(run / "checkpoints" / "step-00000003"))


def test_building_it_leaves_torchs_generator_alone(ssl) -> None:
    origin = weight_sources.find_weights(str(ssl / "checkpoints" / "step-00000003"))
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    checkpoint_weights.resolve(origin, CPU)
    assert torch.equal(torch.rand(1), first)


def test_other_sources_come_back_as_they_are(ssl) -> None:
    for word in ("random", str(ssl)):
        origin = weight_sources.find_weights(word)
        assert checkpoint_weights.resolve(origin, CPU) is origin


def test_unresolved_it_is_no_source_of_weights(ssl) -> None:
    with pytest.raises(UsageError, match="step-00000003"):
        weight_sources.build(weight_sources.find_weights(str(ssl / "checkpoints" / "step-00000003")), None, 16, 0)


def test_mistakes_are_one_line_each(copy) -> None:
    folder = copy / "checkpoints"
    model = folder / "step-00000003" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    write_json(folder / "step-00000006" / "manifest.json", {"model.safetensors": "abc"})
    for name, message in (
        ("step-00000003", "damaged.*there is: step-00000000, step-00000003, step-00000006 in"),
        ("step-00000006", "damaged"),
        ("step-00000004", "no such checkpoint; there is: step-00000000"),
        ("best", "no such checkpoint"),
    ):
        with pytest.raises(UsageError, match=f"weights=.*{name}: .*{message}") as error:
            weight_sources.find_weights(str(folder / name))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [None, "a: [", "seed: 0\n", "hello"])
def test_without_a_config_nobody_knows_what_it_holds(copy, text) -> None:
    (copy / "config.yaml").unlink() if text is None else (copy / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match="no readable config.yaml") as error:
        weight_sources.find_weights(str(copy / "checkpoints" / "step-00000003"))
    assert "\n" not in str(error.value)


def test_outside_of_a_run_it_is_nothing(copy, tmp_path) -> None:
    shutil.copytree(copy / "checkpoints" / "step-00000003", tmp_path / "alone")
    with pytest.raises(UsageError, match="not in a train-gan or pretrain-ssl run"):
        weight_sources.find_weights(str(tmp_path / "alone"))


def test_other_images_are_refused(tiny, tmp_path, pictures) -> None:
    root = tmp_path / "pictures"
    shutil.copytree(pictures, root)
    run = trained(tiny, "pretrain-ssl", tmp_path / "run", f"data.root={root}", "budget.steps=1")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(root / "train" / "a" / "000.png")
    with pytest.raises(UsageError, match="not those that it was trained on"):
        resolved(run / "checkpoints" / "step-00000001")


def test_a_method_that_is_built_otherwise_today_is_refused(copy) -> None:
    path = copy / "checkpoints" / "step-00000003"
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("temperature:", "warmth:"))
    with pytest.raises(UsageError, match="builds the run's method otherwise.*warmth"):
        resolved(path)
    (copy / "config.yaml").write_text(text.replace("name: simclr", "name: simclear"))
    with pytest.raises(UsageError, match="has no ssl=simclear"):
        resolved(path)
    (copy / "config.yaml").write_text(text.replace("name: simclr", "name: barlow_twins"))
    with pytest.raises(UsageError, match="builds the run's method otherwise") as error:
        resolved(path)
    assert "\n" not in str(error.value)
    (copy / "config.yaml").write_text(text)
    described = read_json(copy / "weights" / "backbone.json")
    described["backbone"]["width"] = 16
    (copy / "weights" / "backbone.json").write_text(json.dumps(described))
    with pytest.raises(UsageError, match="builds the run's method otherwise"):
        resolved(path)
