"""Checkpoints that survive a kill at any instant.

`checkpoints/step-N/` (N of eight digits) holds model.safetensors, optim.safetensors, state.json and manifest.json
(sha256 and size of each). Everything is written under a temporary name, pushed to disk, and renamed; the manifest is
written last. A checkpoint whose manifest does not hold is never read: the one before it is.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gssl.engine.files import find_json, fsync, sha256, write_json
from gssl.engine.optim import Optimizer
from gssl.engine.progress import say
from gssl.errors import JobError
from gssl.nets.tensors import load_tensors


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu").contiguous().clone() for key, value in sorted(tensors.items())}


def write(
    folder: Path, step: int, model: dict[str, Tensor], optim: dict[str, Tensor], state: dict[str, Any], keep: int
) -> Path:
    """Write the checkpoint of `step` below `folder`, then remove all but the newest `keep` and the milestones (those
    whose state says so)."""
    final = folder / f"step-{step:08d}"
    _write(final, step, {"model": model, "optim": optim}, state)
    for old in _all(folder)[:-keep]:
        if not (find_json(old / "state.json") or {}).get("milestone"):
            shutil.rmtree(old)
    return final


def milestones(folder: Path) -> list[dict[str, Any]]:
    """What was spent at each checkpoint that is kept for good, the earliest first: step, seconds, and its path."""
    found = []
    for path in _all(folder):
        state = find_json(path / "state.json") or {}
        if state.get("milestone"):
            spent = {"step": state["step"], "seconds": round(state["seconds"], 3)}
            found.append(spent | {"checkpoint": f"{folder.name}/{path.name}"})
    return found


def write_named(folder: Path, name: str, step: int, model: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Keep the tensors `model` of `step` as `folder`/`name`, whatever happens to the checkpoint of that step."""
    _write(folder / name, step, {"model": model}, state)


