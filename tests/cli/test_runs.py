"""`gssl runs list`: what a row says, filters, comparisons with their parts."""

import csv
import io
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gssl.cli import app, runs
from gssl.cli.output import fitting
from gssl.errors import UsageError


def gssl(*args):
    return CliRunner().invoke(app, list(map(str, args)))


def ago(**what):
    return (datetime.now(UTC) - timedelta(**what)).isoformat(timespec="seconds")


def write(
    path, command="pretrain-ssl", state="finished", started=None, objective=None, config=None, part=False, **more
):
    path.mkdir(parents=True)
    status = {"schema": "gssl.status/1", "command": command, "state": state, "step": 3, "error": None, "ended": None}
    (path / "status.json").write_text(json.dumps(status | {"started": started or ago(hours=1)}))
    (path / "config.yaml").write_text(yaml.safe_dump(config or {}))
    if state == "finished":
        (path / "result.json").write_text(json.dumps({"schema": "gssl.result/2", "objective": objective, **more}))
    if part:
        (path / "part.json").write_text("{}")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Three runs, a comparison of two parts, one part that belongs to none."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    knn = {"name": "val_knn", "value": 0.75, "direction": "max"}
    digits = {"data": {"name": "mnist5k", "size": 28}, "ssl": {"name": "simclr"}, "weights": "random", "seed": 4}
    photos = {"data": {"name": "imagefolder", "root": "photos", "size": [64, 48]}, "weights": "runs/pre/a", "seed": 0}
    write(root / "pre" / "a", objective=knn, config=digits, started=ago(days=3))
    write(root / "transfer" / "b", "transfer", config=photos, state="failed", started=ago(minutes=30))
    kid = {"name": "val_kid", "value": 0.02, "direction": "min"}
    write(root / "gan" / "c", "train-gan", objective=kid, config=digits, started=ago(minutes=5))
    for name, state in (("x-s0", "finished"), ("x-s1", "failed"), ("other", "finished")):
        write(root / "parts" / name, state=state, part=True, objective=knn, config=digits)
    write(root / "compare" / "d", "compare", started=ago(minutes=20))
    paths = [{"path": str(root / "parts" / name)} for name in ("x-s0", "x-s1")]
    (root / "compare" / "d" / "report.json").write_text(json.dumps({"provenance": {"runs": paths}}))
    return root


