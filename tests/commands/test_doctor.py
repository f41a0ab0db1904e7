"""`gssl doctor`: facts that can be checked otherwise, and exit code 1 exactly where something would break."""

import json
import os
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import doctor as command
from gssl.engine import limits, machine

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(machine, "SECONDS", 1e-4)
    monkeypatch.setattr(machine, "MEASURED", 64)


def invoke(*args):
    return CliRunner().invoke(app, ["doctor", *args])


def states(found):
    return {check["name"]: check["state"] for check in found["checks"]}


def test_the_facts_are_those_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "images").mkdir(parents=True)
    (tmp_path / "cache" / "images" / "x").write_bytes(b"12345")
    ended = invoke("--json")
    found = json.loads(ended.stdout)
    assert found["schema"] == "gssl.doctor/1"
    assert found["torch"]["version"] == torch.__version__ and found["versions"]["torch"] == machine.version_of("torch")
    assert found["processor"]["cores"] == os.cpu_count()
    assert found["cache"]["parts"] == {"images": 5} and not found["runs"]["exists"]
    assert abs(found["runs"]["free"] - shutil.disk_usage(tmp_path).free) < 1e9
    assert found["speed"]["gflops"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache"]  # the write test leaves nothing
    assert ended.exit_code == (0 if found["ok"] else 1)


def test_every_extra_of_the_project_is_reported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed, extras = machine.requirements()
    assert needed == project["dependencies"]
    assert set(extras) == set(project["optional-dependencies"]) - set(machine.FOR_OTHERS)


def test_an_extra_that_is_missing_says_how_to_get_it(monkeypatch):
    extras = {"timm": ["no-such-package>=1"], "onnx": ["numpy>=1"], "fid": ["numpy>=900"]}
    monkeypatch.setattr(machine, "requirements", lambda: ([], extras))
    ended = invoke()
    assert "extra timm: no-such-package is not installed: pip install 'gssl[timm]'" in ended.stdout
    assert "extra onnx: installed" in ended.stdout
    assert "is installed, >=900 is needed: pip install 'gssl[fid]'" in ended.stdout
    assert ended.exit_code == 0  # without an extra everything else works


@pytest.mark.parametrize(
    ("name", "attribute", "value", "says"),
    [
        ("torch", "torch_facts", lambda: {"error": "ImportError: libcudart"}, "torch cannot be imported (ImportError"),
        ("packages", "requirements", lambda: (["numpy>=900"], {}), "pip install 'numpy>=900'"),
    ],
)
def test_what_would_break_is_said_and_the_exit_code_is_1(name, attribute, value, says, monkeypatch):
    monkeypatch.setattr(machine, attribute, value)
    ended = invoke("--json")
    found = json.loads(ended.stdout)
    assert ended.exit_code == 1 and not found["ok"] and states(found)[name] == "broken"
    assert says in invoke().stdout


def test_a_folder_that_cannot_be_written_is_broken(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "runs" / "inside"))
    found = command.doctor()
    assert states(found)["runs"] == states(found)["cache"] == "broken"
    assert "GSSL_CACHE=FOLDER" in next(c["text"] for c in found["checks"] if c["name"] == "cache")


def test_a_full_disk_is_broken(monkeypatch):
    monkeypatch.setattr(command, "LITTLE", 1e30)
    assert states(command.doctor())["runs"] == "broken"


def test_more_threads_than_granted_cores_is_a_note(monkeypatch):
    assert command._cores({"quota": 1.0}, {"threads": 8})["text"].endswith("engine.threads=1 is quicker")
    assert (
        command._cores({"quota": None}, {"threads": 8}) is None and command._cores({"quota": 8}, {"threads": 8}) is None
    )


def test_a_driver_without_a_gpu_is_a_note():
    found = command._gpu({"version": "2", "gpus": [], "cuda": None}, lambda: True)
    assert "built without CUDA" in found["text"] and found["state"] == "note"
    assert command._gpu({"version": "2", "gpus": [{}], "cuda": None}, lambda: True) is None


def test_what_a_container_grants_is_what_there_is(tmp_path, monkeypatch):
    """Limits of this process's own control group count, not only the outermost ones."""
    monkeypatch.setattr(limits, "ROOT", tmp_path)
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text("0::/job\n")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "cpu.max").write_text("150000 100000")
    (tmp_path / "job" / "memory.max").write_text("50000000")
    found = machine.processor()
    assert found["quota"] == 1.5 and found["memory"] == 50000000
    (tmp_path / "job" / "cpu.max").write_text("max 100000")
    (tmp_path / "job" / "memory.max").write_text("max")
    found = machine.processor()
    assert found["quota"] is None and found["memory"] > 50000000


@pytest.mark.parametrize(("mode", "noted"), [(0o755, False), (0o770, False), (0o1777, False), (0o777, True)])
def test_a_folder_that_everybody_may_write_to_is_noted(mode, noted, tmp_path, monkeypatch):
    place = tmp_path / "cache"
    place.mkdir()
    place.chmod(mode)
    monkeypatch.setenv("GSSL_CACHE", str(place))
    found = command.doctor()
    assert any(check["name"] == "cache-access" for check in found["checks"]) is noted
    assert found["ok"]
