"""The tensors of a .safetensors file, read in one way wherever gssl reads one."""

import inspect
from pathlib import Path

import safetensors.torch
from torch import Tensor

# Read, not mapped: of each tensor of a mapped file safetensors (0.8.0) keeps two integers for good, and a file that is
# cut while it is mapped ends the process. Older versions can only map.
_HOW = {"backend": "pread"} if "backend" in inspect.signature(safetensors.torch.load_file).parameters else {}


def load_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """By name. Raises safetensors' SafetensorError where it is no whole file, OSError where it cannot be read.

    Costs .2 to .4 s per 500 MB in the page cache (one of two shared cores of a virtual machine).
    """
    found: dict[str, Tensor] = safetensors.torch.load_file(path, device=device, **_HOW)
    return found
