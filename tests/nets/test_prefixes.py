"""Prefixes in checkpoints of others: found by what stands behind them, or asked for."""

import itertools

import pytest
import torch
from torch import Tensor

from gssl import schemas
from gssl.errors import UsageError
from gssl.nets import build_backbone, load_into
from gssl.nets.keymaps import unwrap

SMALL = schemas.Backbone(name="convnet", norm="batch", width=4, patch=1)
NAMES = ("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer1.0.conv2.weight", "layer4.1.bn2.bias")


def network(seed: int) -> dict[str, Tensor]:
    """The names of a ResNet with values of their own."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(2, generator=draw) for name in NAMES}


def behind(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return all(name in found and torch.equal(found[name], value) for name, value in wanted.items())


PARTS = ["", "module.", "_orig_mod.", "_fsdp_wrapped_module.", "net.", "student.", "online_encoder.", "my_trunk.0."]
NESTS = [(), ("state_dict",), ("state_dict_ema",), ("model_ema",), ("checkpoint", "weights")]


@pytest.mark.parametrize("nests", NESTS)
@pytest.mark.parametrize("prefix", ["".join(parts) for parts in itertools.product(PARTS, ["", "net.", "backbone."])])
def test_a_network_is_found_behind_any_prefix_in_any_dict(prefix, nests) -> None:
    content: dict[str, object] = behind(prefix, network(0)) | {f"{prefix}projector.0.weight": torch.rand(1)}
    for nest in reversed(nests):
        content = {nest: content, "epoch": 3}
    state = unwrap(content)
    assert same(state, network(0))
    taken = "".join(state.unwrapped).replace("_orig_mod.", "").replace("_fsdp_wrapped_module.", "")
    for part in filter(None, prefix.split(".")):
        assert part in taken or part.startswith("_")


def test_wrappers_in_the_middle_of_names_are_taken_off_and_said() -> None:
    state = {name.replace("layer1.", "layer1._fsdp_wrapped_module._checkpoint_wrapped_module."): value
             for name, value in behind("_orig_mod.", network(0)).items()}  # fmt: skip
    found = unwrap({"model": state})
    assert same(found, network(0))
    assert {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."} <= set(found.unwrapped)


@pytest.mark.parametrize(
    ("evaluated", "beside"),
    [
        ("online_encoder.", "target_encoder."),
        ("teacher.", "student."),
        ("net.", "momentum_net."),
        ("encoder_q.net.", "encoder_k.net."),
        ("backbone.", "backbone_momentum."),
    ],
)
def test_of_two_copies_the_one_that_is_evaluated_is_taken(evaluated, beside) -> None:
    for order in (1, -1):
        both = [behind(evaluated, network(0)), behind(beside, network(1))][::order]
        assert same(unwrap({"state_dict": both[0] | both[1]}), network(0))


def test_several_networks_are_asked_for_and_chosen_by_prefix() -> None:
    content = {"model": behind("a.net.", network(0)) | behind("b.net.", network(1))}
    with pytest.raises(UsageError, match=r"2 networks in it, behind a.net., b.net.*weights.prefix=a.net."):
        unwrap(content)
    for prefix in ("a.net.", "a.net", "model.a.net.", "model.a.net"):
        assert same(unwrap(content, prefix=prefix), network(0))
    assert same(unwrap(content, prefix="b.net."), network(1))
    with pytest.raises(UsageError, match=r"no name begins with weights.prefix=c.*model.a. \(5\), model.b. \(5\)"):
        unwrap(content, prefix="c")
    tied = {"model": behind("a.net.", network(0)) | behind("b.net.", network(0))}
    assert same(unwrap(tied), network(0))


def test_a_network_of_ours_or_any_other_is_found_by_the_names_and_shapes_that_are_wanted() -> None:
    torch.manual_seed(0)
    net = build_backbone(SMALL, 16)
    own = net.state_dict()
    for prefix in ("trunk.inner.", "state_dict.", "module.x."):
        file = behind(prefix, own) | {"head.weight": torch.rand(3, 3), f"{prefix}extra.weight": torch.rand(2, 2)}
        state = unwrap({"weights": file}, rename=False).fitted(own)
        assert load_into(build_backbone(SMALL, 16), state, allow_partial=True).loaded == len(own)
    other = {key: torch.zeros(7) for key in own}  # the names of it in other shapes
    file = behind("a.", other) | behind("b.", own)
    assert same(unwrap(file, rename=False).fitted(own), own)


def test_a_dict_that_holds_itself_ends() -> None:
    content: dict[str, object] = {"epoch": 1}
    content["model"] = content["state_dict"] = content["x"] = content
    with pytest.raises(UsageError, match="no named tensors"):
        unwrap(content)
    content["w"] = torch.zeros(1)
    with pytest.raises(UsageError, match="without an end"):
        unwrap(content)


def test_layers_that_stay_random_below_trained_ones_are_listed() -> None:
    own = build_backbone(SMALL, 16).state_dict()
    first, *_, last = own
    report = load_into(build_backbone(SMALL, 16), {k: v for k, v in own.items() if k != first}, allow_partial=True)
    assert report.random_below == [first]
    report = load_into(build_backbone(SMALL, 16), {k: v for k, v in own.items() if k != last}, allow_partial=True)
    assert report.random_below == []
