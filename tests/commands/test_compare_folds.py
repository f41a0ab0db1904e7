"""A comparison where labels are few: every fold of every seed, and a report of all labelled images."""

import json

import numpy as np
import pytest

from gssl.commands import compare

pytestmark = pytest.mark.long


@pytest.fixture
def few(pictures, tmp_path):
    """Class folders of 9 images, and 30 others without labels."""
    root = tmp_path / "few"
    for name in "abc":
        (root / name).mkdir(parents=True)
        for i in range(9):
            (root / name / f"{i}.png").write_bytes((pictures / "train" / name / f"{i:03}.png").read_bytes())
    return root


def words(few, *more):
    return [f"data.root={few}", "data.folds=3", "probe.use=[linear]", "labels_per_class=[2]", "fractions=[1.0]", *more]


def test_the_report_is_of_all_labelled_images_and_nothing_runs_twice(small, few, tmp_path, inline):
    cfg = small("arms=[simclr,random]", "seeds=2", *words(few))
    compare.main(cfg, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {row["n_test"] for row in report["table"]} == {27} and {row["n_seeds"] for row in report["table"]} == {2}
    assert {row["n_train"] for row in report["table"] if row["label_budget"] == "all"} == {18}
    assert "predicted by what had learnt from the other 2 of 3 folds" in " ".join(report["limitations"])
    told = " ".join(report["verdict"]["cautions"])
    assert "not evaluated on the same data" not in told and "Transductive" not in told and "27 test images" in told
    assert not report["failed"] and not report["missing"]
    parts = [json.loads(p.read_text()) for p in (tmp_path / "parts").glob("*/part.json")]
    assert sum(part["stage"] == "pretrain" for part in parts) == 6  # simclr: two seeds, three folds
    for row in report["table"]:  # the mean of what was predicted of every image
        for seed, value in row["per_seed"].items():
            (path,) = (tmp_path / "parts").glob(f"{row['arm']}-s{seed}-transfer-*")
            scores = json.loads((path / "result.json").read_text())["scores"]
            mine = [i for i, s in enumerate(scores) if (s["fraction"] == 1) == (row["label_budget"] == "all")]
            with np.load(path / "predictions.npz") as found:
                assert value == pytest.approx((found["guess"][mine] == found["labels"]).mean())
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("*/result.json")}
    compare.main(cfg, tmp_path / "again")
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("*/result.json")}
    untrained = [p for run in report["progress"] if run["arm"] == "random" for p in run["points"]]
    assert untrained and {p["flops"] for p in untrained} == {0.0}


def test_transductive_networks_are_named(small, few, tmp_path, inline):
    cfg = small("arms=[simclr,random]", *words(few, "transductive=true", "eval.milestones=0"))
    compare.main(cfg, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert any(text.startswith("Transductive: SimCLR had the images") for text in report["verdict"]["cautions"])
    assert len(list((tmp_path / "parts").glob("simclr-s0-pretrain-*"))) == 1


def test_a_fold_that_fails_is_a_seed_without_scores(small, few, tmp_path, inline, monkeypatch):
    from gssl.commands import transfer
    from gssl.errors import JobError

    original = transfer.main

    def failing(cfg, run_dir, **rest):
        if cfg.data.fold == 1 and cfg.weights == "pixels":
            raise JobError("no luck")
        return original(cfg, run_dir, **rest)

    monkeypatch.setattr("gssl.commands.transfer.main", failing)
    cfg = small("arms=[random,pixels]", *words(few))
    with pytest.raises(JobError, match="2 of 8 parts failed"):
        compare.main(cfg, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {row["arm"] for row in report["table"]} == {"random"}
    assert {(f["arm"], f["stage"]) for f in report["failed"]} == {("pixels", "fold"), ("pixels", "transfer")}


def test_explain_finds_the_numbers_in_the_files_again(small, few, tmp_path, inline):
    from gssl.report.explain import explain

    compare.main(small("arms=[random,pixels]", "seeds=2", *words(few)), tmp_path / "run")
    for key in ("random.linear@all", "pixels.linear@2", "random.linear@all - pixels.linear@all"):
        assert explain(key, tmp_path / "run" / "report.json")["agrees"] is True
