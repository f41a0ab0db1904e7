"""backbone.json: damaged is never absent, and what it says is compared."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gssl import schemas
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.weight_sources import find_weights
from gssl.nets import build_backbone
from gssl.nets.inputs import Inputs
from gssl.nets.weights import save_weights

SMALL = schemas.Backbone(name="convnet", norm="batch", width=4, patch=1)


@pytest.fixture
def run(tmp_path) -> Path:
    net = build_backbone(SMALL, 16)
    net.inputs = Inputs([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    path = tmp_path / "run"
    path.mkdir()
    write_json(path / "status.json", {"command": "pretrain-ssl", "state": "finished"})
    images = torch.rand(2, 3, 16, 16)
    weight_sources.export(SimpleNamespace(backbone=net), iter([images]), path, "simclr", SMALL, 16, 7, False)
    return path


def facts(source: weight_sources.WeightSource) -> tuple:
    return source.input, source.size, source.seed, source.method, repr(source.backbone), source.sha256


@pytest.mark.parametrize("of_run", [True, False])
def test_no_damage_to_a_description_is_silent(run, of_run) -> None:
    weights = run / "weights" / "backbone.safetensors"
    file = weights.with_suffix(".json")
    place = str(run if of_run else weights)
    whole, right = file.read_bytes(), facts(find_weights(place))
    draw = random.Random(0)
    damaged = [whole[: draw.randrange(len(whole))] for _ in range(30)] + [b"", b"[]", b"null", b'"x"', b"[" * 5000]
    for _ in range(150):
        at = draw.randrange(len(whole))
        damaged.append(whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :])
    for data in damaged:
        file.write_bytes(data)
        try:
            found = find_weights(place)
        except UsageError as error:
            assert str(error).count("\n") == 0 and ("backbone" in str(error))
        else:
            assert facts(found) == right  # white space


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input", {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, float("nan")]}),
        ("input", [1, 2]),
        ("backbone", "convnet"),
        ("size", "16"),
        ("size", True),
        ("seed", 1.5),
        ("sha256", "abc"),
        ("labels_used", "no"),
        ("unknown", 1),
    ],
)
def test_types_hold_without_a_checksum_too(run, key, value) -> None:
    file = run / "weights" / "backbone.json"
    text = read_json(file) | {key: value}
    text.pop("checksum", None)  # as earlier versions wrote it
    file.write_text(json.dumps(text))
    with pytest.raises(UsageError, match="backbone") as error:
        find_weights(str(run))
    assert "\n" not in str(error.value)


def test_a_runs_description_is_missed_and_notes_of_others_are_none(run, tmp_path) -> None:
    (run / "weights" / "backbone.json").unlink()
    for place in (run, run / "weights" / "backbone.safetensors"):  # which would be weights of others without it
        with pytest.raises(UsageError, match="backbone.json: missing"):
            find_weights(str(place))
    file = tmp_path / "theirs.safetensors"
    save_weights(build_backbone(SMALL, 16), file)
    (tmp_path / "theirs.json").write_text('{"author": "them", "seed": 3}')
    assert find_weights(str(file)).backbone is None
