"""What weakens a comparison is said wherever the report is read: verdict, cautions, --check and --explain agree."""

import json
from pathlib import Path
from types import ModuleType

import yaml

from gssl.report import page
from gssl.report.checks import check
from gssl.report.collect import read_runs
from gssl.report.document import build
from gssl.report.explain import explain
from gssl.report.verdict import excludes_zero, outcome, sentence


def test_seeds_that_vary_nothing_establish_nothing(fake: ModuleType, tmp_path: Path) -> None:
    """pca against pixels with all labels: six equal numbers are one number, five images of a thousand no victory."""
    paths = fake.make(tmp_path, seeds=6, arms=("random", "pixels"))
    for path in paths:
        file = path / "result.json"
        result = json.loads(file.read_text())
        for score in result["scores"]:
            score["accuracy"] = 0.505 if "random" in path.name else 0.5
        file.write_text(json.dumps(result))
    report = build(read_runs(paths), {"pairs": [["random", "pixels"]]})
    (d,) = [d for d in report["differences"] if d["family"] == "primary"]
    assert d["p"] is None and d["p_adjusted"] is None and d["interval"]["kind"] == "newcombe"
    assert d["interval"]["low"] < 0 < d["interval"]["high"]
    assert {row["interval"]["kind"] for row in report["table"]} == {"wilson"}
    told = report["verdict"]
    assert "beats" not in str(told) and "seeds that are all alike" in told["headline"]
    # and the other places that read a report say the same
    holds, line = check("random.linear@all > pixels.linear@all", report)
    assert not holds and "6 seeds that are all alike" in line
    (tmp_path / "report.json").write_text(json.dumps(report))
    for key in ("random.linear@all", "random.linear@all - pixels.linear@all"):
        told = explain(key, tmp_path / "report.json")
        assert told["agrees"] is True and not told["warnings"], told
        assert "± 0.00" not in " ".join(told["how"]) and "ign-flip" not in " ".join(told["how"])


def test_no_caution_says_more_than_the_verdict(fake: ModuleType, tmp_path: Path) -> None:
    """Five seeds of six lose: the t interval leaves out zero, the test does not reach .05."""
    paths = fake.make(tmp_path, seeds=6, arms=("simclr", "random"))
    for path in paths:
        file = path / "result.json"
        result = json.loads(file.read_text())
        for score in result.get("scores", []):
            seed = int(path.name[-1])
            loss = -0.005 if seed == 5 else 0.03 + 0.002 * seed
            score["accuracy"] = 0.5 if "random" in path.name else 0.5 - loss
        file.write_text(json.dumps(result))
    for pair, mine in (["simclr", "random"], -1), (["random", "simclr"], 1):
        report = build(read_runs(paths), {"pairs": [pair], "fixed_by": "plan"})
        (d,) = [d for d in report["differences"] if d["family"] == "primary"]
        assert excludes_zero(d) and d["mean"] * mine > 0 and outcome(d) == "none"
        told = " ".join(report["verdict"]["cautions"])
        assert "Behind" not in told and "Not shown to be ahead of random features, which learnt nothing: SimCLR" in told


def test_a_family_chosen_beside_finished_runs_is_not_called_planned(fake: ModuleType, tmp_path: Path) -> None:
    report = build(read_runs(fake.make(tmp_path, seeds=2)), {"pairs": [["simclr", "random"]], "fixed_by": "reader"})
    everything = " ".join([*report["verdict"]["cautions"], page.render(report), *report["limitations"]])
    assert "before any score was read" not in everything
    assert "nothing to show that no score had been seen" in report["verdict"]["cautions"][-1]
    assert "searched before is not on record" in everything  # no plan was read


def test_a_grid_of_one_and_fewer_draws_are_told_of_who_is_fine_tuned(fake: ModuleType, tmp_path: Path) -> None:
    paths = fake.make(tmp_path, seeds=2)
    for path in paths:
        if "scratch" in path.name and "transfer" in path.name:
            config = path / "config.yaml"
            grid = {"probe": {"finetune": {"lrs": [0.001], "weight_decays": [0.05]}}}
            config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | grid))
            result = json.loads((path / "result.json").read_text())
            result["scores"] = [score for score in result["scores"] if score["draw"] == 0]
            (path / "result.json").write_text(json.dumps(result))
    plan = {"pairs": [["simclr", "scratch"]], "seeds": 2}
    report = build(read_runs(paths), plan)
    told = "Scratch: fine-tuned with one setting (learning rate 0.001, weight decay 0.05): no other was tried for it."
    assert told in report["verdict"]["cautions"] and told in report["limitations"]
    assert "the same draws for all arms (finetune only on the first)" in " ".join(report["limitations"])
    apart = build(read_runs(paths), plan | {"pairs": [["simclr", "dcgan"]]})
    assert told not in apart["verdict"]["cautions"] and told in apart["limitations"]
    for path in paths:  # a grid of several is chosen from
        if "scratch" in path.name and "transfer" in path.name:
            text = (path / "config.yaml").read_text().replace("- 0.001", "- 0.001\n    - 0.003")
            (path / "config.yaml").write_text(text)
    assert "one setting" not in " ".join(build(read_runs(paths), plan)["limitations"])


def test_what_decides_below_six_seeds_is_told(fake: ModuleType, tmp_path: Path) -> None:
    """The plain interval leaves out zero and the one that is widened for three pairs does not: both are written."""
    d = {
        "a": "simclr", "b": "random", "metric": "accuracy", "family": "primary", "probe": "linear", "amount": "10",
        "probes": ["linear", "linear"], "mean": 0.04, "p": 0.25, "p_adjusted": 0.25, "n_seeds": 3, "effect_size": 3.0,
        "interval": {"kind": "t", "low": 0.01, "high": 0.07}, "per_seed": {"0": 0.03, "1": 0.04, "2": 0.05},
        "simultaneous": {"kind": "t", "level": 1 - 0.05 / 3, "low": -0.005, "high": 0.085},
    }  # fmt: skip
    arms = [{"name": "simclr", "title": "SimCLR"}, {"name": "random", "title": "random features"}]
    report = {"arms": arms, "primary": {"pairs": [["simclr", "random"]] * 3}, "table": [], "differences": [d] * 3}
    text = sentence(d, report)
    assert "no difference is shown" in text and "1.0 to 7.0" in text and "three pairs (98.3%) −0.5 to 8.5" in text
