"""Weights to files and back: equal bytes, reports, refusals, folding."""

import hashlib
import os
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gssl.errors import UsageError
from gssl.nets import fold_spectral_norm, load_into, read_weights, save_weights
from gssl.nets.convnet import ConvNet
from gssl.nets.keymaps import unwrap


def net(width: int = 4, seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    return ConvNet("convnet", "batch", width, 1, 16)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def wrapped() -> tuple[nn.Module, nn.Module]:
    """A backbone under spectral norm after some updates of its vectors, and one of the same class without."""
    trunk = net()
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    trunk(torch.rand(4, 3, 16, 16))
    return trunk, net(seed=1)


def test_equal_weights_make_equal_bytes_and_come_back(tmp_path: Path) -> None:
    source, target = net(), net(seed=1)
    digest = save_weights(source, tmp_path / "a.safetensors")
    backwards = dict(reversed(source.state_dict().items()))
    assert save_weights(backwards, tmp_path / "b.safetensors") == digest
    data = (tmp_path / "a.safetensors").read_bytes()
    assert data == (tmp_path / "b.safetensors").read_bytes()
    assert digest == hashlib.sha256(data).hexdigest()
    assert not same(source, target)
    report = load_into(target, read_weights(tmp_path / "a.safetensors"))
    assert same(source, target) and report.complete and report.loaded == len(source.state_dict())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_layout_sharing_and_precision_leave_no_trace(tmp_path: Path) -> None:
    weight = torch.rand(4, 3, 3, 3)
    bare = {"a": weight, "b": weight.clone(), "n": torch.tensor(3)}
    odd = {"a": weight.to(memory_format=torch.channels_last).requires_grad_(), "n": torch.tensor(3)}
    odd["b"] = odd["a"]
    assert save_weights(bare, tmp_path / "a.safetensors") == save_weights(odd, tmp_path / "b.safetensors")
    save_weights({"h": weight.half()}, tmp_path / "h.safetensors")
    assert read_weights(tmp_path / "h.safetensors")["h"].dtype == torch.float32
    assert read_weights(tmp_path / "a.safetensors")["n"].dtype == torch.int64


def test_folding_spectral_norm_keeps_the_output(tmp_path: Path) -> None:
    trunk, bare = wrapped()
    vectors = {key: value.clone() for key, value in trunk.state_dict().items()}
    x = torch.rand(2, 3, 16, 16)
    assert set(fold_spectral_norm(trunk)) == set(bare.state_dict())
    assert all(torch.equal(value, vectors[key]) for key, value in trunk.state_dict().items())
    assert all(module.training for module in trunk.modules())
    save_weights(trunk, tmp_path / "trunk.safetensors")
    report = load_into(bare, read_weights(tmp_path / "trunk.safetensors"))
    assert report.complete
    with torch.no_grad():
        torch.testing.assert_close(bare.eval()(x), trunk.eval()(x), rtol=1e-6, atol=1e-6)
        assert not torch.allclose(bare(x), net().eval()(x), atol=1e-2)  # the norm did change something


def test_folding_a_wrapped_layer_itself() -> None:
    layer = spectral_norm(nn.Linear(5, 3)).eval()
    state = fold_spectral_norm(layer)
    assert sorted(state) == ["bias", "weight"]
    assert torch.equal(state["weight"], layer.weight)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pth.tar"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    torch.save({"state_dict": net().state_dict(), "x": Bomb(tmp_path / "ran")}, tmp_path / f"bad{suffix}")
    with pytest.raises(UsageError, match="never run") as error:
        read_weights(tmp_path / f"bad{suffix}")
    assert "\n" not in str(error.value) and f"bad{suffix}" in str(error.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02garbage", b"PK\x03\x04nothing", b"\xff" * 64])
def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=name) as error:
        read_weights(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(net().state_dict(), path)
    else:
        save_weights(net(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError) as error:
        read_weights(path)
    assert "\n" not in str(error.value)


def test_a_packed_checkpoint_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "w.pth")
    assert read_weights(tmp_path / "w.pth")["w"].numel() == 1 << 20
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as whole,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(UsageError, match="packed.pth: .*bytes packed into") as error:
        read_weights(tmp_path / "packed.pth")
    assert "\n" not in str(error.value)


def test_a_flipped_bit_in_a_checkpoint_of_others_is_found(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({str(i): torch.rand(400) for i in range(4)}, file)
    whole, draw = file.read_bytes(), random.Random(0)
    state = read_weights(file)
    for _ in range(60):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        try:
            found = read_weights(file)
        except UsageError as error:
            assert "\n" not in str(error)
        else:  # between the parts
            assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


def test_a_checkpoint_that_was_written_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({str(i): torch.rand(400) for i in range(4)}, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert len(read_weights(tmp_path / "w.pth")) == 4


def test_absent_files_other_suffixes_and_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_weights(tmp_path / "none.pth")
    (tmp_path / "w.h5").write_bytes(b"x")
    with pytest.raises(UsageError, match="expected weights as"):
        read_weights(tmp_path / "w.h5")
    torch.save({"epoch": 3}, tmp_path / "e.pth")
    with pytest.raises(UsageError, match="e.pth: holds no named tensors"):
        read_weights(tmp_path / "e.pth")


@pytest.mark.parametrize(
    ("nest", "prefix", "unwrapped"),
    [
        (None, "", []),
        ("state_dict", "", ["state_dict"]),
        ("model", "module.", ["model", "module."]),
        ("state_dict", "module.encoder.", ["state_dict", "module.", "encoder."]),
        ("state_dict", "backbone.", ["state_dict", "backbone."]),
    ],
)
def test_common_wrappings_are_taken_off_and_reported(tmp_path, nest, prefix, unwrapped) -> None:
    source, target = net(), net(seed=1)
    state = {prefix + key: value for key, value in source.state_dict().items()}
    if prefix:
        state["projector.0.weight"] = torch.rand(2, 2)
    torch.save({nest: state, "epoch": 7} if nest else state, tmp_path / "w.pth")
    report = load_into(target, read_weights(tmp_path / "w.pth"))
    assert same(source, target)
    assert report.unwrapped == unwrapped and report.complete
    assert report.ignored == (["projector.0.weight"] if prefix else [])


def test_nothing_that_fits_is_an_error_even_if_partial_is_allowed() -> None:
    with pytest.raises(UsageError, match="none of the file's 1 tensors"):
        load_into(net(), {"layer1.weight": torch.rand(3)}, allow_partial=True)
    with pytest.raises(UsageError, match="shapes do not"):  # only the counters of its batch norms would fit
        load_into(net(width=8), net(width=6).state_dict(), allow_partial=True)


def test_a_part_is_an_error_that_counts_and_names_and_copies_nothing() -> None:
    target, before = net(), net()
    state = dict(net(seed=1).state_dict())
    missing = list(state)[0]
    del state[missing]
    state["blocks.1.0.weight"] = torch.rand(2, 2)
    state["blocks.9.0.weight"] = torch.rand(2, 2)
    line = r"1 missing \(blocks.0.0.weight\); 1 unexpected \(blocks.9.0.weight\); 1 mismatched \(blocks.1.0"
    with pytest.raises(UsageError, match=line):
        load_into(target, state)
    assert same(target, before)
    report = load_into(target, state, allow_partial=True)
    assert report.missing == [missing] and report.unexpected == ["blocks.9.0.weight"]
    assert report.mismatched == ["blocks.1.0.weight"] and not report.complete
    assert torch.equal(target.blocks[2][0].weight, state["blocks.2.0.weight"])
    assert torch.equal(target.blocks[0][0].weight, before.blocks[0][0].weight)


def test_heads_are_ignored_only_where_the_module_has_none() -> None:
    state = net().state_dict() | {"head.weight": torch.rand(2, 2)}
    assert load_into(net(), state).ignored == ["head.weight"]
    with pytest.raises(UsageError, match="1 unexpected"):
        load_into(net(), state, ignore=())
    with_head = nn.ModuleDict({"head": nn.Linear(2, 2, bias=False)})
    assert load_into(with_head, {"head.weight": torch.rand(2, 2)}).loaded == 1


def test_counters_that_old_checkpoints_lack_are_not_missed() -> None:
    state = {key: value for key, value in net().state_dict().items() if "num_batches" not in key}
    assert load_into(net(), state).complete


def test_weights_that_are_not_finite_are_refused() -> None:
    state = dict(net().state_dict())
    state["blocks.2.0.weight"] = torch.full_like(state["blocks.2.0.weight"], float("nan"))
    with pytest.raises(UsageError, match="blocks.2.0.weight"):
        load_into(net(), state)


def test_unwrapping_keeps_plain_keys() -> None:
    state = unwrap({"blocks.0.weight": torch.rand(1), "epoch": 3})
    assert list(state) == ["blocks.0.weight"] and state.unwrapped == [] and state.dropped == []
