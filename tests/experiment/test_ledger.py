"""Openings of test images are counted: whose, with how many settings, by several processes, without a cache."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gssl.commands import evaluate, transfer
from gssl.comparison.report_context import openings
from gssl.data import Splits
from gssl.engine.files import read_json
from gssl.engine.lines import read_lines
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
    assert ledger.summary("x")["openings"] == 2 and ledger.summary("x")["damage"] == ""


def three(tmp_path):
    for seed in range(3):
        ledger.opening("x", tmp_path / "run", "transfer", "one", seed)
    return ledger.path_of("x"), ledger.path_of("x").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    "harm",
    [
        lambda line: line.replace(b"transfer", b"trans\xffer"),
        lambda line: line[:40] + b"\n",
        lambda line: line.replace(b'"seed": ', b'"seed": "one", "x": '),
        lambda line: line.replace(b'"settings": "one"', b'"settings": ["one"]'),
        lambda line: b"[]\n",
    ],
    ids=["no UTF-8", "cut", "text", "list", "another kind"],
)
def test_a_damaged_line_is_counted_and_costs_no_other(cache, tmp_path, harm, at):
    path, lines = three(tmp_path)
    lines[at] = harm(lines[at])
    path.write_bytes(b"".join(lines))
    found = ledger.summary("x")
    assert (found["runs"], found["openings"]) == (2, 2)
    said = ledger.opening("x", tmp_path / "run", "transfer", "one", 3)
    told = f"1 line of {path} is damaged: at least 3 openings are on record."
    assert said == f"These test images have been opened by 3 runs with 1 setting. {told}"
    assert path.read_bytes().startswith(b"".join(lines))  # what is damaged stays as it is


@pytest.mark.parametrize("gone", [0, 1])
def test_a_line_that_was_taken_out_is_told(cache, tmp_path, gone):
    path, lines = three(tmp_path)
    path.write_bytes(b"".join(line for i, line in enumerate(lines) if i != gone))
    said = ledger.sentence(ledger.summary("x"))
    assert f"1 line of {path} is damaged, changed or missing: at least 2 openings are on record." in said


def test_a_line_that_was_changed_is_told(cache, tmp_path):
    path, lines = three(tmp_path)
    path.write_bytes(b"".join(lines).replace(b'"seed": 1', b'"seed": 0'))
    assert "changed or missing" in ledger.sentence(ledger.summary("x"))


def test_lines_of_earlier_versions_name_no_line_before(cache, tmp_path):
    path, lines = three(tmp_path)
    old = [json.loads(line) for line in lines]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "previous"}) + "\n" for row in old))
    ledger.opening("x", tmp_path / "run", "transfer", "one", 3)
    assert ledger.summary("x")["openings"] == 4 and ledger.summary("x")["damage"] == ""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[i] for i in (0, 1, 3)))
    assert "missing" in ledger.summary("x")["damage"]  # the last of them is named by the first that names one


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_no_ledger_and_fails_no_run(cache, tmp_path, capsys, make):
    path = ledger.path_of("x")
    path.parent.mkdir(parents=True)
    make(path)
    said = ledger.opening("x", tmp_path, "transfer", "one", 0)
    assert said.startswith(f"{path}: ") and said.endswith(": how often these test images were opened is not known.")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: this opening of the test images is not counted: {path}: ") and "None" not in line


def test_names_of_runs_may_be_of_any_bytes(cache, tmp_path):
    for name in (b"run-\xff", "run-\u2028".encode()):
        ledger.opening("x", tmp_path / os.fsdecode(name), "transfer", "one", 0)
    found = ledger.summary("x")
    assert (found["runs"], found["damage"]) == (2, "")


def test_a_comparison_says_that_the_ledger_is_damaged(cache, tmp_path, capsys):
    path, lines = three(tmp_path)
    path.write_bytes(lines[0] + b"\xff\n" + lines[2])
    run = SimpleNamespace(stage="transfer", finished=True, result={"data": {"hashes": {"test": "x"}}})
    found = openings([run])
    assert found["openings"] == 2 and f"1 line of {path} is damaged: at least 2 openings" in found["text"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"warning: {found['text']}"


def test_a_cache_that_cannot_be_written_fails_no_run(cache, tmp_path, capsys):
    cache.mkdir()
    (cache / "openings").write_text("a file")
    assert "No opening" in ledger.opening("x", tmp_path, "transfer", "one", 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: this opening of the test images is not counted: ")


MANY = """
import sys
from gssl.engine.lines import growing
from pathlib import Path
for _ in range(60):
    with growing(Path(sys.argv[1])) as (lines, append):
        append({"n": len(lines.found), "fill": "x" * 5000})
"""


def test_two_processes_wait_for_each_other(tmp_path):
    """Each writes what it has found there: without the lock two find the same."""
    path = tmp_path / "deep" / "lines.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", MANY, str(path)]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert [row["n"] for _, row in read_lines(path).found] == list(range(120))


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
