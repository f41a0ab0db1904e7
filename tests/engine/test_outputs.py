"""A file that gssl did not write is never replaced."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gssl.engine import outputs
from gssl.engine.files import write_json
from gssl.errors import UsageError
from gssl.figures.grid import save_grid


def made(kind, path):
    """A file as gssl writes it."""
    if kind == ".png":
        save_grid(torch.rand(2, 3, 4, 4), path)
    elif kind == ".npz":
        np.savez(path, features=np.zeros(3), gssl=np.array(outputs.npz_mark({"schema": "gssl.embed/1"})))
    elif kind == ".json":
        write_json(path, {"schema": "gssl.evaluation/3"})
    else:
        path.write_text("file,label\n")
        outputs.describe(path, {"schema": "gssl.predictions/1"})


def foreign(kind, path):
    """A file of the same kind by somebody else."""
    if kind == ".png":
        from PIL import Image

        Image.new("RGB", (4, 4)).save(path)
    elif kind == ".npz":
        np.savez(path, features=np.zeros(3))
    elif kind == ".json":
        path.write_text(json.dumps({"name": "mine"}))
    else:
        path.write_text("path,label\nmine.jpg,cat\n")


@pytest.mark.parametrize("kind", [".png", ".npz", ".json", ".csv", ".onnx"])
def test_only_what_gssl_wrote_is_written_over(kind, tmp_path):
    own, other = tmp_path / f"own{kind}", tmp_path / f"other{kind}"
    outputs.check(own, kind)  # there is nothing yet
    made(kind, own)
    foreign(kind, other)
    outputs.check(own, kind)
    with pytest.raises(UsageError, match="gssl did not write.*--force"):
        outputs.check(other, kind)
    outputs.check(other, kind, force=True)


def test_a_table_that_was_corrected_by_hand_is_the_users(tmp_path):
    table = tmp_path / "predictions.csv"
    made(".csv", table)
    outputs.check(table, ".csv")
    table.write_text(table.read_text() + "a.jpg,cat\n")
    with pytest.raises(UsageError, match="changed since"):
        outputs.check(table, ".csv")


def test_a_description_of_another_file_proves_nothing(tmp_path):
    made(".csv", tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("mine\n")
    (tmp_path / "b.csv.json").write_bytes((tmp_path / "a.csv.json").read_bytes())
    assert not outputs.ours(tmp_path / "b.csv")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_a_device_or_a_pipe_is_never_replaced_by_a_file(force, link, tmp_path):
    """They are empty files to look at; root would replace /dev/null for everybody."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for place in (tmp_path / ("link" if link else "pipe"), Path("/dev/null")):
        with pytest.raises(UsageError, match="is no regular file"):
            outputs.check(place, force=force)


def test_what_cannot_be_a_file_is_said(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("mine")
    for path, message in (
        (tmp_path / "a.txt", r"ends in \.csv"),
        (tmp_path / "folder.csv", "is a folder"),
        (tmp_path / "file" / "a.csv", "not a folder"),
    ):
        with pytest.raises(UsageError, match=message):
            outputs.check(path, ".csv", force=True)


@pytest.mark.parametrize("kind", [".csv", ".html"])
def test_notes_where_the_description_would_be_are_kept(kind, tmp_path):
    table, notes = tmp_path / f"table{kind}", tmp_path / f"table{kind}.json"
    notes.write_text('{"my": "notes"}')
    with pytest.raises(UsageError, match="gssl did not write"):
        outputs.check(table)
    outputs.check(table, force=True)
    made(kind, table)
    outputs.check(table)


def test_a_folder_that_is_read_only_is_found_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.os, "access", lambda folder, mode: folder != tmp_path)
    with pytest.raises(UsageError, match=f"cannot be written .{tmp_path} is read-only"):
        outputs.check(tmp_path / "new" / "a.csv")
