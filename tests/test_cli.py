"""The command line as a user meets it: help, speed of imports, exit codes, signals, run listings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gssl
from gssl.cli import app

ROOT = Path(__file__).parent.parent
# torch, and what takes long to import with it
HEAVY = ("torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib")
COMMANDS = ["train-gan", "pretrain-ssl", "transfer", "curve", "compare", "sample", "embed", "predict", "export"]
COMMANDS += ["data", "doctor", "watch"]


def invoke(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def start(*args, cwd, code="", **env):
    """`gssl ARGS` in a process of its own; `code` runs before it."""
    program = f"import sys; sys.argv[0] = 'gssl'\n{code}\nfrom gssl.cli import run\nrun()"
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'config'}", **env}
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a runner that started the tests in the background has Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


STUB = """
from gssl.commands import COMMANDS
for name, entry in COMMANDS.items():
    COMMANDS[name] = entry._replace(where="stub:main")
"""


def ended(process, number=None):
    """Exit code, stdout and stderr of a process, after a signal once the stub sleeps (`number`)."""
    with process:
        try:
            if number is not None:
                assert any("asleep" in line for line in process.stderr)
                process.send_signal(number)
            out, err = process.communicate(timeout=90)
        finally:
            process.kill()  # nothing where it has ended; else it would outlive its test
    return process.returncode, out, err


def gssl_process(*args, cwd, code="", **env):
    return ended(start(*args, cwd=cwd, code=code, **env))


# ── help and the like ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command):
    shown = invoke(command, "--help")
    assert shown.exit_code == 0
    assert f"gssl {command} " in shown.stdout.split("Example")[1]


def test_help_names_every_command():
    for args in ([], ["--help"], ["-h"]):
        shown = invoke(*args)
        assert shown.exit_code == 0
        assert all(f"  {name} " in shown.stdout for name in [*COMMANDS, "runs"])


def test_version():
    assert invoke("--version").stdout == f"gssl {gssl.__version__}\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--help"], 0, ""),
        (["pretrain-ssl", "ssl.tempo=1"], 2, "error: no key 'ssl.tempo'; did you mean 'ssl.temperature'?\n"),
        (["pretrain-ssl", "--jsn"], 2, "--json"),
        (["pretrain"], 2, "pretrain-ssl"),
        (["sample"], 2, "error: Missing argument 'run'"),
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(tmp_path, args, code, said):
    spy = f"""
