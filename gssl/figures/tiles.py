"""A page of image tiles: sections one below another, each with a heading, a text that explains it and rows of tiles."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gssl.figures import style

TILE, WIDEST = 64, 96  # pixels of a tile: smaller images are enlarged by whole factors, larger ones shrunk
GAP, EDGE = 3, 28  # between tiles, around the page
LEAST = 900  # width of the text where there are few tiles
INK, MUTED, RULE = (style.rgb(colour) for colour in (style.LIGHT.ink, style.LIGHT.muted, style.LIGHT.rule))
TITLE, HEADING, TEXT, SMALL = style.TILE_TITLE, style.TILE_HEADING, style.TILE_TEXT, style.TILE_SMALL


@dataclass(frozen=True)
class Tile:
    """An image (3, H, W) in [0, 1], a short line below it, and a position to mark by a ring (row, column in [0, 1))."""

    image: Tensor
    caption: str = ""
    mark: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """Tiles side by side after a name; None is a gap of half a tile."""

    name: str
    tiles: list[Tile | None]


@dataclass(frozen=True)
class Section:
    """`heads` stand over the columns in `rows`' order, gaps included; `legend`: colour and name of each class, above
    the rows; `chart`: an RGB picture below them."""

    title: str
    text: str
    rows: list[Row] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)
    chart: Image.Image | None = None


def save_page(title: str, text: str, sections: list[Section], path: Path, widest: int = WIDEST) -> None:
    """Write the page as one PNG: whole, or not at all. `widest`: pixels of the widest tile."""
    page = _Page(title, text, sections, widest)
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.tmp")
    try:
        page.drawn().save(temp, format="PNG", pnginfo=style.png_text())
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def tiles(images: Tensor) -> list[Tile | None]:
    return [Tile(image) for image in images]


def joined(blocks: list[list[Tile | None]]) -> list[Tile | None]:
    """Blocks in one row with gaps between them."""
    return [tile for block in blocks for tile in [None, *block]][1:]


def heat(values: Tensor, size: int, least: float = 1e-30) -> Tensor:
    """Maps (n, h, w) ≥ 0 as colours (n, 3, size, size) on the CPU, black at 0.

    Each has its own scale, to its largest value or to `least` where that is larger.
    """
    import matplotlib

    values = values.float().cpu()
    top = values.flatten(1).amax(1).clamp_min(least)[:, None, None]
    table = torch.from_numpy(matplotlib.colormaps[style.HEAT](np.arange(256))[:, :3]).float()
    coloured = table[((values / top).clamp(0, 1) * 255).round().long()].permute(0, 3, 1, 2)
    return F.interpolate(coloured, size=(size, size), mode="nearest")


def overlay(image: Tensor, colours: Tensor) -> Tensor:
    """`colours` (n, 3, S, S) over the grey `image` (3, S, S): light where there is heat, shapes still to be seen."""
    grey = image.float().cpu().mean(0, keepdim=True)
    return (0.35 * grey + 0.8 * colours).clamp(0, 1)


def enlarged(images: Tensor) -> Tensor:
    """(n, 3, S, S) as wide as a page's widest tiles, or nearly: small ones by a whole factor."""
    side = images.shape[-1]
    if side <= WIDEST // 2:
        return images.repeat_interleave(WIDEST // side, 2).repeat_interleave(WIDEST // side, 3)
    return F.interpolate(images, size=(WIDEST, WIDEST), mode="bilinear", antialias=True, align_corners=False)


class _Page:
    """The page while it is drawn: all tiles have one size, all rows begin beside the longest name."""

    def __init__(self, title: str, text: str, sections: list[Section], widest: int) -> None:
        self.title, self.text, self.sections = title, text, sections
        found = [tile for section in sections for row in section.rows for tile in row.tiles if tile]
        sizes = [_size(tile, widest) for tile in found] or [(TILE, TILE)]
        self.tile = max(height for height, _ in sizes), max(width for _, width in sizes)
        names = [line for section in sections for row in section.rows for line in row.name.split("\n")]
        self.margin = max((round(_font(TEXT).getlength(name)) for name in names), default=0) + 12
        rows = [self.margin + self._wide(row) for section in sections for row in section.rows]
        self.width = max([LEAST, *rows])

    def drawn(self) -> Image.Image:
        height = self._draw(Image.new("RGB", (1, 1)))  # the same steps on a canvas that nobody looks at
        canvas = Image.new("RGB", (self.width + 2 * EDGE, height), style.WHITE)
        self._draw(canvas)
        return canvas

    def _draw(self, canvas: Image.Image) -> int:
        """Draw everything; returns the height."""
        draw = ImageDraw.Draw(canvas)
        y = _write(draw, self.title, EDGE, TITLE, self.width, bold=True)
        y = _write(draw, self.text, y + 4, TEXT, self.width, MUTED)
        for section in self.sections:
            y = self._section(canvas, draw, section, y)
        return y + EDGE

    def _section(self, canvas: Image.Image, draw: ImageDraw.ImageDraw, section: Section, y: int) -> int:
        y += 18
        draw.line([(EDGE, y), (EDGE + self.width, y)], fill=RULE, width=1)
        y = _write(draw, section.title, y + 12, HEADING, self.width, bold=True)
        y = _write(draw, section.text, y + 3, TEXT, self.width, MUTED) + 8
        if section.legend:
            y = _legend(draw, section.legend, y, self.width) + 8
        if section.heads:
            for x, head in zip(self._lefts(section.rows[0]), section.heads, strict=False):
                draw.text((x + self.tile[1] / 2, y + SMALL), head, INK, _font(SMALL + 1), anchor="mm")
            y += 2 * SMALL
        for row in section.rows:
            y = self._row(canvas, draw, row, y)
        if section.chart:
            canvas.paste(section.chart, (EDGE, y + 6))
            y += 6 + section.chart.height
        return y

    def _row(self, canvas: Image.Image, draw: ImageDraw.ImageDraw, row: Row, y: int) -> int:
        height, width = self.tile
        crowded = sum(bool(tile and tile.caption) for tile in row.tiles) > 1
        lines = 0
        draw.text((EDGE, y + height / 2), row.name, INK, _font(TEXT), anchor="lm")
        for x, tile in zip(self._lefts(row), row.tiles, strict=True):
            if tile is None:
                continue
            canvas.paste(_pixels(tile.image, self.tile), (x, y))
            if tile.mark:
                _ring(draw, x + tile.mark[1] * width, y + tile.mark[0] * height)
            caption = _folded(tile.caption, width) if crowded else [tile.caption] if tile.caption else []
            for i, line in enumerate(caption):
                middle = y + height + SMALL / 2 + 2 + i * (SMALL + 2)
                draw.text((x + width / 2, middle), line, MUTED, _font(SMALL), anchor="mm")
            lines = max(lines, len(caption))
        return y + height + GAP + lines * (SMALL + 2) + 3 * (lines > 0)

    def _lefts(self, row: Row) -> list[int]:
        """Where each tile begins."""
        found, x = [], EDGE + self.margin
        for tile in row.tiles:
            found.append(x)
            x += self._step(tile)
        return found

    def _wide(self, row: Row) -> int:
        return sum(self._step(tile) for tile in row.tiles)

    def _step(self, tile: Tile | None) -> int:
        return self.tile[1] // 2 if tile is None else self.tile[1] + GAP


def _size(tile: Tile, widest: int) -> tuple[int, int]:
    """Height and width of a tile in pixels."""
    height, width = tile.image.shape[-2:]
    most = max(height, width)
    if most <= widest:
        factor = max(1, TILE // most)
        return height * factor, width * factor
    return round(height * widest / most), round(width * widest / most)


def _pixels(image: Tensor, size: tuple[int, int]) -> Image.Image:
    x = image.detach().float().cpu().clamp(0, 1)[None]
    if x.shape[-1] > size[1] or x.shape[-2] > size[0]:
        x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    elif tuple(x.shape[-2:]) != size:
        x = F.interpolate(x, size=size, mode="nearest")
    return Image.fromarray((x[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def _folded(caption: str, width: int) -> list[str]:
    """Lines as wide as a tile where words allow it, so that neighbours stay apart."""
    lines: list[str] = []
    for word in caption.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(SMALL).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _ring(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    for radius, colour, width in style.RING:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=width)


def _legend(draw: ImageDraw.ImageDraw, legend: list[tuple[str, str]], y: int, width: int) -> int:
    """Squares of colour with names, in lines of `width` pixels; returns where they end."""
    x, font, line = EDGE, _font(TEXT), round(1.5 * TEXT)
    for colour, name in legend:
        wide = TEXT + 6 + round(font.getlength(name)) + 16
        if x > EDGE and x + wide > EDGE + width:
            x, y = EDGE, y + line
        draw.rectangle([x, y + 2, x + TEXT, y + 2 + TEXT], fill=style.rgb(colour), outline=MUTED)
        draw.text((x + TEXT + 6, y), name, INK, font)
        x += wide
    return y + line


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = style.FONT.replace(" ", "") + ("-Bold.ttf" if bold else ".ttf")
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
