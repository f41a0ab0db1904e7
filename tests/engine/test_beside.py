"""Seconds beside the training: each counted once."""

import time

import pytest

from gssl.commands import train_gan
from gssl.engine.beside import Beside
from gssl.engine.files import read_json


def test_a_block_within_a_block_is_counted_inside_alone():
    beside = Beside()
    for _ in range(2):
        with beside("evaluations"):
            time.sleep(0.02)
            with beside("pictures"):
                time.sleep(0.05)
    assert beside.seconds["evaluations"] == pytest.approx(0.04, abs=0.035)
    assert 0.1 <= beside.seconds["pictures"] < 0.3
    assert list(beside.record()) == ["pictures", "evaluations"]


def test_what_fails_has_taken_time_too():
    beside = Beside()
    with pytest.raises(ValueError), beside("pictures"):
        raise ValueError
    assert beside.seconds["pictures"] >= 0


def test_a_gan_says_what_its_evaluator_took(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("gssl.metrics.classifier.STEPS", 2)
    told = []
    for name in ("first", "second"):
        train_gan.main(tiny("train-gan", "evaluator=classifier", "engine.progress=true"), tmp_path / name)
        spent = read_json(tmp_path / name / "result.json")["spent"]
        assert set(spent["beside"]) == {"evaluator", "evaluations", "pictures"}
        told.append("the evaluator learns" in capsys.readouterr().err)
    assert told == [True, False]  # the second finds it in the cache
