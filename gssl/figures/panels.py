"""A picture sheet: panels of image tiles one below another, each with a heading and a text that explains it."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

TILE, WIDEST = 64, 96  # pixels of a tile: smaller images are enlarged by whole factors, larger ones shrunk
GAP, EDGE = 3, 28  # between tiles, around the sheet
LEAST = 900  # width of the text where there are few tiles
INK, GREY, LINE = (20, 20, 20), (95, 95, 95), (215, 215, 215)
TITLE, HEAD, TEXT, SMALL = 25, 19, 14, 11  # letters, pixels
HEAT = "inferno"


@dataclass(frozen=True)
class Tile:
    """An image (3, S, S) in [0, 1], a short line below it, and a place to mark by a ring (row, column in [0, 1))."""

    image: Tensor
    caption: str = ""
    mark: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """Tiles side by side after a name; None is a gap of half a tile."""

    name: str
    tiles: list[Tile | None]


@dataclass(frozen=True)
class Panel:
    """`heads` stand over the columns in `rows`' order, gaps included; `chart`: an RGB picture below the rows."""

    title: str
    text: str
    rows: list[Row] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    chart: Image.Image | None = None


def save_sheet(title: str, text: str, panels: list[Panel], path: Path) -> None:
    """Write the sheet as one PNG: whole, or not at all."""
    side = max((_side(t) for p in panels for r in p.rows for t in r.tiles if t), default=TILE)
    margin = (
        max((round(_font(TEXT).getlength(n)) for p in panels for r in p.rows for n in r.name.split("\n")), default=0)
        + 12
    )
    width = max([LEAST, *(margin + _wide(row, side) for panel in panels for row in panel.rows)])
    canvas = Image.new("RGB", (width + 2 * EDGE, _height(title, text, panels, side, width)), "white")
    draw = ImageDraw.Draw(canvas)
    y = _write(draw, title, EDGE, TITLE, width, bold=True)
    y = _write(draw, text, y + 4, TEXT, width, GREY)
    for panel in panels:
        y = _panel(canvas, draw, panel, y, side, margin, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.tmp")
    try:
        canvas.save(temp, format="PNG")
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def heat(values: Tensor, size: int, least: float = 1e-30) -> Tensor:
    """Maps (n, h, w) ≥ 0 as colours (n, 3, size, size) on the CPU, black at 0.

    Each has its own scale, to its largest value or to `least` where that is larger.
    """
    import matplotlib

    values = values.float().cpu()
    top = values.flatten(1).amax(1).clamp_min(least)[:, None, None]
    table = torch.from_numpy(matplotlib.colormaps[HEAT](np.arange(256))[:, :3]).float()
    coloured = table[((values / top).clamp(0, 1) * 255).round().long()].permute(0, 3, 1, 2)
    return F.interpolate(coloured, size=(size, size), mode="nearest")


def overlay(image: Tensor, colours: Tensor) -> Tensor:
    """`colours` (n, 3, S, S) over the grey `image` (3, S, S): light where there is heat, shapes still to be seen."""
    grey = image.float().cpu().mean(0, keepdim=True)
    return (0.35 * grey + 0.8 * colours).clamp(0, 1)


def _panel(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, y: int, side: int, margin: int, width: int
) -> int:
    y += 18
    draw.line([(EDGE, y), (EDGE + width, y)], fill=LINE, width=1)
    y = _write(draw, panel.title, y + 12, HEAD, width, bold=True)
    y = _write(draw, panel.text, y + 3, TEXT, width, GREY) + 8
    if panel.heads:
        for x, head in zip(_lefts(panel.rows[0], side, margin), panel.heads, strict=False):
            draw.text((x + side / 2, y + SMALL), head, INK, _font(SMALL + 1), anchor="mm")
        y += 2 * SMALL
    for row in panel.rows:
        draw.text((EDGE, y + side / 2), row.name, INK, _font(TEXT), anchor="lm")
        for x, tile in zip(_lefts(row, side, margin), row.tiles, strict=True):
            if tile is None:
                continue
            canvas.paste(_pixels(tile.image, side), (x, y))
            if tile.mark:
                _ring(draw, x + tile.mark[1] * side, y + tile.mark[0] * side)
            if tile.caption:
                draw.text((x + side / 2, y + side + SMALL / 2 + 2), tile.caption, GREY, _font(SMALL), anchor="mm")
        y += _tall(row, side)
    if panel.chart:
        canvas.paste(panel.chart, (EDGE, y + 6))
        y += 6 + panel.chart.height
    return y


def _height(title: str, text: str, panels: list[Panel], side: int, width: int) -> int:
    """The same steps on a canvas that nobody sees."""
    blank = Image.new("RGB", (1, 1))
    draw = ImageDraw.Draw(blank)
    y = _write(draw, text, _write(draw, title, EDGE, TITLE, width, bold=True) + 4, TEXT, width)
    for panel in panels:
        y = _panel(blank, draw, panel, y, side, 0, width)
    return y + EDGE


def _ring(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    for radius, colour in ((6, (0, 0, 0)), (5, (90, 255, 120)), (3, (0, 0, 0))):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=2 if radius == 5 else 1)


def _side(tile: Tile) -> int:
    size = tile.image.shape[-1]
    return size * max(1, TILE // size) if size <= WIDEST else WIDEST


def _pixels(image: Tensor, side: int) -> Image.Image:
    x = image.detach().float().cpu().clamp(0, 1)[None]
    if x.shape[-1] > side:
        x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    elif x.shape[-1] < side:
        x = F.interpolate(x, size=(side, side), mode="nearest")
    return Image.fromarray((x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def _lefts(row: Row, side: int, margin: int) -> list[int]:
    """Where each tile begins."""
    found, x = [], EDGE + margin
    for tile in row.tiles:
        found.append(x)
        x += side // 2 if tile is None else side + GAP
    return found


def _wide(row: Row, side: int) -> int:
    return sum(side // 2 if tile is None else side + GAP for tile in row.tiles)


def _tall(row: Row, side: int) -> int:
    return side + GAP + (SMALL + 5 if any(tile and tile.caption for tile in row.tiles) else 0)


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _write(
    draw: ImageDraw.ImageDraw,
    text: str,
    y: int,
    size: int,
    width: int,
    colour: tuple[int, int, int] = INK,
    bold: bool = False,
) -> int:
    """`text` in lines of `width` pixels at most; returns where it ends."""
    font = _font(size, bold)
    for paragraph in text.split("\n"):
        line = ""
        for word in [*paragraph.split(), ""]:
            longer = f"{line} {word}".strip()
            if line and (not word or font.getlength(longer) > width):
                draw.text((EDGE, y), line, colour, font)
                y, longer = y + round(size * 1.35), word
            line = longer
    return y
