"""Dockerfile, devcontainer and workflow: no docker here, so they are parsed, and everything that they name exists."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gssl.cli import app

ROOT = Path(__file__).parent.parent
FILES = ["Dockerfile", ".devcontainer/Dockerfile"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(name):
    """(instruction, its text) of a Dockerfile, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", FILES)
def test_a_dockerfile_begins_with_an_image_and_has_known_instructions(name):
    found = instructions(name)
    known = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in found} <= known
    first = next(word for word, _ in found if word != "ARG")
    assert first == "FROM" and [text for word, text in found if word == "FROM"] == ["python:${PYTHON}-slim"]
    declared = {text.split("=")[0] for word, text in found if word == "ARG"}
    used = set(re.findall(r"\$\{?([A-Z_]+)\}?", " ".join(text for word, text in found if word != "ENV")))
    assert used <= declared, used - declared


def test_what_the_image_is_built_of_is_there_and_not_ignored():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().split("\n") if line and line[0] != "#"]
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert ignored[0] == "*" and all((ROOT / name).exists() for name in kept)
    for word, text in instructions("Dockerfile"):
        if word == "COPY":
            for source in text.split()[:-1]:
                assert (ROOT / source).exists() and any(fnmatch(source.removeprefix("./"), name) for name in kept), (
                    source
                )
    listed = PROJECT["readme"], *PROJECT["license-files"]
    assert set(listed) <= set(kept)  # the build reads them


@pytest.mark.long
def test_a_wheel_can_be_built_of_what_the_image_copies(tmp_path):
    """What `pip install .` does in the image, without its network: the wheel has configurations and templates."""
    for word, text in instructions("Dockerfile"):
        for source in text.split()[:-1] if word == "COPY" else []:
            place = tmp_path / "image" / source
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), "."]
    subprocess.run(words, cwd=tmp_path / "image", check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("gssl/conf/compare.yaml", "gssl/report/data.html.j2", "gssl/report/page.css", "gssl/cli/doctor.py"):
        assert name in names, name


def test_the_image_installs_extras_that_exist_for_a_python_that_is_supported():
    arguments = dict(text.split("=", 1) for word, text in instructions("Dockerfile") if word == "ARG")
    assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    low = PROJECT["requires-python"].split(",")[0].removeprefix(">=")
    assert arguments["PYTHON"] == low and arguments["TORCH_INDEX"] == ""


def test_commands_in_the_image_and_its_head_exist():
    text = (ROOT / "Dockerfile").read_text()
    found = [(word, json.loads(text)) for word, text in instructions("Dockerfile") if word in ("ENTRYPOINT", "CMD")]
    assert found == [("ENTRYPOINT", ["gssl"]), ("CMD", ["--help"])]
    assert "gssl" in PROJECT["scripts"]
    for command in ("doctor", "compare"):
        assert re.search(rf"\bgssl {command}\b", text)
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_the_devcontainer_names_what_there_is():
    found = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    folder = ROOT / ".devcontainer"
    assert (folder / found["build"]["dockerfile"]).is_file() and (folder / found["build"]["context"]).resolve() == ROOT
    make = (ROOT / "Makefile").read_text()
    assert found["postCreateCommand"] == "make install" and re.search(r"^install:", make, re.M)
    assert found["postStartCommand"].split() == [".venv/bin/gssl", "doctor"] and "VENV   := .venv" in make


def test_the_workflow_runs_what_ci_runs():
    found = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert set(found[True]) == {"push", "pull_request"}  # YAML reads the key `on` as true
    (job,) = found["jobs"].values()
    used = {step["uses"].partition("@")[0]: step for step in job["steps"] if "uses" in step}
    assert list(used) == ["actions/checkout", "actions/setup-python"]
    setup = used["actions/setup-python"]["with"]
    assert setup["python-version"] == "3.11" and setup["cache"] == "pip"
    assert (ROOT / setup["cache-dependency-path"]).is_file()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs == [".ci/run"] and os.access(ROOT / ".ci/run", os.X_OK)


@pytest.mark.parametrize(
    "name", [*FILES, ".devcontainer/devcontainer.json", ".github/workflows/ci.yml", ".dockerignore"]
)
def test_no_file_names_a_host(name):
    assert not re.search(r"https?://|\b[\w-]+\.(?:io|com|org|net)\b", (ROOT / name).read_text())
