"""Grad-CAM: equal to CAM in closed form on averaged maps, to a definition by hooks elsewhere; leaves no trace."""

import numpy as np
import pytest
import torch
from torch import nn

from gssl.data import Draws
from gssl.nets.backbone import build_backbone
from gssl.probe.classification import Classifier
from gssl.probe.saliency import NotPooled, grad_cam, linear_head
from gssl.schemas import Backbone


@pytest.fixture(params=["convnet", "vit_micro"])
def network(request):
    torch.manual_seed(0)
    norm, width = {"convnet": ("batch", 4), "vit_micro": ("none", 24)}[request.param]
    return build_backbone(Backbone(name=request.param, norm=norm, width=width, patch=8), 32)


def images(n=3, side=32):
    return torch.from_numpy(np.random.default_rng(0).random((n, 3, side, side), dtype=np.float32))


def test_a_linear_head_on_averaged_maps_gives_cam_in_closed_form(network):
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(4, network.dim)), rng.normal(size=4)
    x, classes = images(), torch.tensor([3, 0, 2])
    head = linear_head(weight, bias, np.arange(4), 4, torch.device("cpu"))
    found = grad_cam(network, head, x, classes)
    network.eval()
    with torch.no_grad():
        maps = network.dense(x)[-1].double().numpy()
    cam = np.einsum("bk,bkhw->bhw", weight[classes.numpy()], maps) / maps[0, 0].size
    np.testing.assert_allclose(found.numpy(), np.maximum(cam, 0), atol=1e-5 * np.abs(cam).max())
    assert (cam < 0).any() and (found > 0).any()  # both sides of the cut occur


def test_a_head_that_is_not_linear_equals_the_definition_by_hooks():
    torch.manual_seed(0)
    network = build_backbone(Backbone(name="convnet", norm="batch", width=4, patch=8), 32).eval()
    head = nn.Sequential(nn.Linear(network.dim, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    x, classes = images(), torch.tensor([1, 2, 0])
    found = grad_cam(network, head, x, classes)
    kept = []
    hook = network.blocks[-1].register_forward_hook(lambda module, args, out: (out.retain_grad(), kept.append(out))[1])
    for image, c, expected in zip(x, classes, found, strict=True):  # one by one: images do not meddle with each other
        kept.clear()
        head(network(image[None]))[0, c].backward()
        alpha = kept[0].grad.mean((2, 3), keepdim=True)
        torch.testing.assert_close((alpha * kept[0].detach()).sum(1)[0].relu(), expected)
    hook.remove()


def test_no_trace_is_left(network):
    model = Classifier(network, 3, Draws(0)).train()
    network.eval()  # modes that differ within one network
    next(network.children()).train()
    before = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():  # asked for while nothing records gradients
        first = grad_cam(model.backbone, model.head, images(), torch.tensor([0, 1, 2]))
    assert first.shape[0] == 3 and (first >= 0).all() and not first.requires_grad
    assert [m.training for m in model.modules()] == before
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())  # batch statistics too
    again = grad_cam(model.backbone, model.head, images(), torch.tensor([0, 1, 2]))
    assert torch.equal(first, again)


def test_modes_come_back_after_an_error(network):
    network.train()
    with pytest.raises(IndexError):
        grad_cam(network, lambda features: features[:, [10**6]], images(), torch.tensor([0, 0, 0]))
    assert all(m.training for m in network.modules())


def test_features_that_are_no_mean_of_the_last_stage_are_refused(network):
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network

        def dense(self, x):
            return self.net.dense(x)

        def forward(self, x):
            return nn.functional.layer_norm(self.net(x) + 1, (self.net.dim,))

    head = nn.Linear(network.dim, 2)
    grad_cam(network, head, images(), torch.tensor([0, 1, 1]))
    with pytest.raises(NotPooled, match="mean of its last stage"):
        grad_cam(Normed(), head, images(), torch.tensor([0, 1, 1]))


def test_classes_without_a_row_have_empty_maps_and_never_win():
    torch.manual_seed(0)
    network = build_backbone(Backbone(name="convnet", norm="batch", width=4, patch=8), 32)
    head = linear_head(np.ones((2, network.dim)), np.zeros(2), np.array([0, 2]), 3, torch.device("cpu"))
    assert head(torch.randn(5, network.dim)).argmax(1).ne(1).all()
    assert grad_cam(network, head, images(), torch.tensor([1, 1, 1])).eq(0).all()
