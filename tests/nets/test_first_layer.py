"""First layers of other channel counts: what they give on grey images stays the same."""

import pytest
import torch
import torch.nn.functional as F

from gssl import schemas
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.nets import build_backbone
from gssl.nets.inputs import of_three
from gssl.nets.weights import save_weights

SMALL = schemas.Backbone(name="convnet", norm="batch", width=4, patch=1)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_grey_images_give_what_they_gave(channels) -> None:
    draw = torch.Generator().manual_seed(channels)
    theirs = torch.randn(8, channels, 3, 3, generator=draw)
    grey = torch.rand(2, 1, 12, 12, generator=draw)
    found, text = of_three({"c.weight": theirs}, {"c.weight": torch.empty(8, 3, 3, 3)})
    wanted = F.conv2d(grey.expand(-1, channels, -1, -1), theirs)
    torch.testing.assert_close(F.conv2d(grey.expand(-1, 3, -1, -1), found["c.weight"]), wanted, rtol=1e-5, atol=1e-5)
    assert text is not None and f"{channels} channel" in text


def test_three_channels_other_kernels_and_other_layers_stay() -> None:
    own = {"c.weight": torch.empty(8, 3, 3, 3), "d.weight": torch.empty(8, 8, 3, 3)}
    for state in (
        {"c.weight": torch.rand(8, 3, 3, 3)},
        {"c.weight": torch.rand(8, 1, 5, 5)},
        {"c.weight": torch.rand(4, 1, 3, 3)},
        {"c.weight": torch.rand(8)},
        {"d.weight": torch.rand(8, 1, 3, 3)},
    ):
        found, text = of_three(state, own)
        assert text is None and all(found[key] is value for key, value in state.items())


@pytest.mark.parametrize("channels", [1, 4])
def test_a_file_of_other_channels_is_whole_and_that_is_said(tmp_path, capsys, channels) -> None:
    state = build_backbone(SMALL, 16).state_dict()
    key = next(key for key, value in state.items() if value.ndim == 4)
    save_weights(state | {key: state[key].mean(1, keepdim=True).repeat(1, channels, 1, 1)}, tmp_path / "w.safetensors")
    source = weight_sources.find_weights(str(tmp_path / "w.safetensors"))
    net, report = weight_sources.build(source, SMALL, 16, seed=3)
    assert report["loaded"] == len(state) and not report["mismatched"] and not report["random_below"]
    assert f"trained on images of {channels} channel" in capsys.readouterr().err
    loaded = net.state_dict()[key]
    assert torch.equal(loaded[:, 0], loaded[:, 1]) and torch.equal(loaded[:, 0], loaded[:, 2])


def test_a_first_layer_that_stays_random_is_said(tmp_path, capsys) -> None:
    state = build_backbone(SMALL, 16).state_dict()
    key = next(key for key, value in state.items() if value.ndim == 4)
    save_weights({name: value for name, value in state.items() if name != key}, tmp_path / "w.safetensors")
    source = weight_sources.find_weights(str(tmp_path / "w.safetensors"))
    with pytest.raises(UsageError, match="only a part fits"):
        weight_sources.build(source, SMALL, 16, seed=3)
    weight_sources.build(source, SMALL, 16, seed=3, allow_partial=True)
    assert f"before trained ones random (first: {key})" in capsys.readouterr().err
