"""Compare: the plan, what is run again, what a failure costs, and what the report and the exit say."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gssl.commands import compare
from gssl.comparison import execution, parts, plan
from gssl.config import image_size
from gssl.config.composing import compose
from gssl.engine.files import read_json, write_json
from gssl.errors import JobError, UsageError

JUDGED = ("pretrain", "transfer")


def mtimes(root):
    """Of the files of runs; what comparisons note beside them changes with every comparison."""
    notes = ("part.json", ".lock", "preregistration.jsonl")
    return {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file() and p.name not in notes}


@pytest.mark.long
def test_a_recipe_without_norm_layers_is_not_trained_with_them(small, tmp_path):
    """R3GAN with batch norm is not R3GAN: said before anything is trained."""
    with pytest.raises(UsageError, match="r3gan is made for a backbone without norm layers.*backbone=convnet_plain"):
        compare.main(small("arms=[r3gan,random]"), tmp_path / "one")
    assert not (tmp_path / "parts").exists()
    cfg = small("arms=[r3gan,random]", "backbone.norm=none")
    assert {part.cfg.backbone.norm for part in plan.plan(cfg, "x", 1) if part.stage in JUDGED} == {"none"}
    # or each as it is made, which the verdict says
    mixed = plan.plan(small("arms=[r3gan,dcgan,random]", "allow_norm_diff=true"), "x", 1)
    norms = {part.arm: part.cfg.backbone.norm for part in mixed if part.stage == "pretrain"}
    assert norms == {"r3gan": "none", "dcgan": "batch"}
    told = {part.arm: part.cfg.backbone.norm for part in mixed if part.stage == "transfer"}
    assert (told["r3gan"], told["dcgan"]) == ("none", "batch")  # the network that is probed is on record
    # with an untrained network of each kind
    untrained = {p.arm: p.cfg.backbone.norm for p in mixed if p.stage == "transfer" and p.cfg.weights == "random"}
    assert untrained == {"random": "batch", "random[norm=none]": "none"}


@pytest.mark.long
def test_what_is_compared_is_evaluated_as_it_ended(small):
    """Choosing by a judge that has learnt from labels would be an advantage."""
    (first, *_) = plan.plan(small("arms=[dcgan,random]"), "x", 1)
    assert first.cfg.export == "last" and "export=last" in first.shell


@pytest.mark.long
def test_the_whole_way_and_again(small, tmp_path):
    cfg = small()
    compare.main(cfg, tmp_path / "one")
    for name in ("report.html", "report.md", "report.json", "result.json"):
        assert (tmp_path / "one" / name).stat().st_size > 0
    report = read_json(tmp_path / "one" / "report.json")
    assert {arm["name"] for arm in report["arms"]} == set(cfg.arms)
    rows = {(row["arm"], row["probe"]) for row in report["table"]}
    assert {("scratch", "adapted"), ("simclr", "linear"), ("random", "adapted"), ("pixels", "linear")} <= rows
    assert {("scratch", "finetune"), ("scratch", "linear")} <= rows and ("random", "finetune") not in rows
    assert not report["failed"] and not report["missing"]
    assert read_json(tmp_path / "one" / "status.json")["state"] == "finished"

    before = mtimes(tmp_path / "parts")
    compare.main(small("seeds=2", "arms=[random,pixels]"), tmp_path / "two")
    after = mtimes(tmp_path / "parts")
    assert before.items() <= after.items()  # nothing that was finished was touched
    added = {path.relative_to(tmp_path / "parts").parts[0] for path in after.keys() - before.keys()}
    assert len(added) == 2 and all(re.match(r"(random|pixels)-s1-transfer-", name) for name in added)


@pytest.mark.long
def test_reading_finished_runs_needs_no_training(small, tmp_path, monkeypatch, inline):
    compare.main(small("arms=[random,pixels]"), tmp_path / "one")
    monkeypatch.setattr(execution, "Worker", None)
    compare.main(small(f"runs={tmp_path}/parts/*"), tmp_path / "two")
    one, two = (read_json(tmp_path / name / "report.json") for name in ("one", "two"))
    rows = [sorted((r["arm"], r["probe"], r["mean"]) for r in report["table"]) for report in (one, two)]
    assert rows[0] == rows[1] and rows[0]
    assert two["primary"]["fixed_by"] == "rule"
    # what is chosen beside scores that are there was not fixed before them
    compare.main(small(f"runs={tmp_path}/parts/*", "primary.pairs=['random vs pixels']"), tmp_path / "three")
    assert read_json(tmp_path / "three" / "report.json")["primary"]["fixed_by"] == "reader"
    # what none of the runs has is a typing error, and known before there is a directory
    for text, said in (
        ("primary.probe=liner", "primary.probe=liner: none of the runs has it; expected one of adapted, linear"),
        ("primary.labels='7'", "primary.labels=7: none of the runs has it; expected one of 5"),
        ("check=['pixls.linear@5 > 5']", "unknown arm 'pixls'; did you mean 'pixels'"),
        ("check=['pixels.linear@7 > 5']", "no finished run has pixels.linear@7; pixels has"),
        ("check=['pixels.finetune@5 > 5']", "no finished run has pixels.finetune@5"),
        ("check=['random.kid < 5']", "no finished run has random.kid"),
    ):
        with pytest.raises(UsageError) as error:
            compare.main(small(f"runs={tmp_path}/parts/*", text), tmp_path / "wrong")
        assert said in str(error.value)
    assert not (tmp_path / "wrong").exists()


def test_a_claim_that_does_not_hold_fails_after_the_report(small, tmp_path, capsys, inline):
    cfg = small(
        "arms=[random,pixels]",
        "check=['pixels.linear@5 > random.linear@5 - 100','pixels.linear@5 > 100']",
    )  # fmt: skip
    with pytest.raises(JobError, match="pixels.linear@5") as error:
        compare.main(cfg, tmp_path / "run")
    assert "\n" not in str(error.value)
    said = capsys.readouterr().err  # the one that does not hold is the error, and is not told twice
    assert "holds: pixels.linear@5 > random.linear@5 - 100" in said and "does not hold" not in said
    assert (tmp_path / "run" / "report.html").exists()
    assert [c["holds"] for c in read_json(tmp_path / "run" / "result.json")["checks"]] == [True, False]


@pytest.mark.long
def test_a_failed_part_costs_only_itself(small, tmp_path, inline):
    cfg = small(
        "arms=[simclr,random,pixels]",
        "+overrides.simclr=['ssl.optim.lr=1e30','ssl.optim.warmup=0','ssl.batch_size=16']",
        "budget.steps=40", "backbone.norm=none",
    )  # fmt: skip
    with pytest.raises(JobError, match=r"3 of 6 parts failed \(simclr seed 0 pretrain: .*diverged"):
        compare.main(cfg, tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    assert {f["arm"] for f in report["failed"]} == {"simclr"}
    assert {row["arm"] for row in report["table"]} == {"random", "pixels"}
    log = next((tmp_path / "parts").glob("simclr-s0-pretrain-*/log.txt")).read_text()
    assert "Traceback" in log


@pytest.mark.long
def test_the_name_of_a_part_follows_what_determines_it(small):
    def names(*overrides, data_hash="d", threads=1):
        cfg = small("arms=[simclr,random]", *overrides)
        return {(p.arm, p.stage): p.hash for p in plan.plan(cfg, data_hash, threads) if p.stage in JUDGED}

    base = names()
    assert len(set(base.values())) == 3
    assert names("engine.log_every=7", "data.workers=1") == base
    assert not set(names(data_hash="other").values()) & set(base.values())
    assert not set(names(threads=2).values()) & set(base.values())
    budget = names("budget.steps=4")
    assert budget["simclr", "pretrain"] != base["simclr", "pretrain"]
    assert budget["simclr", "transfer"] != base["simclr", "transfer"]  # probed on other weights
    assert budget["random", "transfer"] == base["random", "transfer"]
    draws = names("draws=3")
    assert draws["simclr", "pretrain"] == base["simclr", "pretrain"]
    assert draws["simclr", "transfer"] != base["simclr", "transfer"]


@pytest.mark.long
def test_the_printed_command_composes_the_same_configuration(small):
    chains = "arms=[simclr,supervised,dcgan,simclr+dcgan,simclr-on-dcgan,scratch-with-acgan,pca,random]"
    made = plan.plan(small(chains), "d", 1)
    for part in made:
        if part.stage not in JUDGED:
            assert not part.shell or part.shell.startswith("gssl evaluate ")
            continue
        words = shlex.split(part.shell)
        assert words[:2] == ["gssl", part.command]
        again = compose(part.command, words[2:])
        expected = parts.determining(part.cfg)
        assert parts.determining(again) == expected, part.shell


@pytest.mark.long
def test_scratch_and_supervised_are_what_the_design_says(small):
    made = {(p.arm, p.stage): p.cfg for p in plan.plan(small("probe.use=[knn,linear,finetune]"), "d", 1)}
    assert made["scratch", "transfer"].weights == "random"
    assert made["scratch", "transfer"].probe.use == ["knn", "linear", "finetune"]
    assert made["random", "transfer"].probe.use == ["knn", "linear"]
    assert made["pixels", "transfer"].probe.use == ["knn", "linear"]
    assert made["supervised", "pretrain"].ssl.name == "supervised"
    assert made["supervised", "pretrain"].budget.steps == 3  # a reference trains as long as who is measured by it
    backbones = {json.dumps(vars(cfg.backbone)) for (_, stage), cfg in made.items() if stage in JUDGED}
    assert len(backbones) == 1  # one network for all


@pytest.mark.long
def test_dry_run_prints_the_plan_and_writes_nothing(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(image_size, "_said", set())
    compare.main(small(), tmp_path / "run", dry_run=True)
    said, told = capsys.readouterr()
    assert said.count("missing") == 15 and "gssl transfer" in said  # random has milestones beside the trained arms
    assert "data.size=" not in told  # it was given: what parts are compared with has another one that nobody asked for
    assert not (tmp_path / "run").exists() and not (tmp_path / "parts").exists()


@pytest.mark.long
def test_an_arms_overrides_add_to_the_comparisons_settings(small):
    cfg = small("arms=[simclr,random]", "probe.linear.l2_count=4", "+overrides.random=['probe.knn.k=5']")
    made = {(p.arm, p.stage): p.cfg for p in plan.plan(cfg, "d", 1)}
    assert made["random", "transfer"].probe.linear.l2_count == 4 == made["simclr", "transfer"].probe.linear.l2_count
    assert made["random", "transfer"].probe.knn.k == 5 != made["simclr", "transfer"].probe.knn.k
    # a method's hold wherever it is trained, a chain's own have the last word
    method = "acgan: ['gan.batch_size=16','evaluator=random','probe.knn.k=5','probe.linear.l2_count=3']"
    mine = f"overrides={{{method}, simclr+acgan: ['probe.linear.l2_count=4']}}"
    planned = plan.plan(small("arms=[simclr+acgan,random]", mine), "d", 1)
    chain = next(p.cfg for p in planned if (p.arm, p.stage) == ("simclr+acgan", "transfer"))
    assert (chain.probe.knn.k, chain.probe.linear.l2_count) == (5, 4)


@pytest.mark.long
def test_a_part_that_another_comparison_makes_is_waited_for(small, tmp_path, monkeypatch):
    """The lock is held for a while and then the part is there, made by the other one."""
    import threading

    from gssl.engine.run import Run

    monkeypatch.setattr(execution, "RETRY", 0.3)
    cfg = small("arms=[random,pixels]")
    compare.main(cfg, tmp_path / "one")
    path = next((tmp_path / "parts").glob("random-*"))
    status = (path / "status.json").read_text()
    write_json(path / "status.json", read_json(path / "status.json") | {"state": "running"})
    part = next(p for p in plan.plan(cfg, "d", 1) if p.arm == "random")

    with Run(path, "transfer", part.cfg):

        def finish():
            (path / "status.json").write_text(status)

        timer = threading.Timer(12, finish)
        timer.start()
        compare.main(cfg, tmp_path / "two")
        timer.cancel()
    assert not read_json(tmp_path / "two" / "report.json")["failed"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["all wrong", "gone", "status cut"])
def test_a_part_that_is_not_what_was_written_is_made_again(small, tmp_path, capsys, inline, how):
    """With the same numbers, which the damaged part's predictions would have changed."""
    cfg = small("arms=[random,pixels]", "seeds=2", "engine.resume=auto")
    compare.main(cfg, tmp_path / "one")
    part = next((tmp_path / "parts").glob("random-s0-transfer-*"))
    file = part / ("status.json" if how == "status cut" else "predictions.npz")
    if how == "all wrong":
        with np.load(file) as found:
            arrays = dict(found)
        arrays["guess"] = np.stack([1 - arrays["labels"]] * len(arrays["guess"]))
        np.savez_compressed(file, allow_pickle=False, **arrays)
    elif how == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text()[:50])
    capsys.readouterr()
    compare.main(cfg, tmp_path / "two")
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("note: random seed 0"))
    assert str(file) in line and "made again" in line
    one, two = (read_json(tmp_path / name / "report.json") for name in ("one", "two"))
    for key in ("table", "differences", "failed"):
        assert one[key] == two[key]


