"""Objects as centre points (Zhou et al. 2019, arXiv:1904.07850): targets, losses and boxes of maps. Pure functions.

A grid has a cell every `stride` pixels. The network gives a heat per class and cell, near 1 where the centre of an
object lies, and how far the object's left, upper, right and lower edges are from the middle of the cell, in units of
the stride. Boxes (B, M, 6) are left, top, right, bottom in pixels, class (-1: no box) and crowd.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data.columns import NOTHING
from gssl.statistics.detection import MOST

SPREAD = 0.09  # standard deviation of the heat as a fraction of a box's side (TTFNet's, arXiv:1909.00700)
LEAST = 0.5  # cells: of a smaller one the heat would be in its cell alone
NEAR = 0.6  # heat of the cells that learn where the edges are
ALPHA, BETA = 2, 4  # of the focal loss
OVERLAP = 0.5  # IoU above which the less sure box of the same class is left out


class Targets(NamedTuple):
    """What a batch is to give on the grid (h, w): heat (B, C, h, w) in [0, 1], counted (B, C, h, w) bool (False: inside
    a crowd), edges (B, 4, h, w) in pixels of the nearest object and its heat `near` (B, h, w), 0 below `NEAR`."""

    heat: Tensor
    counted: Tensor
    edges: Tensor
    near: Tensor


def middles(grid: tuple[int, int], stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x (w,) and y (h,) in pixels of the middles of the cells."""
    rows, columns = (torch.arange(n, device=device) for n in grid)
    return (columns + 0.5) * stride, (rows + 0.5) * stride


@torch.no_grad()
def targets(boxes: Tensor, grid: tuple[int, int], stride: int, n_classes: int) -> Targets:
    """Heat is a Gaussian around the cell with an object's centre, where it is 1; of several objects the largest."""
    batch, device = len(boxes), boxes.device
    kind, crowd = boxes[..., 4].long(), boxes[..., 5] > 0
    there = (kind != NOTHING) & ~crowd
    centre = (boxes[..., :2] + boxes[..., 2:4]) / (2 * stride)
    spread = ((boxes[..., 2:4] - boxes[..., :2]) * (SPREAD / stride)).clamp(min=LEAST)
    rows, columns = (torch.arange(n, device=device) for n in grid)
    x, y = (centre[..., i].floor().clamp(min=0) for i in (0, 1))
    x, y = x.clamp(max=grid[1] - 1), y.clamp(max=grid[0] - 1)
    across = torch.exp(-((columns - x[..., None]) ** 2) / (2 * spread[..., :1] ** 2))
    down = torch.exp(-((rows - y[..., None]) ** 2) / (2 * spread[..., 1:] ** 2))
    own = down[..., :, None] * across[..., None, :] * there[..., None, None]  # (B, M, h, w)
    index = kind.clamp(min=0)[..., None, None].expand_as(own)
    heat = own.new_zeros((batch, n_classes, *grid)).scatter_reduce(1, index, own, "amax")
    if not boxes.shape[1]:
        return Targets(heat, torch.ones_like(heat, dtype=torch.bool), heat.new_zeros((batch, 4, *grid)), heat.sum(1))
    near, which = own.max(dim=1)
    edges = boxes[..., :4].gather(1, which.flatten(1)[..., None].expand(-1, -1, 4))
    edges = edges.transpose(1, 2).unflatten(2, grid)
    return Targets(heat, ~_crowded(boxes, grid, stride, n_classes) | (heat == 1), edges, near * (near > NEAR))


