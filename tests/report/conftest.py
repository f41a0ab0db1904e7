"""Reports of made-up runs, built once per session where a test only reads them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gssl.report.collect import read_runs
from gssl.report.document import build


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The module fake_runs beside this file (imported by path: tests are no packages)."""
    spec = importlib.util.spec_from_file_location("fake_runs", Path(__file__).with_name("fake_runs.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def report_of(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """`report_of(seeds, plan={…}, **make)`: the report of made-up runs, built once; do not change it."""
    known: dict[str, dict[str, Any]] = {}

    def make(seeds: int = 3, plan: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        key = repr((seeds, plan, more))
        if key not in known:
            paths = fake.make(tmp_path_factory.mktemp("runs"), seeds=seeds, **more)
            arms = more.get("arms", fake.ARMS)
            known[key] = build(read_runs(paths), fake.plan(seeds, arms, **(plan or {})))
        return known[key]

    return make
