"""A part whose status cannot be read is made again: its directory is its name, nobody can choose another one."""

from pathlib import Path

import pytest

from gssl.comparison.parts import Part
from gssl.comparison.repair import made_ready
from gssl.engine import locks, recorded
from gssl.engine.files import sha256, write_json

HASH = "0123456789ab"


@pytest.fixture
def part(tmp_path: Path) -> Part:
    path = tmp_path / f"simclr-s0-transfer-{HASH}"
    path.mkdir()
    made = Part("simclr", 0, "transfer", "transfer", None, path, HASH, (), "gssl transfer")
    write_json(path / "part.json", made.record())
    write_json(path / "result.json", {"schema": "gssl.result/2"})
    (path / "predictions.npz").write_bytes(b"as it was")
    (path / "log.txt").write_text("what was said\n")
    known = {"schema": "gssl.status/1", "state": "finished", "config_hash": "c", "files": recorded.listed(path)}
    write_json(path / "status.json", known | {"result_sha256": sha256(path / "result.json")})
    return made


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}


def everything(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != locks.NAME}


def test_a_whole_part_is_left_as_it_is(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(part.path)
    made_ready(part)
    assert everything(part.path) == before and part.finished
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("how", ["gone", "empty", "cut", "changed"])
def test_without_its_status_its_state_is_moved_aside(part: Part, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = part.path / "status.json"
    text = file.read_text()
    if how == "gone":
        file.unlink()
    else:
        file.write_text({"empty": "", "cut": text[:30], "changed": text.replace("finished", "running")}[how])
    made_ready(part)
    assert names(part.path) == {"part.json", "log.txt"}  # a run can begin here
    (aside,) = part.path.glob(".damaged-*")
    assert (aside / "predictions.npz").read_bytes() == b"as it was"
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{part.path}/status.json is {'gone' if how == 'gone' else 'damaged'}" in line and str(aside) in line
    made_ready(part)
    assert capsys.readouterr().err == ""


def test_it_may_happen_twice(part: Part) -> None:
    for _ in range(2):
        (part.path / "status.json").write_text("")
        made_ready(part)
    assert len(list(part.path.glob(".damaged-*"))) == 2 and not (part.path / "status.json").exists()


def test_what_a_living_process_holds_is_not_touched(
    part: Part, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    (part.path / "status.json").write_text("")
    before = everything(part.path)
    with locks.take(part.path):
        made_ready(part)
    assert everything(part.path) == before and capsys.readouterr().err == ""


def test_what_another_plan_has_made_is_not_touched(part: Part) -> None:
    write_json(part.path / "part.json", part.record() | {"hash": "other"})
    (part.path / "status.json").write_text("")
    before = everything(part.path)
    made_ready(part)
    assert everything(part.path) == before


def test_a_lost_file_is_named(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    (part.path / "predictions.npz").write_bytes(b"otherwise")
    made_ready(part)
    (line,) = capsys.readouterr().err.splitlines()
    assert "simclr seed 0 transfer" in line and f"{part.path}/predictions.npz is damaged or was changed" in line
    assert not part.finished
