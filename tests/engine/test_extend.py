"""Finished trainings that are lengthened: only the budget grows, and what was made before is where it goes on."""

import json

import pytest

from gssl.commands import pretrain_ssl, train_gan, transfer
from gssl.engine.files import read_json, sha256, write_json
from gssl.engine.loop import Trainer
from gssl.engine.run import Run
from gssl.errors import UsageError

STEADY = ("ssl.optim.schedule=constant", "ssl.optim.warmup=0", "engine.log_every=1")


def weights(run):
    return {path.name: sha256(path) for path in sorted((run / "weights").glob("*.safetensors"))}


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.long
def test_with_schedules_that_do_not_depend_on_the_budget_it_is_the_longer_run(tiny, tmp_path):
    """Bit for bit: weights, and the losses of every step."""
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=8", *STEADY), tmp_path / "whole")
    run = tmp_path / "run"
    short = pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=3", *STEADY), run)
    assert pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=8", "engine.resume=extend", *STEADY), run) is not None
    assert weights(run) == weights(tmp_path / "whole") and weights(run)
    losses = [{e["step"]: e["loss"] for e in lines(folder) if "loss" in e} for folder in (run, tmp_path / "whole")]
    assert losses[0] == losses[1] and list(losses[0]) == list(range(1, 9))
    result, status = read_json(run / "result.json"), read_json(run / "status.json")
    assert result["spent"]["steps"] == 8 and status["state"] == "finished"
    (entry,) = result["extensions"]
    assert entry["budget_before"] == {"steps": 3} and entry["budget"] == {"steps": 8}
    assert (entry["step"], entry["position"]) == (3, 0.375)
    assert entry["objective_before"]["value"] == short
    assert "extensions" not in read_json(tmp_path / "whole" / "result.json")


@pytest.mark.long
def test_a_cosine_goes_on_from_its_place_on_the_longer_schedule_and_that_is_said(tiny, tmp_path, capsys):
    more = ["engine.log_every=1", "ssl.optim.warmup=0"]
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=4", *more), tmp_path / "run")
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=8", *more), tmp_path / "whole")
    capsys.readouterr()
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=8", "engine.resume=extend", *more), tmp_path / "run")
    said = capsys.readouterr().err
    assert "note: step 4 is 50.0% of the longer budget: learning rate and other schedules" in said
    rates = [{e["step"]: e["lr"] for e in lines(tmp_path / name) if "lr" in e} for name in ("run", "whole")]
    assert {step: rates[0][step] for step in (5, 6, 7, 8)} == {step: rates[1][step] for step in (5, 6, 7, 8)}
    assert rates[0][4] < rates[1][4]


@pytest.mark.long
def test_a_gan_keeps_its_best_and_is_lengthened_twice(tiny, tmp_path):
    for steps, resume in ((4, "no"), (6, "extend"), (9, "extend")):
        cfg = tiny("train-gan", f"budget.steps={steps}", f"engine.resume={resume}", "eval.every=2", "export=best")
        train_gan.main(cfg, tmp_path)
    result = read_json(tmp_path / "result.json")
    assert [(e["step"], e["budget"]["steps"]) for e in result["extensions"]] == [(4, 6), (6, 9)]
    kids = {e["step"]: e["val_kid"] for e in lines(tmp_path) if "val_kid" in e}
    assert max(kids) == 9 and result["best"]["val_kid"] == min(value for step, value in kids.items() if step)


@pytest.mark.long
def test_one_that_was_interrupted_goes_on(tiny, tmp_path, monkeypatch):
    """By extend and by auto; the history is on record once."""
    run = tmp_path / "run"
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=8", *STEADY), tmp_path / "whole")
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=3", *STEADY), run)
    longer = tiny("pretrain-ssl", "budget.steps=8", "engine.resume=extend", "engine.checkpoint_every=2", *STEADY)
    original = Trainer.fit

    def fit(self, method, *args, **kwargs):
        update = method.update

        def dying(batch, now):
            if now == 6:
                raise KeyboardInterrupt
            return update(batch, now)

        method.update = dying
        return original(self, method, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", fit)
        with pytest.raises(KeyboardInterrupt):
            pretrain_ssl.main(longer, run)
    assert read_json(run / "status.json")["state"] == "interrupted"
    pretrain_ssl.main(longer, run)
    assert weights(run) == weights(tmp_path / "whole")
    assert len(read_json(run / "result.json")["extensions"]) == 1


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["budget.steps=6"], "is finished with this very budget; give a larger one"),
        (["budget.steps=4"], "has made 6 steps in .* which the budget given does not exceed.*budget.steps=12"),
        (["budget.steps=null", "budget.epochs=0.1"], "which the budget given does not exceed"),
        (["budget.steps=9", "ssl.temperature=0.9"], "everything but budget.* must be as it was .ssl.temperature: 0.5"),
    ],
)
def test_what_is_no_longer_budget_changes_nothing(tiny, tmp_path, overrides, said):
    run = tmp_path / "run"
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=6"), run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(UsageError, match=said):
        pretrain_ssl.main(tiny("pretrain-ssl", "engine.resume=extend", *overrides), run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"} == before


@pytest.mark.long
def test_another_kind_of_budget_may_follow(tiny, tmp_path):
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=2"), tmp_path)
    longer = tiny("pretrain-ssl", "budget.steps=null", "budget.images=64", "engine.resume=extend")
    pretrain_ssl.main(longer, tmp_path)
    assert read_json(tmp_path / "result.json")["spent"]["steps"] == 4


def status(path, cfg, command, state="finished"):
    path.mkdir()
    run = Run(path, command, cfg)
    write_json(path / "status.json", {"state": state, "config_hash": run.hash, "command": command})
    (path / "config.yaml").write_text(json.dumps(cfg.model_dump()))


def test_who_cannot_be_lengthened_is_told_why(tiny, tmp_path):
    cfg, longer = tiny("pretrain-ssl"), tiny("pretrain-ssl", "budget.steps=9", "engine.resume=extend")
    with pytest.raises(UsageError, match="resume=extend: .*nowhere holds no run; hydra.run.dir=RUN names"):
        pretrain_ssl.main(longer, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    status(tmp_path / "part", cfg, "pretrain-ssl")
    (tmp_path / "part" / "part.json").touch()
    with pytest.raises(UsageError, match="a part of a comparison is named by its budget"):
        Run(tmp_path / "part", "pretrain-ssl", longer).__enter__()
    status(tmp_path / "failed", cfg, "pretrain-ssl", "failed")
    with pytest.raises(UsageError, match="is failed; finish it first, with its own budget and resume=auto"):
        Run(tmp_path / "failed", "pretrain-ssl", longer).__enter__()
    status(tmp_path / "gone", cfg, "pretrain-ssl")
    with pytest.raises(UsageError, match="no checkpoint is there to go on from"):
        pretrain_ssl.main(longer, tmp_path / "gone")
    scored = tiny("transfer", "weights=random", "engine.resume=extend")
    status(tmp_path / "transfer", scored, "transfer")
    with pytest.raises(UsageError, match="resume=extend: transfer has no budget"):
        transfer.main(scored, tmp_path / "transfer")


def test_a_larger_budget_with_resume_auto_names_the_way(tiny, tmp_path):
    status(tmp_path / "run", tiny("pretrain-ssl"), "pretrain-ssl")
    with pytest.raises(UsageError, match="budget.steps: 6 then, 9 now.; resume=extend lengthens a finished run"):
        Run(tmp_path / "run", "pretrain-ssl", tiny("pretrain-ssl", "budget.steps=9", "engine.resume=auto")).__enter__()
