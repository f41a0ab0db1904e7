"""What `gssl.engine.dist` does where there are several processes: messages with gradients, global batch norm, DDP."""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import torch
import torch.distributed as torchs
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from gssl.engine import dist
from gssl.errors import UsageError

GLOBAL: list[bool] = []  # not empty while batch norms take the statistics of all processes


class _Sum(torch.autograd.Function):
    """The sum over processes. Its gradient is the sum of the processes' gradients, and so on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone(memory_format=torch.contiguous_format)
        torchs.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        summed: Tensor = _Sum.apply(grad)
        return summed


class _Gather(torch.autograd.Function):
    """The rows of all processes, in order of their ranks, which is that of the images."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.detach().contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.processes())]
        torchs.all_gather(parts, x)
        ctx.count = len(x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        start = dist.rank() * ctx.count
        summed: Tensor = _Sum.apply(grad)
        return summed[start : start + ctx.count]


def gathered(x: Tensor) -> Tensor:
    """(B/N, …) → (B, …). Each process then computes the whole loss; DDP's mean undoes the N-fold gradient."""
    found: Tensor = _Gather.apply(x)
    return found


def averaged(x: Tensor) -> Tensor:
    found: Tensor = _Sum.apply(x) / dist.processes()
    return found


class _Global(_BatchNorm):
    """Batch norm by the mean and variance of all processes' images: on any device, any number of times differentiable.

    In evaluation mode, or outside of `dist.whole_batch`, it is the batch norm that it was.
    """

    own: ClassVar[type[_BatchNorm]]  # what it was

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        if not (GLOBAL and self.training):
            return super().forward(input)
        self._check_input_dim(input)
        dims = [0, *range(2, input.ndim)]
        x = input if input.dtype == torch.float64 else input.float()
        shape = [1, -1, *[1] * (x.ndim - 2)]
        # one message: each process's means and variances, merged as Chan, Golub and LeVeque do
        own_var, own_mean = torch.var_mean(x, dims, correction=0)
        means, variances = gathered(torch.stack([own_mean, own_var])[None]).unbind(1)
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)
        centred = x - mean.view(shape)
        self._follow(mean.detach(), var.detach(), x.numel() // x.shape[1] * dist.processes())
        out = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        """The running statistics."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        part = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), part)
        self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), part)


class _Activated(_Global):
    """timm's batch norm, which has its activation in it."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        out = super().forward(input)
        return self.act(self.drop(out)) if GLOBAL and self.training else out


@cache
def _global(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    """The class that takes the place of a batch norm's. Raises UsageError for one that is not known."""
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d):
        return type(f"Global{kind.__name__}", (_Global, kind), {"own": kind})
    if kind.__name__ == "BatchNormAct2d" and kind.__module__.startswith("timm."):
        return type(f"Global{kind.__name__}", (_Activated, kind), {"own": kind})
    raise UsageError(
        f"engine.processes: the network's {kind.__name__} cannot take the statistics of all processes' images; use"
        " engine.processes=1, or another backbone"
    )


def globalise(module: nn.Module) -> None:
    """Swap the class of each batch norm; parameters, buffers and their names stay. Raises UsageError."""
    for part in module.modules():
        if isinstance(part, _BatchNorm) and not isinstance(part, _Global):
            part.__class__ = _global(type(part))  # type: ignore[arg-type]  # mypy doubts that a class can be hashed


def localise(module: nn.Module) -> None:
    """Give each batch norm its own class back."""
    for part in module.modules():
        if isinstance(part, _Global):
            part.__class__ = part.own  # type: ignore[assignment]


class _Call(nn.Module):
    """A loss as a module that owns the parameters."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__()
        self.params = nn.ParameterList(params)

    def forward(self, loss: Callable[[Any], Any], batch: Any) -> Any:
        return loss(batch)


def parallel(params: list[nn.Parameter]) -> DistributedDataParallel:
    return DistributedDataParallel(_Call(params), gradient_as_bucket_view=True)