import atexit
atexit.register(lambda: print(sorted(set(sys.modules) & {set(HEAVY)}), file=open("seen", "w")))
"""
    done, out, err = gssl_process(*args, cwd=tmp_path, code=spy)
    assert done == code
    assert said in err and len(err.splitlines()) == (1 if code else 0)
    assert (tmp_path / "seen").read_text() == "[]\n"
    assert [p.name for p in tmp_path.iterdir()] == ["seen"]


def test_help_imports_no_configuration_library(tmp_path):
    spy = "import atexit\natexit.register(lambda: print({'hydra', 'omegaconf', 'rich'} & set(sys.modules)))"
    _, out, _ = gssl_process("--help", cwd=tmp_path, code=spy)
    assert out.splitlines()[-1] == "set()"


# ── exit codes of real processes ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("mode", "code"), [("ok", 0), ("fail", 1), ("usage", 2)])
def test_exit_codes(tmp_path, mode, code):
    done, out, err = gssl_process("train-gan", "--json", "hydra.run.dir=out", cwd=tmp_path, code=STUB, STUB=mode)
    assert done == code
    assert (tmp_path / "out").exists() == (code != 2)
    assert out == "" if code == 2 else json.loads(out)["run"] == "out"
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == (code != 0)


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_signals(tmp_path, number, code):
    process = start("train-gan", "hydra.run.dir=out", cwd=tmp_path, code=STUB, STUB="begun-sleep")
    done, _, err = ended(process, number)
    assert done == code
    assert err == "interrupted: out; call it again with resume=auto hydra.run.dir=out to go on\n"
    assert json.loads((tmp_path / "out" / "status.json").read_text())["state"] == "interrupted"


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_before_the_run_began_leaves_nothing(tmp_path, number, code):
    process = start("train-gan", "hydra.run.dir=deep/out", cwd=tmp_path, code=STUB, STUB="sleep")
    done, _, err = ended(process, number)
    assert done == code
    assert err == "interrupted before the run began; nothing was kept\n"
    assert list(tmp_path.iterdir()) == []


def test_python_m(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gssl", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"gssl {gssl.__version__}\n"


@pytest.mark.long
def test_a_package_with_its_conf_inside_works_from_anywhere(tmp_path):
    """As a wheel lays it out: conf/ inside the package, no checkout around it."""
    site = tmp_path / "site"
    shutil.copytree(ROOT / "gssl", site / "gssl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", site / "gssl" / "conf")
    done, out, err = gssl_process(
        "train-gan", "--cfg", "job", "--json", "experiment=smoke", cwd=tmp_path, PYTHONPATH=str(site)
    )
    assert done == 0, err
    assert json.loads(out)["backbone"]["width"] == 8
    _, out, _ = gssl_process("train-gan", "--info", "searchpath", cwd=tmp_path, PYTHONPATH=str(site))
    assert str(site / "gssl" / "conf") in out


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_completion_in_bash(tmp_path):
    program = tmp_path / "gssl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gssl "$@"\n')
    program.chmod(0o755)
    script = f"""
        eval "$(_GSSL_COMPLETE=source_bash {program})"
        try() {{ COMP_WORDS=(gssl "$@"); COMP_CWORD=$#; _gssl_completion {program}
                 echo "${{COMPREPLY[*]}}"; }}
        try pretr; try pretrain-ssl ssl = superv; try pretrain-ssl ssl = sim; try pretrain-ssl --dr
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["pretrain-ssl", "supervised", "simclr simcse simmim simsiam", "--dry-run"]


# ── commands that use a finished run ─────────────────────────────────────────────────────────────


@pytest.fixture
def use(monkeypatch):
    """The commands without torch: they note how they were called."""
    calls = {}

    def make(name):
        def function(**arguments):
            print("noise that must not reach stdout")
            calls[name] = arguments
            return {"file": str(arguments["out"]), "images": 3}

        return function

    for name in ("sample", "embed", "predict"):
        module = types.ModuleType(f"gssl.commands.{name}")
        setattr(module, name, make(name))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_sample_embed_predict(use):
    done = invoke("sample", "RUN", "-n", 9, "-o", "a.png", "--seed", 2, "--class", "cat", "--truncation", 0.5)
    assert (done.exit_code, done.stdout) == (0, "a.png\n")
    asked = {"run": Path("RUN"), "n": 9, "out": Path("a.png"), "seed": 2, "device": "auto", "force": False}
    text = {"prompt": "", "temperature": 1.0, "tokens": 200}
    assert use["sample"] == asked | {"classes": ["cat"], "truncation": 0.5, "files": False, "root": None} | text
    done = invoke("embed", "RUN", "photos", "--device", "cpu", "--json")
    assert json.loads(done.stdout) == {
        "schema": "gssl.embed/1",
        "run": "RUN",
        "file": "features.npz",
        "images": 3,
    }
    assert use["embed"]["folder"] == Path("photos") and use["embed"]["device"] == "cpu"
    assert invoke("predict", "RUN", "photos").stdout == "predictions.csv\n"


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────


def write_run(path, state="finished", error=None, **result):
    path.mkdir(parents=True)
    status = {
        "schema": "gssl.status/1",
        "command": "pretrain-ssl",
        "state": state,
        "step": 12,
        "error": error,
    }
    status |= {"started": f"2024-01-01T00:00:{len(path.name):02}+00:00", "ended": None}
    (path / "status.json").write_text(json.dumps(status))
    (path / "metrics.jsonl").write_text('{"step": 11, "loss": 2.0}\n{"step": 12, "loss": 1.5}\n{"step": 1')
    if result:
        (path / "result.json").write_text(json.dumps({"schema": "gssl.result/2", **result}))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = {"name": "val_knn", "value": 0.8125, "direction": "max"}
    write_run(tmp_path / "runs" / "a", method="simclr", seed=0, objective=value, spent={"steps": 12, "flops": 3e12})
    write_run(tmp_path / "runs" / "sweep" / "10", state="failed", error="ValueError: odd")
    write_run(tmp_path / "runs" / "sweep" / "100", state="running")
    (tmp_path / "runs" / "a" / "weights").mkdir()
    (tmp_path / "runs" / "a" / "weights" / "backbone.json").touch()
    return tmp_path / "runs"


