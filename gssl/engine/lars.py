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
            grads: list[Any] = [p.grad for p in params]  # no clones: what changes them makes new ones
            decay = group["weight_decay"]
            if group["adapt"]:
                of_weights, of_grads = (torch.stack(torch._foreach_norm(t)) for t in (params, grads))
                trust = TRUST * of_weights / (of_grads + decay * of_weights + EPSILON)
                if self.clip and group["lr"] > 0:
                    trust = (trust / group["lr"]).clamp_max(1)
                # a layer that is all zero, or has no gradient, takes a step of SGD
                trust = torch.where((of_weights > 0) & (of_grads > 0), trust, torch.ones_like(trust))
            if decay:
                grads = list(torch._foreach_add(grads, params, alpha=decay))
            if group["adapt"]:
                grads = list(torch._foreach_mul(grads, list(trust.unbind())))
            torch._foreach_add_(params, self._with_momentum(params, grads, group["momentum"]), alpha=-group["lr"])

    def _with_momentum(self, params: list[Any], grads: list[Any], momentum: float) -> list[Any]:
        """The momentum buffers of `params`, with `grads` in them."""
        states = [self.state[p] for p in params]
        known = [(state["momentum_buffer"], g) for state, g in zip(states, grads, strict=True) if state]
        for p, state, grad in zip(params, states, grads, strict=True):
            if not state:
                state["momentum_buffer"] = grad.clone() if grad is p.grad else grad
        if known:
            buffers, new = map(list, zip(*known, strict=True))
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, new)
        return [state["momentum_buffer"] for state in states]
