"""SGD, Adam and AdamW for weights on a CPU, to the bit as torch's optimisers, with their state under the same names.

torch's own import its compiler at their first step: 1.2 s of processor where importing torch takes 1.6, in every
process, and nothing here is compiled.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-8
Group = dict[str, Any]  # "params", and what differs from the defaults


class _Updates:
    """What all have in common: groups of parameters, and a state for each parameter once it had a gradient."""

    def __init__(self, groups: Iterable[Group], defaults: dict[str, Any], fused: bool) -> None:
        self.param_groups: list[Group] = [{**defaults, **group, "params": list(group["params"])} for group in groups]
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.fused = fused

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, which are None then."""
        assert set_to_none
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter with a gradient."""
        for group in self.param_groups:
            params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if params:
                states = [self.state.setdefault(p, {}) for p in params]
                self._update(group, params, [p.grad for p in params], states)  # type: ignore[misc]

    def _update(self, group: Group, params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """As of torch's optimisers: states by the parameters' numbers, and the groups with numbers for parameters."""
        numbers = {p: i for i, p in enumerate(self._flat())}
        groups = [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[p]: state for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, found: dict[str, Any]) -> None:
        """The inverse of `state_dict`; tensors of the state are taken as they are."""
        params = self._flat()
        self.state = {params[number]: dict(state) for number, state in found["state"].items()}
        for group, read in zip(self.param_groups, found["param_groups"], strict=True):
            group.update({key: value for key, value in read.items() if key != "params"})

    def _flat(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]


class SGD(_Updates):
    """With momentum; weight decay is added to the gradient."""

    def __init__(self, groups: Iterable[Group], lr: float, momentum: float = 0.0, fused: bool = True) -> None:
        """fused: one kernel for all parameters, whose results differ from single kernels' in last digits."""
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0}, fused)

    def _update(self, group: Group, params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]) -> None:
        lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
        if self.fused:
            # the parameters that come late begin like torch's: all of a group are new, or a buffer is there
            first = momentum != 0 and all("momentum_buffer" not in state for state in states)
            if first:
                for grad, state in zip(grads, states, strict=True):
                    state["momentum_buffer"] = torch.empty_like(grad)
            buffers = [state["momentum_buffer"] for state in states] if momentum else []
            torch._fused_sgd_(
                params, grads, buffers, weight_decay=decay, momentum=momentum, lr=lr, dampening=0.0, nesterov=False,
                maximize=False, is_first_step=first,
            )  # fmt: skip
            return
        for p, grad, state in zip(params, grads, states, strict=True):
            if decay:
                grad = grad.add(p, alpha=decay)
            if momentum and "momentum_buffer" in state:
                grad = state["momentum_buffer"].mul_(momentum).add_(grad, alpha=1)
            elif momentum:
                grad = state["momentum_buffer"] = grad.clone()
            p.add_(grad, alpha=-lr)


class Adam(_Updates):
    """Adam, or AdamW where weights decay by themselves (`decoupled`)."""

    def __init__(
        self,
        groups: Iterable[Group],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        fused: bool = True,
        decoupled: bool = False,
    ) -> None:
        """fused: as of `SGD`."""
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0}, fused)
        self.decoupled = decoupled

    def _update(self, group: Group, params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]) -> None:
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        for p, state in zip(params, states, strict=True):
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        steps, means, squares = ([state[key] for state in states] for key in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1)
        if self.fused:
            kernel = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
            kernel(
                params, grads, means, squares, [], steps, lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay,
                eps=EPSILON, amsgrad=False, maximize=False,
            )  # fmt: skip
            return
        if decay and self.decoupled:
            torch._foreach_mul_(params, 1 - lr * decay)
        elif decay:
            grads = list(torch._foreach_add(grads, params, alpha=decay))
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, value=1 - beta2)
        counts = [step.item() for step in steps]
        scales = list(torch._foreach_sqrt(squares))
        torch._foreach_div_(scales, [(1 - beta2**count) ** 0.5 for count in counts])
        torch._foreach_add_(scales, EPSILON)
        torch._foreach_addcdiv_(params, means, scales, [-lr / (1 - beta1**count) for count in counts])


def make(
    name: str, groups: Iterable[Group], lr: float, momentum: float, betas: tuple[float, float], fused: bool
) -> Any:
    """The optimiser `name` (sgd, adam, adamw) for `groups` of weights on a CPU."""
    if name == "sgd":
        return SGD(groups, lr, momentum, fused)
    return Adam(groups, lr, betas, fused, decoupled=name == "adamw")


def of(module: nn.Module, decay: float) -> list[Group]:
    """All parameters of `module` as one group."""
    return [{"params": module.parameters(), "weight_decay": decay}]