@pytest.mark.long
def test_exchanged_weights_of_a_part_are_made_again(small, tmp_path, capsys, inline):
    cfg = small("arms=[simclr,random]", "seeds=2", "probe.use=[linear]")
    compare.main(cfg, tmp_path / "one")
    files = sorted((tmp_path / "parts").glob("simclr-s*-pretrain-*/weights/backbone.safetensors"))
    first, second = (file.read_bytes() for file in files)
    files[0].write_bytes(second)
    shutil.rmtree(next((tmp_path / "parts").glob("simclr-s0-transfer-*")))
    capsys.readouterr()
    compare.main(cfg, tmp_path / "two")
    assert f"{files[0]} is damaged or was changed" in capsys.readouterr().err
    assert files[0].read_bytes() == first != second
    one, two = (read_json(tmp_path / name / "report.json") for name in ("one", "two"))
    assert one["table"] == two["table"] and not two["failed"]


@pytest.mark.long
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(pictures, tmp_path):
    """A real process: what is running saves, what is finished stays, and nothing is done twice."""
    words = [
        sys.executable, "-m", "gssl", "compare", "data=imagefolder", f"data.root={pictures}", "data.size=16",
        "arms=[random,simclr]", "+overrides.simclr=['ssl.batch_size=16']", "seeds=1", "budget.steps=400",
        "backbone.width=8", f"parts={tmp_path / 'parts'}", "engine.device=cpu", "engine.threads=1", "eval.milestones=0",
        "labels_per_class=[5]", "fractions=[]", "draws=2", "eval.images=50", "probe.linear.l2_count=2",
        "engine.log_every=1",
    ]  # fmt: skip
    heard = tmp_path / "stderr"
    with heard.open("w") as err, subprocess.Popen([*words, f"hydra.run.dir={tmp_path / 'one'}"], stderr=err) as process:
        try:
            end = time.monotonic() + 240
            steps = 0
            while steps <= 5:
                assert process.poll() is None and time.monotonic() < end, heard.read_text()
                time.sleep(0.1)
                log = next((tmp_path / "parts").glob("simclr-s0-pretrain-*/metrics.jsonl"), None)
                steps = len(log.read_text().splitlines()) if log else 0
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=120) == 130, heard.read_text()
        finally:
            process.kill()
    assert "Traceback" not in heard.read_text()
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