def read_named(folder: Path, name: str, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of `folder`/`name`; None where there is no whole one."""
    path = _named(folder, name)
    if path is None:
        return None
    return load_tensors(path / "model.safetensors", device=str(device)), find_json(path / "state.json")


def write_best(folder: Path, step: int, model: dict[str, Tensor], state: dict[str, Any]) -> None:
    """The best model so far, as `folder`/best."""
    write_named(folder, "best", step, model, state)


def read_best(folder: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    return read_named(folder, "best", device)


def best_state(folder: Path) -> dict[str, Any] | None:
    """The state alone, which is quick to read."""
    path = _named(folder, "best")
    found: dict[str, Any] | None = find_json(path / "state.json") if path else None
    return found


def keep_best(folder: Path, step: int, model: nn.Module, name: str, figures: dict[str, Any]) -> None:
    """Keep the model of the lowest figure `name` so far, as `folder`/best; at step 0 nothing, and what an earlier run
    left there goes.

    After a kill, the best may be of a step that this process has not come to again: it stays the best.
    """
    if step == 0:
        forget_best(folder)
        return
    kept = best_state(folder)
    if kept is None or figures[name] < kept[f"val_{name}"]:
        state = {f"val_{name}": figures[name], "figures": figures}
        write_best(folder, step, model.state_dict(), state)


def forget_best(folder: Path) -> None:
    """Remove `folder`/best: a run begins."""
    for name in ("best", ".tmp-best"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _named(folder: Path, name: str) -> Path | None:
    # a kill between the removal of the old one and the renaming leaves the new one under its temporary name
    return next((path for path in (folder / name, folder / f".tmp-{name}") if whole(path)), None)


def _write(final: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    folder = final.parent
    folder.mkdir(parents=True, exist_ok=True)
    temp = folder / f".tmp-{final.name}"
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    try:
        _fill(temp, tensors, {"schema": "gssl.checkpoint/1", "step": step, **state})
    except BaseException:  # a full disk: what is half written takes what is left of it
        shutil.rmtree(temp, ignore_errors=True)
        raise
    # one of the same step goes when this one is in its place: a kill in between leaves one or the other
    old = folder / f".old-{final.name}"
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    temp.rename(final)
    fsync(folder)
    shutil.rmtree(old, ignore_errors=True)


def _fill(temp: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
    for name, named in tensors.items():
        save_file(_on_cpu(named), temp / f"{name}.safetensors")
    write_json(temp / "state.json", state)
    files = sorted(path for path in temp.iterdir() if path.is_file())
    for path in files:
        fsync(path)
    manifest = {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in files}
    write_json(temp / "manifest.json", manifest)
    fsync(temp)


def begun_as(folder: Path) -> dict[str, Any] | None:
    """config_hash and inputs of the run that made the newest whole checkpoint below `folder`; None where none says."""
    path, _ = newest(folder)
    state = find_json(path / "state.json") if path else None
    return state if isinstance(state, dict) and state.get("config_hash") else None


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def whole(path: Path) -> bool:
    """True where every file of the checkpoint has the size and hash that its manifest states."""
    manifest = find_json(path / "manifest.json")
    if not isinstance(manifest, dict) or not {"model.safetensors", "state.json"} <= manifest.keys():
        return False
    for name, entry in manifest.items():
        if not isinstance(entry, dict) or "/" in name:
            return False
        file = path / name
        try:
            if file.is_symlink() or not file.is_file() or file.stat().st_size != entry.get("bytes"):
                return False
            if sha256(file) != entry.get("sha256"):
                return False
        except (OSError, ValueError):  # a name that no file can have
            return False
    return True


def newest(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint below `folder`, and the damaged ones that had to be passed over."""
    damaged: list[Path] = []
    for path in reversed(_all(folder)):
        found = next((p for p in (path, *_aside(path)) if whole(p)), None)
        if found:
            return found, damaged
        damaged.append(path)
    # a kill between the removal of the old one and the renaming of the new one left both under other names
    left = [p for p in sorted(folder.glob(".*-step-*"), key=lambda p: p.name.rpartition("-")[2]) if whole(p)]
    return (left[-1] if left else None), damaged


def _aside(path: Path) -> list[Path]:
    """Where a checkpoint of the same step may lie after a kill."""
    return [path.with_name(f"{head}{path.name}") for head in (".tmp-", ".old-")]


def read(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """Model tensors, optimiser tensors and state of a whole checkpoint."""
    model = load_tensors(path / "model.safetensors", device=str(device))
    optim = load_tensors(path / "optim.safetensors", device="cpu")
    return model, optim, find_json(path / "state.json")


class Checkpoints:
    """Saves and restores a module with its optimisers below one folder."""

    def __init__(self, folder: Path, device: torch.device, keep: int) -> None:
        self.folder, self.device, self.keep = folder, device, keep

    def save(self, module: Any, optimizers: Sequence[Optimizer], step: int, state: dict[str, Any]) -> None:
        """Raises JobError where a weight is not finite: a checkpoint is never a broken one."""
        model = module.state_dict()
        for key, value in model.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise JobError(f"diverged at step {step}: {key} is not finite; the checkpoint before it is kept")
        tensors: dict[str, Tensor] = {}
        rest = []
        for index, optimizer in enumerate(optimizers):
            mine, other = optimizer.state()
            tensors |= {f"{index}/{key}": value for key, value in mine.items()}
            rest.append(other)
        write(self.folder, step, model, tensors, {**state, "optim": rest}, self.keep)

    def restore(self, module: Any, optimizers: Sequence[Optimizer]) -> dict[str, Any] | None:
        """Load the newest whole checkpoint and return its state, "step" among it; None where there is none."""
        path, damaged = newest(self.folder)
        for bad in damaged:
            say(f"warning: {bad} is damaged (its manifest does not hold); the checkpoint before it is used")
        if path is None:
            return None
        model, tensors, state = read(path, self.device)
        module.load_state_dict(model)
        for index, optimizer in enumerate(optimizers):
            head = f"{index}/"
            mine = {key[len(head) :]: value for key, value in tensors.items() if key.startswith(head)}
            optimizer.load(mine, state["optim"][index])
        return state
