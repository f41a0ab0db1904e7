"""Memory and disks that give out: one line, with the keys that help."""

import errno
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError

from gssl.commands import pretrain_ssl, transfer
from gssl.engine import trouble
from gssl.engine.trouble import check_batch, told
from gssl.errors import UsageError

CFG = SimpleNamespace(
    ssl=SimpleNamespace(batch_size=256), data=SimpleNamespace(size=224), engine=SimpleNamespace(accumulate=1)
)


def test_torchs_own_words_are_understood():
    with pytest.raises(RuntimeError) as found:
        torch.empty(1 << 50)
    text = told(found.value, CFG)
    assert text == (
        "out of memory (4,194,304.0 GiB asked for at once); lower ssl.batch_size=256 or data.size=224, or cut batches"
        " into more parts: engine.accumulate=2"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory; lower data.size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"), "(20 MiB asked for"),
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), "x/y: the disk is full; free some space, then"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "x/y"), "x/y: your quota of the disk"),
        (OSError(errno.EMFILE, "Too many open files", "x/y"), "x/y: too many open files (ulimit -n)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory; lower data.size"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("can't start new thread"), "no thread can be started"),
    ],
)
def test_each_says_what_to_do(error, words):
    assert words in told(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out"), OSError(errno.ENOENT, "no", "x")])
def test_other_errors_are_not_taken_for_it(error):
    assert told(error) is None


def test_a_name_that_no_disk_takes_is_told_apart(tmp_path):
    with pytest.raises(OSError) as found:
        (tmp_path / ("x" * 300)).stat()
    assert trouble.misnamed(found.value) == f"{tmp_path / ('x' * 300)}: {trouble.TOO_LONG}"
    assert told(found.value) is None and trouble.misnamed(OSError(errno.ENOSPC, "full", "x")) is None


def test_what_no_memory_holds_is_refused_before_anything_is_made(tiny, tmp_path, monkeypatch):
    with pytest.raises(
        UsageError, match=r"data\.size=100000, ssl\.batch_size=16: one batch of 16 images takes 1,788\.1 GiB"
    ):
        pretrain_ssl.main(tiny("pretrain-ssl", "data.size=100000"), tmp_path / "run")
    with pytest.raises(UsageError, match=r"data\.size=100000: one batch of"):
        transfer.main(tiny("transfer", "weights=random", "data.size=100000"), tmp_path / "other")
    assert not list(tmp_path.glob("*/*"))
    monkeypatch.setattr(trouble.limits, "memory", lambda: 10**6)
    check_batch(2, 32, "data.size=32")
    with pytest.raises(UsageError, match="data.size=640"):
        check_batch(2, [640, 320], "data.size=640")
