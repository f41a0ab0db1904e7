"""`gssl convert`: a pickle's tensors as safetensors, read in a process of its own, and only where it is trusted."""

import pickletools
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from gssl.errors import JobError, UsageError

SCHEMA = "gssl.convert/1"
SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".pkl", ".pickle")
LARGEST = 64 << 20  # bytes of a pickle whose names are listed; tensors lie beside it
SHOWN = 4
STRINGS = ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "BINUNICODE8")


def convert(file: Path, out: Path | None, trust: bool, force: bool = False) -> dict[str, Any]:
    """Write the tensors in `file` to `out`, by default beside it. Raises UsageError, and JobError if it cannot."""
    if not file.is_file():
        raise UsageError(f"{file}: no such file; expected a pickle: {', '.join(SUFFIXES)}")
    if file.suffix == ".safetensors":
        raise UsageError(f"{file}: is safetensors already; give it as weights={file}")
    if file.suffix not in SUFFIXES:
        raise UsageError(f"{file}: expected a pickle: {', '.join(SUFFIXES)}")
    goal = out or file.with_suffix(".safetensors")
    if goal.suffix != ".safetensors":
        raise UsageError(f"-o {goal}: expected a name that ends in .safetensors")
    if goal.exists() and not (force and goal.is_file()):
        raise UsageError(f"-o {goal}: exists; give another name" + (", or --force" if goal.is_file() else ""))
    if not goal.absolute().parent.is_dir():
        raise UsageError(f"-o {goal}: no such directory {goal.absolute().parent}; make it first")
    if not trust:
        raise UsageError(
            f"{file}: reading a pickle runs whatever it says, with your rights ({_shown(names(file))}); where you trust"
            f" who made it: gssl convert {file} --trust"
        )
    _in_a_process(file, goal)
    from safetensors import safe_open

    reader: Any = safe_open(goal, framework="pt")
    with reader as read:
        keys = list(read.keys())
    return {"schema": SCHEMA, "file": str(file), "out": str(goal), "tensors": len(keys), "names": keys}


def _in_a_process(file: Path, goal: Path) -> None:
    """The pickle runs elsewhere; what comes back is data. The result appears whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=f".{goal.name}-", dir=goal.absolute().parent) as folder:
        made = Path(folder) / "weights.safetensors"
        words = [sys.executable, "-m", "gssl.nets.unpickle", str(file.absolute()), str(made)]
        found = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if found.returncode or made.is_symlink() or not made.is_file():
            lines = found.stderr.strip().splitlines()
            why = lines[-1][:160] if lines else f"its process ended with {found.returncode}"
            raise JobError(f"{file}: cannot be converted ({why})")
        made.replace(goal)


def names(file: Path) -> list[str]:
    """What the pickle in `file` would import, read without running it; empty where that cannot be told."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                inside = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                with archive.open(inside) as part:
                    data = part.read(LARGEST)
        else:
            with file.open("rb") as part:
                data = part.read(LARGEST)
        return list(dict.fromkeys(_imports(data)))
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return []


def _imports(data: bytes) -> list[str]:
    found: list[str] = []
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in STRINGS:
                texts = [*texts[-1:], str(argument)]
            elif opcode.name == "GLOBAL":
                found.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL" and len(texts) == 2:
                found.append(".".join(texts))
    except Exception:  # no pickle, or one that ends early: what was seen until then
        return found
    return found


def _shown(found: list[str]) -> str:
    harmless = (
        "torch.",
        "collections.OrderedDict",
        "numpy.",
        "argparse.Namespace",
        "_codecs.encode",
        "__builtin__.set",
    )
    first = sorted(found, key=lambda name: name.startswith(harmless))
    if not first:
        return "what it would import cannot be listed"
    text = ", ".join(ascii(name)[1:-1][:60] for name in first[:SHOWN])
    return f"it imports {text}" + (f" and {len(first) - SHOWN} more" if len(first) > SHOWN else "")
