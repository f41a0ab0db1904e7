"""What pretrain-ssl measures, draws and raises alarms about."""

import copy
import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.commands import pretrain_ssl
from gssl.config import looking, registry
from gssl.config.composing import compose
from gssl.data import Draws, load_data
from gssl.engine.files import read_json
from gssl.engine.run import Run
from gssl.errors import JobError, UsageError
from gssl.experiment import ssl_evaluation
from gssl.experiment.method_pictures import inputs_of, save_views
from gssl.experiment.ssl_evaluation import SSLEvaluator

CPU = torch.device("cpu")


def lines(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


class Method(torch.nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone


def built(cfg):
    from gssl.nets.backbone import build_backbone

    torch.manual_seed(0)
    return Method(build_backbone(cfg.backbone, cfg.data.size)).train()


def evaluator_of(method, splits, cfg, run) -> SSLEvaluator:
    known = {
        "method": method,
        "splits": splits,
        "draws": Draws(0),
        "run": run,
        "device": CPU,
        "needs": ("view1", "view2"),
    }
    return SSLEvaluator(SimpleNamespace(**known, beside=lambda what: nullcontext()), cfg, True)


def test_evaluation_reads_the_validation_split_and_never_the_test_set(tiny, tmp_path, monkeypatch):
    cfg = tiny("pretrain-ssl")
    splits = load_data(cfg.data, progress=False)

    def opened(self):
        raise AssertionError("the test set was opened")

    monkeypatch.setattr(type(splits), "open_test", opened)
    seen = []
    original = ssl_evaluation.extract

    def extract(network, part, *rest):
        assert not any(m.training for m in network.modules()) or network is not method.backbone
        seen.append(set(part.rows.tolist()))
        return original(network, part, *rest)

    monkeypatch.setattr(ssl_evaluation, "extract", extract)
    method = built(cfg)
    with Run(tmp_path / "r", "pretrain-ssl", cfg) as run:
        found = evaluator_of(method, splits, cfg, run).evaluate(0)
    allowed = set(splits.train.rows.tolist()) | set(splits.val.rows.tolist())
    assert seen and all(rows <= allowed for rows in seen)
    assert seen[0] <= set(splits.val.rows.tolist()) and 0 <= found["val_knn"] <= 1


def test_evaluation_leaves_the_method_as_it_was_and_is_repeatable(tiny, tmp_path):
    """Eval mode and fresh batch statistics concern a copy: training goes on as if nobody had looked."""
    cfg = tiny("pretrain-ssl")
    method = built(cfg)
    before = copy.deepcopy(method.state_dict())
    splits = load_data(cfg.data, progress=False)
    with Run(tmp_path / "r", "pretrain-ssl", cfg) as run:
        evaluator = evaluator_of(method, splits, cfg, run)
        first = evaluator.evaluate(0)
        for buffer in method.buffers():  # statistics of the training's views do not enter
            buffer.add_(3)
        assert evaluator.evaluate(0) == first
        for buffer in method.buffers():
            buffer.sub_(3)
    assert method.training and all(torch.equal(v, before[k]) for k, v in method.state_dict().items())
    assert {"feature_std", "feature_cosine", "feature_rankme", "val_knn"} <= set(first)


@pytest.fixture
def collapsing(monkeypatch):
    """SimCLR that logs what collapsed projections log from step 3 on."""
    cls = registry.load(registry.SSL["simclr"].where)
    original = cls.update

    def update(self, batch, step):
        out = original(self, batch, step)
        return out | ({"z_std": torch.tensor(0.01)} if step >= 2 else {})

    monkeypatch.setattr(cls, "update", update)


def test_an_alarm_names_the_run_and_the_reason_and_warns(tiny, tmp_path, capsys, collapsing):
    cfg = tiny("pretrain-ssl", "engine.log_every=1", "budget.steps=8")
    pretrain_ssl.main(cfg, tmp_path / "run")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("alarm:")]
    assert len(said) == 1 and str(tmp_path / "run") in said[0] and "step 5" in said[0] and "z_std" in said[0]
    assert [e["step"] for e in lines(tmp_path / "run") if "alarm" in e] == [5]
    result = read_json(tmp_path / "run" / "result.json")
    assert [a["step"] for a in result["alarms"]] == [5]


def test_on_collapse_stop_ends_the_run_with_its_checkpoint(tiny, tmp_path, collapsing):
    extra = ["engine.log_every=1", "budget.steps=8", "engine.resume=auto"]
    cfg = tiny("pretrain-ssl", *extra, "on_collapse=stop")
    for _ in range(2):  # the second time nothing is trained: the alarm is on record
        with pytest.raises(JobError, match="stopped at step 5: projections .* on_collapse=warn"):
            pretrain_ssl.main(cfg, tmp_path)
        status = read_json(tmp_path / "status.json")
        assert status["state"] == "failed" and status["spent"]["steps"] == 5 and status["spent"]["flops"] > 0
        assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"step-00000000", "step-00000005"}
    pretrain_ssl.main(tiny("pretrain-ssl", *extra, "on_collapse=warn"), tmp_path)
    result = read_json(tmp_path / "result.json")
    assert result["spent"]["steps"] == 8 and [a["step"] for a in result["alarms"]] == [5]


