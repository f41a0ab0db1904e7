"""What is cut out of an image, and from where."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch

from gssl.data import Draws
from gssl.errors import UsageError
from gssl.schemas import ssl as schema
from gssl.ssl.tiles import Tiles

CLASSICAL = {"gap": 0.0, "zoom": 1.0, "grey": 0.0, "normalise": False}
FREE = SimpleNamespace()  # a backbone without patches


def coordinates(size: int, count: int = 1) -> torch.Tensor:
    """Images whose red is the row and whose green is the column of each pixel, as k / 64; blue is the image."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = torch.stack([row, column, torch.zeros(size, size)]).float().div(64)
    image = image.repeat(count, 1, 1, 1)
    image[:, 2] = torch.arange(count).view(-1, 1, 1) / 64
    return image.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("grid, size", [(3, 28), (3, 32), (2, 16), (3, 64)])
def test_tiles_lie_in_their_cells_at_random_places_with_gaps(grid, size):
    tiles = Tiles(schema.Tiles(**{**CLASSICAL, "gap": 0.2}), grid, size, FREE)
    count, n = 60, grid * grid
    cells = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(i)) for i in range(count)])
    luck = tiles.draw(Draws(0), 0, count, n)
    cut = tiles.cut(coordinates(size, count), cells, luck).mul(64).round().long()
    assert cut.shape == (count * n, 3, tiles.side, tiles.side) and cut.is_contiguous(memory_format=torch.channels_last)
    cell, free = size // grid, size // grid - tiles.side
    assert free >= 1 and 0.7 * cell < tiles.side < cell
    margin = (size - grid * cell) // 2
    offsets = set()
    for (image, place), tile in zip(product(range(count), range(n)), cut, strict=True):
        where = int(cells[image, place])
        down, right = (int(tile[c, 0, 0]) - margin - cell * x for c, x in ((0, where // grid), (1, where % grid)))
        offsets.add((down, right))
        assert (tile[2] == image).all()
        assert torch.equal(tile[0] - tile[0, 0, 0], torch.arange(tiles.side)[:, None].expand(-1, tiles.side))
        assert torch.equal(tile[1] - tile[1, 0, 0], torch.arange(tiles.side)[None].expand(tiles.side, -1))
    assert offsets == set(product(range(free + 1), repeat=2))


def test_the_largest_uniform_number_stays_in_the_cell():
    tiles = Tiles(schema.Tiles(**{**CLASSICAL, "gap": 0.3}), 3, 32, FREE)
    luck = torch.full((1, 1, 3), 1 - 2**-24)
    cut = tiles.cut(coordinates(32), torch.tensor([[8]]), luck)
    assert round(float(cut[0, 0, -1, -1]) * 64) == 1 + 3 * 10 - 1


def test_so_many_are_grey_and_nothing_else_changes():
    images = torch.rand(200, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    cells = torch.arange(9).expand(200, -1)
    luck = Tiles(schema.Tiles(**CLASSICAL), 3, 30, FREE).draw(Draws(0), 0, 200, 9)
    coloured = Tiles(schema.Tiles(**CLASSICAL), 3, 30, FREE).cut(images, cells, luck)
    some = Tiles(schema.Tiles(**{**CLASSICAL, "grey": 0.3}), 3, 30, FREE).cut(images, cells, luck)
    grey = (some == some[:, :1]).flatten(1).all(1)
    assert abs(float(grey.float().mean()) - 0.3) < 0.05
    assert torch.equal(some[~grey], coloured[~grey])
    torch.testing.assert_close(some[grey].mean(1), coloured[grey].mean(1))


def test_normalised_tiles_do_not_tell_brightness_and_contrast():
    tiles = Tiles(schema.Tiles(**{**CLASSICAL, "normalise": True}), 3, 30, FREE)
    image = torch.rand(4, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    cells, luck = torch.arange(9).expand(4, -1), torch.zeros(4, 9, 3)
    torch.testing.assert_close(tiles.cut(image, cells, luck), tiles.cut(0.4 * image + 0.3, cells, luck))
    flat = tiles.cut(torch.full((1, 3, 30, 30), 0.9), cells[:1], luck[:1])
    torch.testing.assert_close(flat, torch.full_like(flat, 0.5))


def test_zoom_and_whole_patches():
    cfg = schema.Tiles(**{**CLASSICAL, "gap": 0.2})
    seen = [Tiles(cfg, 3, size, SimpleNamespace(patch=4)).seen for size in (16, 28, 32, 64)]
    assert seen == [4, 8, 8, 20]
    large = Tiles(schema.Tiles(**{**CLASSICAL, "gap": 0.2, "zoom": 2.0}), 3, 32, FREE)
    assert (large.side, large.seen) == (8, 16)
    cut = large.cut(coordinates(32, 2), torch.tensor([[0, 4], [8, 2]]), torch.zeros(2, 2, 3))
    assert cut.shape == (4, 3, 16, 16)
    # the mean of a ramp is its middle, in whatever resolution
    torch.testing.assert_close(cut.mean((2, 3))[1], torch.tensor([14.5, 14.5, 0]) / 64)


def test_what_leaves_no_tile_is_refused():
    with pytest.raises(UsageError, match="gap"):
        Tiles(schema.Tiles(**{**CLASSICAL, "gap": 0.9}), 3, 16, FREE)
