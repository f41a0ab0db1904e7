"""`gssl export`: what is written is what its user reads, gives the same features, or is not there."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from gssl.cli import app
from gssl.cli.finished import Format
from gssl.commands import export as command
from gssl.commands import pretrain_ssl
from gssl.config.composing import compose
from gssl.data import Draws
from gssl.engine.files import write_json
from gssl.errors import JobError
from gssl.experiment import export_formats, weight_sources
from gssl.nets.backbone import build_backbone
from gssl.nets.inputs import Inputs
from gssl.nets.weights import save_weights
from gssl.probe.finetune import Classifier
from gssl.schemas import Backbone

pytestmark = pytest.mark.long

KINDS = {
    "convnet": (Backbone(name="convnet", norm="batch", width=8, patch=1), 16),
    "resnet": (Backbone(name="resnet18", norm="batch", width=64, patch=1), 16),
    "grouped": (Backbone(name="resnet18", norm="group", width=64, patch=1), 16),
    "vit": (Backbone(name="vit_micro", norm="none", width=24, patch=4), 16),
}


def export(*words):
    return CliRunner().invoke(app, ["export", *[str(word) for word in words]])


def network_of(kind):
    """A backbone with nothing left as it was initialised, its colours included."""
    torch.manual_seed(0)
    network = build_backbone(*KINDS[kind]).eval()
    network.inputs = Inputs([0.1, 0.5, 0.7], [0.2, 0.5, 0.3])
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.add_(0.2 * torch.rand_like(value) if "var" in name else 0.05 * torch.randn_like(value))
    return network


def finished(path, kind, part="backbone"):
    """A finished run as its files: (its directory, the network in it). Its images are not on record."""
    cfg, size = KINDS[kind]
    network = network_of(kind)
    path.mkdir(parents=True)
    write_json(path / "status.json", {"schema": "gssl.status/1", "command": "pretrain-ssl", "state": "finished"})
    if part == "backbone":
        weight_sources.export(
            SimpleNamespace(backbone=network), [torch.rand(8, 3, size, size)], path, "simclr", cfg, size, 0
        )
        return path, network.eval()
    network = Classifier(network, 3, Draws(1)).eval()
    (path / "weights").mkdir()
    digest = save_weights(network, path / "weights" / "finetuned.safetensors")
    text = {"schema": "gssl.finetuned/1", "sha256": digest, "classes": ["a", "b", "c"], "image_size": size}
    text |= {"backbone": {**vars(cfg), "size": size}, "input": network.backbone.inputs.record()}
    write_json(path / "weights" / "finetuned.json", text)
    return path, network


@pytest.fixture(scope="module")
def run(tmp_path_factory, pictures):
    """A run of the command itself, with its images."""
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8"]
    words += ["ssl.batch_size=16", "budget.steps=2", "engine.progress=false", "engine.device=cpu"]
    path = tmp_path_factory.mktemp("exported") / "run"
    pretrain_ssl.main(compose("pretrain-ssl", words), path)
    return path


def as_written(description, monkeypatch, images):
    """What the lines of Python in a description make of `images`, in the folder where it is."""
    monkeypatch.chdir(description.parent)
    text = json.loads(description.read_text())
    names = {"image": images.numpy() if text["to"] == "onnx" else images}
    with torch.no_grad():
        exec("\n".join(text["use"]), names)
    return torch.as_tensor(names[text["output"].split()[0]])


CASES = [(kind, to, "backbone") for kind in ("convnet", "vit") for to in ("safetensors", "onnx", "torch-export")]
CASES += [("vit", "timm", "backbone"), ("resnet", "timm", "backbone"), ("resnet", "torchvision", "backbone")]
CASES += [("convnet", to, "classifier") for to in ("safetensors", "onnx", "torch-export")]
CASES += [("vit", "timm", "classifier"), ("grouped", "safetensors", "classifier")]
# the exporters of onnx and torch take seconds each: one network for each of them in the default suite
LONG = {"onnx", "torch-export"}
CASES = [
    pytest.param(*case, marks=pytest.mark.slow) if case[1] in LONG and case[::2] != ("convnet", "backbone") else case
    for case in CASES
]


@pytest.mark.parametrize(("kind", "to", "part"), CASES)
def test_the_description_says_how_to_use_the_file(kind, to, part, tmp_path, monkeypatch):
    path, network = finished(tmp_path / "run", kind, part)
    done = export(path, "--to", to)
    assert done.exit_code == 0, done.stderr
    file = path / "exports" / done.stdout.strip().rsplit("/", 1)[1]
    assert done.stdout == f"{file}\n" and file.is_file()
    *notes, last = done.stderr.splitlines()
    what = "features" if part == "backbone" else "logits"
    assert last.startswith(f"{what} equal within ") and last.endswith(" on 8 images")
    assert any("small images" in note for note in notes) == (kind == "resnet")
    description = file.with_suffix(".json") if to == "safetensors" else file.with_name(f"{file.name}.json")
    assert sorted(file.parent.iterdir()) == sorted([file, description])
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        ours = network(images)
    theirs = as_written(description, monkeypatch, images)
    assert theirs.shape == ours.shape
    assert float((ours - theirs).abs().max() / ours.abs().max()) < 1e-4
    text = json.loads(description.read_text())
    assert text["input"]["mean"] == [0.1, 0.5, 0.7] and text["size"] == 16
    assert text.get("classes") == (None if part == "backbone" else ["a", "b", "c"])
    assert ("mean" in text["normalised"]) == (to in ("timm", "torchvision", "safetensors"))


def test_images_of_the_run_are_compared_too(run, tmp_path):
    done = export(run, "--to", "safetensors", "-o", tmp_path / "new" / "model.safetensors", "--json")
    assert done.exit_code == 0 and done.stderr.splitlines()[-1].endswith(" on 16 images")
    text = json.loads(done.stdout)
    assert text["schema"] == "gssl.export/1" and text["file"] == str(tmp_path / "new" / "model.safetensors")
    assert text["check"]["images"] == 16 and text["check"]["real"] == 8 and text["check"]["relative"] < 1e-4
    found = weight_sources.find_weights(text["file"])  # as any `weights=FILE`
    assert (found.method, found.size, found.backbone) == (
        "simclr",
        16,
        Backbone(name="convnet", norm="batch", width=8, patch=1),
    )
    assert json.loads((tmp_path / "new" / "model.json").read_text())["schema"] == "gssl.weights/1"


def test_again_is_no_error(run, tmp_path):
    for _ in range(2):
        assert export(run, "--to", "safetensors", "-o", tmp_path / "model.safetensors").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_the_backbone_comes_first_and_the_classifier_when_asked(tmp_path):
    path, _ = finished(tmp_path / "run", "convnet")
    other, _ = finished(tmp_path / "other", "convnet", "classifier")
    for file in (other / "weights").iterdir():
        file.rename(path / "weights" / file.name)
    assert export(path, "--to", "safetensors").stdout.endswith("exports/backbone.safetensors\n")
    done = export(path, "--to", "safetensors", "--part", "classifier")
    assert done.stdout.endswith("exports/classifier.safetensors\n")


# ── what must not happen ─────────────────────────────────────────────────────────────────────────


def tree(root):
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.mark.parametrize("change", [1.001, math.nan])
def test_other_features_are_refused(change, run, tmp_path, monkeypatch):
    right = export_formats.TARGETS["safetensors"]

    def wrong(subject, file):
        model = right.read(subject, file)
        return lambda images: model(images) * change

    monkeypatch.setitem(export_formats.TARGETS, "safetensors", right._replace(read=wrong))
    done = export(run, "--to", "safetensors", "-o", tmp_path / "new" / "model.safetensors")
    assert done.exit_code == 1 and done.stdout == "" and not list(tmp_path.iterdir())
    assert done.stderr.splitlines()[-1].startswith("error: --to safetensors: read back, the file's features differ by ")


def test_one_size_of_batch_is_refused(run, tmp_path, monkeypatch):
    """A file that was made for one batch only is not handed over."""
    fixed = torch.export.Dim.STATIC
    monkeypatch.setattr(torch.export, "Dim", lambda name: fixed)
    with pytest.raises(JobError, match="--to torch-export: the file cannot be used"):
        command.export(run, tmp_path / "model.pt2", "torch-export")
    assert not list(tmp_path.iterdir())


def usage(said, *words):
    done = export(*words)
    assert done.exit_code == 2 and done.stdout == "", done.output
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr


def test_usage_errors_are_one_line_and_leave_nothing(run, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    (tmp_path / "rows.onnx.json").write_text("[1, 2]")
    before = tree(tmp_path), tree(run)
    usage("torchvision has no convnet; use --to safetensors, onnx or torch-export", run, "--to", "torchvision")
    usage("timm has no convnet", run, "--to", "timm", "-o", tmp_path / "new" / "a.safetensors")
    usage("no such run directory", tmp_path / "none", "--to", "onnx")
    usage("has no backbone (no gssl run)", tmp_path, "--to", "onnx")
    usage(
        "a pretrain-ssl run has no head for classes; evaluate it first (gssl transfer weights=",
        run,
        "--to",
        "onnx",
        "--part",
        "classifier",
    )
    usage("ends in .onnx", run, "--to", "onnx", "-o", tmp_path / "a.pt2")
    usage("cannot be written", run, "--to", "safetensors", "-o", tmp_path / "file" / "a.safetensors")
    usage("is a folder", run, "--to", "onnx", "-o", tmp_path / "folder.onnx")
    usage("the run's own files", run, "--to", "safetensors", "-o", run / "weights" / "backbone.safetensors")
    usage("is no description of gssl's", run, "--to", "safetensors", "-o", tmp_path / "package.safetensors")
    usage("is no description of gssl's", run, "--to", "onnx", "-o", tmp_path / "rows.onnx")
    assert before == (tree(tmp_path), tree(run))


def test_an_unfinished_or_damaged_run(tmp_path):
    path, _ = finished(tmp_path / "run", "convnet")
    with (path / "weights" / "backbone.safetensors").open("ab") as file:
        file.write(b"more")
    usage("damaged or replaced", path, "--to", "safetensors")
    (path / "weights" / "backbone.safetensors").unlink()
    write_json(path / "status.json", {"command": "pretrain-ssl", "state": "interrupted"})
    usage("has no backbone (pretrain-ssl run, interrupted)", path, "--to", "safetensors")
    assert not (path / "exports").exists()


def test_an_unknown_format_or_none(run):
    done = subprocess.run(
        [sys.executable, "-m", "gssl", "export", str(run), "--to", "keras"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "torch-export" in done.stderr


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("timm", "timm")])
def test_a_missing_package_is_named(to, package, run, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    usage(f"needs {package}; pip install 'gssl[{to}]'", run, "--to", to)


def test_command_line_and_formats_agree_and_help_needs_no_torch():
    assert [kind.value for kind in Format] == list(export_formats.TARGETS)
    code = "import sys; from typer.testing import CliRunner; from gssl.cli import app\n"
    code += (
        "assert 'torch-export' in CliRunner().invoke(app, ['export', '-h']).stdout; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
