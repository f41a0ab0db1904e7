"""scripts/ci_gate.sh: its exit codes, and what it prints where a claim does not hold."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOLDS = "simclr.linear@10 > random.linear@10 + 5\nsimclr.flops <= 3.3e12\n"
FAILS = "simclr.linear@10 > random.linear@10 + 60\nsimclr.flops <= 3.3e12"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished run directories with made-up scores."""
    spec = importlib.util.spec_from_file_location("fake_runs", ROOT / "tests" / "report" / "fake_runs.py")
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    folder = tmp_path_factory.mktemp("gate")
    fake.make(folder, seeds=2, arms=("simclr", "random"))
    return folder


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(("claims", "code"), [(HOLDS, 0), (FAILS, 1), ("simclr.liner > 3", 2), ("\n", 2)])
def test_the_gate(runs, tmp_path, claims, code):
    program = tmp_path / "bin" / "gssl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gssl "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    env |= {"CLAIMS": claims, "OUT": "my gate"}
    words = ["bash", str(ROOT / "scripts" / "ci_gate.sh"), f"runs='{runs}/*'"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "my gate" / "report.json").exists() is (code < 2)
    assert ("**What to do:**" in done.stdout) is (code == 1)
    if code < 2:
        assert done.stderr.count("holds: simclr.flops <= 3.3e12 (") == 1
