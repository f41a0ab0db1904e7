"""What a comparison's record shows: planned, changed after scores were there, or nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gssl.commands import compare
from gssl.comparison import outcome
from gssl.comparison.plan import Planner
from gssl.comparison.preregistration import RECORD, register
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError

ARMS, PAIRS = "arms=[pca,kmeans,scratch,random]", "primary.pairs=['pca vs scratch']"
USUAL = (ARMS, PAIRS, "seeds=3", "primary.probe=linear", "probe.use=[linear,knn,finetune]")


@pytest.fixture
def started(small):
    """`started(…)`: what the record shows once a comparison of these words begins; `scored=True` scores its parts."""

    def start(*words: str, scored: bool = False, test: str = "t", data: str = "d") -> dict:
        given = {word.partition("=")[0] for word in words}
        cfg = small(*(word for word in USUAL if word.partition("=")[0] not in given), *words)
        planner = Planner(cfg, data, 1)
        parts = planner.plan()
        found = register(cfg, planner, test, parts)
        for part in parts if scored else []:
            part.path.mkdir(parents=True, exist_ok=True)
            write_json(part.path / "status.json", {"state": "finished", "ended": "2026-01-01T00:00:00+00:00"})
        return found

    return start


def kinds(found: dict) -> list[str]:
    return [change["kind"] for change in found["changes"]]


def test_what_was_planned_is_planned_however_often_it_is_asked_for(started, tmp_path):
    first = started(scored=True)
    assert (first["state"], first["changes"], first["seeds_at_look"]) == ("planned", [], [3])
    assert first["when_scored"] is None
    again = started()
    assert again["state"] == "planned" and again["hash"] == first["hash"] and again["when_scored"].startswith("2026")
    (line,) = (tmp_path / "parts" / RECORD).read_text().splitlines()
    row = json.loads(line)
    assert [arm["name"] for arm in row["arms"]] == ["pca", "kmeans", "scratch", "random"] and row["seeds"] == 3
    assert {arm: len(names) for arm, names in row["parts"].items()} == {"pca": 3, "kmeans": 3, "scratch": 3}
    # a table with one probe and one control more has nothing to choose by
    assert started(ARMS.replace("]", ",pixels]"), "probe.use=[knn,linear,fewshot]")["state"] == "planned"


def test_what_is_changed_before_a_score_is_there_is_no_change(started):
    started()
    found = started("primary.pairs=['kmeans vs scratch']", "seeds=6", "primary.probe=knn", "draws=1")
    assert (found["state"], found["changes"], found["looks"]) == ("planned", [], 1)
    # and the plan that counts is the last one before the scores, not the one that suits
    started("primary.pairs=['kmeans vs scratch']", scored=True)
    assert kinds(started()) == ["pairs"]


@pytest.mark.parametrize(
    "words, expected, said",
    [
        (["primary.pairs=['kmeans vs scratch']"], "pairs", "without pca vs scratch and with kmeans vs scratch"),
        (["primary.probe=knn"], "probe", "linear then, knn now"),
        (["primary.labels='2'", "labels_per_class=[2,5]"], "labels", "5 then, 2 now"),
        (["seeds=4"], "seeds_added", "3 then, 4 now"),
        (["seeds=2"], "seeds_removed", "3 then, 2 now"),
        (["arms=[pca,scratch,random]"], "arms_removed", "kmeans was taken out"),
        (["arms=[pca,kmeans,scratch,random,torchvision:resnet18]"], "arms_added", "torchvision:resnet18 was added"),
        (["+overrides.pca=['probe.linear.l2_count=4']"], "settings", "settings of pca"),
        (["draws=1"], "settings", "draws 2 then, 1 now"),
    ],
)
def test_what_is_changed_afterwards_is_said(started, words, expected, said):
    started(scored=True)
    found = started(*words)
    assert found["state"] == "changed" and kinds(found) == [expected] and said in found["changes"][0]["text"]
    assert started()["state"] == "planned"  # who goes back to the plan has it again


@pytest.mark.long
def test_a_search_is_planned_before_it_and_what_it_finds_is_no_change(small, tmp_path):
    words = [
        "arms=[simclr,scratch]",
        "search.trials=1",
        "search.space={simclr: ['ssl.temperature=0.1,0.2']}",
        "seeds=2",
    ]
    planner = Planner(small(*words), "d", 1)
    assert register(planner.cfg, planner, "t", None)["state"] == "planned"
    for found in (["ssl.temperature=0.2"], ["ssl.temperature=0.2"], ["ssl.temperature=0.1"]):
        parts = planner.plan({"simclr": found})
        assert register(planner.cfg, planner, "t", parts)["changes"] == []
    rows = [json.loads(line) for line in (tmp_path / "parts" / RECORD).read_text().splitlines()]
    assert len(rows) == 3 and rows[0]["parts"] == {} and rows[0]["arms"] == rows[2]["arms"]
    assert rows[1]["parts"]["scratch"] == rows[2]["parts"]["scratch"]
    assert rows[1]["parts"]["simclr"] != rows[2]["parts"]["simclr"]
    other = small(*words[:2], words[2].replace("0.2", "0.3"), words[3])
    for part in parts:
        part.path.mkdir(parents=True)
        write_json(part.path / "status.json", {"state": "finished", "ended": "2026-01-01T00:00:00+00:00"})
    assert kinds(register(other, Planner(other, "d", 1), "t", None)) == ["settings"]


def test_controls_alone_are_a_comparison_and_beside_others_none(started):
    only, pair = "arms=[random,pixels]", "primary.pairs=['random vs pixels']"
    started(only, pair, scored=True)
    assert kinds(started(only, pair, "seeds=4")) == ["seeds_added"]
    assert started()["state"] == "planned"


def test_other_images_are_said_and_other_test_images_are_another_comparison(started):
    started(scored=True)
    assert kinds(started(data="other")) == ["data"]
    assert started(test="other", data="third")["state"] == "planned"


@pytest.mark.long
def test_the_order_of_the_arms_counts_where_it_chooses_the_pairs(started):
    rule = "primary.pairs=null"
    words = ["arms=[simclr,vicreg,dcgan,scratch]", "arms=[vicreg,simclr,dcgan,scratch]"]
    started(words[0], rule, scored=True)
    found = started(words[1], rule)
    assert {"arms_order", "pairs"} == set(kinds(found))
    assert "simclr, vicreg, dcgan, scratch then, vicreg, simclr" in found["changes"][0]["text"]


def test_an_order_of_the_arms_that_chooses_nothing_is_no_change(started):
    started(scored=True)
    assert started("arms=[kmeans,random,pca,scratch]")["changes"] == []


@pytest.mark.long
def test_an_arm_that_is_tuned_after_it_was_scored(started):
    """Also one that the plan that counts does not have, and with every way that was tried."""
    temperatures = [f"+overrides.simclr=['ssl.temperature={t}','ssl.batch_size=16']" for t in (0.1, 0.2, 0.5)]
    started(scored=True)
    for words in temperatures:
        found = started("arms=[pca,kmeans,scratch,random,simclr]", words, scored=True)
    assert kinds(found) == ["settings", "arms_added"]
    assert "simclr" in found["changes"][0]["text"] and "in 3 ways" in found["changes"][0]["text"]
    assert "ssl.temperature=0.1" in found["changes"][0]["text"] and "ssl.temperature=0.5" in found["changes"][0]["text"]


def test_added_seeds_are_a_further_look_with_what_is_left_of_the_level(started):
    started("seeds=6", scored=True)
    second = started("seeds=10", scored=True)
    assert (second["looks"], second["seeds_at_look"], kinds(second)) == (2, [6, 10], ["seeds_added"])
    assert second["alpha"] == pytest.approx(0.009375) and second["attainable"] == 8 / 1024
    third = started("seeds=12")
    assert third["seeds_at_look"] == [6, 10, 12] and third["alpha"] < second["alpha"]
    back = started("seeds=6")
    assert (back["seeds_at_look"], back["alpha"]) == ([6], 0.05)


def test_fewer_seeds_than_were_scored_are_a_further_look_too(started):
    started("seeds=10", scored=True)
    found = started("seeds=8")
    assert found["seeds_at_look"] == [10, 8] and found["exploratory"]


def test_a_comparison_that_was_stopped_on_the_way_was_seen_as_far_as_it_went(started, tmp_path):
    started("seeds=10")
    for seed in range(7):
        (folder,) = [path for path in record_of(tmp_path)[0]["parts"]["pca"] if f"-s{seed}-" in path]
        write_json(tmp_path / "parts" / folder / "status.json", {"state": "failed", "test_openings": 1})
    assert started("seeds=10")["seeds_at_look"] == [10]
    assert started("seeds=12")["seeds_at_look"] == [7, 12]


def record_of(tmp_path: Path) -> list[dict]:
    rows = [json.loads(line) for line in (tmp_path / "parts" / RECORD).read_text().splitlines()]
    for row in rows:
        for names in row["parts"].values():
            for name in names:
                (tmp_path / "parts" / name).mkdir(exist_ok=True)
    return rows


def test_without_its_record_nothing_is_known_of_scored_runs(started, tmp_path):
    started("seeds=6", scored=True)
    (tmp_path / "parts" / RECORD).unlink()
    found = started("seeds=8")
    assert found["state"] == "unknown" and "18 runs were scored before any plan" in found["text"]
    assert found["seeds_at_look"] == [6, 8]
    assert started("seeds=8")["state"] == "unknown"  # asking twice does not help


def test_a_line_that_was_taken_out_or_altered_shows(started, tmp_path):
    for words in (["seeds=6"], ["seeds=7"], ["seeds=8"]):
        started(*words, scored=True)
    path = tmp_path / "parts" / RECORD
    one, two, three = path.read_text().splitlines()
    for lines in ([one, three], [two, three], [one, two.replace("kmeans vs", "pca vs").replace("2026", "2025"), three]):
        path.write_text("\n".join(lines) + "\n")
        whole = lines[0] == one and lines[1] == two
        assert whole or "is not whole" in started("seeds=8")["text"]
    path.write_text(one + "\n")  # the end has no line after it, but its parts are there
    assert started("seeds=8")["state"] == "unknown"


def test_a_line_that_a_kill_cut_off_is_no_record_and_spoils_none(started, tmp_path):
    started(scored=True)
    path = tmp_path / "parts" / RECORD
    with path.open("a") as file:
        file.write('{"schema": "gssl.preregistration/1", "time": "20')
    assert started()["state"] == "planned"
    assert kinds(started("seeds=4")) == ["seeds_added"]
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b'"se\xffeds": ', id="bytes"),
        pytest.param(b'"seeds": "x", "y": ', id="type", marks=pytest.mark.long),
        pytest.param(b'"x": ', id="key", marks=pytest.mark.long),
    ],
)
def test_a_damaged_line_is_said_as_a_changed_one(started, tmp_path, bad):
    for words in (["seeds=3"], ["seeds=4"]):
        started(*words, scored=True)
    path = tmp_path / "parts" / RECORD
    one, two = path.read_bytes().splitlines(keepends=True)
    for lines in (one.replace(b'"seeds": ', bad, 1) + two, one + two.replace(b'"seeds": ', bad, 1)):
        path.write_bytes(lines)
        for words in ("seeds=5", "seeds=5"):  # the second time a line follows it
            found = started(words)
            assert found["state"] == "unknown" and "is not whole" in found["text"]
        assert path.read_bytes().startswith(lines)


def test_a_pipe_is_no_record(started, tmp_path):
    (tmp_path / "parts").mkdir()
    os.mkfifo(tmp_path / "parts" / RECORD)
    with pytest.raises(UsageError, match=f"parts=.*: {RECORD} is no regular file; take it out"):
        started()


def test_a_record_that_cannot_be_written_is_said(started, tmp_path):
    (tmp_path / "parts").write_text("a file")
    with pytest.raises(UsageError, match=f"parts=.*: {RECORD} cannot be written there"):
        started()


def test_importing_the_changes_needs_no_torch():
    code = "import sys; import gssl.comparison.changes; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def recorded(run, path: Path):
    def checked(*args):
        assert path.is_file()
        return run(*args)

    return checked


@pytest.mark.long
def test_a_comparison_hands_the_record_and_the_ledger_to_its_report(small, tmp_path, monkeypatch, inline):
    plans: list[dict] = []
    build = outcome.build
    monkeypatch.setattr(outcome, "build", lambda runs, plan, *rest: plans.append(plan) or build(runs, plan, *rest))
    # on record before anything has run, a search's trials included
    for name in ("search", "execute"):
        monkeypatch.setattr(outcome, name, recorded(getattr(outcome, name), tmp_path / "parts" / RECORD))
    pair = "primary.pairs=['pca vs kmeans']"
    words = ["arms=[pca,kmeans]", "probe.use=[linear]", "eval.milestones=0", "classical.kmeans.patches=500"]
    compare.main(small(*words, pair), tmp_path / "one")
    compare.main(small(*words, pair), tmp_path / "two")
    compare.main(small(*words, pair.replace("pca vs kmeans", "kmeans vs pca"), "seeds=2"), tmp_path / "three")
    told = [plan["preregistration"] for plan in plans]
    assert [found["state"] for found in told] == ["planned", "planned", "changed"]
    assert kinds(told[2]) == ["seeds_added"] and plans[2]["fixed_by"] == "plan"
    opened = [plan["openings"]["runs"] for plan in plans]
    assert opened[1] == opened[0] and opened[2] == opened[0] + 2  # what is finished is not opened again
    assert plans[2]["openings"]["text"].startswith(f"These test images have been opened by {opened[2]} runs with ")
    compare.main(small(f"runs={tmp_path}/parts/*"), tmp_path / "four")
    assert plans[3]["preregistration"]["state"] == "unknown" and plans[3]["openings"] == plans[2]["openings"]
    assert read_json(tmp_path / "four" / "status.json")["state"] == "finished"
