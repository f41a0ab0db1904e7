"""Finished runs are found by one pattern or several."""

import pytest

from gssl.comparison.outcome import finished_runs
from gssl.errors import UsageError


def test_runs_by_a_pattern_or_a_list_each_once(tmp_path):
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text("{}")
    (tmp_path / "a3").mkdir()  # no run

    def names(*patterns: str) -> list[str]:
        return [path.name for path in finished_runs([f"{tmp_path}/{p}" for p in patterns])]

    assert [path.name for path in finished_runs(f"{tmp_path}/a*")] == ["a1", "a2"]
    assert names("b1", "a*", "a1") == ["b1", "a1", "a2"]
    with pytest.raises(UsageError, match="runs=.*c.*: no run directory matches"):
        names("a*", "c*")
