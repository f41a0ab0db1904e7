"""Reports of made-up runs, built once per session where a test only reads them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gssl.report.collect import read_runs
from tests.report.documents import build


def _beside(name: str) -> ModuleType:
    """A module beside this file, imported by path: tests are no packages."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    """The module fake_runs beside this file."""
    return _beside("fake_runs")


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


@pytest.fixture(scope="session")
def chromium() -> ModuleType:
    """The module chromium beside this file."""
    return _beside("chromium")


@pytest.fixture(scope="session")
def full_report(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three seeds with every section of the page filled, one run diverged; do not change it."""
    complete = _beside("complete")
    home = (
        tmp_path_factory.mktemp("full") / "a_folder_whose_name_has_no_place_to_break_a_line_and_is_wider_than_a_phone"
    )
    home.mkdir()
    return build(read_runs(complete.make(fake, home)), complete.plan(fake))
