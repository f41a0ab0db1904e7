"""Openings of test images are counted: whose, with how many settings, by several processes, without a cache."""

import subprocess
import sys

import pytest

from gssl.commands import evaluate, transfer
from gssl.data import Splits
from gssl.engine.files import read_json
from gssl.experiment import ledger
from gssl.schemas import replace


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_runs_and_settings_are_counted(cache, tmp_path):
    assert ledger.summary("x")["runs"] == 0 and "No opening" in ledger.sentence(ledger.summary("x"))
    said = ledger.opening("x", tmp_path / "a", "transfer", "one", 0)
    assert said == "These test images have been opened by 1 run with 1 setting."
    ledger.opening("x", tmp_path / "a", "transfer", "one", 0)  # killed, and on again
    ledger.opening("x", tmp_path / "b", "transfer", "one", 1)
    ledger.opening("x", tmp_path / "c", "evaluate", "two", 0)
    ledger.opening("y", tmp_path / "c", "evaluate", "two", 0)
    found = ledger.summary("x")
    assert (found["runs"], found["settings"], found["openings"]) == (3, 2, 4)
    assert found["first"] <= found["last"]
    assert ledger.sentence(found) == "These test images have been opened by 3 runs with 2 settings."


def test_a_line_that_was_cut_off_is_no_opening_and_spoils_none(cache, tmp_path):
    ledger.opening("x", tmp_path, "transfer", "one", 0)
    with ledger.path_of("x").open("a") as file:
        file.write('{"schema": "gssl.op')
    ledger.opening("x", tmp_path, "transfer", "one", 1)
    assert ledger.summary("x")["openings"] == 2


def test_a_cache_that_cannot_be_written_fails_no_run(cache, tmp_path, capsys):
    cache.mkdir()
    (cache / "openings").write_text("a file")
    assert "No opening" in ledger.opening("x", tmp_path, "transfer", "one", 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: this opening of the test images is not counted: ")


MANY = """
import sys
from gssl.engine.lines import growing, parsed
from pathlib import Path
for _ in range(60):
    with growing(Path(sys.argv[1])) as (lines, append):
        append({"n": len(parsed(lines)), "fill": "x" * 5000})
"""


def test_two_processes_wait_for_each_other(tmp_path):
    """Each writes what it has found there: without the lock two find the same."""
    path = tmp_path / "deep" / "lines.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", MANY, str(path)]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    from gssl.engine.lines import parsed

    assert [row["n"] for _, row in parsed(path.read_text().splitlines())] == list(range(120))


def test_seeds_are_one_setting_whatever_they_start_from(tiny, tmp_path):
    cfg = tiny("transfer", "weights=random")
    one = ledger.settings_of(cfg)
    assert ledger.settings_of(replace(cfg, seed=3)) == one
    assert ledger.settings_of(replace(cfg, draws=7)) != one
    found = {}
    for name, text in (("a0", "ssl: {t: 1}\nseed: 0"), ("a1", "ssl: {t: 1}\nseed: 1"), ("b", "ssl: {t: 2}\nseed: 0")):
        (tmp_path / name / "weights").mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(text)
        (tmp_path / name / "status.json").write_text("{}")
        file = tmp_path / name / "weights" / "backbone.safetensors"
        file.write_text(name)
        found[name] = ledger.settings_of(replace(cfg, weights=str(tmp_path / name)))
        assert ledger.settings_of(replace(cfg, weights=str(file))) == found[name]
    assert found["a0"] == found["a1"] != found["b"] and one not in found.values()


def test_a_transfer_run_counts_once_and_says_so(cache, tiny, tmp_path, capsys, monkeypatch):
    words = ("weights=pixels", "probe.use=[linear]", "labels_per_class=[2]", "fractions=[]", "engine.resume=auto")
    cfg = tiny("transfer", *words)
    there: list[bool] = []
    opened = Splits.open_test
    monkeypatch.setattr(
        Splits, "open_test", lambda self: there.append(any((cache / "openings").iterdir())) or opened(self)
    )
    transfer.main(cfg, tmp_path / "one")
    assert there == [True]  # on record before it happened
    images = read_json(tmp_path / "one" / "result.json")["data"]["hashes"]["test"]
    assert "note: These test images have been opened by 1 run with 1 setting." in capsys.readouterr().err
    transfer.main(cfg, tmp_path / "one")
    assert ledger.summary(images)["openings"] == 1 and len(there) == 1  # a finished run that is read opens nothing
    transfer.main(replace(cfg, seed=1), tmp_path / "two")
    found = ledger.summary(images)
    assert (found["runs"], found["settings"]) == (2, 1)


@pytest.mark.long
def test_a_generator_that_is_evaluated_on_test_images_counts_too(cache, tiny, tmp_path, capsys):
    from gssl.commands import train_gan

    train_gan.main(tiny("train-gan", "gan=dcgan"), tmp_path / "gan")
    images = read_json(tmp_path / "gan" / "result.json")["data"]["hashes"]["test"]
    evaluate.evaluate(tmp_path / "gan", evaluator="random")
    assert ledger.summary(images)["runs"] == 0
    evaluate.evaluate(tmp_path / "gan", evaluator="random", split="test")
    assert ledger.summary(images)["runs"] == 1 and "by 1 run with 1 setting" in capsys.readouterr().err
