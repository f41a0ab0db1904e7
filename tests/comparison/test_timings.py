"""Times of parts: each has one, kinds that take the same are measured once, a second look measures nothing."""

import json
import math
import os

import pytest

from gssl.comparison import estimate, timings
from gssl.comparison.plan import Planner
from gssl.comparison.timings import Timing, Timings, seconds_of, steps_of
from gssl.config.composing import compose
from gssl.data import checksums, load_data


@pytest.fixture
def planned(pictures, tmp_path, monkeypatch):
    """(configuration, parts, splits) of a small comparison with everything in it."""
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    words = ["data=imagefolder", f"data.root={pictures}", "experiment=smoke", "data.size=16", f"parts={tmp_path}/parts"]
    arms = "arms=[simclr,dcgan,simclr+dcgan,scratch,random,pixels]"
    cfg = compose(
        "compare", [*words, arms, "seeds=2", "engine.threads=1", "budget.steps=100", "generation.evaluator=auto"]
    )
    splits = load_data(cfg.data)
    return cfg, Planner(cfg, splits.hash, 1).plan(), splits


COMMANDS = {"pretrain-ssl": "gssl.commands.pretrain_ssl:main", "train-gan": "gssl.commands.train_gan:main"}


def test_steps_are_those_of_the_first_limit():
    budget = compose("compare", ["budget.flops=1000", "budget.seconds=50"]).budget
    assert steps_of(budget, Timing(per_step=1.0, flops=100.0, epochs=0.1)) == 10
    assert steps_of(budget, Timing(per_step=10.0, flops=100.0, epochs=0.1)) == 5
    assert steps_of(compose("compare", []).budget, Timing(per_step=1.0, epochs=0.5)) == 200  # of default_epochs


@pytest.mark.long
def test_every_part_has_a_time_and_what_is_kept_is_not_measured_again(planned, monkeypatch):
    cfg, parts, splits = planned
    assert {part.stage for part in parts} == {"pretrain", "transfer", "milestones", "evaluate"}
    costs, once = estimate.estimate(cfg, parts, splits, COMMANDS)
    assert set(costs) == {part.path for part in parts}
    assert all(cost.seconds is not None and cost.seconds > 0 for cost in costs.values())
    assert all(costs[part.path].steps for part in parts if part.stage == "pretrain")
    assert once > 0  # the classifier that evaluates generated images
    assert not any(part.path.exists() for part in parts)  # nothing is kept of it

    def again(*_):
        raise AssertionError("measured again")

    for name in ("training", "probing", "evaluating"):
        monkeypatch.setattr(timings, name, again)
    assert estimate.estimate(cfg, parts, splits, COMMANDS) == (costs, once)


def test_kinds_that_take_the_same_are_measured_once(planned, monkeypatch):
    cfg, parts, splits = planned
    measured = []
    monkeypatch.setattr(Timings, "_measured", lambda self, part: measured.append(part.name) or Timing(1.0, 1.0, 1.0))
    known = Timings(parts, splits, COMMANDS)
    for part in parts:
        known.of(part)
    # SimCLR, DCGAN, and the two of the chain (DCGAN begins there with other weights, which cost the same): 2 trainings;
    # one network, no network; the generators
    assert len(measured) == 2 + 2 + 1, measured


def test_timings_are_kept_merged_and_checked(tmp_path, capsys):
    file = tmp_path / "timings.json"
    one, two = Timing(1.0, 0.25, fits={"linear": 2.0}), Timing(per_image=0.1)
    assert timings.kept(file) == {} and capsys.readouterr().err == ""
    timings.keep(file, {"a": one})
    timings.keep(file, {"b": two})  # another process, which did not know of `a`
    assert timings.kept(file) == {"a": one, "b": two}
    whole = file.read_text()
    document = json.loads(whole)
    for damaged in (
        *(whole.replace("0.25", "0.75"), whole[:50], "", "[]", "null", "[" * 9999, whole.replace('"b"', '"c"')),
        json.dumps({"a": vars(one)}),  # as earlier versions wrote it
        json.dumps(document | {"timings": []}),
    ):
        file.write_text(damaged)
        assert timings.kept(file) == {}
        assert capsys.readouterr().err.count("times are measured again\n") == 1
    value: object
    for value in ({"fixed": -1.0}, {"fixed": "1"}, {"fixed": math.nan}, {"other": 1.0}, [], 3, {"fits": [1]}):
        stranger = {"a": value}
        file.write_text(json.dumps({"sha256": checksums.summed(stranger), "timings": stranger}))
        assert timings.kept(file) == {}
    os.unlink(file)
    os.mkfifo(file)
    assert timings.kept(file) == {}


def test_more_draws_more_images_and_more_checkpoints_take_longer(planned):
    cfg, parts, splits = planned
    timing = Timing(fixed=1.0, per_step=0.1, flops=1.0, epochs=0.1, per_image=0.01, fits={"linear": 2.0})
    transfer = next(part for part in parts if part.stage == "transfer")
    looked = next(part for part in parts if part.stage == "milestones")
    assert seconds_of(looked, timing, splits, 4) > seconds_of(looked, timing, splits, 1)
    more = Timing(**{**vars(timing), "per_image": 0.1})
    assert seconds_of(transfer, more, splits, 0) > seconds_of(transfer, timing, splits, 0)


@pytest.mark.long
def test_what_trains_the_network_takes_as_long_as_its_steps_whatever_stands_first(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    words = ["data=imagefolder", f"data.root={pictures}", "experiment=smoke", "data.size=16", "engine.threads=1"]

    def fits(steps):
        own = [f"probe.finetune.steps={steps}", "probe.use=[adapted,linear,finetune]", "weights=random"]
        cfg = compose("transfer", [*words, *own])
        found = timings.probing(cfg, "random", load_data(cfg.data)).fits
        assert found["adapted"] < found["finetune"]  # it has been fitted by then
        return found["finetune"]

    assert fits(2000) > 20 * fits(20)
