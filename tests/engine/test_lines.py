"""Lines of metrics.jsonl: damaged ones are numbered, a line that a kill cut off is neither whole nor damaged."""

import os
from pathlib import Path

import pytest

from gssl.engine.lines import entries_of, find_entries
from gssl.errors import Damaged


@pytest.mark.parametrize(
    "bad", ["{", "", "[1]", "3", '{"step": NaN}', '{"step": "3"}', '{"step": 1e999}', "[" * 3000, "\x00"]
)
def test_damaged_lines_have_their_numbers(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{bad}\n{{"step": 2}}\n')
    entries, damaged = entries_of(path)
    assert [entry for _, entry in entries] == [{"step": 1}, {"step": 2}]
    assert damaged == [2]


@pytest.mark.parametrize("rest", ["", '{"st', '{"step": 2, "loss'])
def test_what_a_kill_cut_off_is_no_damage(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + rest)
    assert entries_of(path) == ([('{"step": 1}', {"step": 1})], [])


def test_no_file_has_no_lines_and_a_pipe_is_refused(tmp_path: Path) -> None:
    assert entries_of(tmp_path / "metrics.jsonl") == ([], [])
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(Damaged, match="no regular file"):
        entries_of(tmp_path / "metrics.jsonl")
    assert find_entries(tmp_path / "metrics.jsonl") == []
