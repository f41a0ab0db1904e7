"""Centre points: losses against torchvision and loops, targets, and boxes that come back from them."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms, generalized_box_iou_loss, sigmoid_focal_loss

from gssl.probe import centres
from gssl.statistics.detection import MOST


def random_boxes(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand((count, 2), generator=generator) * 30
    return torch.cat([corner, corner + 1 + torch.rand((count, 2), generator=generator) * 20], dim=1)


def test_giou_is_torchvision_s_with_its_gradient():
    ours, theirs = (random_boxes(200).requires_grad_() for _ in range(2))
    other = random_boxes(200, seed=1)
    mine = centres.giou_loss(ours.T, other.T)
    expected = generalized_box_iou_loss(theirs, other)
    torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-5)
    mine.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4)
    assert mine.max() > 1 and centres.giou_loss(other.T, other.T).max() < 1e-5


def test_the_focal_loss_is_that_of_a_loop_and_of_hard_targets_torchvision_s():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 5, 4), generator=generator)
    heat = torch.rand(logits.shape, generator=generator)
    heat[:, :, 2, 2] = 1
    counted = torch.rand(logits.shape, generator=generator) < 0.8
    total = 0.0
    for z, t, c in zip(logits.flatten().tolist(), heat.flatten().tolist(), counted.flatten().tolist(), strict=True):
        p = 1 / (1 + np.exp(-z))
        total -= c * ((1 - p) ** 2 * np.log(p) if t == 1 else (1 - t) ** 4 * p**2 * np.log(1 - p))
    assert centres.focal_loss(logits, heat, counted).item() == pytest.approx(total, rel=1e-5)
    hard = (heat == 1).float()
    theirs = sigmoid_focal_loss(logits, hard, alpha=-1, gamma=2, reduction="sum")
    torch.testing.assert_close(centres.focal_loss(logits, hard, torch.ones_like(counted)), theirs)


def given(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([list(rows)], dtype=torch.float32)


def test_heat_is_one_at_centres_and_falls_with_the_size_of_the_object():
    large, small = [0.0, 0, 40, 24, 1, 0], [50.0, 2, 52, 6, 0, 0]
    made = centres.targets(given(large, small, [0, 0, 0, 0, -1, 0]), (8, 16), 4, 2)
    assert (made.heat == 1).nonzero().tolist() == [[0, 0, 1, 12], [0, 1, 3, 5]]
    assert made.heat[0, 1, 3, 6] > made.heat[0, 1, 4, 5] > 0.1  # wider than high
    assert 0.1 < made.heat[0, 0, 1, 13] < 0.2  # of a tiny one, the next cell
    assert made.counted.all() and made.edges[0, :, 3, 5].tolist() == large[:4]
    assert made.near[0, 3, 5] == 1 and made.near[0, 7, 0] == 0
    assert set(made.near[made.near > 0].tolist()) <= set(np.array(made.heat[made.heat > centres.NEAR].tolist()))


def test_of_objects_on_one_place_every_class_has_its_heat():
    made = centres.targets(given([0, 0, 8, 8, 0, 0], [0, 0, 8, 8, 1, 0]), (4, 4), 2, 3)
    assert made.heat[0, :, 2, 2].tolist() == [1, 1, 0]


def test_crowds_are_neither_learned_nor_forbidden():
    made = centres.targets(given([4, 4, 12, 12, 1, 1], [0, 0, 2, 2, 0, 0]), (8, 8), 2, 2)
    assert made.heat[0, 1].max() == 0 and (~made.counted).sum() == 16
    assert not made.counted[0, 1, 2:6, 2:6].any() and made.counted[0, 0].all()


def test_images_without_objects_have_no_heat():
    made = centres.targets(torch.zeros((2, 0, 6)), (4, 4), 2, 2)
    assert made.heat.shape == (2, 2, 4, 4) and not made.heat.any() and not made.near.any() and made.counted.all()
    made = centres.targets(given([0, 0, 0, 0, -1, 0]), (4, 4), 2, 2)
    assert not made.heat.any() and not made.near.any()


def outputs(boxes: torch.Tensor, grid: tuple[int, int], stride: int, n_classes: int) -> torch.Tensor:
    """What a perfect network gives."""
    made = centres.targets(boxes, grid, stride, n_classes)
    x, y = centres.middles(grid, stride, boxes.device)
    left, top, right, bottom = made.edges.unbind(1)
    sides = torch.stack([x - left, y[:, None] - top, right - x, bottom - y[:, None]], dim=1) / stride
    return torch.cat([torch.logit(made.heat, 1e-4), torch.log(torch.expm1(sides.clamp(min=1e-3)))], dim=1)


def test_a_perfect_network_gives_the_boxes_back():
    boxes = given([3, 4, 21, 18, 1, 0], [30, 10, 47, 31, 0, 0], [2, 22, 12, 30, 1, 0])
    scores, edges = centres.peaks(outputs(boxes, (16, 24), 2, 2), 2)
    (own,) = centres.found(scores, edges, (32, 48))
    sure = own.scores > 0.9
    order = own.boxes[sure][:, 0].argsort()
    torch.testing.assert_close(own.boxes[sure][order], boxes[0, [2, 0, 1], :4], atol=1e-3, rtol=0)
    assert own.classes[sure][order].tolist() == [1, 1, 0]


def test_no_more_than_a_hundred_boxes_none_outside_and_none_twice():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand((2, 3, 20, 30), generator=generator)
    edges = centres.edges_of(torch.randn((2, 4, 20, 30), generator=generator) * 3, 4)
    for own in centres.found(scores, edges, (78, 117)):
        assert 10 < len(own.boxes) <= MOST and (own.scores.diff() <= 0).all()
        assert own.boxes.min() >= 0 and own.boxes[:, 2].max() <= 117 and own.boxes[:, 3].max() <= 78
        assert len(batched_nms(own.boxes, own.scores, own.classes, centres.OVERLAP)) == len(own.boxes)
