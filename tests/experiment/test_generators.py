"""Generators of finished runs: what is wrong with a description is one line that names it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gssl.engine.files import write_json
from gssl.errors import UsageError
from gssl.experiment.generators import load_generator
from gssl.nets.generator import Generator, Shape
from gssl.nets.weights import save_weights

SHAPE = Shape("dcgan", 4, 4, 16)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    write_json(tmp_path / "status.json", {"schema": "gssl.status/1", "command": "train-gan", "state": "finished"})
    torch.manual_seed(0)
    digest = save_weights(Generator(SHAPE), tmp_path / "weights" / "generator.safetensors")
    about = {"name": "dcgan", "truncation": None, "classes": [], "pairs": False}
    text = {"schema": "gssl.generator/2", "sha256": digest, "method": about, "shape": SHAPE.record()}
    write_json(tmp_path / "weights" / "generator.json", text)
    return tmp_path


def test_a_whole_one_is_read(run: Path) -> None:
    assert load_generator(run, torch.device("cpu")).method == "dcgan"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", {"kind": "dcgan"}),
        ("shape", {"other": 1}),
        ("shape", SHAPE.record() | {"latent": [4]}),
        ("shape", SHAPE.record() | {"latent": "4"}),
        ("shape", SHAPE.record() | {"size": 0}),
        ("shape", SHAPE.record() | {"width": -4}),
        ("shape", SHAPE.record() | {"kind": "other"}),
        ("method", {}),
        ("method", {"name": 3}),
        ("method", []),
        ("sha256", None),
    ],
)
def test_a_wrong_description_is_one_line(run: Path, key: str, value: Any) -> None:
    file = run / "weights" / "generator.json"
    text = json.loads(file.read_text())
    del text["checksum"]  # as versions without it wrote: types alone show it
    file.write_text(json.dumps(text | {key: value}))
    with pytest.raises(UsageError, match=r"generator\.(json|safetensors)") as error:
        load_generator(run, torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_a_changed_description_is_not_used(run: Path) -> None:
    file = run / "weights" / "generator.json"
    file.write_text(file.read_text().replace('"latent": 4', '"latent": 5'))
    with pytest.raises(UsageError, match="checksum"):
        load_generator(run, torch.device("cpu"))
