"""How a number was computed: the formula's numbers, the files, and what is said when these have changed."""

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gssl.cli import app
from gssl.errors import UsageError
from gssl.report import claims
from gssl.report.collect import read_runs
from gssl.report.explain import explain, find, text
from tests.report.documents import build, typed


@pytest.fixture(scope="module")
def six(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.json of six seeds, beside its runs; not to be changed."""
    return made(fake, tmp_path_factory.mktemp("six"), 6)


def made(fake: ModuleType, root: Path, seeds: int, **plan: Any) -> Path:
    report = build(read_runs(fake.make(root / "runs", seeds=seeds)), fake.plan(seeds, **plan))
    fake.write(root / "report.json", report)
    return root / "report.json"


TWO = ("simclr", "dcgan")


def figures(sentence: str) -> list[float]:
    return [float(n.replace("−", "-")) for n in re.findall(r"[+−-]?\d+\.\d+", sentence)]


def line_of(found: dict[str, Any], start: str) -> str:
    return next(sentence for sentence in found["how"] if sentence.startswith(start))


def test_every_number_of_a_full_report_comes_out_of_its_files_again(
    full_report: dict[str, Any], fake: ModuleType, tmp_path: Path
) -> None:
    fake.write(tmp_path / "report.json", full_report)
    every = claims.every(typed(full_report))
    assert {t.measure.part for t in every} == {"table", "generation", "cost"}
    for term in every:
        found = explain(str(term), tmp_path / "report.json")
        assert found["agrees"] is True, (term, found["warnings"])
        assert found["recomputed"] == pytest.approx(found["value"], rel=1e-9)
        assert found["files"] and all(Path(entry["path"]).is_file() for entry in found["files"])
    for key in ("verdict", "budget"):
        assert explain(key, tmp_path / "report.json")["agrees"] is True
    assert "100.0% of the budget" in text(explain("budget", tmp_path / "report.json"))


def test_a_score_is_its_seeds_mean_and_their_interval(six: Path) -> None:
    found = explain("simclr.linear@10", six)
    report = json.loads(six.read_text())
    row = claims.row(typed(report), claims.term_in("simclr.linear@10"))
    assert row and row.interval
    low, high = figures(line_of(found, "Interval"))
    assert (low, high) == pytest.approx((100 * row.interval.low, 100 * row.interval.high), abs=0.006)
    assert "6 seeds and 1,000 test images" in line_of(found, "Interval")
    assert figures(line_of(found, "Mean"))[-1] == pytest.approx(100 * row.mean, abs=0.006)
    for entry in found["files"]:
        scores = json.loads(Path(entry["path"]).read_text())["scores"]
        own = [s["accuracy"] for s in scores if (s["probe"], s["labels_per_class"]) == ("linear", 10)]
        assert entry["values"] == own and len(own) == 3
        assert entry["key"] == "scores[probe=linear, labels_per_class=10].accuracy"
    assert "Wilson's for 8" not in text(found)


def test_one_seed_is_told_with_an_interval_over_images(fake: ModuleType, tmp_path: Path) -> None:
    found = explain("simclr.linear@10", made(fake, tmp_path, 1))
    assert "1,000 test images, one seed" in line_of(found, "Interval") and found["agrees"] is True
    pair = explain("simclr.linear@10 - random.linear@10", tmp_path / "report.json")
    assert "one seed" in line_of(pair, "Interval") and pair["agrees"] is True
    assert not any("Sign-flip" in sentence for sentence in pair["how"])


def test_a_pair_counts_sign_vectors(six: Path) -> None:
    report = json.loads(six.read_text())
    for d in [d for d in report["differences"] if d["mean"] is not None and d["label_budget"] == "1"][:6]:
        key = f"{d['a']}.{d['probes'][0]}@1 - {d['b']}.{d['probes'][1]}@1"
        found = explain(key, six)
        values = np.array(list(d["per_seed"].values()))
        signs = np.array(list(itertools.product((1, -1), repeat=6)))
        k = int((np.abs((signs * values).mean(axis=1)) >= abs(values.mean()) - 1e-12).sum())
        assert f"{k} of 2^6 = 64 sign vectors" in line_of(found, "Sign-flip")
        assert found["value"] == pytest.approx(100 * d["mean"]) == found["recomputed"]
        assert found["agrees"] is True
        turned = explain(f"{key.split(' - ')[1]} - {key.split(' - ')[0]}", six)
        assert turned["value"] == pytest.approx(-found["value"])


def test_a_primary_pair_tells_its_adjusted_p_and_its_word(six: Path) -> None:
    report = json.loads(six.read_text())
    d = next(d for d in report["differences"] if d["family"] == "primary")
    two = [f"{d[side]}.{probe}@{d['label_budget']}" for side, probe in zip("ab", d["probes"], strict=True)]
    found = explain(" - ".join(two), six)
    k = round(d["p_adjusted"] * 64)
    assert f"{k} of 2^6 = 64 sign vectors" in line_of(found, "Adjusted over the 3 primary pairs")
    assert line_of(found, "In the verdict") == "In the verdict: beats."
    other = explain("simclr.knn@1 - dcgan.knn@1", six)
    assert "exploratory" in line_of(other, "Family")


def test_the_verdict_names_each_pair_with_its_word(six: Path) -> None:
    report = json.loads(six.read_text())
    found = explain("verdict", six)
    assert found["value"] == report["verdict"]["headline"]
    for d in report["differences"]:
        if d["family"] == "primary":
            assert line_of(found, f"{d['a']} − {d['b']} = ").endswith(": beats")
    paths = [entry["path"] for entry in found["files"]]
    assert len(paths) == len(set(paths)) >= 12
    primary = explain("primary", six)
    assert "3 pairs" in primary["how"][0] and primary["agrees"] is None


def test_files_that_changed_are_said(fake: ModuleType, tmp_path: Path) -> None:
    path = made(fake, tmp_path, 3)
    gone = Path(explain("simclr.linear@10", path)["files"][1]["path"])
    gone.unlink()
    changed = Path(explain("random.linear@10", path)["files"][0]["path"])
    result = json.loads(changed.read_text())
    for score in result["scores"]:
        score |= {"accuracy": 0.9, "correct": 900}
    changed.with_name("predictions.npz").unlink()  # which is believed where it is there
    changed.write_text(json.dumps(result))

    lost = explain("simclr.linear@10", path)
    assert lost["agrees"] is False and lost["recomputed"] is None
    assert f"{gone} is gone" in lost["warnings"]
    moved = explain("random.linear@10", path)
    assert moved["agrees"] is False
    assert any("seed 0: the files give 90.00, the report" in warning for warning in moved["warnings"])
    assert "does NOT agree" in text(moved)
    both = explain("simclr.linear@10 - random.linear@10", path)
    assert both["agrees"] is False and len(both["warnings"]) >= 2
    assert explain("verdict", path)["agrees"] is False
    assert explain("dcgan.linear@10", path)["agrees"] is True
    changed.write_text("{")
    assert f"{changed} cannot be read" in explain("random.linear@10", path)["warnings"]


@pytest.mark.long
def test_scores_are_counted_again_in_the_predictions(fake: ModuleType, tmp_path: Path) -> None:
    """What a run's own files contradict is told with the file and the key, whatever the report made of it."""
    paths = {path.name: path for path in fake.make(tmp_path / "runs", seeds=2, arms=TWO)}
    run = paths["transfer-simclr-0-0"]
    result = json.loads((run / "result.json").read_text())
    place = next(i for i, s in enumerate(result["scores"]) if (s["probe"], s["labels_per_class"]) == ("linear", 10))
    true = result["scores"][place]["accuracy"]

    def report_with(**wrong: Any) -> Path:
        text = json.loads(json.dumps(result))
        text["scores"][place] |= wrong
        (run / "result.json").write_text(json.dumps(text))
        fake.write(tmp_path / "report.json", build(read_runs(paths.values()), fake.plan(2, TWO)))
        return tmp_path / "report.json"

    assert explain("simclr.linear@10", report_with())["agrees"] is True
    for key, value in (("accuracy", true + 0.1), ("correct", 1), ("balanced_accuracy", 0.0), ("n_test", 10)):
        report = report_with(**{key: value})
        for wanted in ("simclr.linear@10", "simclr.linear@10 - dcgan.linear@10", "verdict"):
            found = explain(wanted, report)
            assert found["agrees"] is False
            assert any(f"scores[{place}].{key} is {value:.6g}, predictions.npz" in text for text in found["warnings"])
    found = explain("simclr.linear@10", report_with(accuracy=true + 0.1))
    entry = found["files"][0]
    assert entry["values"][0] == pytest.approx(true) and entry["predictions"] == str(run / "predictions.npz")
    assert explain("dcgan.linear@10", tmp_path / "report.json")["agrees"] is True


def test_without_predictions_only_result_json_vouches(fake: ModuleType, tmp_path: Path) -> None:
    report = made(fake, tmp_path, 2)
    (run,) = (tmp_path / "runs").glob("transfer-simclr-1-*")
    assert "Only result.json" not in text(explain("verdict", report))
    (run / "predictions.npz").unlink()
    for key in ("simclr.linear@10", "simclr.linear@10 - dcgan.linear@10", "verdict"):
        found = explain(key, report)
        assert "Only result.json supports the scores of simclr seed 1" in text(found)
        assert found["agrees"] is True and not found["warnings"]
    result = json.loads((run / "result.json").read_text())
    for score in result["scores"]:
        score["correct"] = 1
    (run / "result.json").write_text(json.dumps(result))
    found = explain("simclr.linear@10", report)
    assert found["agrees"] is False and "its correct / n_test gives 0.001" in found["warnings"][0]
    (run / "predictions.npz").write_bytes(b"PK")
    assert any("predictions.npz cannot be read" in text for text in explain("simclr.linear@10", report)["warnings"])


def test_recorded_paths_are_found_from_elsewhere(
    fake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command runs in a project and writes relative paths; the question is asked from another directory."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    report = build(read_runs(fake.make(Path("runs/parts"), seeds=2)), fake.plan(2))
    assert not Path(report["provenance"]["runs"][0]["path"]).is_absolute()
    fake.write(project / "runs" / "compare" / "one" / "report.json", report)
    monkeypatch.chdir(tmp_path)
    for key in ("simclr.linear@10", "dcgan.seconds"):
        assert explain(key, project / "runs" / "compare" / "one" / "report.json")["agrees"] is True


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("simclr.lnear@10", "simclr.linear@10"),
        ("simclr.linear@11", "simclr.linear@10"),
        ("simclr.linear@10 - dcgn.linear@10", "dcgan.linear@10"),
        ("verdct", "verdict"),
        ("simclr.secnds", "simclr.seconds"),
        ("nothing like it", "verdict"),
    ],
)
def test_a_wrong_key_is_one_line_with_the_nearest(six: Path, key: str, near: str) -> None:
    done = CliRunner().invoke(app, ["compare", "--explain", key, f"hydra.run.dir={six.parent}"])
    assert done.exit_code == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and near in line and repr(key) in line


