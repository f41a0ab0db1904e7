"""Where tiny jobs run: every executor that is there."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gssl import schemas
from gssl.config.composing import compose

ROOT = Path(__file__).parents[3]
NODE = ROOT / "scripts" / "slurm_node.sh"


@pytest.fixture(autouse=True)
def jobs_are_found(monkeypatch):
    """Jobs elsewhere import `tiny_jobs`, and gssl from this checkout."""
    here = Path(__file__).parent
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(ROOT)]))


@pytest.fixture(scope="session")
def slurm_node(tmp_path_factory):
    """The slurm.conf of a Slurm of one node."""
    if os.getuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch", "munged"))):
        pytest.skip("needs root and Debian's packages: scripts/slurm_node.sh install")
    folder = tmp_path_factory.mktemp("slurm")
    done = subprocess.run([NODE, "start", folder], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.fail(done.stderr)
    yield done.stdout.strip()
    subprocess.run([NODE, "stop", folder], timeout=120, check=False)


@pytest.fixture
def section(request, monkeypatch):
    """`section("slurm", "executor.max_jobs=2")`: the executor's configuration, quick to give up; skips where it is not
    there. "submitit": its processes on this machine."""

    def make(name: str, *overrides: str) -> schemas.Section:
        words = [f"executor={'slurm' if name == 'submitit' else name}", *overrides]
        if name == "ray" and importlib.util.find_spec("ray") is None:
            pytest.skip("needs Ray: pip install 'gssl[ray]'")
        if name == "slurm":
            monkeypatch.setenv("SLURM_CONF", request.getfixturevalue("slurm_node"))
            monkeypatch.setattr("gssl.comparison.executors.slurm.ASK", 1.0)
            words.append("executor.time=30")
        if name != "local":
            words += ["executor.patience=3", "executor.unshared=[]", "executor.cpus=1"]
        if name == "submitit":
            words.append("executor.cluster=local")
        return compose("compare", words).executor

    return make
