"""Weights as files: tensors in safetensors, read with a report of what fitted.

Nothing here runs what a file contains: safetensors is data, and `.pth` is read with `weights_only=True`.
"""

import hashlib
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gssl.errors import UsageError
from gssl.nets.keymaps import State, unwrap
from gssl.nets.prefixes import listed
from gssl.nets.tensors import load_tensors

# parts that a backbone does not have: left behind without complaint
HEADS = (
    "fc.",
    "head.",
    "heads.",
    "linear.",
    "classifier.",
    "projector.",
    "projection_head.",
    "predictor.",
    "prediction_head.",
)
PICKLED = (".pth", ".pt", ".ckpt", ".bin", ".tar")  # suffixes of what torch.save writes
COUNTER = "num_batches_tracked"  # of batch norms: no weight, and nothing here reads it


@dataclass
class LoadReport:
    """What `load_into` found: `loaded` counts tensors, the lists hold keys."""

    loaded: int
    missing: list[str]  # the module has it, the file does not
    unexpected: list[str]  # the file has it, the module does not
    mismatched: list[str]  # both have it, in different shapes
    ignored: list[str] = field(default_factory=list)  # heads of the file that the module does not have
    unwrapped: list[str] = field(default_factory=list)  # nests and prefixes taken off the file's keys
    renamed: list[str] = field(default_factory=list)  # rules such as "4. → layer1."
    mapped_by: str | None = None  # whose names the file has: lightly, solo-learn, torchvision, …; None: ours
    random_below: list[str] = field(default_factory=list)  # keys that keep first values, before ones that were loaded

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        parts = [f"{self.loaded} tensors loaded"]
        for name in ("missing", "unexpected", "mismatched", "ignored"):
            if keys := getattr(self, name):
                first = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
                parts.append(f"{len(keys)} {name} ({first})")
        if self.unwrapped:
            parts.append(f"taken off: {' '.join(self.unwrapped)}")
        if self.mapped_by:
            parts.append(f"read as {self.mapped_by}'s")
        if self.renamed:
            parts.append(f"renamed: {', '.join(self.renamed)}")
        return "; ".join(parts)


def fold_spectral_norm(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of `module` with every parametrised tensor (spectral norm) replaced by its value.

    Its keys and shapes are those of the module before it was wrapped; loaded into such a module, the output
    equals the wrapped one's in eval mode. Power iterations are not advanced.
    """
    state = {key: value for key, value in module.state_dict().items() if "parametrizations." not in key}
    for name, child in module.named_modules():
        if not is_parametrized(child):
            continue
        for tensor, chain in child.parametrizations.items():
            training = chain.training
            chain.eval()
            with torch.no_grad():
                state[f"{name}.{tensor}" if name else tensor] = chain()
            chain.train(training)
    return state


def as_stored(source: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A module's or a state dict's tensors: spectral norm folded, contiguous, on the CPU, floats as float32, sorted."""
    state = fold_spectral_norm(source) if isinstance(source, nn.Module) else source
    found = {}
    for key, value in sorted(state.items()):
        value = value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype)
        found[key] = value.clone(memory_format=torch.contiguous_format)  # shared tensors get bytes of their own
    return found


def save_weights(source: nn.Module | Mapping[str, Tensor], path: Path) -> str:
    """Write a module's or a state dict's tensors to `path` (safetensors) and return the file's sha256.

    Tensors only (see `as_stored`), no metadata: equal weights make equal bytes. A reader finds the old file or the
    new one, never a part.
    """
    data = to_bytes(as_stored(source))
    path = Path(path)
    temp = path.with_name(f".{path.name}.tmp")
    with temp.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)
    return hashlib.sha256(data).hexdigest()


def read_weights(path: Path, rename: bool = True, prefix: str | None = None) -> State:
    """The tensors in a `.safetensors` file or one of `PICKLED`, on the CPU, by the trunk's names.

    Common wrappings are taken off: a nested "state_dict" or "model", then prefixes such as "module." and
    "backbone."; where a prefix marks the trunk, keys without it are dropped. Other prefixes are found by the names
    behind them; `prefix` says which one. Names of others become ours, unless `rename` is false. `State` says what was
    done. Raises UsageError for a file that is absent, is no checkpoint of tensors alone, or holds a network whose like
    we do not have.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected weights as .safetensors, {', '.join(PICKLED)}")
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    try:
        return unwrap(content, rename, prefix)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file by its own names, on the CPU; a nested state dict is found. Raises UsageError."""
    content: object = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    for nest in ("state_dict", "model", "teacher"):
        if isinstance(content, dict) and isinstance(content.get(nest), dict):
            content = content[nest]
    found = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not found:
        raise UsageError(f"{path}: no tensors in it; expected a state dict")
    return found


