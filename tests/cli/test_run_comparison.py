"""What a sweep ends with, and `gssl runs compare`."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import COMMANDS
from gssl.errors import Interrupted

STUB = Path(__file__).parents[1] / "config" / "stub.py"


def gssl(*args):
    result = CliRunner().invoke(app, list(map(str, args)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Every command is a stub whose objective is the seed plus a tenth of the temperature."""
    spec = importlib.util.spec_from_file_location("stub", STUB)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "stub", module)
    spec.loader.exec_module(module)

    def main(cfg, run_dir, *, dry_run=False):
        (run_dir / "config.yaml").write_text(yaml.safe_dump(cfg.model_dump()))
        if module.MODES.get(cfg.seed) == "interrupted":
            raise Interrupted(75)
        if module.MODES.get(cfg.seed) == "fail":
            raise ValueError("odd")
        value = cfg.seed + getattr(getattr(cfg, "ssl", None), "temperature", 0.0) / 10
        module.finish(cfg, run_dir, value)
        result = json.loads((run_dir / "result.json").read_text()) | {"seed": cfg.seed}
        (run_dir / "result.json").write_text(json.dumps(result))
        status = json.loads((run_dir / "status.json").read_text()) | {"command": "pretrain-ssl"}
        (run_dir / "status.json").write_text(json.dumps(status))
        return value

    module.main = main
    for name, entry in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, entry._replace(where="stub:main"))
    monkeypatch.chdir(tmp_path)
    return module


@pytest.mark.long
def test_a_sweep_ends_with_what_differs_the_mean_and_the_best(stub, tmp_path):
    sweep = ["-m", "seed=0,1", "ssl.temperature=0.2,0.5", "ssl.batch_size=64", "hydra.sweep.dir=s"]
    done = gssl("pretrain-ssl", *sweep)
    assert done.exit_code == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "finished" in line]
    assert rows == [
        ["0.5", "0", "1", "2", "finished", "0.55", "±", "0.71", "best", "1", "3"],
        ["0.2", "0", "1", "2", "finished", "0.52", "±", "0.71", "0", "2"],
    ]
    assert "batch_size" not in done.stdout  # the same for all
    assert "best (the largest val_knn): ssl.temperature=0.5: 0.55 ± 0.71, 2 seeds" in done.stdout
    assert done.stdout.splitlines()[-1] == "sweep: s (s/sweep.html)"
    document = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert document["schema"] == "gssl.settings/1" and document["keys"] == ["ssl.temperature"]
    lines = list(csv.DictReader((tmp_path / "s" / "sweep.csv").read_text().splitlines()))
    assert [line["n"] for line in lines] == ["2", "2"]
    assert "<svg" in (tmp_path / "s" / "sweep.html").read_text()


@pytest.mark.long
def test_json_of_a_sweep_stays_a_list_of_jobs_and_the_files_are_written(stub, tmp_path):
    stub.MODES[1] = "fail"
    done = gssl("pretrain-ssl", "-m", "seed=0,1,2", "hydra.sweep.dir=s", "--json")
    assert done.exit_code == 1
    assert len(json.loads(done.stdout)) == 3
    (setting,) = json.loads((tmp_path / "s" / "sweep.json").read_text())["settings"]
    assert setting["states"] == {"finished": 2, "failed": 1} and setting["n"] == 2


def write(path, seed, value, lr, direction="max"):
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "ssl": {"lr": lr, "name": "simclr"}}))
    status = {"state": "finished", "command": "pretrain-ssl", "started": "2026-01-01T00:00:00+00:00"}
    (path / "status.json").write_text(json.dumps(status))
    objective = {"name": "val_knn", "value": value, "direction": direction}
    (path / "result.json").write_text(json.dumps({"seed": seed, "objective": objective}))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, (seed, value, lr) in enumerate([(0, 0.4, 0.1), (1, 0.6, 0.1), (0, 0.7, 0.2)]):
        write(tmp_path / "runs" / str(i), seed, value, lr)
    return tmp_path / "runs"


