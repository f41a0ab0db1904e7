"""Tiles cut out of images, for the pretext tasks that ask where a tile was; see `jigsaw` and `relative_location`.

What would give a place away without anything being recognised is taken from the tiles: between neighbours there are
gaps, so no edge runs on; each tile lies at a random place of its cell, so no line continues; some are grey, so colour
fringes that grow from a lens's centre outwards cannot be relied on; brightness and contrast may be set alike.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.errors import UsageError
from gssl.method import Draws
from gssl.nets.backbone import Backbone
from gssl.schemas import ssl as schema

FLAT = 0.02  # a tile of less contrast (standard deviation) is not stretched to the full one: it is noise


class Tiles:
    """A grid of `grid`×`grid` cells over images of `size` pixels, with one tile in each cell.

    `side`: of a tile in pixels of the image; `seen`: of a tile as the backbone gets it, a multiple of a ViT's patch.
    Raises UsageError where nothing would be left of a tile.
    """

    def __init__(self, cfg: schema.Tiles, grid: int, size: int, backbone: Backbone) -> None:
        self.grid, self.cell = grid, size // grid
        self.side = round(self.cell * (1 - cfg.gap))
        if self.side < 2:
            raise UsageError(f"ssl.tiles.gap={cfg.gap}: less than 2 of a cell's {self.cell} px would be left; set less")
        self.margin = (size - grid * self.cell) // 2
        patch = int(getattr(backbone, "patch", 1))
        self.seen = -(-round(self.side * cfg.zoom) // patch) * patch
        self.grey, self.normalise = cfg.grey, cfg.normalise

    def draw(self, draws: Draws, step: int, batch: int, count: int) -> Tensor:
        """Uniform numbers (batch, count, 3) for `cut`: where each of `count` tiles lies, down and right; is it grey?"""
        return draws.uniform("tiles", step, (batch, count, 3))

    def cut(self, images: Tensor, cells: Tensor, luck: Tensor) -> Tensor:
        """The tiles of `images` (B, 3, S, S) in the `cells` (B, K), numbered row by row → (B·K, 3, seen, seen).

        `luck`: (B, K, 3) from `draw`. All tiles of an image stand together: `unflatten(0, (B, K))` undoes the folding.
        """
        corner = self.margin + self.cell * torch.stack([cells // self.grid, cells % self.grid], dim=2)
        free = self.cell - self.side
        corner = corner + (luck[:, :, :2] * (free + 1)).long().clamp_(max=free)
        along = torch.arange(self.side, device=images.device)
        rows = corner[:, :, 0, None, None] + along[:, None]
        columns = corner[:, :, 1, None, None] + along
        image = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
        # indexed with the channels last, which is how they lie in memory already
        tiles = images.permute(0, 2, 3, 1)[image, rows, columns].flatten(0, 1).permute(0, 3, 1, 2)
        if self.grey:
            lost = (luck[:, :, 2] < self.grey).view(-1, 1, 1, 1)
            tiles = torch.where(lost, tiles.mean(1, keepdim=True), tiles)
        if self.normalise:
            std, mean = torch.std_mean(tiles, dim=(1, 2, 3), keepdim=True, correction=0)
            tiles = ((tiles - mean) / (4 * std.clamp_min(FLAT)) + 0.5).clamp(0, 1)
        if self.seen != self.side:
            tiles = F.interpolate(tiles, size=(self.seen, self.seen), mode="bilinear", align_corners=False)
        return tiles.contiguous(memory_format=torch.channels_last)