def test_runs_list(runs):
    document = json.loads(invoke("runs", "list", "--json").stdout)
    found = [(r["run"], r["state"], r["method"]) for r in document["runs"]]
    assert found == [
        ("runs/a", "finished", "simclr"),
        ("runs/sweep/10", "failed", None),
        ("runs/sweep/100", "killed", None),  # nobody holds its lock
    ]
    shown = invoke("runs", "list").stdout
    assert "val_knn 0.8125" in shown and "runs/sweep/10" in shown
    assert json.loads(invoke("runs", "list", "--root", "runs/sweep", "--json").stdout)["root"] == "runs/sweep"


def test_a_run_that_runs_is_not_called_killed(runs):
    fcntl = pytest.importorskip("fcntl")
    with (runs / "sweep" / "100" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert json.loads(invoke("runs", "show", "runs/sweep/100", "--json").stdout)["state"] == "running"


def test_runs_show(runs):
    document = json.loads(invoke("runs", "show", "runs/a", "--json").stdout)
    assert document["result"]["objective"]["value"] == 0.8125
    assert document["last_metrics"] == {"step": 12, "loss": 1.5}  # the torn last line is left out
    assert "weights/backbone.json" in document["files"]
    shown = invoke("runs", "show", "runs/a").stdout
    assert "pretrain-ssl · finished · step 12" in shown and "spent: 12 steps, 3e+12 FLOPs" in shown
    assert "ValueError: odd" in invoke("runs", "show", "runs/sweep/10").stdout


def test_runs_show_reads_a_gan_of_an_older_version(runs):
    figures = {"kid_low": 0.01, "kid_high": 0.03, "coverage": 0.5}
    mark = {"step": 8, "val_kid": 0.02, "figures": figures}
    named = {"name": "random", "hash": "0123456789", "dim": 504, "n": 50, "split": "val"}
    same = {"best": mark, "last": mark, "exported": {"which": "best", "step": 8}, "seed": 3}
    real = {"train_real": {"kid": 0.001, "n_fake": 50}}
    write_run(runs / "new", **same, evaluator=named, kid_baseline=real)
    write_run(runs / "old", **same, judge=named, kid_floor=real, schema="gssl.result/1")
    new, old = (invoke("runs", "show", f"runs/{name}").stdout.replace(name, "") for name in ("new", "old"))
    assert "evaluator: random@01234567" in new and "real-vs-real baseline 0.001" in new
    assert old == new


def test_runs_show_transfer_scores(runs):
    scores = [
        {"probe": "linear", "labels_per_class": 10, "fraction": None, "accuracy": a, "balanced_accuracy": a}
        for a in (0.5, 0.7)
    ]
    scores.append(scores[0] | {"labels_per_class": None, "fraction": 1.0, "accuracy": 0.9})
    write_run(runs / "t", scores=scores)
    shown = invoke("runs", "show", "runs/t").stdout
    rows = [line.split() for line in shown.splitlines() if "linear" in line]
    assert rows == [
        ["linear", "probe", "10", "per", "class", "60.0%", "60.0%", "2"],
        ["linear", "probe", "all", "90.0%", "50.0%", "1"],
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["show", "runs/nowhere"], "runs/nowhere: no run directory (it has no status.json)"),
        (["show", "runs/sweep"], "there are runs inside, such as runs/sweep/10"),
        (["list", "--root", "nowhere"], "--root: no directory nowhere"),
    ],
)
def test_runs_usage_errors(runs, args, said):
    done = invoke("runs", *args)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""


def test_what_may_not_be_read_or_written_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "runs/a/status.json")

    monkeypatch.setattr("gssl.cli.runs.list_runs", refuse)
    done = invoke("runs", "list")
    assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: runs/a/status.json: cannot be read or written (Permission denied);")