def test_pairs_of_different_things_are_refused(six: Path) -> None:
    with pytest.raises(UsageError, match="only the like can be compared"):
        explain("simclr.linear@10 - simclr.seconds", six)


def test_the_newest_report_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no report in runs/compare"):
        find(None)
    for age, name in enumerate(("b", "a", "c")):
        path = tmp_path / "runs" / "compare" / name / "report.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        os.utime(path, (1e9 - age, 1e9 - age))
    assert find(None) == Path("runs/compare/b/report.json")
    with pytest.raises(UsageError, match=r"hydra\.run\.dir=nowhere: holds no report\.json"):
        find("nowhere")
    with pytest.raises(UsageError, match="is no report of gssl compare"):
        explain("verdict", find(None))


def test_on_the_command_line(six: Path) -> None:
    where = f"hydra.run.dir={six.parent}"
    done = CliRunner().invoke(app, ["compare", "--explain", "simclr.linear@10", where, "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["schema"] == "gssl.explain/1" and found["agrees"] is True
    assert found == explain("simclr.linear@10", six)
    plain = CliRunner().invoke(app, ["compare", "--explain", "simclr.linear@10", where])
    assert plain.stdout == text(found) + "\n"
    for flags, word in exclusive():
        done = CliRunner().invoke(app, ["compare", "--explain", "verdict", where, *flags])
        assert done.exit_code == 2 and word in done.stderr
    assert {path.name for path in six.parent.iterdir()} == {"runs", "report.json"}


def exclusive() -> Iterator[tuple[list[str], str]]:
    for flag in (
        ["--plan"],
        ["--dry-run"],
        ["--multirun"],
        ["--cfg", "job"],
        ["--info"],
        ["--check", "a.linear@1 > 1"],
    ):
        yield flag, f"--explain and {flag[0]} exclude each other"
    yield ["seeds=3"], "only hydra.run.dir=DIR goes with it"


def test_no_torch_and_no_hydra(six: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from gssl.cli import app; "
        f"done = CliRunner().invoke(app, ['compare', '--explain', 'verdict', 'hydra.run.dir={six.parent}']); "
        "assert done.exit_code == 0, done.output; "
        "print([name for name in ('torch', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
