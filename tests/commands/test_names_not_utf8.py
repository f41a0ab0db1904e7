"""Names of classes and files that are no UTF-8: every command reads such images and writes what it found."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import pretrain_ssl, transfer
from gssl.config.composing import compose
from gssl.data import layout
from gssl.data.sources.folders import class_of
from gssl.engine.files import read_json, write_json, write_text

LABELS = (b"caf\xe9", b"dog")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "photos"
    draws = np.random.default_rng(0)
    for label in LABELS:
        folder = os.fsencode(root) + b"/" + label
        os.makedirs(folder)
        for i in range(30):
            with open(folder + b"/%d\xfe.png" % i, "wb") as file:
                pixels = draws.integers(0, 128 + 127 * (label == b"dog"), (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(file, "PNG")
    with open(os.fsencode(root) + b"/dog/broken\xfd.png", "wb") as file:
        file.write(b"no image")
    return root


def cfg(command, photos, *words):
    mine = [
        "data=imagefolder",
        f"data.root={photos}",
        "data.size=16",
        "data.on_error=skip",
        "data.test=split",
        "data.val_fraction=0.3",
    ]
    return compose(command, [*mine, "engine.progress=false", "engine.device=cpu", "backbone.width=8", *words])


def invoke(*words):
    ended = CliRunner().invoke(app, [str(word) for word in words])
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.output


def test_a_class_is_text_and_a_files_name_comes_back_from_json(photos, tmp_path):
    name = os.fsdecode(b"caf\xe9/\xff.png")
    assert class_of(name) == r"caf\xe9" and class_of("é/x") == "é"
    write_json(tmp_path / "a.json", {"file": name, "é": 1})
    assert read_json(tmp_path / "a.json") == {"file": name, "é": 1}
    write_text(tmp_path / "a.csv", f"{name},é\n")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "caf\\udce9/\\udcff.png,é\n"
    assert r"caf\xe9 30" in layout.look(photos).lines[0]


@pytest.mark.long
def test_everything_that_is_written_holds_them(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, command in (("p", pretrain_ssl), ("t", transfer)):
        (tmp_path / name).mkdir()
        words = ["budget.steps=2"] if name == "p" else ["weights=random", "labels_per_class=[5]", "fractions=[1.0]"]
        command.main(cfg("pretrain-ssl" if name == "p" else "transfer", photos, *words), tmp_path / name)
        result = json.loads((tmp_path / name / "result.json").read_text(encoding="utf-8"))
        assert result["data"]["classes"] == [r"caf\xe9", "dog"] and len(result["data"]["skipped"]) == 1
    invoke("runs", "list", "--root", tmp_path)
    invoke("runs", "show", "t")
    invoke("inspect", "p", "-n", "20", "--device", "cpu")
    invoke("embed", "p", photos, "-o", "e.npz", "--device", "cpu")
    assert len(np.load("e.npz")["paths"]) == 60
    said = invoke("predict", "t", photos, "-o", "p.csv", "--device", "cpu")
    assert "accuracy" in said  # folders are known as classes
    with open("p.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 61 and {row["label"] for row in rows} <= {r"caf\xe9", "dog", ""}
    invoke("data", photos, "-o", "report")
    assert r"caf\xe9" in (tmp_path / "report/page.html").read_text(encoding="utf-8")
    (tmp_path / "report/issues.csv").read_text(encoding="utf-8")
