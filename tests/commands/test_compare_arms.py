"""Compare: arms that are more than a method, the plan before it, the search, and what carries the verdict."""

import pytest

from gssl.cli import plan_table
from gssl.commands import compare
from gssl.comparison import parts, plan
from gssl.engine.files import read_json

pytestmark = [pytest.mark.usefixtures("inline"), pytest.mark.long]

# ── arms that are more than a method ─────────────────────────────────────────────────────────────


def test_a_chain_spends_what_a_single_method_does(small):
    made = plan.plan(
        small("arms=[simclr,simclr+dcgan,simclr-on-dcgan]", "budget.steps=null", "budget.flops=8e9"), "d", 1
    )
    spent = {}
    for part in made:
        if part.stage == "pretrain":
            spent.setdefault(part.arm, []).append(part.cfg.budget.flops)
    assert spent == {"simclr": [8e9], "simclr+dcgan": [4e9, 4e9], "simclr-on-dcgan": [4e9, 4e9]}


def test_weights_go_on_in_a_chain_and_images_do_after_on(small):
    made = {(p.arm, p.method, p.stage): p for p in plan.plan(small("arms=[simclr+dcgan,simclr-on-dcgan]"), "d", 1)}
    first, second = (made["simclr+dcgan", method, "pretrain"] for method in ("simclr", "dcgan"))
    assert first.cfg.weights == "random" and second.cfg.weights == str(first.path) and second.depends == (first.path,)
    maker, learner = (made["simclr-on-dcgan", method, "pretrain"] for method in ("dcgan", "simclr"))
    assert learner.cfg.weights == "random" and learner.cfg.generated.run == str(maker.path)
    probed = made["simclr+dcgan", None, "transfer"]
    assert probed.cfg.weights == str(second.path)


def test_arms_that_need_the_same_run_share_it(small):
    made = plan.plan(small("arms=[acgan,scratch-with-acgan,random-with-acgan]"), "d", 1)
    assert [p.method for p in made if p.stage == "pretrain"] == ["acgan"]
    maker = next(p for p in made if p.stage == "pretrain")
    with_images = [p for p in made if p.stage == "transfer" and p.arm != "acgan"]
    assert len(with_images) == 2 and all(p.cfg.generated.run == str(maker.path) for p in with_images)