def test_a_healthy_run_has_no_alarm(tiny, tmp_path):
    pretrain_ssl.main(tiny("pretrain-ssl", "engine.log_every=1", "budget.steps=8", "eval.every=2"), tmp_path)
    assert read_json(tmp_path / "result.json")["alarms"] == []


def test_a_dry_run_leaves_the_views_and_nothing_else(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "ssl.batch_size=12", "backbone.width=8"]
    text = looking.dry_run(
        "pretrain-ssl", "gssl.commands.pretrain_ssl:main", [*words, "hydra.run.dir=here", "engine.progress=false"]
    )
    assert "here/views.png: image, view0, view1" in text
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["views.png"]
    with Image.open(tmp_path / "here" / "views.png") as picture:
        assert picture.size == (3 * 18 - 2, 8 * 18 - 2)


def test_the_grid_shows_what_went_into_the_backbone(tmp_path):
    """Inputs that the feed did not make, tiles of an image too, are columns of their own."""
    raw = {"image": torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)}
    view = torch.rand(4, 3, 8, 8)
    network = torch.nn.Identity()
    with inputs_of(network) as seen:
        network(view)
        network(1 - view)
        network(torch.rand(4 * 2, 3, 4, 4))
    network(view)
    names = save_views(raw, {"view0": view, "label": torch.zeros(4)}, seen, tmp_path / "v.png", 8)
    assert len(seen) == 3 and names == ["image", "view0", "input of the backbone"]
    with Image.open(tmp_path / "v.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (4 * 10 - 2, 5 * 10 - 2, 3)  # image, view0, its negative, two tiles
    assert np.array_equal(pixels[:8, 20:28], (np.asarray((1 - view)[0].permute(1, 2, 0)) * 255).round().astype("uint8"))


@pytest.mark.long
@pytest.mark.parametrize("name", ["mae", "vae"])
def test_reconstructions_are_drawn_at_every_evaluation(name, pictures, tmp_path):
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "ssl.batch_size=12", "engine.progress=false"]
    words += ["backbone.width=24" if name == "mae" else "backbone.width=8", "budget.steps=2", "eval.every=1"]
    pretrain_ssl.main(compose("pretrain-ssl", [f"ssl={name}", *words]), tmp_path)
    made = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert made == [f"step-{i:08d}.png" for i in range(3)]


def test_patches_need_a_vit(pictures):
    with pytest.raises(UsageError, match="backbone=vit_micro"):
        compose("pretrain-ssl", ["ssl=mae", "backbone=convnet"])
    with pytest.raises(UsageError, match="ssl=mae"):
        compose("compare", ["arms=[mae,random]"])
    assert compose("pretrain-ssl", ["ssl=mae"]).backbone.name == "vit_micro"