def _safetensors(path: Path) -> object:
    try:
        return load_tensors(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: not a whole safetensors file ({error}); write or fetch it again") from error


def _pickled(path: Path) -> object:
    if path.suffix not in PICKLED:
        raise UsageError(f"{path}: expected weights as .safetensors, {', '.join(PICKLED)}")
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # the reader says "GLOBAL package.name" of what it refused
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
        why = f"Python objects in it ({names[0]})" if names else "damaged, or with Python objects in it"
        raise UsageError(
            f"{path}: not a checkpoint of tensors alone: {why}, which are never run; where you trust the file,"
            f" gssl convert {path} --trust writes its tensors as .safetensors"
        ) from error
    except Exception as error:  # whatever a foreign file makes the reader stumble over
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{path}: not a PyTorch checkpoint ({line[:120]})") from error


def _check_archive(path: Path) -> None:
    """A zip of torch.save: nothing in it is packed, and its checksums hold, which torch's reader does not compare.

    What is packed could be a thousand times the file in memory. Where no checksum holds, torch was told to write none.
    Costs .34 s per GB (one core of an AMD EPYC, 94 MB in the page cache). Raises UsageError.
    """
    bad: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            inside = sum(entry.file_size for entry in entries)
            if inside <= path.stat().st_size:
                bad = [entry.filename for entry in entries if not _holds(archive, entry)]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return  # what it is instead is said by torch's reader
    if inside > path.stat().st_size:
        raise UsageError(
            f"{path}: not a PyTorch checkpoint as torch.save writes it: {inside:,} bytes packed into"
            f" {path.stat().st_size:,}; unpack it and save it anew"
        )
    if 0 < len(bad) < len(entries):
        raise UsageError(
            f"{path}: damaged: the checksums of {len(bad)} of its {len(entries)} parts do not hold (first:"
            f" {ascii(bad[0])[1:-1]}); fetch or write it again"
        )


def _holds(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as part:
            while part.read(1 << 22):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    allow_partial: bool = False,
    ignore: tuple[str, ...] = HEADS,
    remedy: str | None = None,
) -> LoadReport:
    """Copy `state` into `module` (not wrapped) where names and shapes agree, and report the rest.

    Keys that start with one of `ignore` and are not in the module are left behind. remedy: what to do where something
    does not fit, if that is not another `backbone=`. Raises UsageError,
    before anything is copied, where nothing fits, where something does not (unless `allow_partial`), and
    where values are not finite.
    """
    own = module.state_dict()
    extra = [key for key in state if key not in own]
    fits = [key for key in state if key in own and own[key].shape == state[key].shape]
    report = LoadReport(
        loaded=len(fits),
        # checkpoints older than PyTorch 0.4.1 lack the counters
        missing=[key for key in own if key not in state and not key.endswith(COUNTER)],
        unexpected=[key for key in extra if not key.startswith(ignore)],
        mismatched=[key for key in state if key in own and own[key].shape != state[key].shape],
        ignored=[key for key in extra if key.startswith(ignore)] + list(getattr(state, "dropped", [])),
        unwrapped=list(getattr(state, "unwrapped", [])),
        renamed=list(getattr(state, "renamed", [])),
        mapped_by=getattr(state, "mapped_by", None),
    )
    weights = [key for key in report.mismatched if not key.endswith(COUNTER)]
    if weights and not report.unexpected and all(key.endswith(COUNTER) for key in fits):
        key = weights[0]
        raise UsageError(
            f"weights: the names fit the backbone, the shapes do not: {key} is {tuple(state[key].shape)} in the file,"
            f" {tuple(own[key].shape)} in the backbone;"
            f" {remedy or 'set backbone= (its width, norm) as the weights have it'}"
        )
    if all(key.endswith(COUNTER) for key in fits):
        raise UsageError(
            f"weights: none of the file's {len(state)} tensors fits the backbone, which has"
            f" {next(iter(own), 'no tensor')}, …; the file has {listed(state)};"
            f" {remedy or 'set backbone= to the network that the weights belong to'}"
        )
    if not report.complete and not allow_partial:
        raise UsageError(
            f"weights: only a part fits the backbone: {report};"
            f" {remedy or 'set backbone= to the network that they belong to'}, or allow_partial=true"
        )
    last = max((i for i, key in enumerate(own) if key in set(fits)), default=-1)
    lacking = {*report.missing, *report.mismatched}
    report.random_below = [key for i, key in enumerate(own) if i < last and key in lacking]
    if broken := [key for key in fits if not torch.isfinite(state[key]).all()]:
        raise UsageError(f"weights: {len(broken)} tensors hold NaN or infinity (first: {broken[0]}); take others")
    with torch.no_grad():
        for key in fits:
            own[key].copy_(state[key])
    return report
