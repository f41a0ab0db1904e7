"""engine.compile: when networks are compiled, which parts, and that the training stays the one it was."""

import json
import time

import pytest
import torch
from torch import nn

from gssl.commands import pretrain_ssl, train_gan
from gssl.config.composing import compose
from gssl.engine import compile, dist
from gssl.engine.budget import Clock
from gssl.engine.files import read_json
from gssl.errors import JobError, UsageError
from gssl.nets.backbone import build_backbone
from gssl.nets.spectral import spectral_norm
from gssl.schemas.section import replace

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
LONG, SHORT = Clock(compile.STEPS, None, None), Clock(compile.STEPS - 1, None, None)


@pytest.fixture(scope="module")
def engine():
    return compose("pretrain-ssl").engine


class Method(nn.Module):
    second_derivatives = False


class Penalised(nn.Module):
    second_derivatives = True


def test_auto_is_for_long_trainings_on_a_gpu(engine, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert engine.compile == "auto"
    assert compile.wanted(engine, Method(), GPU, LONG)
    assert not compile.wanted(engine, Method(), CPU, LONG)
    assert not compile.wanted(engine, Method(), GPU, SHORT)
    assert not compile.wanted(engine, Method(), GPU, Clock(compile.STEPS, 3600.0, None))
    assert not compile.wanted(engine, Method(), GPU, Clock(None, None, 1e20))
    assert not compile.wanted(engine, Penalised(), GPU, LONG)
    assert not compile.wanted(replace(engine, compile="off"), Method(), GPU, LONG)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not compile.wanted(engine, Method(), GPU, LONG)


def test_on_says_what_is_in_the_way(engine, monkeypatch):
    on = replace(engine, compile="on")
    monkeypatch.setattr(compile, "BACKEND", "eager")
    assert compile.wanted(on, Method(), CPU, SHORT)
    with pytest.raises(UsageError, match="^engine.compile=on: this method has a gradient penalty, .* or off$"):
        compile.wanted(on, Penalised(), CPU, LONG)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package triton"):
        compile.wanted(on, Method(), GPU, LONG)
    monkeypatch.setattr(dist, "_joined", dist.Group(0, 2))
    with pytest.raises(UsageError, match="several processes"):
        compile.wanted(on, Method(), CPU, LONG)


@pytest.mark.long
def test_a_compiler_that_is_not_there_is_named(tiny, tmp_path):
    """Importing torch's takes seconds."""
    from torch._inductor import config

    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(UsageError, match=r"engine.compile=on: torch's compiler needs a C\+\+ compiler"),
    ):
        pretrain_ssl.main(tiny("pretrain-ssl", "engine.compile=on"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "width"), [("convnet", 8), ("vit_micro", 24), pytest.param("resnet18", 64, marks=pytest.mark.long)]
)
def test_pieces_are_blocks_and_hold_every_block(name, width):
    norm = "none" if name.startswith("vit") else "batch"
    cfg = replace(compose("pretrain-ssl").backbone, name=name, norm=norm, width=width, patch=4)
    backbone = build_backbone(cfg, 16)
    found = compile.pieces(backbone)
    assert len(found) == 4
    inside = {p for piece in found for p in piece.parameters()}
    outside = [key for key, p in backbone.named_parameters() if p not in inside]
    assert all(key.split(".")[0] in ("conv1", "bn1", "patch_embed", "norm") for key in outside)
    assert not any(a is b for i, piece in enumerate(found) for a in piece.modules() for b in found[:i])


def test_heads_are_pieces_and_spectral_norms_are_not():
    head = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    network = nn.ModuleDict({"head": head, "last": nn.Linear(4, 2)})
    assert compile.pieces(network) == [head]
    spectral_norm(network)
    assert compile.pieces(network) == []


def test_words_on_and_off_arrive_from_the_command_line():
    assert [compose("pretrain-ssl", [f"engine.compile={word}"]).engine.compile for word in ("on", "off")] == [
        "on", "off",
    ]  # fmt: skip


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "weights" / "backbone.safetensors")


@pytest.mark.long
@pytest.mark.parametrize(("command", "overrides"), [("pretrain-ssl", ["ssl=byol"]), ("train-gan", ["gan=lsgan"])])
def test_updates_that_compile_are_taken_back(command, overrides, tiny, tmp_path, monkeypatch, killed):
    """By torch's compiler without its code generator: the same bytes, after a kill too."""
    monkeypatch.setattr(compile, "BACKEND", "eager")
    main = {"pretrain-ssl": pretrain_ssl.main, "train-gan": train_gan.main}[command]
    main(tiny(command, *overrides), tmp_path / "off")
    on = tiny(command, *overrides, "engine.compile=on", "engine.checkpoint_every=2")
    used = []
    original = compile.Compiled._use
    monkeypatch.setattr(compile.Compiled, "_use", lambda self, now: (used.append(now), original(self, now)))
    main(on, tmp_path / "on")
    assert sum(used) == 1 + 5  # the first update, which is taken back, and all of six but the one that is counted
    killed(main, on, tmp_path / "killed", step=4)
    main(replace(on, engine=replace(on.engine, resume="auto")), tmp_path / "killed")
    off = weights(tmp_path / "off")
    for name in ("on", "killed"):
        found = weights(tmp_path / name)
        assert found.keys() == off.keys() and all(torch.equal(found[key], off[key]) for key in off)
        spent = read_json(tmp_path / name / "result.json")["spent"]
        assert spent["compile_seconds"] > 0 and spent["steps"] == 6
    assert "compile_seconds" not in read_json(tmp_path / "off" / "result.json")["spent"]


@pytest.mark.long
def test_what_cannot_be_compiled_is_one_line(tiny, tmp_path, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(compile, "BACKEND", broken)
    with pytest.raises(JobError, match="torch could not compile the networks .*engine.compile=off trains without"):
        pretrain_ssl.main(tiny("pretrain-ssl", "engine.compile=on"), tmp_path / "on")


@pytest.mark.slow
def test_compiled_losses_are_those_of_the_networks_and_the_budget_counts_no_compiling(tiny, tmp_path):
    """By torch's code generator, with a C++ compiler; ViT's blocks are alike and compiled once."""
    overrides = ["ssl=mae", "backbone.width=24", "budget.steps=4", "engine.log_every=1", "ssl.depth=1"]
    try:
        compile.wanted(replace(tiny("pretrain-ssl").engine, compile="on"), Method(), CPU, SHORT)
    except UsageError as error:
        if "needs a C++ compiler" not in str(error):
            raise
        pytest.skip(str(error))
    logs = {}
    for choice in ("off", "on"):
        since = time.perf_counter()
        pretrain_ssl.main(tiny("pretrain-ssl", *overrides, f"engine.compile={choice}"), tmp_path / choice)
        whole = time.perf_counter() - since
        lines = map(json.loads, (tmp_path / choice / "metrics.jsonl").read_text().splitlines())
        logs[choice] = [line["loss"] for line in lines if "lr" in line]
    assert len(logs["on"]) == 4
    assert logs["on"] == pytest.approx(logs["off"], abs=1e-4) and logs["on"] != logs["off"]
    spent = read_json(tmp_path / "on" / "result.json")["spent"]
    assert spent["seconds"] + spent["compile_seconds"] < whole and spent["seconds"] < 2
