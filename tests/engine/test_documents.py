"""Configurations of runs: no aliases, bounded depth and size; what a document lacks is said of its file."""

import os
import time
from pathlib import Path

import pytest

from gssl.engine.documents import expected, find_yaml, read_yaml
from gssl.errors import Damaged

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "alias"),
        ("a: &x {b: *x}", "alias"),
        ("a: " + "[" * 3000 + "]" * 3000, "nesting"),
        ("".join(f"{'  ' * i}a:\n" for i in range(300)), "deeper"),
        ("- " * 3000 + "a", "deeper"),
        ("[1, 2]", "no table"),
        ("", "no table"),
        ("3: a", "no table"),
        ("a: [", "no YAML"),
        ("a: !!python/object/apply:os.getcwd []", "no YAML"),
        ("a: \x00", "no YAML"),
        ("a: 2026-99-99", "no YAML"),
    ],
)
def test_what_is_no_configuration_is_one_line_and_quick(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(Damaged, match=why) as error:
        read_yaml(path)
    assert time.process_time() - began < 1
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert find_yaml(path) == {}


def test_globs_and_lists_of_a_configuration_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("runs: 'runs/*'\nsize: [32, 32]\nclasses:\n- a\n- '*b'\n")
    assert read_yaml(tmp_path / "config.yaml") == {"runs": "runs/*", "size": [32, 32], "classes": ["a", "*b"]}
    assert read_yaml(tmp_path / "absent.yaml") is None


def test_a_pipe_is_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(Damaged, match="no regular file"):
        read_yaml(tmp_path / "config.yaml")


def test_what_a_document_lacks_is_said_of_its_file(tmp_path: Path) -> None:
    for text in ({}, {"a": []}, {"a": {"b": {}}}):
        with pytest.raises(Damaged, match="result.json: does not hold"), expected(tmp_path / "result.json"):
            text["a"]["b"] + 1  # type: ignore[index]
