"""Random views of a whole batch at once, from uint8, on the device where the images are.

Every parameter is per image and a function of (seed, purpose, step) alone: drawn on the CPU, sent to the
device as one small tensor per view, without waiting for it. Crop, resize, rotation and flip are one
`grid_sample` whose grid is the sum of two broadcast vectors (`affine_grid` costs more than the sampling); the
colours are one `baddbmm` (gssl/data/colour.py). Grey images stay on one channel until the end. On a busy CPU
the calls that start threads count, not the arithmetic: parameters are made by calls that start none.

Measured with scripts/bench/views.py: two colour views of 256 CIFAR-10 images, one thread of two cores (AMD
EPYC) that others kept busy (load 7), torch 2.14.1, medians of 30 alternating rounds: 16 ms; the same with
`affine_grid` and a pass per colour operation 30 ms; kornia 0.9 129 ms.

Order: crop with rotation, flip, jitter, grayscale, blur, clamp, solarize, cut-out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl import schemas
from gssl.data import resampling
from gssl.data.colour import apply_colour, blur, blur_kernel_size, colour_matrix, cos_sin, cutout, mean_grey, solarize
from gssl.data.draws import Draws
from gssl.errors import UsageError
from gssl.method import to_device

ATTEMPTS = 10  # boxes drawn per crop before the fallback, as in torchvision
SHARP = 2  # pixels of the source for one of the view, up to which neighbours are enough; beyond, all are averaged


class Drawn(NamedTuple):
    """Parameters of one view of a batch, on the CPU."""

    values: dict[str, Tensor]  # (B, k) per operation; what is missing is not done
    blurred: int  # images that are blurred: `values["blur"]` lists these first
    resamples: bool  # whether images are cropped, rotated or resized


class RandomViews:
    """Views as the configuration says: uint8 (B, C, H, W) → float32 (B, 3, size, size) in [0, 1].

    What has probability or strength 0 costs nothing. The views of a step are independent draws from the same
    distribution.
    """

    def __init__(self, cfg: schemas.Views, size: int, draws: Draws) -> None:
        """`size`: side of the views in pixels. Raises UsageError where a range of `cfg` makes no sense."""
        self.cfg, self.size, self.draws = cfg, size, draws
        self.scale = _range("crop_scale", cfg.crop_scale, 1.0)
        self.ratio = _range("crop_ratio", cfg.crop_ratio, math.inf)
        self.sigma = _range("blur_sigma", cfg.blur_sigma, math.inf) if cfg.blur else (1.0, 1.0)
        self.whole = self.scale == self.ratio == (1.0, 1.0) and not cfg.rotate
        self.jitters = cfg.jitter > 0 and any((cfg.brightness, cfg.contrast, cfg.saturation, cfg.hue))

    def __call__(self, image: Tensor, step: int, view: int = 0, extent: Tensor | None = None) -> Tensor:
        """One random view of each image: what `draw` and `apply` give together."""
        return self.apply(self.draw(step, image, view, extent), image, "image", extent)

    def draw(self, step: int, image: Tensor, view: int = 0, extent: Tensor | None = None) -> Drawn:
        """Parameters of a view of each image; `step`: of the run; `view`: number of the view; the rest as in `apply`.

        Only the shape of `image` counts.
        """
        batch, (height, width) = image.shape[0], image.shape[-2:]
        resamples = extent is not None or not self.whole or (height, width) != (self.size, self.size)
        sides = None if extent is not None else (height, width)
        values, blurred = self._draw(batch, step, f"view{view}", sides, resamples)
        return Drawn(values, blurred, resamples)

    @torch.no_grad()
    def apply(self, drawn: Drawn, column: Tensor, kind: str = "image", extent: Tensor | None = None) -> Tensor:
        """The view that was drawn, on the device of `column`.

        kind image: uint8 (B, C, H, W) with C in {1, 3} → float32 (B, 3, size, size) in [0, 1], channels_last; mask:
        uint8 (B, H, W) → uint8 (B, size, size), crop, flip and rotation alone, by the nearest pixel.
        `extent`: int64 (B, 2), true height and width where the rows lie at the top left of a padded canvas.
        """
        with torch.autocast(column.device.type, enabled=False):  # half precision would show in the pixels
            p = _send(drawn.values, column.device)
            if kind == "mask":
                return self._shaped(column[:, None], p, drawn.resamples, extent, "nearest")[:, 0].to(torch.uint8)
            assert kind == "image", kind
            return self._coloured(self._shaped(column, p, drawn.resamples, extent), p, drawn.blurred)

    def _shaped(
        self, image: Tensor, p: dict[str, Tensor], resamples: bool, extent: Tensor | None, mode: str = "bilinear"
    ) -> Tensor:
        """Cropped, flipped, rotated: float32 (B, C, size, size) on the scale of `image`."""
        flip = p["flip"][:, 0] > 0 if "flip" in p else None
        if not resamples:
            image = image if flip is None else torch.where(flip.view(-1, 1, 1, 1), image.flip(-1), image)
            return image.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        if extent is None:
            box = p["box"]
        else:
            shape = p["shape"] * torch.sqrt(extent.prod(1, keepdim=True).float())
            box = crop_boxes(shape, p["position"], self.ratio, *extent.unbind(1))
        angle = p["angle"][:, 0] if "angle" in p else None
        if mode == "bilinear" and max(image.shape[-2:]) > SHARP * self.size:
            return crop_large(image, box, flip, angle, self.size, extent)
        if extent is not None and resampling.by_image(image):
            return crop_each(image, box, flip, angle, self.size, extent, mode)
        return crop_flip_rotate(image.float(), box, flip, angle, self.size, extent, mode)

    def _coloured(self, x: Tensor, p: dict[str, Tensor], blurred: int) -> Tensor:
        """Jittered, blurred, clamped, solarized, cut out: pixels on [0, 255] → (B, 3, size, size) in [0, 1]."""
        cfg, batch = self.cfg, len(x)
        # Pixels are on [0, 255] up to here. Blur commutes with the colour matrix, given the mean before it.
        mean = mean_grey(x) if "matrix" in p else None
        if blurred == batch:
            x = blur(x, p["sigma"][:, 0], blur_kernel_size(self.size))
        elif blurred:
            chosen = p["blur"][:blurred, 0].long()
            some = blur(x[chosen], p["sigma"][chosen, 0], blur_kernel_size(self.size))
            x = x.index_copy_(0, chosen, some)
        if "matrix" in p:
            x = apply_colour(x, p["matrix"].view(-1, 3, 3), p["lift"][:, 0], mean)
        else:
            x = x.div_(255)
        x = _finish(x)
        if "solarize" in p:
            x = solarize(x, p["solarize"][:, 0])
        if "cutout" in p:
            x = cutout(x, p["cutout"][:, 1:], round(cfg.cutout_size * self.size), p["cutout"][:, 0])
        return x

    def _draw(
        self, batch: int, step: int, view: str, sides: tuple[int, int] | None, resamples: bool
    ) -> tuple[dict[str, Tensor], int]:
        """Parameters (batch, k) on the CPU, and how many images are blurred: `blur` lists these first."""
        cfg = self.cfg

        def uniform(name: str, columns: int = 1) -> Tensor:
            return self.draws.uniform(f"{view}/{name}", step, (batch, columns))

        p: dict[str, Tensor] = {}
        blurred = 0
        if resamples:
            shape, position = self._candidates(uniform("crop", 2 * ATTEMPTS)), uniform("place", 2)
            if sides is None:  # only the device knows the sides: the boxes are made there
                p["shape"], p["position"] = shape, position
            else:
                height, width = (torch.full((batch,), side) for side in sides)
                shape *= math.sqrt(math.prod(sides))
                p["box"] = crop_boxes(shape, position, self.ratio, height, width)
            if cfg.rotate:
                p["angle"] = (2 * uniform("rotate") - 1) * cfg.rotate
        if cfg.flip:
            p["flip"] = (uniform("flip") < cfg.flip).float()
        if self.jitters or cfg.grayscale:
            gray = uniform("gray")[:, 0] < cfg.grayscale if cfg.grayscale else torch.zeros(batch)
            p["matrix"], p["lift"] = self._colours(uniform("jitter", 5) if self.jitters else None, gray)
        if cfg.blur:
            mask = uniform("blur")[:, 0] < cfg.blur
            blurred = int(mask.sum())
            low, high = self.sigma
            p["blur"] = torch.argsort(mask.logical_not().to(torch.uint8), stable=True).float()[:, None]
            p["sigma"] = low + (high - low) * uniform("sigma")
        if cfg.solarize:
            p["solarize"] = (uniform("solarize") < cfg.solarize).float()
        if cfg.cutout and round(cfg.cutout_size * self.size):
            square = uniform("cutout", 3)
            p["cutout"] = torch.cat([(square[:, :1] < cfg.cutout).float(), square[:, 1:]], dim=1)
        return p, blurred

    def _candidates(self, u: Tensor) -> Tensor:
        """n heights, n widths (batch, 2·n) in units of the square root of the image's area.

        Areas are uniform, ratios log-uniform. By NumPy for the reason that `cos_sin` gives.
        """
        areas, ratios = np.split(u.numpy(), 2, axis=1)
        low, high = math.log(self.ratio[0]) / 2, math.log(self.ratio[1]) / 2
        side = np.sqrt(self.scale[0] + (self.scale[1] - self.scale[0]) * areas)
        stretch = np.exp(low + (high - low) * ratios)
        return torch.from_numpy(np.concatenate([side / stretch, side * stretch], axis=1))

    def _colours(self, u: Tensor | None, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Matrix (batch, 9) and lift (batch, 1) that also bring pixels from [0, 255] to [0, 1].

        `u`: (batch, 5) uniform, a column per strength and one for whether; None: no jitter. `gray`: (batch,).
        """
        cfg = self.cfg
        factors = torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(len(gray), 4)
        if u is not None:
            strengths = (cfg.brightness, cfg.contrast, cfg.saturation)
            low = torch.tensor([*(max(0.0, 1 - s) for s in strengths), -cfg.hue])
            high = torch.tensor([*(1 + s for s in strengths), cfg.hue])
            factors = torch.where(u[:, 4:] < cfg.jitter, low + (high - low) * u[:, :4], factors)
        brightness, contrast, saturation, hue = factors.unbind(1)
        matrix, lift = colour_matrix(brightness, contrast, saturation, hue, gray)
        return matrix.flatten(1) / 255, lift[:, None] / 255


