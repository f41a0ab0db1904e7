"""What this machine and this installation have: versions, devices, disks, extras, and a small speed test.

torch is imported when `torch_facts` is called and not before, and what goes wrong there is an answer, not an error.
"""

import contextlib
import importlib
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from gssl.data.cache import cache_root
from gssl.engine import limits

PROJECT = "gssl"
CHECKOUT = Path(__file__).parents[2] / "pyproject.toml"
FOR_OTHERS = ("dev", "bench")  # extras that no command needs
MEASURED = 1024  # rows of the matrices of the speed test
SECONDS = 0.3  # that it takes, at least
OPTION = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """(what gssl needs, extra → what it adds), as `name<2,>=1`.

    From pyproject.toml in a checkout, whose installation may be older, else from the installed package; empty where
    there is neither.
    """
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    if CHECKOUT.is_file():
        project = tomllib.loads(CHECKOUT.read_text(encoding="utf-8"))["project"]
        own = project["optional-dependencies"].items()
        return project["dependencies"], {name: listed for name, listed in own if name not in FOR_OTHERS}
    with contextlib.suppress(metadata.PackageNotFoundError):
        for line in metadata.requires(PROJECT) or []:
            text, _, marker = line.partition(";")
            found = OPTION.search(marker)
            (extras.setdefault(found[1], []) if found else needed).append(text.strip())
    return needed, {name: own for name, own in extras.items() if name not in FOR_OTHERS}


def lacks(requirement: str) -> str | None:
    """What is wrong with an installed package: it is missing, or of another version; None where it fits."""
    from packaging.requirements import Requirement  # hydra-core needs it, too

    wanted = Requirement(requirement)
    version = version_of(wanted.name)
    if version is None:
        return f"{wanted.name} is not installed"
    if not wanted.specifier.contains(version, prereleases=True):
        return f"{wanted.name} {version} is installed, {wanted.specifier} is needed"
    return None


def version_of(name: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def torch_facts() -> dict[str, Any]:
    """Version, threads and GPUs, or `error`: one line."""
    try:
        import torch

        importlib.import_module("torchvision")
    except Exception as error:  # a library that is missing, a build for another Python: anything
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    gpus = []
    with contextlib.suppress(Exception):  # a driver that does not answer
        for i in range(torch.cuda.device_count()):
            own = torch.cuda.get_device_properties(i)
            gpus.append({"name": own.name, "memory": own.total_memory})
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "mps": torch.backends.mps.is_available(),
    }


def speed() -> dict[str, Any]:
    """Billions of float32 operations per second of a matrix product on the CPU, by all of torch's threads."""
    import torch

    a = torch.ones(MEASURED, MEASURED)
    a @ a
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        a @ a
        count += 1
    seconds = time.perf_counter() - start
    return {"rows": MEASURED, "seconds": seconds, "gflops": count * 2 * MEASURED**3 / seconds / 1e9}


def processor() -> dict[str, Any]:
    """Model, cores that there are, that this process may use and that its control group grants; memory in bytes."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    granted = [size for size in (memory, limits.granted()) if size is not None]
    return {
        "model": model,
        "cores": os.cpu_count(),
        "usable": usable,
        "quota": limits.processors(),
        "memory": min(granted, default=None),
    }


def disk(folder: Path) -> dict[str, Any]:
    """Where it is, whether it can be written, what lies there and what is free, in bytes. Makes nothing lasting.

    `error`: why it cannot be written.
    """
    known = next((p for p in (folder, *folder.absolute().parents) if p.exists()), folder)
    found: dict[str, Any] = {"path": str(folder), "exists": folder.is_dir(), "error": None}
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(20, "it is a file")
        with tempfile.TemporaryFile(dir=known) as file:
            file.write(b"gssl")
    except OSError as error:
        found["error"] = error.strerror or str(error)
    try:
        found["free"] = shutil.disk_usage(known).free
    except OSError:
        found["free"] = None
    return found


def open_to_others(folder: Path) -> str | None:
    """Why other users of this machine could put files into a folder in place of its owner's; None where they cannot.

    A folder of a group may be meant so; one that everybody may write to without the sticky bit is not.
    """
    try:
        found = folder.stat()
    except OSError:
        return None
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "everybody may write, and delete what others wrote: chmod o-w, or chmod +t"
    if found.st_uid not in (os.getuid(), 0) and folder.is_symlink():
        return f"is a link to a folder of another user (uid {found.st_uid})"
    return None


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total


def cache() -> dict[str, Any]:
    """`disk` of the cache, with the bytes of its parts."""
    root = cache_root()
    parts = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return disk(root) | {"parts": {path.name: size_of(path) for path in parts}}


def python() -> dict[str, str]:
    """Which interpreter this is, and on what."""
    return {
        "version": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
    }
