"""Files of JSON lines: damaged ones are numbered, a line that a kill cut off is neither whole nor damaged, and where
each line names the one before, whatever was changed or taken out shows."""

import os
import random
from pathlib import Path

import pytest

from gssl.engine.lines import entries_of, find_entries, growing, read_lines
from gssl.errors import Damaged


@pytest.mark.parametrize(
    "bad", ["{", "", "[1]", "3", '{"step": NaN}', '{"step": "3"}', '{"step": 1e999}', "[" * 3000, "\x00", '{"loss": 1}']
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


def chained(path: Path, cuts: set[int], count: int = 6) -> list[bytes]:
    """The lines of a file that `count` processes have written, of which those of `cuts` were killed before."""
    for number in range(count):
        if number in cuts:
            with path.open("ab") as file:
                file.write(b'{"n": 7, "te')
        with growing(path) as (lines, append):
            append({"n": number, "text": "\u2028\udcff", "previous": lines.last})
    return path.read_bytes().splitlines(keepends=True)


def test_whatever_is_taken_out_or_changed_shows_and_what_a_kill_left_does_not(tmp_path: Path) -> None:
    draw = random.Random(0)
    for trial in range(12):
        path = tmp_path / str(trial)
        lines = chained(path, set(draw.sample(range(6), draw.randrange(4))))
        whole = read_lines(path)
        assert (whole.damage, [row["n"] for _, row in whole.found]) == ("", list(range(6)))
        assert [line.encode() + b"\n" for line, _ in whole.found] == [line for line in lines if line.endswith(b"}\n")]
        at = draw.choice([i for i, line in enumerate(lines[:-1]) if line.endswith(b"}\n")])
        bad = bytearray(lines[at])
        bad[draw.randrange(len(bad) - 1)] ^= 1 << draw.randrange(8)
        for changed in ([], [bytes(bad)], [lines[at], lines[at]]):
            path.write_bytes(b"".join([*lines[:at], *changed, *lines[at + 1 :]]))
            assert read_lines(path).damage
            with growing(path) as (found, append):
                append({"previous": found.last})
            assert read_lines(path).damage  # a line after it does not vouch for it
    assert read_lines(tmp_path / "none").last is None


def test_a_damaged_last_line_stays_damaged_when_others_follow(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = chained(path, set())
    path.write_bytes(b"".join(lines[:-1]) + b"\xff\n")
    for _ in range(2):
        assert read_lines(path).damaged == [6]
        with growing(path) as (found, append):
            append({"previous": found.last})


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lines")
    with pytest.raises(Damaged, match="no regular file"), growing(tmp_path / "lines"):
        pass
