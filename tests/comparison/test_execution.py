"""What runs when: by an executor without processes, whose jobs end as a plan says."""

import random
from pathlib import Path

import pytest

from gssl.comparison.execution import Task, drive
from gssl.comparison.executors import BUSY, FAILED, LOST, OK, STOPPED, Refused
from gssl.engine.files import write_json
from gssl.engine.worker import Job

AGAIN = {STOPPED: 2, LOST: 1}


class Planned:
    """Ends jobs in a random order, each start of one as `plan[name]` says, and then well."""

    def __init__(self, plan: dict[str, list[str]], most: int, seed: int = 0, again=AGAIN) -> None:
        self.plan, self.most, self.again, self.retry = plan, most, again, 0.0
        self.random = random.Random(seed)
        self.running: list[Path] = []
        self.starts: list[str] = []
        self.finished: list[str] = []
        self.widest = 0
        self.closed = False

    def start(self, job: Job) -> None:
        assert job.run_dir not in self.running
        for needed in job.cfg:
            assert needed in self.finished, f"{job.run_dir.name} began before {needed}"
        self.starts.append(job.run_dir.name)
        self.running.append(job.run_dir)
        self.widest = max(self.widest, len(self.running))

    def poll(self):
        ended = []
        for path in self.random.sample(self.running, self.random.randint(0, len(self.running))):
            state = self.plan[path.name].pop(0) if self.plan.get(path.name) else OK
            self.running.remove(path)
            if state == OK:
                self.finished.append(path.name)
                write_json(path / "result.json", {})
                write_json(path / "status.json", {"state": "finished"})
            ended.append((path, state, "" if state == OK else f"why {path.name}"))
        return ended

    def interrupt(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def tasks_of(folder: Path, needs: dict[str, list[str]]) -> list[Task]:
    for name in needs:
        (folder / name).mkdir(parents=True)
    return [Task(n, Job("", tuple(need), folder / n), tuple(folder / one for one in need)) for n, need in needs.items()]


@pytest.mark.parametrize("seed", range(12))
def test_every_task_ends_once_in_order_and_within_its_bounds(tmp_path, seed, monkeypatch):
    """Random graphs, ends and limits: each is finished or failed, and what failed is why another was not begun."""
    monkeypatch.setattr("gssl.comparison.execution.time.sleep", lambda seconds: None)
    draw = random.Random(seed)
    names = [f"t{i}" for i in range(12)]
    needs = {name: draw.sample(names[:i], min(i, draw.randint(0, 2))) for i, name in enumerate(names)}
    ends = [OK, OK, OK, STOPPED, LOST, BUSY, FAILED]
    plan = {name: [draw.choice(ends) for _ in range(draw.randint(0, 4))] for name in names}
    planned = {name: list(states) for name, states in plan.items()}
    executor = Planned(plan, draw.randint(1, 4), seed)
    told = []
    failed = drive(tasks_of(tmp_path, needs), executor, False, lambda task: told.append(task.name))

    assert executor.closed and executor.widest <= executor.most
    assert set(failed) | set(executor.finished) == set(names) and not set(failed) & set(executor.finished)
    assert told == executor.finished
    for name in names:
        if any(need in failed for need in needs[name]):
            assert failed[name] == "what it needs failed" and name not in executor.starts
            continue
        # followed by hand: what ends the task, and after how many starts
        counts = {STOPPED: 0, LOST: 0}
        begun = 0
        for state in [*planned[name], OK]:
            begun += 1
            if state in counts:
                counts[state] += 1
                if counts[state] <= AGAIN[state]:
                    continue
                state = FAILED
            if state != BUSY:
                break
        assert (name in failed) == (state == FAILED)
        assert executor.starts.count(name) == begun


def test_what_is_finished_is_not_begun_and_a_lost_job_says_its_bound(tmp_path):
    tasks = tasks_of(tmp_path, {"old": [], "gone": []})
    write_json(tmp_path / "old" / "result.json", {})
    write_json(tmp_path / "old" / "status.json", {"state": "finished"})
    executor = Planned({"gone": [LOST] * 5}, 1)
    assert drive(tasks, executor, False) == {"gone": "why gone (2 times; executor.max_lost=1)"}
    assert executor.starts == ["gone", "gone"]


def test_a_worker_of_this_machine_that_was_stopped_is_neither_failed_nor_begun_again(tmp_path):
    executor = Planned({"one": [STOPPED]}, 1, again={})
    assert drive(tasks_of(tmp_path, {"one": []}), executor, False) == {}
    assert executor.starts == ["one"]


def test_a_refused_job_waits_for_those_that_run_and_ends_all_where_none_does(tmp_path):
    class Full(Planned):
        limit = 1

        def start(self, job: Job) -> None:
            if len(self.running) >= self.limit:
                raise Refused("sbatch refuses a job: QOSMaxSubmitJobPerUserLimit")
            super().start(job)

    executor = Full({}, 4)
    assert drive(tasks_of(tmp_path, {"a": [], "b": [], "c": []}), executor, False) == {}
    assert sorted(executor.finished) == ["a", "b", "c"]
    executor = Full({}, 4)
    executor.limit = 0
    with pytest.raises(Refused, match="QOSMaxSubmit"):
        drive(tasks_of(tmp_path / "more", {"a": []}), executor, False)
    assert executor.closed
