"""How a job ended, from its part's directory: status.json is the truth, an earlier job's words are none of this one."""

import os

import pytest

from gssl.comparison.executors import BUSY, FAILED, LOST, OK, STOPPED, USAGE
from gssl.comparison.executors.traces import Carried, Trace, left_behind
from gssl.engine.files import find_json, write_json
from gssl.engine.worker import Job


def says(path, token, state, why=""):
    write_json(path / "job.json", {"schema": "gssl.job/1", "token": token, "state": state, "why": why})


def status(path, state, **more):
    write_json(path / "status.json", {"schema": "gssl.status/1", "state": state, **more})


@pytest.mark.parametrize("state", [FAILED, USAGE, STOPPED, BUSY])
def test_a_jobs_own_word_counts_and_that_of_an_earlier_one_does_not(tmp_path, state):
    earlier, trace = Trace(tmp_path), Trace(tmp_path)
    says(tmp_path, earlier.token, state, "then")
    assert trace.answer(alive=True, patience=0) is None
    says(tmp_path, trace.token, state, "now")
    assert trace.answer(alive=True, patience=0) == (state, "now")


@pytest.mark.parametrize("alive", [True, False, None])
def test_a_part_is_finished_only_where_its_files_say_so(tmp_path, alive):
    trace = Trace(tmp_path)
    says(tmp_path, trace.token, "ok")
    status(tmp_path, "running")
    assert trace.answer(alive, patience=60) is None  # a shared disk may be late
    assert trace.answer(alive, patience=0)[0] == FAILED
    write_json(tmp_path / "result.json", {})
    assert trace.answer(alive, patience=0)[0] == FAILED
    status(tmp_path, "finished")
    assert trace.answer(alive, patience=60) == (OK, "")


def test_a_job_that_has_gone_is_given_up_after_a_while_and_its_status_says_what_it_was(tmp_path, monkeypatch):
    status(tmp_path, "interrupted")  # of an earlier job
    trace = Trace(tmp_path)
    assert trace.answer(None, 0) is None  # the scheduler does not say
    assert trace.answer(True, 0) is None
    now = [100.0]
    monkeypatch.setattr("gssl.comparison.executors.traces.time.monotonic", lambda: now[0])
    assert trace.answer(False, 60) is None
    now[0] += 59
    assert trace.answer(False, 60) is None
    assert trace.answer(True, 60) is None  # it is there again
    now[0] += 59
    assert trace.answer(False, 60) is None
    state, why = trace.answer(False, 0)
    assert state == LOST and why.endswith("nor a sign that it began")
    says(tmp_path, trace.token, "running")
    status(tmp_path, "running")
    assert trace.answer(True, 0) is None
    assert trace.answer(False, 0) == (LOST, "its job ended and left no status")
    status(tmp_path, "failed", error="OSError: gone")
    assert trace.answer(False, 0) == (FAILED, "OSError: gone")
    status(tmp_path, "interrupted", step=5)
    assert trace.answer(False, 0)[0] == STOPPED
    status(tmp_path, "finished")
    write_json(tmp_path / "result.json", {})
    assert trace.answer(False, 0) == (OK, "")


def test_a_job_that_still_waits_is_found_again_until_it_says_how_it_ended(tmp_path):
    assert left_behind(tmp_path, "slurm") is None
    trace = Trace(tmp_path)
    trace.submitted("slurm", "17")
    found = left_behind(tmp_path, "slurm")
    assert (found.token, found.id) == (trace.token, "17")
    assert left_behind(tmp_path, "local") is None  # another scheduler's numbers
    says(tmp_path, trace.token, "running")
    assert left_behind(tmp_path, "slurm") is not None
    says(tmp_path, trace.token, "stopped")
    assert left_behind(tmp_path, "slurm") is None
    for text in ("", "[]", '{"by": "slurm"}'):  # damaged
        (tmp_path / "submitted.json").write_text(text)
        assert left_behind(tmp_path, "slurm") is None


def test_what_is_carried_runs_in_the_folder_of_who_sent_it_and_says_how_it_ended(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "gssl", "transfer", "data.root=my photos"])
    carried = Carried(Job("tiny_jobs:commanded", "cfg", tmp_path / "part"), "abc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "submitit.core._submit", "submitit"])
    carried()
    assert os.getcwd() == str(tmp_path / "home")
    said = find_json(tmp_path / "part" / "job.json")
    assert (said["token"], said["state"], said["why"]) == (
        "abc",
        "failed",
        "ValueError: gssl transfer 'data.root=my photos'",
    )
    assert said["host"] and said["device"] and said["pid"] == os.getpid()
    assert carried.checkpoint() is None  # submitit does not put it into the queue again
