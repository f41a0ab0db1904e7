import importlib.util
import sys
from pathlib import Path

import pytest

from gssl.commands import COMMANDS

spec = importlib.util.spec_from_file_location("stub", Path(__file__).with_name("stub.py"))
stub = sys.modules["stub"] = importlib.util.module_from_spec(spec)  # Hydra's task finds it by name
spec.loader.exec_module(stub)


@pytest.fixture
def stubbed(monkeypatch, tmp_path):
    """Every command runs `stub.main`, in an empty working directory; yields the stub."""
    for name, entry in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, entry._replace(where="stub:main"))
    monkeypatch.chdir(tmp_path)
    stub.CALLS.clear()
    stub.MODES.clear()
    return stub