def listed(*args):
    done = gssl("runs", "list", *args, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "gssl.runs/2"
    return document["runs"]


def test_a_row_says_weights_data_size_and_direction(root):
    found = {r["run"]: r for r in listed()}
    a, b = found["runs/pre/a"], found["runs/transfer/b"]
    assert (a["method"], a["weights"], a["data"], a["size"], a["seed"]) == ("simclr", "random", "mnist5k", 28, 4)
    assert (b["weights"], b["data"], b["size"], b["state"]) == ("runs/pre/a", "imagefolder photos", "64x48", "failed")
    shown = gssl("runs", "list").stdout
    assert "val_knn 0.75 ↑" in shown and "val_kid 0.02 ↓" in shown and "3 d" in shown and "runs/pre/a" in shown


def test_parts_are_counted_with_their_comparison(root):
    found = {r["run"]: r for r in listed()}
    assert found["runs/compare/d"]["parts"] == {"finished": 1, "failed": 1}
    assert found["runs/parts"]["command"] == "parts" and found["runs/parts"]["parts"] == {"finished": 1}
    assert not any(run.startswith("runs/parts/") for run in found)
    shown = gssl("runs", "list").stdout
    assert "finished (1 of 2 parts, 1 failed)" in shown and "3 parts of comparisons are counted" in shown
    assert {"runs/parts/x-s0", "runs/parts/x-s1", "runs/parts/other"} < {r["run"] for r in listed("--all")}


def test_a_running_comparison_counts_the_parts_of_its_plan(root):
    (root / "compare" / "d" / "report.json").unlink()
    plan = {"parts": [{"name": "x", "path": str(root / "parts" / "x-s0")}, {"name": "y", "path": "runs/parts/not-yet"}]}
    (root / "compare" / "d" / "parts.json").write_text(json.dumps(plan))
    assert {r["run"]: r for r in listed()}["runs/compare/d"]["parts"] == {"finished": 1}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--command", "transfer"], ["runs/transfer/b"]),
        (["--state", "failed"], ["runs/transfer/b"]),
        (["--data", "photo"], ["runs/transfer/b"]),
        (["--data", "mnist*", "--command", "train-gan"], ["runs/gan/c"]),
        (["--since", "10m"], ["runs/gan/c"]),
        (["--since", "25 minutes ago"], ["runs/compare/d", "runs/gan/c"]),
        (["runs/parts/x*"], ["runs/parts/x-s0", "runs/parts/x-s1"]),
        (["parts/x*", "--state", "finished"], ["runs/parts/x-s0"]),
        (["runs/pre"], ["runs/pre/a"]),  # what lies below
        (["nowhere/*"], []),
    ],
)
def test_filters(root, args, expected):
    args = [ago(minutes=25) if arg == "25 minutes ago" else arg for arg in args]  # not when tests are collected
    assert [r["run"] for r in listed(*args)] == expected


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--state", "done"], "--state: expected one of running, finished, failed, interrupted, killed; got 'done'"),
        (["--since", "yesterday"], "--since: expected 90m, 2h, 3d, 1w or a date such as 2026-11-28; got 'yesterday'"),
        (["--json", "--csv"], "--json and --csv exclude each other"),
        (["--root", "nowhere"], "--root: no directory nowhere"),
    ],
)
def test_what_cannot_be_understood_is_one_line(root, args, said):
    done = gssl("runs", "list", *args)
    assert done.exit_code == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_damaged_lines_of_the_log_are_said(root):
    path = root / "pre" / "a" / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\xffep": 2}\n{"step": 3}\n')
    done = gssl("runs", "show", "runs/pre/a", "--json")
    assert json.loads(done.stdout)["last_metrics"] == {"step": 3}
    assert done.stderr.splitlines() == ["warning: 1 line of runs/pre/a/metrics.jsonl is damaged"]


def test_csv(root):
    rows = list(csv.DictReader(io.StringIO(gssl("runs", "list", "--csv").stdout)))
    found = {row["run"]: row for row in rows}
    assert found["runs/gan/c"]["objective_direction"] == "min" and found["runs/gan/c"]["objective_value"] == "0.02"
    assert (
        found["runs/compare/d"]["parts"] == "1 finished 1 failed" and found["runs/transfer/b"]["objective_name"] == ""
    )


def test_columns_without_an_entry_are_not_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runs" / "a")
    head = next(line for line in gssl("runs", "list").stdout.splitlines() if "command" in line)
    assert head.split() == ["run", "command", "state", "age"]


