"""Methods on vit_small and on networks of timm: an update in float32, in bf16, and with blocks computed twice."""

from pathlib import Path

import pytest
import torch

from gssl.commands import pretrain_ssl, transfer
from gssl.config.composing import compose
from gssl.engine import device
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError
from gssl.experiment import weight_sources

SMALL = ["backbone=vit_small", "backbone.width=24", "backbone.patch=4"]
TIMM = ["backbone=timm:test_vit?img_size=16&patch_size=4"]
CONV = ["backbone=timm:test_convnext"]
METHODS = ["mae", *(pytest.param(name, marks=pytest.mark.long) for name in ("simclr", "dino", "ijepa", "simmim"))]
UNIT = ["ssl.unit=4"]


def more(name: str) -> list[str]:
    return UNIT if name == "simmim" else []


@pytest.mark.parametrize("backbone", [SMALL, TIMM], ids=["vit_small", "timm"])
@pytest.mark.parametrize("name", METHODS)
def test_an_update_is_the_same_with_blocks_computed_twice(build, batch, name, backbone) -> None:
    pytest.importorskip("timm")
    plain, again = (build(name, *backbone, *more(name)) for _ in range(2))
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    assert again.backbone.recompute()
    for step in range(2):
        given = batch(plain, seed=step)
        one, other = plain.update(given, step), again.update(given, step)
        assert {key: float(value) for key, value in one.items()} == {key: float(value) for key, value in other.items()}
        assert all(torch.isfinite(value) for value in one.values())
    after = again.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in plain.state_dict().items())
    moved = [key for key in before if key.startswith("backbone.") and not torch.equal(before[key], after[key])]
    assert len(moved) > 100 if backbone is SMALL else len(moved) > 20


@pytest.mark.parametrize("name", ["simclr", "mae"])
def test_a_convolutional_network_of_timm_learns_or_is_refused(build, batch, name) -> None:
    pytest.importorskip("timm")
    if name == "mae":
        with pytest.raises(UsageError, match="leaves patches out, which ConvNeXt cannot"):
            build(name, *CONV, size=64)
        return
    method = build(name, *CONV, size=64)
    before = [p.clone() for p in method.backbone.parameters()]
    method.update(batch(method, size=64), 0)
    assert any(not torch.equal(one, other) for one, other in zip(before, method.backbone.parameters(), strict=True))


@pytest.mark.parametrize("backbone", [[], SMALL], ids=["vit_micro", "vit_small"])
def test_bf16_on_a_cpu_is_float32_to_three_digits(build, batch, backbone, monkeypatch) -> None:
    """Emulated where the processor has none."""
    monkeypatch.setattr(device, "native_bf16_cpu", lambda: True)
    exact, rough = build("mae", *backbone), build("mae", *backbone)
    rough.optimizer.precision = device.Precision("bf16", torch.device("cpu"))
    found = []
    for method in (exact, rough):
        found.append([float(method.update(batch(method, seed=step), step)["loss"]) for step in range(3)])
    assert found[0] != found[1]
    torch.testing.assert_close(torch.tensor(found[1]), torch.tensor(found[0]), rtol=0.01, atol=0)
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in rough.parameters())


# ── whole commands ───────────────────────────────────────────────────────────────────────────────────


def config(command: str, *overrides: str):
    tiny = ["data.limit=60", "data.size=32", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
    return compose(command, [*tiny, *overrides])


def pretraining(name: str, backbone: list[str], *overrides: str):
    own = ["budget.steps=4", "ssl.batch_size=8", "eval.images=20", "engine.checkpoint_every=2", "engine.resume=auto"]
    return config("pretrain-ssl", f"ssl={name}", *backbone, *own, *overrides)


def exported(run: Path) -> str:
    return sha256(run / "weights" / "backbone.safetensors")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("mae", ["backbone=vit_small", "backbone.width=24", "backbone.patch=8"]),
        ("dino", ["backbone=vit_base", "backbone.width=48", "backbone.patch=8"]),
        ("mae", ["backbone=timm:test_vit?img_size=32&patch_size=8"]),
        ("simclr", ["backbone=timm:test_convnext"]),
        ("simclr", ["backbone=timm:test_resnet"]),
    ],
    ids=["mae-vit_small", "dino-vit_base", "mae-timm", "simclr-convnext", "simclr-resnet"],
)
def test_a_killed_run_ends_with_the_same_bytes_and_is_fine_tuned(name, backbone, tmp_path, killed) -> None:
    pytest.importorskip("timm")
    cfg = pretraining(name, backbone)
    pretrain_ssl.main(cfg, tmp_path / "whole")
    killed(pretrain_ssl.main, cfg, tmp_path / "broken", step=3)
    pretrain_ssl.main(cfg, tmp_path / "broken")
    assert exported(tmp_path / "broken") == exported(tmp_path / "whole")
    twice = name == "mae"  # of these, networks without batch norms
    if twice:
        pretrain_ssl.main(pretraining(name, backbone, "engine.checkpointing=true"), tmp_path / "again")
        assert exported(tmp_path / "again") == exported(tmp_path / "whole")
    probe = [
        "probe.use=[finetune]",
        "probe.finetune.steps=2",
        "probe.finetune.layer_decay=0.65",
        "labels_per_class=[2]",
    ]
    probe += ["fractions=[]", "draws=1", "diagnose.pictures=false", "probe.finetune.lrs=[0.001]"]
    fine = config("transfer", f"weights={tmp_path / 'whole'}", *probe, f"engine.checkpointing={str(twice).lower()}")
    transfer.main(fine, tmp_path / "fine")
    result = read_json(tmp_path / "fine" / "result.json")
    assert result is not None and result["backbone"]["name"] == cfg.backbone.name
    assert result["backbone"]["size"] == 32
    source = weight_sources.find_weights(str(tmp_path / "whole"))
    assert source.own(cfg.backbone) is None  # it learned from images of 32 px, whatever timm trained it on


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone=timm:resnett18"], "backbone=timm:resnett18: timm has no such network; did you mean timm:resnet18?"),
        (["backbone=timm:vit_small_patch16_224.nope"], "did you mean timm:vit_small_patch16_224."),
        (["engine.checkpointing=true"], "engine.checkpointing=true: convnet has no blocks"),
        (["ssl=mae", "backbone=timm:test_resnet"], "leaves patches out, which ResNet cannot"),
        (["ssl=mae", "backbone=timm:test_vit"], "this network has positions for images of 160 pixels"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_leaves_nothing(overrides, message, tmp_path) -> None:
    pytest.importorskip("timm")
    name = "mae" if "ssl=mae" in overrides else "simclr"
    with pytest.raises(UsageError) as error:
        pretrain_ssl.main(pretraining(name, [text for text in overrides if text != "ssl=mae"]), tmp_path / "run")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run" / "weights").exists() and not (tmp_path / "run" / "result.json").exists()
