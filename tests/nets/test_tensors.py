"""Reading .safetensors: as the format's own library maps it, without what that keeps for good."""

import gc
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import gssl
from gssl.nets import tensors
from gssl.nets.tensors import load_tensors

TYPES = [torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float32]
TYPES += [torch.float64, torch.complex64, torch.float8_e4m3fn]


def test_the_tensors_are_those_that_the_library_maps(tmp_path):
    file = tmp_path / "all.safetensors"
    written = {str(kind): (torch.arange(12).reshape(3, 4) % 2).to(kind) for kind in TYPES}
    save_file(written | {"none": torch.zeros(0, 3), "one": torch.tensor(2.5)}, file)
    found, mapped = load_tensors(file), load_file(file)
    assert list(found) == list(mapped)
    for name, value in mapped.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].reshape(-1).view(torch.uint8).equal(value.reshape(-1).view(torch.uint8))


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    file = tmp_path / "cut.safetensors"
    save_file({"a": torch.ones(3), "b": torch.ones(2)}, file)
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(SafetensorError):
            load_tensors(file)


@pytest.mark.skipif(not tensors._HOW, reason="this version of safetensors can only map")
def test_nothing_is_kept_of_a_file_that_was_read(tmp_path):
    """Mapped, 50 readings of 40 tensors leave 4,000 integers behind."""
    file = tmp_path / "many.safetensors"
    save_file({f"{i:02}": torch.zeros(300 + i) for i in range(40)}, file)
    for _ in range(5):
        load_tensors(file)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(50):
        load_tensors(file)
    gc.collect()
    assert sys.getallocatedblocks() - before < 400


def test_every_file_is_read_here():
    package = Path(gssl.__file__).parent
    reading = re.compile(r"safetensors\S* import .*\bload_file\b|safetensors\.torch\.load_file")
    found = {str(path.relative_to(package)) for path in package.rglob("*.py") if reading.search(path.read_text())}
    assert found == {"nets/tensors.py"}
