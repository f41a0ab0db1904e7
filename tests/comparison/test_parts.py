"""A part is finished where its result is whole: what was lost, cut or changed is made again."""

import json
from pathlib import Path
from typing import Any

import pytest

from gssl.comparison.parts import Part
from gssl.engine.files import read_json, sha256, write_json
from gssl.engine.recorded import listed


@pytest.fixture
def part(tmp_path: Path) -> Part:
    write_json(tmp_path / "result.json", {"schema": "gssl.result/2", "scores": [{"probe": "knn", "accuracy": 0.5}]})
    digest = sha256(tmp_path / "result.json")
    write_json(tmp_path / "status.json", {"schema": "gssl.status/1", "state": "finished", "result_sha256": digest})
    return Part("simclr", 0, "transfer", "transfer", None, tmp_path, "0" * 12, (), "gssl transfer")


def test_a_whole_one_is_finished(part: Part) -> None:
    assert part.finished


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"scores": 3}', '{"schema": "gssl.result/2", "scores": []}'])
def test_without_its_result_it_is_not(part: Part, text: Any) -> None:
    file = part.path / "result.json"
    file.unlink() if text is None else file.write_text(text)
    assert not part.finished


def test_a_changed_number_is_no_result(part: Part) -> None:
    file = part.path / "result.json"
    file.write_text(file.read_text().replace("0.5", "0.9"))
    assert not part.finished


def test_a_changed_status_is_no_leave(part: Part) -> None:
    file = part.path / "status.json"
    text = json.loads(file.read_text())
    file.write_text(json.dumps(text | {"result_sha256": None}))
    assert not part.finished


@pytest.mark.parametrize("name", ["predictions.npz", "items.npy", "weights/finetuned.safetensors"])
@pytest.mark.parametrize("text", [None, b"otherwise", b"longer than before"])
def test_without_what_its_result_is_read_by_it_is_not(part: Part, name: str, text: bytes | None) -> None:
    file = part.path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"as it was")
    write_json(part.path / "status.json", read_json(part.path / "status.json") | {"files": listed(part.path)})
    assert part.finished
    file.unlink() if text is None else file.write_bytes(text)
    assert not part.finished