def test_how_much_of_a_running_one_is_done(root):
    import fcntl

    write(root / "now", state="running")
    (root / "now" / "progress.json").write_text(json.dumps({"progress": 0.42, "whole": True}))
    with (root / "now" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "running 42%" in gssl("runs", "list").stdout
        (root / "now" / "progress.json").write_text(json.dumps({"progress": 0.42, "whole": False}))
        assert "42%" not in gssl("runs", "list").stdout  # of one fine-tuning of many
    (found,) = listed("runs/now")
    assert found["state"] == "killed"


def test_times():
    with pytest.raises(UsageError):
        runs._since("3x")
    assert abs((datetime.now(UTC) - runs._since("2h")).total_seconds() - 7200) < 60
    assert runs._since("2026-11-28") == datetime(2026, 11, 28, tzinfo=UTC)
    assert [runs.age(ago(**what)) for what in ({"seconds": 4}, {"minutes": 5}, {"hours": 3}, {"days": 2})] == [
        runs.age(ago(seconds=4)),
        "5 min",
        "3 h",
        "2 d",
    ]
    assert runs.age(None) == "–"


def test_no_run_is_said(root):
    (root.parent / "empty").mkdir()
    assert gssl("runs", "list", "--root", "empty").stdout == "no run below empty\n"
    none = gssl("runs", "list", "--data", "nothing")
    assert none.exit_code == 0 and none.stdout == "no run below runs fits; gssl runs list without filters shows all\n"
    assert json.loads(gssl("runs", "list", "--root", "empty", "--json").stdout)["runs"] == []


def test_several_patterns_as_a_shell_makes_them(root):
    assert [r["run"] for r in listed("runs/pre/a", "runs/gan/c/")] == ["runs/pre/a", "runs/gan/c"]


def test_names_with_brackets(root):
    write(root / "own" / "a[1]", started=ago(minutes=1))
    assert [r["run"] for r in listed("runs/own/a[1]")] == ["runs/own/a[1]"]
    assert gssl("runs", "compare", "runs/own/a[1]", "runs/pre/a").exit_code == 0


@pytest.mark.parametrize("started", ["yesterday", "2026-11-28T10:00:00"])
def test_a_start_that_cannot_be_read_does_not_end_the_list(root, started):
    write(root / "odd", started=started)
    for args in ("list",), ("list", "--since", "9999d"), ("list", "--csv"), ("show", "runs/odd"):
        done = gssl("runs", *args)
        assert done.exit_code == 0 and "runs" in done.stdout, done.exception
    assert gssl("watch", "runs/odd", "--once").exit_code == 0


def test_what_has_no_room_is_left_out_not_broken():
    heads, rows = ["run", "size", "state"], [["runs/pretrain_ssl/a", "224", "finished"]]
    assert fitting(heads, rows, ["size"], None) == heads and fitting(heads, rows, ["size"], 40) == heads
    assert fitting(heads, rows, ["size"], 39) == ["run", "state"] == fitting(heads, rows, ["size"], 5)


def test_a_narrow_terminal_says_what_it_leaves_out(root, monkeypatch, capsys):
    monkeypatch.setattr(runs, "room", lambda: 60)
    runs.print_list(runs.list_runs(Path("runs")), Path("runs"))
    said = capsys.readouterr().out
    assert "pre/a" in said and "finished" in said and "mnist5k" not in said
    assert "no room for command, method, weights, data, size, seed, age: a wider terminal, or --csv\n" in said


DAMAGED = [
    "",
    "[1, 2]",
    '"x"',
    "null",
    "[" * 3000,
    '{"state": NaN}',
    '{"state": 3}',
    '{"objective": 3}',
    '{"scores": [3]}',
]


@pytest.mark.parametrize("text", DAMAGED)
@pytest.mark.parametrize("name", ["status.json", "result.json", "config.yaml", "progress.json", "metrics.jsonl"])
def test_one_bad_document_breaks_no_list(root, name, text):
    (root / "gan" / "c" / name).write_text(text)
    for args in (["list"], ["list", "--json"], ["list", "--csv"], ["show", "runs/pre/a"]):
        done = gssl("runs", *args)
        assert done.exit_code == 0, done.exception
        assert "pre/a" in done.stdout
    for args in (["runs", "show", "runs/gan/c"], ["watch", "runs/gan/c", "--once"], ["runs", "compare", "runs/*/*"]):
        done = gssl(*args)
        assert done.exit_code in (0, 2), done.exception
        assert done.exit_code == 0 or (name in done.stderr and done.stderr.count("\n") == 1)


def test_pipes_in_a_run_hang_no_list(root):
    for name in ("status.json", "result.json", "config.yaml", "metrics.jsonl"):
        (root / "gan" / "c" / name).unlink(missing_ok=True)
        os.mkfifo(root / "gan" / "c" / name)
    done = gssl("runs", "list")
    assert done.exit_code == 0 and "pre/a" in done.stdout
    assert gssl("runs", "show", "runs/gan/c").exit_code == 2