def test_a_run_that_is_there_is_an_arm_under_any_name(small, tmp_path):
    from gssl.commands import pretrain_ssl

    own = small("arms=[simclr]")
    first = next(p for p in plan.plan(own, "d", 1) if p.stage == "pretrain")
    pretrain_ssl.main(first.cfg, tmp_path / "mine")
    cfg = small(f"arms=[before@{tmp_path}/mine,random]", "seeds=2")
    made = plan.plan(cfg, "d", 1)
    assert {p.arm for p in made} == {"before", "random"} and all(p.stage == "transfer" for p in made)
    compare.main(cfg, tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    arm = next(a for a in report["arms"] if a["name"] == "before")
    assert arm["role"] == "contestant" and arm["note"].startswith("one network for all seeds")
    flops = [row for row in report["cost"] if row["arm"] == "before" and row["metric"] == "flops"]
    spent = read_json(tmp_path / "mine" / "result.json")["spent"]
    assert flops[0]["mean"] == spent["flops"]


def test_every_kind_of_arm_goes_the_whole_way(small, tmp_path):
    """Chains, generated images to learn from and beside labels: probed, counted, and with figures of generation."""
    batch = "'gan.batch_size=16','evaluator=random'"
    cfg = small(
        "arms=[simclr+dcgan,simclr-on-dcgan,scratch-with-acgan,scratch,pca]",
        f"overrides={{simclr+dcgan: ['ssl.batch_size=16',{batch}]}}",
        f"+overrides.simclr-on-dcgan=['ssl.batch_size=16',{batch}]",
        f"+overrides.scratch-with-acgan=[{batch}]", "labels_per_class=[]", "fractions=[1.0]",
    )  # fmt: skip
    compare.main(cfg, tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    arms = {a["name"]: a for a in report["arms"]}
    assert [s["method"] for s in arms["simclr+dcgan"]["stages"]] == ["simclr", "dcgan"]
    assert (arms["simclr+dcgan"]["family"], arms["simclr-on-dcgan"]["family"], arms["pca"]["family"]) == (
        "gan",
        "ssl",
        "classical",
    )
    assert arms["scratch-with-acgan"]["role"] == "reference" and arms["pca"]["role"] == "contestant"
    flops = {row["arm"]: row["mean"] for row in report["cost"] if row["metric"] == "flops"}
    runs = [r for r in report["compute"] if r["stage"] == "pretrain" and r["arm"] == "simclr+dcgan"]
    assert len(runs) == 2 and flops["simclr+dcgan"] == pytest.approx(sum(r["flops"] for r in runs))
    assert flops["scratch-with-acgan"] > 0 and "scratch" not in flops and "pca" not in flops
    steps = {row["arm"]: row["mean"] for row in report["cost"] if row["metric"] == "steps"}
    assert steps["simclr+dcgan"] == 4 and steps["simclr-on-dcgan"] == 4  # two of two each, shared or not
    assert {row["arm"] for row in report["generation"] if row["metric"] == "kid"} == {"simclr+dcgan"}
    # the gain by generated images is told, where both sides have all labels
    assert [(d["a"], d["b"]) for d in report["differences"] if "with" in d["a"] + d["b"]]
    ends = [p for p in report["progress"] if p["arm"] == "simclr+dcgan"][0]["points"]
    assert ends[-1]["flops"] == pytest.approx(flops["simclr+dcgan"])  # what came before the last stage is added


def test_milestones_never_see_the_test_images(small, tmp_path):
    compare.main(small("arms=[simclr]"), tmp_path / "run")
    path = next((tmp_path / "parts").glob("*-milestones-*"))
    assert "test_openings" not in read_json(path / "status.json")
    result = read_json(path / "result.json")
    assert result["split"] == "val" and [p["step"] for p in result["points"]] == [2, 3]
    training = next((tmp_path / "parts").glob("*-pretrain-*"))
    per_step = read_json(training / "result.json")["spent"]["flops_per_step"]
    assert [p["flops"] for p in result["points"]] == [2 * per_step, 3 * per_step]


# ── the plan and the search ──────────────────────────────────────────────────────────────────────


def test_the_plan_measures_and_does_nothing(small, tmp_path, capsys):
    cfg = small("arms=[simclr,dcgan,scratch,pca]", "budget.steps=null", "budget.flops=2e9", "seeds=2")
    plan = compare.main(cfg, tmp_path / "run", plan=True)
    plan_table.show(plan)
    said = capsys.readouterr().out
    assert not (tmp_path / "run").exists() and not (tmp_path / "parts").exists()
    training = [row for row in plan["parts"] if row["stage"] == "pretrain"]
    assert {row["state"] for row in plan["parts"]} == {"missing"} and len(training) == 4
    for row in training:
        assert row["known"] == "measured" and row["seconds"] > 0
        assert row["flops"] == pytest.approx(2e9, rel=0.5) and row["steps"] >= 1
    assert "0 of" in said and "min left with jobs=1" in said

    compare.main(small("arms=[simclr,dcgan,scratch]", "budget.steps=null", "budget.flops=2e9"), tmp_path / "run")
    plan = compare.main(cfg, tmp_path / "again", plan=True)
    done = [row for row in plan["parts"] if row["state"] == "done"]
    assert {row["seed"] for row in done} == {0}
    for row in plan["parts"]:
        if row["seed"] == 1 and row["arm"] != "pca" and row["stage"] != "evaluate":
            assert row["known"] == "a finished run", row
    # what was planned is what was done
    real = {
        (r["arm"], r["seed"]): r
        for r in read_json(tmp_path / "run" / "report.json")["compute"]
        if r["stage"] == "pretrain"
    }
    for row in done:
        if row["stage"] == "pretrain":
            assert (row["flops"], row["steps"]) == (real[row["arm"], 0]["flops"], real[row["arm"], 0]["steps"])


def test_a_search_gives_every_arm_the_same_trials_and_its_best(small, tmp_path):
    cfg = small(
        "arms=[simclr,random]", "search.trials=2", "budget.steps=4",
        "+search.space.simclr=['ssl.optim.lr=0.05,1e30','ssl.optim.warmup=0']",
    )  # fmt: skip
    compare.main(cfg, tmp_path / "run")
    found = read_json(tmp_path / "run" / "report.json")["searches"]
    assert [(s["arm"], s["trials"]) for s in found] == [("simclr", 2)]
    states = {tuple(row["overrides"]): row["state"] for row in found[0]["rows"]}
    assert states["ssl.optim.lr=0.05", "ssl.optim.warmup=0"] == "finished"
    assert states["ssl.optim.lr=1e30", "ssl.optim.warmup=0"] == "failed"  # counted all the same
    assert found[0]["chosen"] == ["ssl.optim.lr=0.05", "ssl.optim.warmup=0"]
    tried = list((tmp_path / "parts").glob(f"simclr-s{parts.SEARCHED}-pretrain-*"))
    (failed,) = (status for p in tried if (status := read_json(p / "status.json"))["state"] == "failed")
    (whole,) = (result for p in tried if (result := read_json(p / "result.json")))
    assert 0 < failed["spent"]["steps"] <= whole["spent"]["steps"]
    assert found[0]["flops"] == failed["spent"]["flops"] + whole["spent"]["flops"] > whole["spent"]["flops"]
    assert found[0]["uncounted"] == 0
    text = " ".join(read_json(tmp_path / "run" / "report.json")["limitations"])
    assert "1 trial of the searches failed." in text
    trained = list((tmp_path / "parts").glob("simclr-s0-pretrain-*"))
    assert len(trained) == 1 and "lr: 0.05" in (trained[0] / "config.yaml").read_text()
    trials = list((tmp_path / "parts").glob(f"simclr-s{parts.SEARCHED}-milestones-*/status.json"))
    assert len(trials) == 1 and "test_openings" not in read_json(trials[0])


def test_the_primary_family_is_the_configurations(small, tmp_path):
    compare.main(
        small(
            "arms=[random,pixels,scratch]",
            "labels_per_class=[2,5]",
            "primary.labels='2'",
            "primary.pairs=['scratch vs random']",
        ),
        tmp_path / "run",
    )
    primary = read_json(tmp_path / "run" / "report.json")["primary"]
    told = {
        "task": "classification",
        "probe": "adapted",
        "label_budget": "2",
        "pairs": [["scratch", "random"]],
        "fixed_by": "plan",
    }
    assert primary == told | {"metric": "accuracy", "margin": 0.005, "alpha": 0.05}
