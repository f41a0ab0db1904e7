"""DINO: its loss and centre against lightly's, its teacher, its schedules."""

import copy

import pytest
import torch
import torch.nn.functional as F
from lightly.loss.dino_loss import DINOLoss
from torch import nn

from gssl.nets.ema import momentum
from gssl.ssl.dino import Prototypes, distillation, targets, warmed


@pytest.mark.parametrize(("n", "k", "cold", "hot"), [(2, 3, 0.1, 0.04), (16, 64, 0.1, 0.07), (5, 1000, 0.5, 0.2)])
def test_loss_gradient_and_centre_are_lightlys(n, k, cold, hot):
    g = torch.Generator().manual_seed(n)
    theirs = DINOLoss(k, warmup_teacher_temp=hot, teacher_temp=hot, student_temp=cold, center_momentum=0.8)
    center = torch.zeros(k)
    for _ in range(3):  # the centre of one step is taken off in the next
        teacher = [torch.randn(n, k, generator=g) + 1 for _ in range(2)]
        student = [torch.randn(n, k, generator=g).requires_grad_() for _ in range(2)]
        expected = theirs(teacher, student)
        t0, t1 = (targets(t, center, hot) for t in teacher)
        loss = (distillation(student[0], t1, cold) + distillation(student[1], t0, cold)) / 2
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        pairs = zip(torch.autograd.grad(loss, student), torch.autograd.grad(expected, student), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        center = center.lerp(torch.stack(teacher).mean((0, 1)), 1 - 0.8)
        torch.testing.assert_close(center, theirs.center.flatten(), rtol=1e-5, atol=1e-6)


def test_the_centre_takes_off_what_all_images_share():
    g = torch.Generator().manual_seed(0)
    logits, shared = torch.randn(6, 8, generator=g), torch.randn(8, generator=g)
    torch.testing.assert_close(targets(logits + shared, shared, 0.07), targets(logits, torch.zeros(8), 0.07))
    assert targets(logits, torch.zeros(8), 0.01).max(1).values.min() > targets(logits, torch.zeros(8), 1.0).max()


def test_the_centre_of_a_run_is_the_running_mean_of_what_the_teacher_says(build, batch):
    method = build("dino", "ssl.center_momentum=0.75", "backbone.norm=none")
    expected = torch.zeros(1024)
    for step, parts in enumerate((1, 1, 2)):
        views = batch(method, seed=step)
        method.optimizer.accumulate = parts
        with torch.no_grad():  # the teacher normalises by the part it reads
            said = [copy.deepcopy(method.teacher)(part) for v in method.needs for part in views[v].chunk(parts)]
        out = method.update(views, step)
        expected = 0.75 * expected + 0.25 * torch.cat(said).mean(0)
        torch.testing.assert_close(method.center, expected, rtol=1e-4, atol=1e-6)
    assert "center" not in out and "center" in method.state_dict()


def test_the_prototypes_are_torchs_weight_normalised_layer_of_length_one():
    ours = Prototypes(6, 10)
    linear = nn.Linear(6, 10, bias=False)
    linear.weight.data.copy_(ours.weight.data)
    theirs = nn.utils.parametrizations.weight_norm(linear)
    theirs.parametrizations.weight.original0.data.fill_(1).requires_grad_(False)
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    a, b = ours(z), theirs(F.normalize(z, dim=1))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    (found,) = torch.autograd.grad(a.square().sum(), [ours.weight])
    (expected,) = torch.autograd.grad(b.square().sum(), [theirs.parametrizations.weight.original1])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_prototypes_stand_still_at_first_and_then_learn(build, batch):
    method = build("dino", "ssl.freeze=0.2")

    def rotation_of():
        before = F.normalize(method.prototypes.weight.detach().clone(), dim=1)
        for step in range(2):
            method.update(batch(method, seed=step), step)
        return float((F.normalize(method.prototypes.weight.detach(), dim=1) - before).abs().max())

    method.optimizer.progress = 0.19
    assert rotation_of() < 1e-6
    method.optimizer.progress = 0.2
    assert rotation_of() > 1e-4


def test_the_teacher_follows_exactly_is_never_trained_and_is_exported(build, batch):
    method = build("dino", "ssl.momentum=0.9")
    method.optimizer.progress = 0.5
    before = copy.deepcopy(dict(method.teacher.module.named_parameters()))
    method.update(batch(method), 0)
    student = nn.Sequential(method.backbone, method.head, method.prototypes)
    decay = momentum(0.9, 0.5)
    trained = {id(p) for group in method.optimizer.inner.param_groups for p in group["params"]}
    assert trained == {id(p) for p in student.parameters()}
    for (name, mine), theirs in zip(method.teacher.module.named_parameters(), student.parameters(), strict=True):
        assert mine.grad is None and not mine.requires_grad
        torch.testing.assert_close(mine, decay * before[name] + (1 - decay) * theirs)
    exported = method.exported()
    assert exported is method.teacher.module[0] and type(exported) is type(method.backbone)


def test_the_teachers_temperature_rises_on_a_line_and_stays():
    assert warmed(0.04, 0.07, 0.5, 0.0) == pytest.approx(0.04)
    assert warmed(0.04, 0.07, 0.5, 0.25) == pytest.approx(0.055)
    assert warmed(0.04, 0.07, 0.5, 0.5) == warmed(0.04, 0.07, 0.5, 1.0) == 0.07
    assert warmed(0.04, 0.07, 0.0, 0.0) == 0.07


def test_the_warm_up_reaches_the_loss(build, batch):
    method = build("dino")
    views = batch(method)
    entropy = {}
    for progress in (0.0, 1.0):
        method.optimizer.progress = progress
        with torch.no_grad():
            entropy[progress] = float(method.loss(views)["target_entropy"])
    assert 0 <= entropy[0.0] < entropy[1.0] <= 1


def test_each_view_is_compared_with_the_targets_of_the_other(build, batch):
    method = build("dino", "ssl.momentum=1.0", "ssl.teacher_start=0.05", "ssl.teacher_temperature=0.05")
    views = batch(method)
    method.update(views, 0)  # student and teacher differ from here on, and the centre is not 0
    student = nn.Sequential(method.backbone, method.head, method.prototypes)
    with torch.no_grad():
        t0, t1 = (targets(method.teacher(views[v]), method.center, 0.05) for v in method.needs)
        s0, s1 = (student(views[v]) for v in method.needs)
        expected = (distillation(s0, t1, 0.1) + distillation(s1, t0, 0.1)) / 2
        torch.testing.assert_close(method.loss(views)["loss"], expected)
        assert not torch.isclose(expected, (distillation(s0, t0, 0.1) + distillation(s1, t1, 0.1)) / 2)
