"""When a primary family was fixed, as families.jsonl and the judged parts tell it."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from gssl.commands import compare
from gssl.commands.family import FAMILIES, fixed_before
from gssl.engine.files import read_json


def planner(*pairs, labels="10"):
    return SimpleNamespace(primary=lambda: ("linear", labels), pairs=lambda: [list(pair) for pair in pairs])


def judged(path: Path, ended: str | None, state: str = "finished", stage: str = "transfer"):
    path.mkdir()
    if ended:
        (path / "status.json").write_text(json.dumps({"state": state, "ended": ended}))
    return SimpleNamespace(path=path, stage=stage)


AB, AC = ("a", "b"), ("a", "c")
BEFORE, AFTER = "2020-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"


def test_a_family_is_fixed_before_what_is_judged_later(tmp_path):
    cfg = SimpleNamespace(parts=str(tmp_path / "parts"))
    missing = judged(tmp_path / "missing", None)
    assert fixed_before(cfg, planner(AB), [missing])
    later = judged(tmp_path / "later", AFTER)
    assert fixed_before(cfg, planner(AB), [missing, later])  # the same command goes on
    assert fixed_before(cfg, planner(AB[::-1]), [later])  # so does one that writes the pair the other way round
    rows = (tmp_path / "parts" / FAMILIES).read_text().splitlines()
    assert len(rows) == 1 and json.loads(rows[0])["pairs"] == [["a", "b"]]


def test_a_family_that_comes_after_a_score_is_not(tmp_path):
    cfg = SimpleNamespace(parts=str(tmp_path / "parts"))
    early = judged(tmp_path / "early", BEFORE)
    assert not fixed_before(cfg, planner(AB), [early])
    assert not fixed_before(cfg, planner(AB), [early])  # asking twice does not help
    # nor does what only looks like a score count
    others = [judged(tmp_path / "p", BEFORE, stage="pretrain"), judged(tmp_path / "f", BEFORE, state="failed")]
    assert fixed_before(cfg, planner(AC), others)
    assert fixed_before(cfg, planner(AC, labels="1"), others)
    assert len((tmp_path / "parts" / FAMILIES).read_text().splitlines()) == 3


def test_a_line_that_a_kill_cut_off_is_no_record(tmp_path):
    cfg = SimpleNamespace(parts=str(tmp_path))
    (tmp_path / FAMILIES).write_text('{"time": "2020-01-01T00:00:00+00:00", "probe": "lin\n')
    assert not fixed_before(cfg, planner(AB), [judged(tmp_path / "early", BEFORE)])


@pytest.mark.long
def test_pairs_that_are_chosen_beside_scores_are_the_readers(small, tmp_path, inline):
    def fixed_by(*words: str, to: str) -> str:
        compare.main(small("arms=[random,pixels,pca]", *words), tmp_path / to)
        return read_json(tmp_path / to / "report.json")["primary"]["fixed_by"]

    first, other = "primary.pairs=['random vs pixels']", "primary.pairs=['random vs pca']"
    assert fixed_by(first, to="one") == "plan"
    assert fixed_by(first, to="two") == "plan"
    assert fixed_by(other, to="three") == "reader"
    told = read_json(tmp_path / "three" / "report.json")["verdict"]["cautions"]
    assert any("when runs were finished" in text for text in told)
    assert fixed_by(to="four") == "rule"