def _crowded(boxes: Tensor, grid: tuple[int, int], stride: int, n_classes: int) -> Tensor:
    """Bool (B, C, h, w): cells whose middle is in a crowd of the class."""
    x, y = middles(grid, stride, boxes.device)
    crowd = (boxes[..., 5] > 0) & (boxes[..., 4] != NOTHING)
    across = (x >= boxes[..., :1]) & (x < boxes[..., 2:3])
    down = (y >= boxes[..., 1:2]) & (y < boxes[..., 3:4])
    inside = (down[..., :, None] & across[..., None, :] & crowd[..., None, None]).to(boxes.dtype)
    index = boxes[..., 4].long().clamp(min=0)[..., None, None].expand_as(inside)
    return inside.new_zeros((len(boxes), n_classes, *grid)).scatter_reduce(1, index, inside, "amax") > 0


def focal_loss(logits: Tensor, heat: Tensor, counted: Tensor) -> Tensor:
    """The sum over cells of the penalty-reduced focal loss (CornerNet, arXiv:1808.01244): cells near a centre are less
    to blame for their heat."""
    p, log_p, log_not = logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits)
    centre = heat == 1
    each = torch.where(centre, (1 - p) ** ALPHA * log_p, (1 - heat) ** BETA * p**ALPHA * log_not)
    return -(each * counted).sum()


def giou_loss(boxes: Tensor, others: Tensor) -> Tensor:
    """1 - generalised IoU (Rezatofighi et al. 2019, arXiv:1902.09630) of boxes (4, …) and others (4, …): in [0, 2]."""
    left, top, right, bottom = boxes.unbind(0)
    left_, top_, right_, bottom_ = others.unbind(0)
    shared = (torch.minimum(right, right_) - torch.maximum(left, left_)).clamp(min=0)
    shared = shared * (torch.minimum(bottom, bottom_) - torch.maximum(top, top_)).clamp(min=0)
    union = (right - left) * (bottom - top) + (right_ - left_) * (bottom_ - top_) - shared
    around = torch.maximum(right, right_) - torch.minimum(left, left_)
    around = around * (torch.maximum(bottom, bottom_) - torch.minimum(top, top_))
    return 1 - shared / (union + 1e-7) + (around - union) / (around + 1e-7)


def edges_of(sides: Tensor, stride: int) -> Tensor:
    """Raw distances (B, 4, h, w) → left, top, right, bottom in pixels; distances are positive by softplus."""
    left, top, right, bottom = (F.softplus(sides) * stride).unbind(1)
    x, y = middles((sides.shape[2], sides.shape[3]), stride, sides.device)
    return torch.stack([x - left, y[:, None] - top, x + right, y[:, None] + bottom], dim=1)


def peaks(outputs: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Outputs (B, C + 4, h, w) → scores (B, C, h, w), 0 where a neighbour of the same class has more, and edges
    (B, 4, h, w)."""
    heat = outputs[:, :-4].sigmoid()
    highest = heat == F.max_pool2d(heat, 3, stride=1, padding=1)
    return heat * highest, edges_of(outputs[:, -4:], stride)


class Found(NamedTuple):
    """Predicted boxes (d, 4) in pixels, classes (d,) int64 and scores (d,), the surest first."""

    boxes: Tensor
    classes: Tensor
    scores: Tensor


@torch.no_grad()
def found(scores: Tensor, edges: Tensor, size: tuple[int, int]) -> list[Found]:
    """Of each image of size (h, w) the best `MOST` peaks, clipped to it, without boxes that overlap a surer one."""
    from torchvision.ops import batched_nms  # takes .6 s of processor to import, and few runs find boxes

    made = []
    for own, box in zip(scores.float(), edges.float(), strict=True):
        best, index = own.flatten().topk(min(MOST, own.numel()))
        kind, cell = index // box[0].numel(), index % box[0].numel()
        boxes = box.flatten(1)[:, cell].T
        boxes = torch.stack([*(boxes[:, i].clamp(0, size[1 - i % 2]) for i in range(4))], dim=1)
        there = (best > 0) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        boxes, kind, best = boxes[there], kind[there], best[there]
        kept = batched_nms(boxes, best, kind, OVERLAP)
        made.append(Found(boxes[kept], kind[kept], best[kept]))
    return made
