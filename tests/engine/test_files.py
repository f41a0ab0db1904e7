"""Documents are read through one reader: whatever else lies under their name is one line, never half understood."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from gssl.engine import shapes
from gssl.engine.files import find_json, read_json, sha256, write_json
from gssl.errors import Damaged, UsageError

STATUS = {"schema": "gssl.status/1", "command": "transfer", "state": "finished", "step": 3, "inputs": {"images": "ab"}}
WEIGHTS = {"schema": "gssl.weights/1", "sha256": "a" * 64, "backbone": {"name": "resnet18"}, "size": 32, "seed": 0}

BAD = {
    "empty": "",
    "a list": "[1, 2]",
    "text": '"finished"',
    "null": "null",
    "no JSON": "{state: finished",
    "deep": "[" * 5000 + "]" * 5000,
    "deep, in a table": '{"a":' * 200 + "1" + "}" * 200,
    "NaN": '{"state": "finished", "step": NaN}',
    "Infinity": '{"step": 1e999}',
    "a long number": '{"step": ' + "1" * 5000 + "}",
    "cut off": '{"state": "finis',
}


@pytest.mark.parametrize("name", sorted(shapes.BY_NAME))
@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_no_document_is_one_line_that_names_the_file(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        read_json(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert find_json(path) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status.json", {"state": 3}),
        ("status.json", {"step": "three"}),
        ("status.json", {"step": True}),
        ("status.json", {"inputs": ["a"]}),
        ("status.json", {"extensions": [None]}),
        ("result.json", {"objective": "0.9"}),
        ("result.json", {"objective": {"name": "val_knn", "value": "0.9"}}),
        ("result.json", {"scores": {"probe": "knn"}}),
        ("result.json", {"scores": [{"probe": 1}]}),
        ("result.json", {"spent": [1]}),
        ("manifest.json", {"model.safetensors": "ab"}),
        ("manifest.json", {"model.safetensors": {"sha256": 3}}),
        ("backbone.json", {"schema": "gssl.weights/1"}),
        ("generator.json", {"schema": "gssl.generator/2", "sha256": ["a"]}),
        ("report.json", {"provenance": {"runs": ["a"]}}),
        ("parts.json", {"parts": "a"}),
        ("predict.json", []),
    ],
)
def test_a_wrong_type_names_the_key(tmp_path: Path, name: str, value: object) -> None:
    (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(Damaged, match="is not as gssl writes it"):
        read_json(tmp_path / name)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    began = time.monotonic()
    os.mkfifo(tmp_path / "status.json")
    (tmp_path / "result.json").symlink_to("/dev/zero")
    (tmp_path / "part.json").mkdir()
    for name in ("status.json", "result.json", "part.json"):
        with pytest.raises(Damaged, match="no regular file|Is a directory"):
            read_json(tmp_path / name)
    assert time.monotonic() - began < 1
    assert read_json(tmp_path / "absent.json") is None
    assert read_json(tmp_path / "absent" / "status.json") is None


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(Damaged, match="expected 268,435,456 or fewer"):
        read_json(path)


@pytest.mark.parametrize(
    ("name", "value"), [("status.json", STATUS), ("backbone.json", WEIGHTS), ("own.json", WEIGHTS)]
)
def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path, name: str, value: dict[str, object]) -> None:
    path, draws = tmp_path / name, random.Random(0)
    write_json(path, value)
    assert read_json(path) == value
    whole, found = path.read_bytes(), 0
    for _ in range(400):
        data = bytearray(whole)
        data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        path.write_bytes(data)
        try:
            said = read_json(path)
        except UsageError:
            found += 1
            continue
        # a flipped bit of the key `checksum` leaves the rest as it was
        assert {key: said.get(key) for key in value} == value
    assert found > 300


def test_a_result_is_the_one_that_its_status_records(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"schema": "gssl.result/2", "seed": 1})
    write_json(tmp_path / "status.json", STATUS | {"result_sha256": sha256(tmp_path / "result.json")})
    assert read_json(tmp_path / "result.json")["seed"] == 1
    (tmp_path / "result.json").write_text('{"schema": "gssl.result/2", "seed": 7}')
    with pytest.raises(Damaged, match="not the one that status.json records"):
        read_json(tmp_path / "result.json")


def test_documents_of_older_versions_have_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps(STATUS))
    assert read_json(tmp_path / "status.json") == STATUS
