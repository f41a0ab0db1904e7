"""LARS: SGD whose step per layer is scaled to the layer's weights (You et al. 2017, arXiv:1708.03888)."""

from typing import Any

import torch

TRUST = 0.02  # the coefficient η of published CIFAR-10 recipes (solo-learn)
EPSILON = 1e-8


class LARS(torch.optim.Optimizer):
    """g ← trust · (∇ + λw) with trust = η‖w‖ / (‖∇‖ + λ‖w‖); then momentum and a step of size lr.

    Only groups with `adapt=True` are scaled; biases and norm layers take SGD with momentum. `clip`: trust ←
    min(trust / lr, 1), so that a step is trust · g and never more than SGD's (LARC); the published CIFAR-10
    recipes that name LARS were trained so (solo-learn's `clip_lr`).
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, clip: bool = True) -> None:
        self.clip = clip
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "adapt": False})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad.clone() for p in params]
            decay = group["weight_decay"]
            if group["adapt"]:
                of_weights, of_grads = (torch.stack(torch._foreach_norm(t)) for t in (params, grads))
                trust = TRUST * of_weights / (of_grads + decay * of_weights + EPSILON)
                if self.clip and group["lr"] > 0:
                    trust = (trust / group["lr"]).clamp_max(1)
                # a layer that is all zero, or has no gradient, takes a step of SGD
                trust = torch.where((of_weights > 0) & (of_grads > 0), trust, torch.ones_like(trust))
            if decay:
                torch._foreach_add_(grads, params, alpha=decay)
            if group["adapt"]:
                torch._foreach_mul_(grads, list(trust.unbind()))
            buffers = []
            for p, grad in zip(params, grads, strict=True):
                state = self.state[p]
                if "momentum_buffer" in state:
                    state["momentum_buffer"].mul_(group["momentum"]).add_(grad)
                else:
                    state["momentum_buffer"] = grad
                buffers.append(state["momentum_buffer"])
            torch._foreach_add_(params, buffers, alpha=-group["lr"])