def crop_boxes(shape: Tensor, position: Tensor, ratio: tuple[float, float], height: Tensor, width: Tensor) -> Tensor:
    """Boxes as in torchvision's RandomResizedCrop, for the whole batch: (B, 4) top, left, height, width.

    `shape`: (B, 2·n) float, n heights, then n widths of candidates in pixels, rounded here: the first that
    fits is taken, and if none does, the largest central box with a permitted `ratio` of width to height.
    `position`: (B, 2) uniform in [0, 1). `height`, `width`: (B,) pixels. Boxes are whole pixels, float32.
    """
    n = shape.shape[1] // 2
    height, width = height[:, None], width[:, None]
    pixels = (shape + 0.5).int()
    h, w = pixels[:, :n], pixels[:, n:]
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.gather(1, first)
    h = torch.where(found, h.gather(1, first), torch.minimum(height, (width / ratio[0] + 0.5).int()))
    w = torch.where(found, w.gather(1, first), torch.minimum(width, (height * ratio[1] + 0.5).int()))
    room = torch.cat([height - h, width - w], dim=1)
    drawn = torch.minimum((position * (room + 1)).int(), room)  # the product can round up to room + 1
    return torch.cat([torch.where(found, drawn, room // 2), h, w], dim=1).float()


def crop_flip_rotate(
    image: Tensor,
    box: Tensor,
    flip: Tensor | None,
    angle: Tensor | None,
    size: int,
    extent: Tensor | None = None,
    mode: str = "bilinear",
) -> Tensor:
    """Crop, rotate, flip and resize with one sampling: float (B, C, H, W) → (B, C, size, size).


    `box`: (B, 4) top, left, height, width in pixels; `flip`: (B,) bool, left to right, after the rotation;
    `angle`: (B,) degrees counter-clockwise about the centre of the box; `extent`: (B, 2) true height, width;
    `mode`: bilinear, or nearest, which gives values of the source alone.
    Without rotation it equals torchvision's `resized_crop` with antialias=False: nothing outside the box is
    used. With rotation the corners show what is beside the box; beyond the image, its border is repeated:
    digits stay on black, and photographs get no black corners, which would give the angle away.
    """
    height, width = image.shape[-2:]
    grid = _grid(box, flip, angle, size, height, width)
    if extent is not None and angle is not None:
        y_end, x_end = extent.to(box.dtype).unbind(1)
        end = torch.stack([(2 * x_end - 1) / width - 1, (2 * y_end - 1) / height - 1], dim=1)
        grid = torch.minimum(grid, end[:, :, None, None])
    return F.grid_sample(image, grid.permute(0, 2, 3, 1), mode=mode, padding_mode="border", align_corners=False)


def crop_each(
    image: Tensor,
    box: Tensor,
    flip: Tensor | None,
    angle: Tensor | None,
    size: int,
    extent: Tensor,
    mode: str = "bilinear",
    times: int = 1,
    rows: list[int] | None = None,
) -> Tensor:
    """`crop_flip_rotate` of uint8 images on the CPU, of which no more is read than their boxes.

    `times`: so many samples in each direction make a pixel, their mean; `rows`: the images that the rest is of.
    """
    if angle is None:
        inside, own = box, torch.cat([torch.zeros_like(box[:, :2]), box[:, 2:]], dim=1)
    else:  # what is beside the box is looked at, too
        inside, own = torch.cat([torch.zeros_like(extent), extent], dim=1), box
    height, width = inside[:, 2:].to(box.dtype).split(1, dim=1)
    grid = _grid(own, flip, angle, times * size, height, width)
    return resampling.sampled(image, inside.long().tolist(), grid.permute(0, 2, 3, 1), mode, times, rows)


def crop_large(
    image: Tensor, box: Tensor, flip: Tensor | None, angle: Tensor | None, size: int, extent: Tensor | None
) -> Tensor:
    """`crop_flip_rotate` of uint8 images, antialiased where a box is shrunk by more than `SHARP` in a direction.

    Without rotation such a box equals torchvision's `resized_crop(antialias=True)`. With it a pixel is the mean of a
    square of samples that lie at most `SHARP` pixels apart.
    """
    times = (box[:, 2:].amax(1) / (SHARP * size)).ceil()  # samples per pixel and axis
    if resampling.by_image(image):
        counts = times.clamp(min=1).int().tolist()
        out = torch.empty((*image.shape[:2], size, size))
        for count in set(counts):
            rows = [i for i, needed in enumerate(counts) if needed == count]
            own, flips, angles, inside = (None if x is None else x[rows] for x in (box, flip, angle, extent))
            assert own is not None
            if count > 1 and angle is None:
                out[rows] = resampling.antialiased(image, own, flips, (size, size), rows)
                continue
            if inside is None:
                inside = torch.tensor(image.shape[-2:]).expand(len(rows), 2)
            out[rows] = crop_each(image, own, flips, angles, size, inside, times=count, rows=rows)
        return out
    x, times = image.float(), times[:, None, None, None]  # a GPU cannot be asked which boxes are shrunk
    out = crop_flip_rotate(x, box, flip, angle, size, extent)
    if angle is None:
        return torch.where(times > 1, resampling.antialiased(image, box, flip, (size, size)), out)
    for count in range(2, math.ceil(max(image.shape[-2:]) / (SHARP * size)) + 1):
        mean = F.avg_pool2d(crop_flip_rotate(x, box, flip, angle, count * size, extent), count)
        out = torch.where(times == count, mean, out)
    return out


def _grid(
    box: Tensor,
    flip: Tensor | None,
    angle: Tensor | None,
    size: int,
    height: int | Tensor,
    width: int | Tensor,
) -> Tensor:
    """(B, 2, size, size): x and y in grid_sample's coordinates of images of `height` and `width`, (B, 1) or all alike.

    The other arguments are those of `crop_flip_rotate`.
    """
    top, left, h, w = box[:, :, None].unbind(1)  # (B, 1) each
    line = torch.arange(size, device=box.device, dtype=box.dtype) + 0.5

    def from_centre(side: Tensor) -> Tensor:
        """(B, size): where the view's pixels lie, in pixels from the centre of a box of `side` (B, 1)."""
        return (line * (side / size) - 0.5).clamp_(min=0).minimum(side - 1) - (side - 1) / 2

    u, v = from_centre(w), from_centre(h)
    if flip is not None:
        u = torch.where(flip[:, None], -u, u)
    # Where to look is a vector over columns plus a vector over rows, for x and for y.
    x_column, y_column, x_row, y_row = u, torch.zeros_like(u), torch.zeros_like(v), v
    if angle is not None:
        cos, sin = cos_sin(torch.deg2rad(angle)[:, None])
        x_column, y_column, x_row, y_row = cos * u, sin * u, -sin * v, cos * v
    x_row, y_row = x_row + left + (w - 1) / 2, y_row + top + (h - 1) / 2
    # In grid_sample's coordinates pixel p of n is at (2p + 1) / n - 1.
    column = torch.stack([x_column * (2 / width), y_column * (2 / height)], dim=1)
    row = torch.stack([x_row * (2 / width) + (1 / width - 1), y_row * (2 / height) + (1 / height - 1)], dim=1)
    return column[:, :, None, :] + row[:, :, :, None]  # as two planes: quickest to write and to read


@torch.no_grad()
def centre(image: Tensor, size: int | tuple[int, int], extent: Tensor | None = None) -> Tensor:
    """The view for evaluation: short side → `size`, antialiased when shrinking, then the central square.

    `image`: uint8 (B, C, H, W), C in {1, 3}; `extent`: int64 (B, 2), true height and width inside the canvas. `size`
    may be the height and width that images have already, which stay as they are: of pictures of spectrograms.
    Returns float32 (B, 3, size, size) in [0, 1], channels_last. Equals torchvision's `resize(antialias=True)` of uint8
    images and `center_crop`, rounded to 8 bits as there; square images of this size come back as they are, divided by
    255. On a GPU a level in 255 may be rounded to the other side.
    """
    height, width = image.shape[-2:]
    if extent is None and (height, width) in (size, (size, size)):
        return _spread(image.float().div_(255))
    assert isinstance(size, int), f"images of {height} by {width}, expected {size}"
    if resampling.by_image(image):
        sides = [(height, width)] * len(image) if extent is None else [(h, w) for h, w in extent.tolist()]
        resized = [(size * h // min(h, w), size * w // min(h, w)) for h, w in sides]
        found = resampling.shrunk(image, resized, [(0, 0, h, w) for h, w in sides], (size, size))
        return _spread(found.float().div_(255))
    with torch.autocast(image.device.type, enabled=False):
        x = image.float()
        if extent is None:
            h, w = (torch.full((1,), side, device=image.device) for side in (height, width))
        else:
            h, w = extent.unbind(1)
        short = torch.minimum(h, w)
        down, across = _shrink(h, short, size, height), _shrink(w, short, size, width)
        if extent is None:  # the same matrices for all: one large product instead of one per image
            x = down[0] @ (x @ across[0].t())
        else:
            x = down[:, None] @ (x @ across[:, None].transpose(2, 3))
    return _finish(x.round_().div_(255))  # to 8 bits, as on the CPU


def _spread(x: Tensor) -> Tensor:
    """(B, C, S, S) with three channels, channels_last."""
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _shrink(side: Tensor, short: Tensor, size: int, canvas: int) -> Tensor:
    """(B, size, canvas): weights with which a line of pixels makes the resized and cropped line.

    A triangle as wide as a pixel of the result, at least as one of the source; what comes after `side` (B,)
    is padding. One product per axis serves images of all sizes at once.
    """
    resized = size * side // short  # whole pixels, as torchvision rounds them
    start = torch.round((resized - size) / 2)
    step = (side / resized)[:, None]
    at = (start[:, None] + torch.arange(size, device=side.device) + 0.5) * step
    line = torch.arange(canvas, device=side.device)
    distance = (line + 0.5 - at[:, :, None]).abs() / step.clamp(min=1)[:, :, None]
    weight = (1 - distance).clamp_(min=0) * (line < side[:, None])[:, None]
    return weight / weight.sum(2, keepdim=True)


def _finish(x: Tensor) -> Tensor:
    """Clamped to [0, 1], three channels, channels_last."""
    batch, channels, height, width = x.shape
    out = torch.empty((batch, 3, height, width), device=x.device, memory_format=torch.channels_last)
    for c in range(3):  # plane by plane into strided memory: 0.11 ms where one clamp(out=) takes 0.40
        torch.clamp(x[:, min(c, channels - 1)], 0, 1, out=out[:, c])
    return out


def _send(parts: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The named (B, k) tensors on `device`, in one copy that does not wait."""
    if not parts:
        return {}
    packed = torch.cat(list(parts.values()), dim=1)
    columns = to_device(packed, device).split([part.shape[1] for part in parts.values()], dim=1)
    return dict(zip(parts, columns, strict=True))


def _range(key: str, values: Sequence[float], most: float) -> tuple[float, float]:
    if len(values) != 2 or not 0 < values[0] <= values[1] <= most:
        limit = "" if math.isinf(most) else f" <= {most:g}"
        raise UsageError(f"data.views.{key}: expected [low, high] with 0 < low <= high{limit}, got {list(values)}")
    return float(values[0]), float(values[1])
