"""Reading run directories: names, parents, broken files."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gssl.errors import UsageError
from gssl.report.collect import read_runs
from tests.report.documents import build

Reports = Callable[..., dict[str, Any]]


def test_names_without_parts_come_from_the_sources(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=1, parts=False)
    runs = read_runs(paths)
    judged = {r.arm for r in runs if r.stage == "transfer"}
    assert judged == {"simclr", "dcgan", "scratch", "random", "pixels", "supervised"}
    # Parents come along although only the transfer runs were given.
    assert {r.arm for r in runs if r.stage == "pretrain"} == {"simclr", "dcgan", "supervised"}
    assert {r.seed for r in runs} == {0}


def test_random_fine_tuned_in_the_same_run_becomes_scratch(fake: ModuleType, tmp_path: Path) -> None:
    path = fake.transfer(tmp_path, "random", 0, parts=False, probes=["linear", "finetune"])
    probes = {r.arm: {s["probe"] for s in r.result["scores"]} for r in read_runs([path])}
    assert probes == {"random": {"linear"}, "scratch": {"finetune"}}


def test_a_sweep_gives_arms_their_difference_as_a_name(fake: ModuleType, tmp_path: Path) -> None:
    paths = []
    for temperature in (0.2, 0.5):
        for seed in (0, 1):
            root = tmp_path / str(temperature)
            text = f"ssl: {{name: simclr, temperature: {temperature}}}\n"
            source = fake.pretrain(root, "simclr", seed, parts=False, text=text)
            paths.append(fake.transfer(root, "simclr", seed, source, parts=False))
    paths.append(fake.transfer(tmp_path, "random", 0, parts=False))
    report = build(read_runs(paths), {})
    names = [a["name"] for a in report["arms"]]
    assert names == ["simclr[ssl.temperature=0.2]", "simclr[ssl.temperature=0.5]", "random"]
    assert report["arms"][0]["seeds"] == [0, 1]
    assert {c["arm"] for c in report["curves"]} == set(names[:2])


def test_complementary_runs_of_one_arm_stay_one_arm(fake: ModuleType, tmp_path: Path) -> None:
    few = fake.transfer(tmp_path / "a", "random", 0, parts=False, label_budgets=[1, 10])
    more = fake.transfer(tmp_path / "b", "random", 0, parts=False, label_budgets=[100, None])
    report = build(read_runs([few, more]), {})
    assert [a["name"] for a in report["arms"]] == ["random"]
    assert [a["key"] for a in report["label_budgets"]] == ["1", "10", "100", "all"]


def test_a_broken_result_is_a_damaged_run(fake: ModuleType, tmp_path: Path) -> None:
    good = fake.transfer(tmp_path, "pixels", 0)
    bad = fake.transfer(tmp_path, "random", 0)
    (bad / "result.json").write_text('{"schema": "gssl.res')
    runs = {r.arm: r for r in read_runs([good, bad])}
    assert runs["pixels"].finished
    assert runs["random"].state == "damaged"
    assert "result.json cannot be read" in (runs["random"].error or "")


def test_a_part_that_left_nothing_else_is_missing(fake: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "lost"
    path.mkdir()
    fake.part(path, "simclr", 4, "pretrain", "gssl pretrain-ssl seed=4")
    run = read_runs([path])[0]
    assert (run.arm, run.seed, run.state) == ("simclr", 4, "missing")


def test_the_last_torn_line_of_metrics_is_left_out(fake: ModuleType, tmp_path: Path) -> None:
    run = read_runs([fake.pretrain(tmp_path, "simclr", 0)])[0]
    assert run.metrics[-1]["step"] == 260


def test_nothing_found_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run directory among 1 path.*quote the pattern"):
        read_runs([tmp_path])
    with pytest.raises(UsageError, match="among 0 path"):
        read_runs([])


def test_scores_are_means_over_draws_then_seeds(fake: ModuleType, tmp_path: Path) -> None:
    paths = [fake.transfer(tmp_path, "random", seed) for seed in (0, 1)]
    found = {}
    for seed, path in enumerate(paths):
        scores = json.loads((path / "result.json").read_text())["scores"]
        found[seed] = [s["accuracy"] for s in scores if (s["probe"], s["labels_per_class"]) == ("linear", 10)]
    row = next(r for r in build(read_runs(paths), {})["table"] if (r["probe"], r["label_budget"]) == ("linear", "10"))
    by_seed = {str(seed): sum(v) / 3 for seed, v in found.items()}
    assert row["per_seed"] == pytest.approx(by_seed)
    assert row["mean"] == pytest.approx(sum(by_seed.values()) / 2)
    assert (row["draws"], row["n_seeds"], row["n_test"]) == (3, 2, 1000)
    assert row["draw_sd"] > 0
    assert row["validation"] == pytest.approx(row["mean"] + 0.006)


def test_the_command_of_the_environment_is_shown_where_no_part_is(fake: ModuleType, tmp_path: Path) -> None:
    run = read_runs([fake.pretrain(tmp_path, "simclr", 0, parts=False)])[0]
    assert run.command == "gssl pretrain-ssl experiment=demo"


def test_what_only_a_comparison_runs_does_not_show_the_comparisons_command(fake: ModuleType, tmp_path: Path) -> None:
    path = fake.pretrain(tmp_path, "simclr", 0)
    part = json.loads((path / "part.json").read_text())
    (path / "part.json").write_text(json.dumps(part | {"command": ""}))
    assert read_runs([path])[0].command == ""


def test_a_curve_is_passed_over_it_has_tables_of_its_own(tmp_path):
    (tmp_path / "curve").mkdir()
    for name in ("curve.json", "result.json", "status.json"):
        (tmp_path / "curve" / name).write_text('{"test_openings": {"parts/a": 1}}')
    with pytest.raises(UsageError, match="no run directory"):
        read_runs([tmp_path / "curve"])


def test_documents_of_older_versions_get_the_present_names(fake: ModuleType, tmp_path: Path) -> None:
    baseline = {"train_real": {"kid": 0.001}}
    for old in ("gssl.evaluation/1", "gssl.evaluation/2"):
        path = fake.pretrain(tmp_path / old[-1], "dcgan", 0)
        result = json.loads((path / "result.json").read_text())
        text = {"schema": old, "figures": {"kid": 0.1}, "judge": {"name": "own"}, "floor": baseline}
        result |= {"schema": "gssl.result/1", "judge": {"name": "random"}, "kid_floor": baseline, "evaluation": text}
        fake.write(path / "result.json", result)
        fake.write(path / "evaluations" / "test-0.json", text)
        (run,) = read_runs([path])
        assert run.result["evaluator"]["name"] == "random" and run.result["kid_baseline"] == baseline
        for found in (run.result["evaluation"], *run.evaluations):
            assert found["evaluator"]["name"] == "own" and found["baseline"] == baseline
        assert len(run.evaluations) == 1
