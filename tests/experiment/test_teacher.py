"""The teacher of `ssl=distill`: frozen, of its own size, on record, its labels counted."""

import pytest
import torch
from safetensors.torch import load_file

from gssl.commands import pretrain_ssl
from gssl.config import label_use
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import teacher
from gssl.nets.inputs import resized

CPU = torch.device("cpu")
DISTILL = ["ssl=distill", "ssl.batch_size=8", "budget.steps=2"]


@pytest.fixture
def learned(tiny, tmp_path):
    """A finished run that read no labels, and one that did."""
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=2"), tmp_path / "simclr")
    pretrain_ssl.main(tiny("pretrain-ssl", "ssl=supervised", "budget.steps=2"), tmp_path / "supervised")
    return tmp_path


def test_its_features_are_the_networks_own_of_images_at_its_own_size(learned, tiny):
    cfg = tiny("pretrain-ssl", *DISTILL, f"ssl.teacher={learned / 'simclr'}").ssl
    source = teacher.find(cfg)
    state = torch.get_rng_state()
    made, digest = teacher.made(source, cfg, CPU)
    assert torch.equal(state, torch.get_rng_state()) and digest == source.sha256
    made.train()
    assert not made.training and not made.network.training and made.size == 16
    x = torch.rand(2, 3, 24, 24, requires_grad=True)
    found = made(x)
    assert not found.requires_grad and not any(p.requires_grad for p in made.parameters())
    torch.testing.assert_close(found, made.network(resized(x.detach(), 16, "bicubic")))


def test_it_is_no_part_of_checkpoints_and_exports_and_the_run_is_bound_to_it(learned, tiny, tmp_path):
    cfg = tiny("pretrain-ssl", *DISTILL, f"ssl.teacher={learned / 'simclr'}", "backbone.width=4")
    run = tmp_path / "run"
    pretrain_ssl.main(cfg, run)
    source = teacher.find(cfg.ssl)
    assert read_json(run / "status.json")["inputs"]["teacher"] == source.sha256
    result = read_json(run / "result.json")
    assert result["teacher"]["sha256"] == source.sha256 and result["labels_used"] is False
    saved = load_file(next((run / "checkpoints").glob("step-*")) / "model.safetensors")
    assert {key.split(".")[0] for key in saved} == {"backbone", "head", "queue"}
    exported = load_file(run / "weights" / "backbone.safetensors")
    assert all(key.startswith("blocks") for key in exported)


def test_a_teacher_that_read_labels_makes_a_reference(learned, tiny, tmp_path, capsys):
    cfg = tiny("pretrain-ssl", *DISTILL, f"ssl.teacher={learned / 'supervised'}", "backbone.width=4")
    assert label_use.of_method("ssl", cfg.ssl) is True
    pretrain_ssl.main(cfg, tmp_path / "run")
    assert read_json(tmp_path / "run" / "result.json")["labels_used"] is True
    assert "was trained with labels" in capsys.readouterr().err
    assert label_use.of_path(tmp_path / "run") is True


def test_published_networks_have_read_no_labels_of_this_data():
    assert label_use.of_method("ssl", compose("pretrain-ssl", ["ssl=distill"]).ssl) is False


@pytest.mark.parametrize(
    ("name", "says"), [("random", "does not say what network"), ("nowhere", "^ssl.teacher=nowhere: no such file")]
)
def test_what_is_no_teacher_is_refused_before_data_are_read(name, says, tiny, tmp_path):
    with pytest.raises(UsageError, match=says):
        pretrain_ssl.main(tiny("pretrain-ssl", *DISTILL, f"ssl.teacher={name}", "data.root=nowhere"), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.long
def test_a_checkpoint_of_a_distillation_can_be_evaluated(learned, tiny, tmp_path):
    from gssl.experiment import checkpoint_weights, weight_sources

    words = [*DISTILL, f"ssl.teacher={learned / 'simclr'}", "eval.milestones=1", "budget.steps=4"]
    pretrain_ssl.main(tiny("pretrain-ssl", *words), tmp_path / "run")
    kept = read_json(tmp_path / "run" / "result.json")["milestones"][0]["checkpoint"]
    found = checkpoint_weights.resolve(weight_sources.find_weights(str(tmp_path / "run" / kept)), CPU)
    assert found.kept["state"]
