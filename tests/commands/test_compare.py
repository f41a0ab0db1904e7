"""Compare: the plan, what is run again, what a failure costs, and what the report and the exit say."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from gssl.commands import compare, execute, parts
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import JobError, UsageError


@pytest.fixture
def small(pictures, tmp_path):
    def make(*overrides: str):
        words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8"]
        words += ["engine.progress=false", "engine.device=cpu", "engine.threads=1", f"parts={tmp_path / 'parts'}"]
        words += [
            "seeds=1",
            "generation.judge=random",
            "eval.milestones=1",
            "budget.steps=3",
            "labels_per_class=[5]",
            "fractions=[]",
            "draws=2",
            "eval.images=50",
        ]
        words += ["probe.linear.l2_count=2", "probe.finetune.steps=3", "probe.finetune.lrs=[0.001]"]
        words += overrides
        # batches that fit the few pictures, for the arms that are there
        arms = next((w for w in overrides if w.startswith("arms=")), "arms=[simclr,supervised,dcgan]")
        batch = {"simclr": "ssl", "supervised": "ssl", "dcgan": "gan"}
        given = " ".join(overrides)
        for arm in [a for a in batch if a in arms and f"overrides.{a}" not in given and "runs=" not in given]:
            more = ",'judge=random'" if batch[arm] == "gan" else ""
            words.append(f"+overrides.{arm}=['{batch[arm]}.batch_size=16'{more}]")
        return compose("compare", words)

    return make


JUDGED = ("pretrain", "transfer")


def mtimes(root):
    return {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.name not in ("part.json", ".lock")}


def test_a_recipe_without_norm_layers_is_not_trained_with_them(small, tmp_path):
    """R3GAN with batch norm is not R3GAN: said before anything is trained."""
    with pytest.raises(UsageError, match="r3gan is made for a backbone without norm layers.*backbone=convnet_plain"):
        compare.main(small("arms=[r3gan,random]"), tmp_path / "one")
    assert not (tmp_path / "parts").exists()
    cfg = small("arms=[r3gan,random]", "backbone.norm=none")
    assert {part.cfg.backbone.norm for part in parts.plan(cfg, "x", 1) if part.stage in JUDGED} == {"none"}
    # or each as it is made, which the verdict says
    mixed = parts.plan(small("arms=[r3gan,dcgan]", "allow_norm_diff=true"), "x", 1)
    norms = {part.arm: part.cfg.backbone.norm for part in mixed if part.stage == "pretrain"}
    assert norms == {"r3gan": "none", "dcgan": "batch"}


def test_who_is_compared_is_judged_as_it_ended(small):
    """Choosing by a judge that has learnt from labels would be an advantage."""
    (first, *_) = parts.plan(small("arms=[dcgan,random]"), "x", 1)
    assert first.cfg.export == "last" and "export=last" in first.shell


def test_the_whole_way_and_again(small, tmp_path):
    cfg = small()
    compare.main(cfg, tmp_path / "one")
    for name in ("report.html", "report.md", "report.json", "result.json"):
        assert (tmp_path / "one" / name).stat().st_size > 0
    report = read_json(tmp_path / "one" / "report.json")
    assert {arm["name"] for arm in report["arms"]} == set(cfg.arms)
    rows = {(row["arm"], row["probe"]) for row in report["table"]}
    assert {("scratch", "finetune"), ("simclr", "linear"), ("random", "knn"), ("pixels", "linear")} <= rows
    assert ("scratch", "linear") not in rows and ("pixels", "finetune") not in rows
    assert not report["failed"] and not report["missing"]
    assert read_json(tmp_path / "one" / "status.json")["state"] == "finished"

    before = mtimes(tmp_path / "parts")
    compare.main(small("seeds=2", "arms=[random,pixels]"), tmp_path / "two")
    after = mtimes(tmp_path / "parts")
    assert before.items() <= after.items()  # nothing that was finished was touched
    added = {path.relative_to(tmp_path / "parts").parts[0] for path in after.keys() - before.keys()}
    assert len(added) == 2 and all(re.match(r"(random|pixels)-s1-transfer-", name) for name in added)


def test_reading_finished_runs_needs_no_training(small, tmp_path, monkeypatch):
    compare.main(small("arms=[random,pixels]"), tmp_path / "one")
    monkeypatch.setattr(execute, "Worker", None)
    compare.main(small(f"runs={tmp_path}/parts/*"), tmp_path / "two")
    one, two = (read_json(tmp_path / name / "report.json") for name in ("one", "two"))
    rows = [sorted((r["arm"], r["probe"], r["mean"]) for r in report["table"]) for report in (one, two)]
    assert rows[0] == rows[1] and rows[0]


def test_a_claim_that_does_not_hold_fails_after_the_report(small, tmp_path, capsys):
    cfg = small(
        "arms=[random,pixels]",
        "check=['pixels.linear@5 > random.linear@5 - 100','pixels.linear@5 > 100']",
    )  # fmt: skip
    with pytest.raises(JobError, match="pixels.linear@5") as error:
        compare.main(cfg, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert (tmp_path / "run" / "report.html").exists()
    assert [c["holds"] for c in read_json(tmp_path / "run" / "result.json")["checks"]] == [True, False]


def test_a_failed_part_costs_only_itself(small, tmp_path):
    cfg = small(
        "arms=[simclr,random,pixels]",
        "+overrides.simclr=['ssl.optim.lr=1e30','ssl.optim.warmup=0','ssl.batch_size=16']",
        "budget.steps=40", "backbone.norm=none",
    )  # fmt: skip
    with pytest.raises(JobError, match=r"3 of 5 parts failed \(simclr seed 0 pretrain: .*diverged"):
        compare.main(cfg, tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    assert {f["arm"] for f in report["failed"]} == {"simclr"}
    assert {row["arm"] for row in report["table"]} == {"random", "pixels"}
    log = next((tmp_path / "parts").glob("simclr-s0-pretrain-*/log.txt")).read_text()
    assert "Traceback" in log


def test_the_name_of_a_part_follows_what_determines_it(small):
    def names(*overrides, data_hash="d", threads=1):
        cfg = small("arms=[simclr,random]", *overrides)
        return {(p.arm, p.stage): p.hash for p in parts.plan(cfg, data_hash, threads) if p.stage in JUDGED}

    base = names()
    assert len(set(base.values())) == 3
    assert names("engine.log_every=7", "data.workers=1") == base
    assert not set(names(data_hash="other").values()) & set(base.values())
    assert not set(names(threads=2).values()) & set(base.values())
    budget = names("budget.steps=4")
    assert budget["simclr", "pretrain"] != base["simclr", "pretrain"]
    assert budget["simclr", "transfer"] != base["simclr", "transfer"]  # judged on other weights
    assert budget["random", "transfer"] == base["random", "transfer"]
    draws = names("draws=3")
    assert draws["simclr", "pretrain"] == base["simclr", "pretrain"]
    assert draws["simclr", "transfer"] != base["simclr", "transfer"]


def test_the_printed_command_composes_the_same_configuration(small):
    chains = "arms=[simclr,supervised,dcgan,simclr+dcgan,simclr-on-dcgan,scratch-with-acgan,pca,random]"
    made = parts.plan(small(chains), "d", 1)
    for part in made:
        if part.stage not in JUDGED:
            assert not part.shell or part.shell.startswith("gssl evaluate ")
            continue
        words = shlex.split(part.shell)
        assert words[:2] == ["gssl", part.command]
        again = compose(part.command, words[2:])
        expected = parts.determining(part.cfg)
        assert parts.determining(again) == expected, part.shell


def test_scratch_and_supervised_are_what_the_design_says(small):
    made = {(p.arm, p.stage): p.cfg for p in parts.plan(small("probe.use=[knn,linear,finetune]"), "d", 1)}
    assert made["scratch", "transfer"].weights == "random"
    assert made["scratch", "transfer"].probe.use == ["finetune"]
    assert made["random", "transfer"].probe.use == ["knn", "linear", "finetune"]
    assert made["pixels", "transfer"].probe.use == ["knn", "linear"]
    assert made["supervised", "pretrain"].ssl.name == "supervised"
    assert made["supervised", "pretrain"].budget.steps == 3  # a reference trains as long as who is measured by it
    backbones = {json.dumps(vars(cfg.backbone)) for (_, stage), cfg in made.items() if stage in JUDGED}
    assert len(backbones) == 1  # one network for all


def test_dry_run_prints_the_plan_and_writes_nothing(small, tmp_path, capsys):
    compare.main(small(), tmp_path / "run", dry_run=True)
    said = capsys.readouterr().out
    assert said.count("missing") == 13 and "gssl transfer" in said
    assert not (tmp_path / "run").exists() and not (tmp_path / "parts").exists()


def test_an_arms_overrides_add_to_the_comparisons_settings(small):
    cfg = small("arms=[simclr,random]", "probe.linear.l2_count=4", "+overrides.random=['probe.knn.k=5']")
    made = {(p.arm, p.stage): p.cfg for p in parts.plan(cfg, "d", 1)}
    assert made["random", "transfer"].probe.linear.l2_count == 4 == made["simclr", "transfer"].probe.linear.l2_count
    assert made["random", "transfer"].probe.knn.k == 5 != made["simclr", "transfer"].probe.knn.k


def test_a_part_that_another_comparison_makes_is_waited_for(small, tmp_path, monkeypatch):
    """The lock is held for a while and then the part is there, made by the other one."""
    import threading

    from gssl.engine.run import Run

    monkeypatch.setattr(execute, "RETRY", 0.3)
    cfg = small("arms=[random,pixels]")
    compare.main(cfg, tmp_path / "one")
    path = next((tmp_path / "parts").glob("random-*"))
    status = (path / "status.json").read_text()
    (path / "status.json").write_text(status.replace('"finished"', '"running"'))
    part = next(p for p in parts.plan(cfg, "d", 1) if p.arm == "random")

    with Run(path, "transfer", part.cfg):

        def finish():
            (path / "status.json").write_text(status)

        timer = threading.Timer(12, finish)
        timer.start()
        compare.main(cfg, tmp_path / "two")
        timer.cancel()
    assert not read_json(tmp_path / "two" / "report.json")["failed"]


# ── arms that are more than a method ─────────────────────────────────────────────────────────────


def test_a_chain_spends_what_a_single_method_does(small):
    made = parts.plan(
        small("arms=[simclr,simclr+dcgan,simclr-on-dcgan]", "budget.steps=null", "budget.flops=8e9"), "d", 1
    )
    spent = {}
    for part in made:
        if part.stage == "pretrain":
            spent.setdefault(part.arm, []).append(part.cfg.budget.flops)
    assert spent == {"simclr": [8e9], "simclr+dcgan": [4e9, 4e9], "simclr-on-dcgan": [4e9, 4e9]}


def test_weights_go_on_in_a_chain_and_images_do_after_on(small):
    made = {(p.arm, p.method, p.stage): p for p in parts.plan(small("arms=[simclr+dcgan,simclr-on-dcgan]"), "d", 1)}
    first, second = (made["simclr+dcgan", method, "pretrain"] for method in ("simclr", "dcgan"))
    assert first.cfg.weights == "random" and second.cfg.weights == str(first.path) and second.depends == (first.path,)
    maker, learner = (made["simclr-on-dcgan", method, "pretrain"] for method in ("dcgan", "simclr"))
    assert learner.cfg.weights == "random" and learner.cfg.generated.run == str(maker.path)
    judged = made["simclr+dcgan", None, "transfer"]
    assert judged.cfg.weights == str(second.path)


def test_arms_that_need_the_same_run_share_it(small):
    made = parts.plan(small("arms=[acgan,scratch-with-acgan,random-with-acgan]"), "d", 1)
    assert [p.method for p in made if p.stage == "pretrain"] == ["acgan"]
    maker = next(p for p in made if p.stage == "pretrain")
    with_images = [p for p in made if p.stage == "transfer" and p.arm != "acgan"]
    assert len(with_images) == 2 and all(p.cfg.generated.run == str(maker.path) for p in with_images)


def test_a_run_that_is_there_is_an_arm_under_any_name(small, tmp_path):
    from gssl.commands import pretrain_ssl

    own = small("arms=[simclr]")
    first = next(p for p in parts.plan(own, "d", 1) if p.stage == "pretrain")
    pretrain_ssl.main(first.cfg, tmp_path / "mine")
    cfg = small(f"arms=[before@{tmp_path}/mine,random]", "seeds=2")
    made = parts.plan(cfg, "d", 1)
    assert {p.arm for p in made} == {"before", "random"} and all(p.stage == "transfer" for p in made)
    compare.main(cfg, tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    arm = next(a for a in report["arms"] if a["name"] == "before")
    assert arm["role"] == "contestant" and arm["note"].startswith("one network for all seeds")
    flops = [row for row in report["cost"] if row["arm"] == "before" and row["metric"] == "flops"]
    spent = read_json(tmp_path / "mine" / "result.json")["spent"]
    assert flops[0]["mean"] == spent["flops"]


def test_every_kind_of_arm_goes_the_whole_way(small, tmp_path):
    """Chains, generated images to learn from and beside labels: judged, counted, and with the other game's figures."""
    batch = "'gan.batch_size=16','judge=random'"
    cfg = small(
        "arms=[simclr+dcgan,simclr-on-dcgan,scratch-with-acgan,scratch,pca]",
        f"+overrides.simclr+dcgan=['ssl.batch_size=16',{batch}]",
        f"+overrides.simclr-on-dcgan=['ssl.batch_size=16',{batch}]",
        f"+overrides.scratch-with-acgan=[{batch}]", "labels_per_class=[]", "fractions=[1.0]",
    )  # fmt: skip
    compare.main(cfg, tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    arms = {a["name"]: a for a in report["arms"]}
    assert [s["method"] for s in arms["simclr+dcgan"]["stages"]] == ["simclr", "dcgan"]
    assert (arms["simclr+dcgan"]["world"], arms["simclr-on-dcgan"]["world"], arms["pca"]["world"]) == (
        "gan",
        "ssl",
        "plain",
    )
    assert arms["scratch-with-acgan"]["role"] == "reference" and arms["pca"]["role"] == "contestant"
    flops = {row["arm"]: row["mean"] for row in report["cost"] if row["metric"] == "flops"}
    runs = [r for r in report["compute"] if r["stage"] == "pretrain" and r["arm"] == "simclr+dcgan"]
    assert len(runs) == 2 and flops["simclr+dcgan"] == pytest.approx(sum(r["flops"] for r in runs))
    assert flops["scratch-with-acgan"] > 0 and "scratch" not in flops and "pca" not in flops
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
    cfg = small("arms=[simclr,dcgan,scratch]", "budget.steps=null", "budget.flops=2e9", "seeds=2")
    plan = compare.main(cfg, tmp_path / "run", plan=True)
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
        if row["seed"] == 1 and row["stage"] != "evaluate":
            assert row["known"] == "a finished run"
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
    assert found[0]["chosen"] == ["ssl.optim.lr=0.05", "ssl.optim.warmup=0"] and found[0]["flops"] > 0
    trained = list((tmp_path / "parts").glob("simclr-s0-pretrain-*"))
    assert len(trained) == 1 and "lr: 0.05" in (trained[0] / "config.yaml").read_text()
    trial = next((tmp_path / "parts").glob(f"simclr-s{parts.SEARCHED}-milestones-*"))
    assert "test_openings" not in read_json(trial / "status.json")


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
    assert primary == {"probe": "linear", "amount": "2", "pairs": [["scratch", "random"]], "fixed_by": "plan"}


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(pictures, tmp_path):
    """A real process: what is running saves, what is finished stays, and nothing is done twice."""
    words = [
        sys.executable, "-m", "gssl", "compare", "data=imagefolder", f"data.root={pictures}", "data.size=16",
        "arms=[random,simclr]", "+overrides.simclr=['ssl.batch_size=16']", "seeds=1", "budget.steps=400",
        "backbone.width=8", f"parts={tmp_path / 'parts'}", "engine.device=cpu", "engine.threads=1", "eval.milestones=0",
        "labels_per_class=[5]", "fractions=[]", "draws=2", "eval.images=50", "probe.linear.l2_count=2",
        "engine.log_every=1",
    ]  # fmt: skip
    process = subprocess.Popen([*words, f"hydra.run.dir={tmp_path / 'one'}"], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            log = next((tmp_path / "parts").glob("simclr-s0-pretrain-*/metrics.jsonl"), None)
            if log and len(log.read_text().splitlines()) > 5:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=90)[1]
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    states = {p.parent.name.split("-")[0]: read_json(p)["state"] for p in (tmp_path / "parts").glob("*/status.json")}
    assert states == {"random": "finished", "simclr": "interrupted"}
    step = read_json(next((tmp_path / "parts").glob("simclr-s0-pretrain-*")) / "status.json")["step"]
    before = mtimes(next((tmp_path / "parts").glob("random-*")))
    again = subprocess.run([*words, f"hydra.run.dir={tmp_path / 'two'}"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert mtimes(next((tmp_path / "parts").glob("random-*"))) == before
    rows = (next((tmp_path / "parts").glob("simclr-s0-pretrain-*")) / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows if "loss" in row]
    assert step > 0 and steps == sorted(set(steps)) and steps[-1] == 400  # went on, and did no step twice
    assert (tmp_path / "two" / "report.html").is_file()
