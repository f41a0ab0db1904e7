"""Distillation: the losses against their definitions, what is trained, and what is not."""

import math

import pytest
import torch
import torch.nn.functional as F

from gssl.ssl.distill import cosine, pseudo_classes


def written_out(student, teacher, keys, student_t, teacher_t):
    """KL of two softmaxes over similarities, with loops and no torch function of it."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):

        def softmax(row, temperature):
            length = math.sqrt(sum(v * v for v in row))
            each = [
                math.exp(sum(a * b for a, b in zip(row, key, strict=True)) / length / temperature)
                for key in keys.tolist()
            ]
            return [value / sum(each) for value in each]

        p, q = softmax(t, teacher_t), softmax(s, student_t)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(student)


@pytest.mark.parametrize(("n", "d", "k", "temperatures"), [(2, 3, 4, (0.1, 0.1)), (7, 5, 16, (0.5, 0.2))])
def test_the_loss_is_its_definition_written_out(n, d, k, temperatures):
    g = torch.Generator().manual_seed(n)
    student, teacher = (3 * torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2))
    keys = F.normalize(torch.randn(k, d, generator=g, dtype=torch.float64), dim=1)
    ours = pseudo_classes(student.float(), teacher.float(), keys.float(), *temperatures)
    assert abs(float(ours) - written_out(student, teacher, keys, *temperatures)) < 1e-5


def test_its_gradient_is_that_of_torchs_cross_entropy_with_soft_labels_and_the_teacher_has_none():
    g = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 8, generator=g).requires_grad_() for _ in range(2))
    keys = F.normalize(torch.randn(10, 8, generator=g), dim=1)
    mine = torch.autograd.grad(pseudo_classes(student, teacher, keys, 0.1, 0.2), [student, teacher], allow_unused=True)
    soft = (F.normalize(teacher, dim=1) @ keys.T / 0.2).softmax(1).detach()
    loss = F.cross_entropy(F.normalize(student, dim=1) @ keys.T / 0.1, soft)  # differs by the teacher's entropy
    torch.testing.assert_close(mine[0], torch.autograd.grad(loss, student)[0], rtol=1e-4, atol=1e-6)
    assert mine[1] is None


def test_both_losses_are_nothing_where_the_two_agree_and_lengths_do_not_matter():
    g = torch.Generator().manual_seed(0)
    z, keys = torch.randn(6, 8, generator=g), F.normalize(torch.randn(10, 8, generator=g), dim=1)
    assert abs(float(pseudo_classes(5 * z, z, keys, 0.1, 0.1))) < 1e-6
    assert abs(float(cosine(5 * z, z))) < 1e-6 and abs(float(cosine(-z, z)) - 2) < 1e-6


@pytest.mark.parametrize("loss", ["kl", "cosine"])
def test_the_features_come_nearer_to_the_teachers(loss, build, batch):
    method = build("distill", f"ssl.loss={loss}", "ssl.optim.lr=0.01", "ssl.queue=64")
    first = method.update(batch(method, 16, seed=0), 0)
    for step in range(1, 30):
        out = method.update(batch(method, 16, seed=step % 4), step)
    assert float(out["teacher_cosine"]) > float(first["teacher_cosine"]) + 0.1
    assert float(out["loss"]) < float(first["loss"])


def test_the_teacher_is_neither_saved_nor_trained_nor_put_into_training_mode(build, batch):
    method = build("distill")
    method.train()
    teacher = method.teachers[0]
    assert not teacher.training and not any("teacher" in key for key in method.state_dict())
    trained = {id(p) for group in method.optimizer.inner.param_groups for p in group["params"]}
    assert trained == {id(p) for p in [*method.backbone.parameters(), *method.head.parameters()]}
    assert method.head[-1].out_features == teacher.dim


def test_an_image_is_compared_with_features_of_earlier_ones_only(build, batch):
    method = build("distill", "ssl.queue=40")
    images = batch(method, 8)
    old = method.queue.keys.clone()
    method.loss(images)
    wanted = F.normalize(method.teachers[0](images[method.needs[0]]), dim=1)
    torch.testing.assert_close(method.queue.keys[:8], wanted)
    assert torch.equal(method.queue.keys[8:], old[8:])


@pytest.mark.parametrize(("colours", "name"), [("true", "view0"), ("false", "crop0")])
def test_it_reads_one_view_with_or_without_changed_colours(colours, name, build):
    assert build("distill", f"ssl.colours={colours}").needs == (name,)