def test_runs_compare(runs):
    done = gssl("runs", "compare", "runs/*")
    rows = [line.split() for line in done.stdout.splitlines() if "finished" in line]
    assert rows == [
        ["0.2", "0", "1", "finished", "0.7", "best", "runs/2"],
        ["0.1", "0", "1", "2", "finished", "0.5", "±", "0.14", "runs/0", "runs/1"],
    ]
    document = json.loads(gssl("runs", "compare", "runs", "--json").stdout)  # a directory of runs
    assert [s["n"] for s in document["settings"]] == [1, 2] and document["title"] == "runs"
    assert gssl("runs", "compare", "runs/0", "runs/2", "--csv").stdout.startswith("ssl.lr,objective,direction,mean")


def test_files_are_written_and_what_is_not_ours_is_kept(runs, tmp_path):
    done = gssl("runs", "compare", "runs/*", "-o", "a.html", "-o", "b/a.csv", "-o", "a.json")
    assert done.exit_code == 0 and done.stdout.split() == ["a.html", "b/a.csv", "a.json"]
    assert gssl("runs", "compare", "runs/*", "-o", "a.html", "-o", "b/a.csv", "-o", "a.json").exit_code == 0
    (tmp_path / "b" / "a.csv").write_text("mine")
    done = gssl("runs", "compare", "runs/*", "-o", "b/a.csv")
    assert done.exit_code == 2 and "-o b/a.csv: there is a file that gssl did not write" in done.stderr
    assert (tmp_path / "b" / "a.csv").read_text() == "mine"
    assert gssl("runs", "compare", "runs/*", "-o", "b/a.csv", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere/*"], "nowhere/*: no run directory there"),
        (["runs/0"], "runs/0: one run alone; give two or more, or `gssl runs show runs/0`"),
        (["runs/*", "-o", "a.txt"], "-o a.txt: the name must end in .html, .csv, .json"),
        (["runs/*", "--json", "--csv"], "--json and --csv exclude each other"),
    ],
)
def test_usage_errors(runs, args, said):
    done = gssl("runs", "compare", *args)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""


def test_a_dead_run_is_called_killed(runs):
    status = json.loads((runs / "2" / "status.json").read_text())
    (runs / "2" / "status.json").write_text(json.dumps(status | {"state": "running"}))
    document = json.loads(gssl("runs", "compare", "runs/*", "--json").stdout)
    assert [s["states"] for s in document["settings"]] == [{"finished": 2}, {"killed": 1}]


def test_where_nothing_can_be_written_is_one_line(runs, tmp_path):
    shown = gssl("runs", "compare", "runs/*", "-o", "/proc/none/t.csv")
    assert shown.exit_code == 2 and shown.stderr.startswith("error: -o /proc/none/t.csv: cannot be written")
    assert shown.stderr.count("\n") == 1


@pytest.mark.long
def test_a_table_of_ones_own_in_the_directory_of_a_sweep_is_kept(stub, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.csv").write_text("mine\n")
    done = gssl("pretrain-ssl", "-m", "seed=0,1", "hydra.sweep.dir=s")
    assert done.exit_code == 0 and "warning: s/sweep.csv is not gssl's" in done.stderr
    assert (tmp_path / "s" / "sweep.csv").read_text() == "mine\n" and not (tmp_path / "s" / "sweep.html").exists()


def test_a_sweep_that_was_interrupted_says_how_to_go_on(stub, tmp_path):
    stub.MODES[1] = "interrupted"
    done = gssl("pretrain-ssl", "-m", "seed=0,1,2")
    assert done.exit_code == 75
    (sweep,) = (tmp_path / "runs" / "pretrain_ssl").iterdir()
    told = f"hydra.sweep.dir=runs/pretrain_ssl/{sweep.name}"
    assert done.stderr.splitlines()[-1].endswith(f"call it again with {told} to go on")
