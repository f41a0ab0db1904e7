"""The generator of two domains: sides, what it does at borders, and the maps that PatchNCE reads."""

import pytest
import torch

from gssl.errors import UsageError
from gssl.nets.generator import Shape
from gssl.nets.translator import Translator


def shape(size: int = 16, channels: int = 3, blocks: int = 3, norm: str = "instance") -> Shape:
    return Shape("residual", latent=1, width=4, size=size, channels=channels, norm=norm, blocks=blocks)


@pytest.mark.parametrize(("channels", "norm"), [(3, "instance"), (1, "batch"), (3, "none")])
def test_images_of_any_sides_keep_them(channels, norm) -> None:
    network = Translator(shape(channels=channels, norm=norm))
    for sides in ((16, 16), (20, 32)):
        made = network(torch.rand(2, 3, *sides))
        assert made.shape == (2, 3, *sides) and made.min() >= 0 and made.max() <= 1
        assert channels == 3 or torch.equal(made[:, 0], made[:, 2])


def test_an_output_depends_on_its_input_alone() -> None:
    network, images = Translator(shape()), torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


@pytest.mark.parametrize("blocks", [1, 2, 6])
def test_maps_are_those_on_the_way_to_the_output(blocks) -> None:
    network, images = Translator(shape(blocks=blocks)), torch.rand(2, 3, 16, 16)
    seen = []
    for layer in (*network.down, network.blocks[0], network.blocks[blocks // 2]):
        layer.register_forward_hook(lambda _module, _given, out: seen.append(out.detach().clone()))
    network(images)
    passed = {id(x): x for x in seen}.values()
    maps = network.maps(images)
    assert [x.shape[1] for x in maps] == network.dims
    assert [x.shape[-1] for x in maps] == [16, 8, 4, 4, 4]
    torch.testing.assert_close(maps[0], 2 * images - 1)
    for own, there in zip(maps[1:], passed, strict=False):
        torch.testing.assert_close(own, there)


@pytest.mark.parametrize("size", [8, 18])
def test_sides_that_cannot_be_halved_twice_are_refused(size) -> None:
    with pytest.raises(UsageError, match=f"data.size={size}: the generator needs a multiple of 4, 16 or more"):
        Translator(shape(size))


def test_its_description_says_how_many_blocks_and_others_say_nothing() -> None:
    assert shape().record()["blocks"] == 3 and Shape(**shape().record()) == shape()
    assert not {"blocks", "wide"} & set(Shape("dcgan", 4, 4, 16).record())
