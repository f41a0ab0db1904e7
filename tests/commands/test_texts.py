"""Commands that are of images say so of a run of texts in one line; its weights can be written."""

from pathlib import Path

import pytest

from gssl.commands import embed, export, inspect, pretrain_ssl
from gssl.config.composing import compose
from gssl.errors import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("texts")
    (where / "t.txt").write_text("".join(f"line {i:04} of a text\n" for i in range(300)))
    words = ["data=text", f"data.root={where / 't.txt'}", "data.tokenizer=byte", "data.size=16", "ssl=clm"]
    words += ["backbone=text_small", "ssl.batch_size=4", "budget.steps=2", "engine.threads=1", "engine.device=cpu"]
    pretrain_ssl.main(compose("pretrain-ssl", [*words, "engine.progress=false"]), where / "run")
    return where / "run"


def test_images_are_asked_for(run, tmp_path):
    for command in (lambda: embed.embed(run, tmp_path, tmp_path / "x.npz"), lambda: inspect.inspect(run, tmp_path)):
        with pytest.raises(UsageError, match="its network reads texts; give a run whose network reads images"):
            command()


@pytest.mark.parametrize("to", ["onnx", "torch-export", "timm", "torchvision"])
def test_only_the_weights_are_exported(run, tmp_path, to):
    with pytest.raises(UsageError, match=f"--to {to}: of images only; a network of texts is written with --to safe"):
        export.export(run, tmp_path / "model", to)
    assert not list(tmp_path.iterdir())


def test_exported_weights_are_those_of_the_run(run, tmp_path):
    said = export.export(run, tmp_path / "model.safetensors", "safetensors")
    assert Path(said["file"]).is_file()
