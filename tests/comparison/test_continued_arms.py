"""Arms from published networks and from teachers: their recipes, their notes, their labels, their names."""

import shutil

import pytest
import torch

from gssl.commands import compare, pretrain_ssl
from gssl.comparison import plan
from gssl.engine.files import read_json

TAUGHT = "+overrides.distill=['ssl.batch_size=8','ssl.teacher={}']"


def parts(cfg):
    return plan.Planner(cfg, "d", 1).plan()


@pytest.fixture
def taught(tiny, tmp_path):
    for name, method in (("one", "simclr"), ("two", "simclr"), ("told", "supervised")):
        seed = "seed=1" if name == "two" else "seed=0"
        pretrain_ssl.main(tiny("pretrain-ssl", f"ssl={method}", "budget.steps=1", seed), tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_a_published_network_goes_on_by_the_recipe_that_does_not_forget(method, small):
    found = parts(small(f"arms=[{method}-from-efficientnet_lite0,{method}]"))
    first = {part.arm: part.cfg for part in found if part.stage == "pretrain"}
    there, alone = first[f"{method}-from-efficientnet_lite0"], first[method]
    assert there.weights == "efficientnet_lite0" and there.continued.layer_decay < 1 and there.ssl.optim.name == "adamw"
    assert there.budget == alone.budget and there.ssl.optim.lr < alone.ssl.optim.lr
    shell = next(part.shell for part in found if part.cfg is there)
    assert "experiment=continued" in shell and "weights=efficientnet_lite0" in shell


@pytest.mark.long
def test_who_is_taught_by_whom_is_a_note_and_the_teachers_content_is_in_the_name(taught, small):
    def first(name):
        return parts(small("arms=[distill,scratch]", TAUGHT.format(taught / name)))[0]

    one, two = first("one"), first("two")
    assert f"learns from the features of {taught / 'one'}" in one.about["note"] and one.about["labels"] is False
    assert one.hash != two.hash
    shutil.copytree(taught / "one", taught / "copy")
    assert first("copy").hash == one.hash
    assert first("told").about["labels"] is True
    published = parts(small("arms=[distill,scratch]"))[0]
    assert "published weights, made with images and labels of ImageNet" in published.about["note"]


@pytest.mark.long
def test_distillation_is_an_arm_like_any_other(taught, small, tmp_path, inline):
    cfg = small("arms=[distill,scratch]", TAUGHT.format(taught / "one"), "probe.use=[linear]")
    compare.main(cfg, tmp_path / "comparison")
    report = read_json(tmp_path / "comparison" / "report.json")
    assert {row["arm"] for row in report["table"]} >= {"distill", "scratch"}


@pytest.mark.long
def test_a_published_network_goes_on_inside_a_comparison(small, tmp_path, inline):
    timm = pytest.importorskip("timm")
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), file)
    arm = f"mine@simclr-from-timm:test_resnet@{file}"
    cfg = small(f"arms=['{arm}',scratch]", "+overrides.mine=['ssl.batch_size=8']", "probe.use=[linear]")
    compare.main(cfg, tmp_path / "comparison")
    run = next((tmp_path / "parts").glob("*pretrain*"))
    assert read_json(run / "result.json")["start"]["n"] > 0
