"""The run directory: states, one process, whole files."""

import json

import pytest

from gssl.commands import pretrain_ssl, train_gan
from gssl.engine.files import clean, read_json, sha256, write_json
from gssl.engine.run import Run
from gssl.errors import Interrupted, JobError


def test_a_finished_run_holds_what_the_contract_says(tiny, tmp_path):
    value = train_gan.main(tiny("train-gan", "eval.every=3", "engine.log_every=2"), tmp_path)
    result = read_json(tmp_path / "result.json")
    assert result["schema"] == "gssl.result/2" and result["command"] == "train-gan"
    assert result["objective"] == {"name": "val_kid", "value": value, "direction": "min"}
    spent = result["spent"]
    assert spent["steps"] == 6 and spent["images"] == 96
    assert spent["flops"] == pytest.approx(6 * spent["flops_per_step"]) and spent["flops"] > 0
    assert (
        result["evaluator"]["name"] and result["evaluator"]["hash"] and result["kid_baseline"]["train_real"]["kid"] < 1
    )
    for entry in (result["weights"]["backbone"], result["generator"]):
        assert sha256(tmp_path / entry["file"]) == entry["sha256"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_kid" in line] == [0, 3, 6]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6]
    assert {p.name for p in (tmp_path / "samples").iterdir()} == {f"step-{s:08d}.png" for s in (0, 3, 6)}
    status = read_json(tmp_path / "status.json")
    assert status["state"] == "finished" and status["ended"] >= status["started"]
    environment = read_json(tmp_path / "environment.json")
    assert environment["threads"] == 1 and environment["torch"] and environment["python"]


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [(JobError("lost"), "failed", "JobError: lost"), (Interrupted(130), "interrupted", None)],
)
def test_how_a_block_ends_is_on_record(tiny, tmp_path, error, state, text):
    with pytest.raises(type(error)), Run(tmp_path, "pretrain-ssl", tiny("pretrain-ssl")) as run:
        run.begin()
        raise error
    status = read_json(tmp_path / "status.json")
    assert (status["state"], status["error"]) == (state, text)


def test_before_it_begins_a_run_leaves_nothing(tiny, tmp_path):
    with pytest.raises(RuntimeError), Run(tmp_path / "run", "pretrain-ssl", tiny("pretrain-ssl")):
        raise RuntimeError
    assert list((tmp_path / "run").iterdir()) == []


def test_json_has_no_nan_and_is_whole(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [float("inf"), 1.5], "p": tmp_path})
    assert read_json(tmp_path / "a.json") == {"x": None, "y": [None, 1.5], "p": str(tmp_path)}
    assert clean((1, 2)) == [1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "missing.json") is None


def test_budgets_end_where_they_say(tiny, tmp_path):
    for name, budget, steps in (("images", "budget.images=40", 3), ("epochs", "budget.epochs=1", 7)):
        pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=null", budget), tmp_path / name)
        assert read_json(tmp_path / name / "result.json")["spent"]["steps"] == steps
    one = read_json(tmp_path / "images" / "result.json")["spent"]["flops_per_step"]
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=null", f"budget.flops={5.2 * one}"), tmp_path / "flops")
    assert read_json(tmp_path / "flops" / "result.json")["spent"]["steps"] == 5
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=null", "budget.seconds=0.3"), tmp_path / "seconds")
    assert 0.3 <= read_json(tmp_path / "seconds" / "result.json")["spent"]["seconds"] < 5


def test_fewer_images_than_a_batch_say_so_and_work(tiny, tmp_path, capsys):
    pretrain_ssl.main(tiny("pretrain-ssl", "ssl.batch_size=512", "budget.steps=2"), tmp_path)
    assert "batches have 108, not 512" in capsys.readouterr().err
    assert read_json(tmp_path / "result.json")["spent"]["images"] == 216


def test_a_method_that_needs_labels_gets_them_or_says_so(pictures, tiny, tmp_path):
    from gssl.errors import UsageError

    pretrain_ssl.main(tiny("pretrain-ssl", "ssl=supervised"), tmp_path / "a")
    words = ["data.root=null", f"data.pretrain={pictures / 'train'}"]
    with pytest.raises(UsageError, match="label"):
        pretrain_ssl.main(tiny("pretrain-ssl", "ssl=supervised", *words), tmp_path / "b")
    pretrain_ssl.main(tiny("pretrain-ssl", *words), tmp_path / "c")  # what needs none runs


def test_accumulation_trains(tiny, tmp_path):
    pretrain_ssl.main(tiny("pretrain-ssl", "engine.accumulate=2"), tmp_path)
    assert read_json(tmp_path / "status.json")["state"] == "finished"


def test_dry_run_leaves_a_picture_and_nothing_else(tiny, tmp_path):
    pretrain_ssl.main(tiny("pretrain-ssl"), tmp_path / "a", dry_run=True)
    train_gan.main(tiny("train-gan"), tmp_path / "b", dry_run=True)
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"views.png"}


def test_too_many_micro_batches_are_a_usage_error(tiny, tmp_path):
    from gssl.errors import UsageError

    with pytest.raises(UsageError, match="engine.accumulate=9: .* use at most 8"):
        pretrain_ssl.main(tiny("pretrain-ssl", "engine.accumulate=9"), tmp_path)
