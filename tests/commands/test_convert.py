"""gssl convert: pickles run where they are trusted, in a process of their own, and nowhere else."""

import argparse
import importlib
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands.convert import convert, names
from gssl.errors import JobError, UsageError
from gssl.experiment.weight_sources import find_weights
from gssl.nets.unpickle import Absent, found, main
from gssl.nets.weights import read_tensors, read_weights


class Payload:
    """What a hostile file does when it is read: it makes a directory."""

    def __init__(self, how: str, path: Path) -> None:
        self.how, self.path = how, str(path)

    def __reduce__(self) -> tuple:
        return {
            "mkdir": (os.mkdir, (self.path,)),
            "system": (os.system, (f"mkdir {self.path}",)),
            "eval": (eval, (f"__import__('os').mkdir({self.path!r})",)),
            "exec": (exec, (f"import os; os.mkdir({self.path!r})",)),
            "import": (importlib.import_module, ("antigravity_of_gssl_tests",)),
        }[self.how]


HOWS = ["mkdir", "system", "eval", "exec"]
SUFFIXES = [".pth", ".pt", ".ckpt", ".bin", ".pth.tar"]


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def write(path: Path, how: str, marker: Path, old: bool) -> Path:
    content = {"state_dict": small().state_dict(), "x": Payload(how, marker)}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("old", [False, True])
def test_payloads_run_where_they_are_read_as_pickles_and_never_here(tmp_path, how, old) -> None:
    for i, suffix in enumerate(SUFFIXES):
        file, marker = tmp_path / f"w{suffix}", tmp_path / f"ran{i}"
        write(file, how, marker, old)
        for read in (read_weights, read_tensors, lambda path: find_weights(str(path))):
            with pytest.raises(UsageError, match="gssl convert .*--trust") as error:
                read(file)
            assert "\n" not in str(error.value)
        if suffix != ".bin":
            with pytest.raises(UsageError, match="reading a pickle runs whatever it says.*--trust"):
                convert(file, None, trust=False)
        assert not marker.exists()
        torch.load(file, weights_only=False)  # the payload is one
        assert marker.is_dir()
    assert not list(tmp_path.glob("*.safetensors"))


def test_what_a_file_would_import_is_listed_without_running_it(tmp_path) -> None:
    for protocol in range(6):
        file = tmp_path / f"{protocol}.pkl"
        file.write_bytes(pickle.dumps(Payload("mkdir", tmp_path / "ran"), protocol))
        assert "posix.mkdir" in names(file) or "os.mkdir" in names(file)
    write(tmp_path / "w.pth", "eval", tmp_path / "ran", old=False)
    assert any(name.endswith(".eval") for name in names(tmp_path / "w.pth"))
    assert not (tmp_path / "ran").exists()
    for data in (b"", b"hello", b"\x80\x02garbage", b"PK\x03\x04nothing", b"\xff" * 64):
        (tmp_path / "bad.pth").write_bytes(data)
        assert names(tmp_path / "bad.pth") == []


@pytest.mark.long
def test_with_trust_another_process_runs_it_and_tensors_come_back(tmp_path) -> None:
    marker = tmp_path / "ran"
    content = {"state_dict": small().state_dict(), "args": argparse.Namespace(lr=1), "best": np.float64(0.5)}
    torch.save(content | {"x": Payload("exec", marker)}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="gssl convert"):
        read_weights(tmp_path / "w.pth")
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "w.pth"), "--trust"])
    assert done.exit_code == 0, done.output
    assert marker.is_dir()  # positive control: trusted code runs
    state = read_weights(tmp_path / "w.safetensors", rename=False, prefix="state_dict.")
    assert all(torch.equal(state[key], value) for key, value in small().state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ran", "w.pth", "w.safetensors"]
    # what fails leaves nothing behind
    torch.save({"state_dict": 1, "x": Payload("import", marker)}, tmp_path / "bad.pth")
    with pytest.raises(JobError, match="cannot be converted .*antigravity_of_gssl_tests") as error:
        convert(tmp_path / "bad.pth", None, trust=True)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pth", "ran", "w.pth", "w.safetensors"]


def test_modules_and_classes_that_are_not_installed_give_their_tensors(tmp_path, monkeypatch) -> None:
    module = types.ModuleType("not_installed_anywhere")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small()
            self.register_buffer("passing", torch.zeros(1), persistent=False)

    class Config:
        def __init__(self) -> None:
            self.lr = 0.1

    for cls in (Net, Config):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    net = Net()
    torch.save({"net": net, "cfg": Config(), "epoch": 3}, tmp_path / "w.pth")
    wanted = net.state_dict()
    assert dict(found({"net": net})).keys() == {f"net.{key}" for key in wanted}
    monkeypatch.delitem(sys.modules, module.__name__)
    main(tmp_path / "w.pth", tmp_path / "w.safetensors")
    state = read_weights(tmp_path / "w.safetensors", rename=False, prefix="net.")
    assert state.keys() == wanted.keys() and all(torch.equal(state[key], wanted[key]) for key in wanted)
    assert Absent(1)(2).__dict__ == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.pth"], "no such file"),
        (["w.safetensors"], "is safetensors already"),
        (["w.txt"], "expected a pickle"),
        (["w.pth", "--trust", "-o", "w.bin"], "ends in .safetensors"),
        (["w.pth", "--trust", "-o", "gone/w.safetensors"], "no such directory"),
        (["w.pth", "--trust"], "exists; give another name, or --force"),
    ],
)
def test_places_and_files_that_cannot_be_are_one_line(tmp_path, monkeypatch, words, message) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("w.pth", "w.safetensors", "w.txt"):
        Path(name).write_bytes(b"x")
    done = CliRunner().invoke(app, ["convert", *words])
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert Path("w.safetensors").read_bytes() == b"x"
