"""Links in a run directory: nothing is written, cut or deleted outside of it."""

import os
from pathlib import Path

import pytest

from gssl.commands import train_gan
from gssl.engine.lines import growing
from gssl.engine.outputs import check_inside, open_to_append
from gssl.engine.progress import Meter
from gssl.errors import UsageError

FOLDERS = ("checkpoints", "samples", "weights")
FILES = ("metrics.jsonl", "log.txt", "config.yaml", "result.json", "status.json", "progress.json", ".lock")


def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    (place / "folder").mkdir(parents=True)
    (place / "folder" / "step-00000000").mkdir()
    (place / "file").write_text("keep\n")
    return place


def state(place: Path) -> list[tuple[str, str]]:
    return sorted((str(p.relative_to(place)), p.read_text() if p.is_file() else "") for p in place.rglob("*"))


@pytest.mark.parametrize("name", [*FOLDERS, *FILES, "samples/step-00000000.png"])
def test_a_link_out_of_the_run_directory_is_refused(tiny, tmp_path: Path, name: str) -> None:
    place, run = outside(tmp_path), tmp_path / "run"
    before = state(place)
    link = run / name
    link.parent.mkdir(parents=True)
    link.symlink_to(place / ("folder" if name in FOLDERS else "file"))
    with pytest.raises(UsageError, match="link|regular file"):
        train_gan.main(tiny("train-gan"), run)
    assert state(place) == before


def test_a_pipe_in_the_place_of_the_log_is_not_waited_for(tiny, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "metrics.jsonl")
    with pytest.raises(UsageError, match=r"metrics\.jsonl"):
        train_gan.main(tiny("train-gan"), tmp_path / "run")


def test_dangling_links_are_refused_and_links_within_are_well(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "checkpoints").mkdir(parents=True)
    run = tmp_path / "run"
    run.symlink_to(real)
    (real / "checkpoints" / "last").symlink_to(real / "checkpoints")
    check_inside(run)
    (real / "new.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"new\.json: is a link out"):
        check_inside(run)


def test_the_record_of_progress_and_logs_follow_no_link(tmp_path: Path) -> None:
    place, run = outside(tmp_path), tmp_path / "run"
    before = state(place)
    run.mkdir()
    for name in (".progress.json.tmp", "log.txt", "journal.jsonl"):
        (run / name).symlink_to(place / "file")
    with Meter("x", show=False, run=run) as meter:
        Meter._kept = -1e9
        meter.update(0.5, 1, 1.0, 1.0, None)
        assert (run / "progress.json").is_file()
    with pytest.raises(OSError, match="log.txt"):
        open_to_append(run / "log.txt")
    with pytest.raises(OSError, match=r"journal\.jsonl"), growing(run / "journal.jsonl"):
        pass
    assert state(place) == before
