"""`gssl cache`: what it prints, its exit codes, and that it needs no torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gssl.cli import app
from gssl.data import cache


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(folder) -> cache.Store:
    def fill(writer: cache.Writer) -> None:
        image = np.full((4, 4, 1), 7, dtype=np.uint8)
        writer.add([image], [cache.image_hash(image)])
        writer.finish({}, {})

    return cache.entry(cache.entry_key("a"), lambda: 1, fill, about="/photos")


def gssl(*args: str):
    return CliRunner().invoke(app, ["cache", *args])


def test_an_empty_cache(folder):
    for action in ("list", "verify", "prune"):
        done = gssl(action)
        assert done.exit_code == 0 and done.stderr == "", action
    assert json.loads(gssl("list", "--json").stdout) == {
        **{"schema": "gssl.cache/1", "path": str(folder), "bytes": 0, "entries": []}
    }
    assert not folder.exists()  # looking leaves nothing behind


def test_list_says_what_it_is_of(store, folder):
    shown = gssl("list")
    assert shown.exit_code == 0 and "/photos" in shown.stdout and store.path.name in shown.stdout
    (row,) = json.loads(gssl("list", "--json").stdout)["entries"]
    assert row["about"] == "/photos" and row["count"] == 1 and row["path"] == str(store.path)


def test_verify_names_what_is_damaged_and_prune_deletes_it(store, folder):
    assert gssl("verify").stdout.endswith("all whole\n")
    (store.path / "hashes.npy").write_bytes(bytes(144))
    done = gssl("verify")
    assert done.exit_code == 1 and "the checksum of hashes.npy does not hold" in " ".join(done.stdout.split())
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "gssl cache prune" in done.stderr
    found = json.loads(gssl("verify", "--json").stdout)
    assert found["ok"] is False and found["entries"][0]["damage"] == "the checksum of hashes.npy does not hold"
    assert "would delete 1" in gssl("prune", "--dry-run").stdout and store.path.exists()
    assert "deleted 1" in gssl("prune").stdout and not store.path.exists()
    assert gssl("verify").exit_code == 0


def test_prune_by_age_and_size(store):
    assert "nothing to delete" in gssl("prune", "--days", "1", "--gb", "1").stdout
    (row,) = json.loads(gssl("prune", "--gb", "0", "--json").stdout)["entries"]
    assert row["deleted"] is True and row["why"] == "more than 0 GB" and not store.path.exists()


def test_what_another_process_works_on_is_left(store):
    with cache.alone(store.path.parent, store.path.name):
        done = gssl("prune", "--gb", "0")
    assert done.exit_code == 0 and "left: another process works on it" in done.stdout and store.path.exists()


def test_what_cannot_be_deleted_is_said_and_the_rest_goes(store, folder):
    cache.remembered("near", cache.entry_key("b"), lambda: np.zeros(3))
    lock = store.path.with_suffix(".lock")
    lock.unlink()
    lock.symlink_to("/dev/null")
    done = gssl("prune", "--gb", "0")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert f"1 of 2 entries cannot be deleted, such as {store.path} (Too many levels of symbolic links)" in done.stderr
    assert store.path.exists() and not list((folder / "near").glob("*.sealed"))


@pytest.mark.parametrize("words", [("--days", "-1"), ("--gb", "nan"), ("--days", "inf"), ("--gb", "-0.5")])
def test_limits_that_are_none(store, words):
    done = gssl("prune", *words)
    if words[1] == "inf":
        assert done.exit_code == 0
    else:
        assert done.exit_code == 2 and done.stderr.startswith(f"error: {words[0]} ")
    assert store.path.exists()


@pytest.mark.long
def test_it_needs_no_torch(store):
    code = "import sys\nfrom gssl.cli import run\nsys.argv = ['gssl', 'cache', 'verify']\n"
    code += "try:\n    run()\nfinally:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[-2] == "False", done.stderr
