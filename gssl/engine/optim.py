"""Optimisers: the schedule is a pure function of progress; accumulation, scaling and clipping are done here."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.engine import dist
from gssl.engine.device import Precision
from gssl.method import Batch, LossFn
from gssl.nets import updates


def lr_factor(progress: float, warmup: float, schedule: str) -> float:
    """The learning rate as a fraction of its peak at `progress` in [0, 1]: linear warm-up, then the schedule."""
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup) if warmup < 1 else 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
    return max(1 - rest, 0.0) if schedule == "linear" else 1.0


def _inner(groups: list[dict[str, Any]], cfg: schemas.Optim, device: torch.device, fused: bool) -> Any:
    if cfg.name == "lars":
        from gssl.engine.lars import LARS  # torch's optimisers, which it is one of, import a compiler

        return LARS(groups, lr=cfg.lr, momentum=cfg.momentum)
    if device.type == "cpu":
        return updates.make(cfg.name, groups, cfg.lr, cfg.momentum, (cfg.betas[0], cfg.betas[1]), fused)
    return _torchs(groups, cfg, (fused and device.type == "cuda") or None)  # None: torch's choice


def _torchs(groups: list[dict[str, Any]], cfg: schemas.Optim, fused: bool | None) -> torch.optim.Optimizer:
    if cfg.name == "sgd":
        return torch.optim.SGD(groups, lr=cfg.lr, momentum=cfg.momentum, fused=fused)
    kind = torch.optim.Adam if cfg.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=cfg.lr, betas=(cfg.betas[0], cfg.betas[1]), fused=fused)


def parameter_groups(
    params: Iterable[nn.Parameter],
    cfg: schemas.Optim,
    steady: Iterable[nn.Parameter] = (),
    lr_scales: Mapping[nn.Parameter, float] | None = None,
) -> list[dict[str, Any]]:
    """Groups for torch's optimisers. Weight decay applies to matrices and kernels, not to biases and norm layers."""
    constant = {id(p) for p in steady}
    kinds: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for p in params:
        kinds.setdefault((id(p) in constant, (lr_scales or {}).get(p, 1.0)), []).append(p)
    groups: list[dict[str, Any]] = []
    for still, scale in sorted(kinds, key=lambda kind: kind[0]):
        mine, common = kinds[still, scale], {"steady": still, "lr_scale": scale}
        adapt = {"adapt": True} if cfg.name == "lars" else {}
        matrices, vectors = [p for p in mine if p.ndim > 1], [p for p in mine if p.ndim <= 1]
        groups.append({"params": matrices, "weight_decay": cfg.weight_decay, **common, **adapt})
        groups.append({"params": vectors, "weight_decay": 0.0, **common})
    return [group for group in groups if group["params"]]


class Optimizer:
    """One optimiser with its schedule. The loop sets `progress` before every update."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        cfg: schemas.Optim,
        *,
        device: torch.device,
        precision: Precision,
        accumulate: int = 1,
        steady: Iterable[nn.Parameter] = (),
        lr_scales: Mapping[nn.Parameter, float] | None = None,
        factor: Callable[[float], float] | None = None,
        fused: bool = True,
    ) -> None:
        """`steady`: those of `params` whose learning rate stays at its peak after the warm-up.

        `lr_scales`: factors of the learning rate of single parameters; 1 where there is none. `factor`: the learning
        rate as a fraction of its peak by progress, in place of `cfg.warmup` and `cfg.schedule`. `fused`: one kernel
        for all parameters where the device has one; its results differ from the single kernels' in last digits.
        """
        self.params = [p for p in params if p.requires_grad]
        self.cfg = cfg
        groups = parameter_groups(self.params, cfg, steady, lr_scales)
        self.inner = _inner(groups, cfg, device, fused)
        self.precision = precision
        self.accumulate = accumulate
        self.scaler = precision.scaler()
        self.together = dist.Together(self.params)
        self.factor = factor or (lambda progress: lr_factor(progress, cfg.warmup, cfg.schedule))
        self.progress = 0.0

    @property
    def lr(self) -> float:
        """The learning rate now, of parameters without a scale of their own."""
        return self.cfg.lr * self.factor(self.progress)

    def minimize(self, loss: LossFn, batch: Batch) -> dict[str, Tensor]:
        """One step on `loss(batch)["loss"]`, computed in `accumulate` micro-batches.

        Returns the detached means, over micro-batches and processes, of all that the loss returned. Contrastive losses
        compare with the negatives of their micro-batch only.
        """
        constant = lr_factor(self.progress, self.cfg.warmup, "constant")
        factor = self.factor(self.progress)
        for group in self.inner.param_groups:
            group["lr"] = self.cfg.lr * group["lr_scale"] * (constant if group["steady"] else factor)
        self.inner.zero_grad(set_to_none=True)
        total: dict[str, Tensor] = {}
        size = _length(batch)
        parts = split(batch, self.accumulate)
        for i, part in enumerate(parts):
            weight = _length(part) / size  # the last part may be smaller
            with self.together.unsynchronised(more=i < len(parts) - 1):
                with self.precision.autocast(), dist.whole_batch():
                    out = self.together(loss, part)
                if "loss" not in out or out["loss"].numel() != 1:
                    raise TypeError(f'a loss function returned {", ".join(out)}; a scalar "loss" must be among them')
                self.scaler.scale(out["loss"] * weight).backward()
            for key, value in out.items():
                mean = value.detach() * weight
                total[key] = total[key] + mean if key in total else mean
        if self.cfg.clip is not None:
            self.scaler.unscale_(self.inner)
            nn.utils.clip_grad_norm_(self.params, self.cfg.clip)
        self.scaler.step(self.inner)
        self.scaler.update()
        return dist.means(total)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able rest of the optimiser's state."""
        tensors: dict[str, Tensor] = {}
        rest: dict[str, Any] = {"scaler": self.scaler.state_dict(), "state": {}}
        for index, entry in self.inner.state_dict()["state"].items():
            for key, value in entry.items():
                if isinstance(value, Tensor):
                    tensors[f"{index}.{key}"] = value
                else:
                    rest["state"][f"{index}.{key}"] = value
        return tensors, rest

    def load(self, tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
        """The inverse of `state`."""
        full = self.inner.state_dict()
        state: dict[int, dict[str, Any]] = {}
        flat = [p for group in self.inner.param_groups for p in group["params"]]
        for name, value in (*tensors.items(), *rest["state"].items()):
            index, key = name.split(".", 1)
            if isinstance(value, Tensor) and value.ndim > 0:
                # keep the parameter's memory format: a fused step mixes no layouts
                value = torch.empty_like(flat[int(index)]).copy_(value)
            state.setdefault(int(index), {})[key] = value
        self.inner.load_state_dict({"state": state, "param_groups": full["param_groups"]})
        if rest["scaler"]:
            self.scaler.load_state_dict(rest["scaler"])


class Optimizers:
    """Makes the optimisers of a training and keeps them in `made`, to be scheduled and saved together."""

    def __init__(self, device: torch.device, precision: Precision, accumulate: int, fused: bool = True) -> None:
        self.device, self.precision, self.accumulate, self.fused = device, precision, accumulate, fused
        self.made: list[Optimizer] = []

    def __call__(
        self,
        params: Iterable[nn.Parameter],
        cfg: schemas.Optim,
        steady: Iterable[nn.Parameter] = (),
        lr_scales: Mapping[nn.Parameter, float] | None = None,
        factor: Callable[[float], float] | None = None,
    ) -> Optimizer:
        """As `Optimizer` takes them."""
        made = Optimizer(
            params,
            cfg,
            device=self.device,
            precision=self.precision,
            accumulate=self.accumulate,
            steady=steady,
            lr_scales=lr_scales,
            factor=factor,
            fused=self.fused,
        )
        self.made.append(made)
        return made


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def split(batch: Batch, parts: int) -> list[Batch]:
    """The batch cut into `parts` micro-batches along the first dimension, of sizes that differ by one at most."""
    parts = min([parts, *map(len, batch.values())])
    if parts == 1:
        return [batch]
    cut = {key: value.tensor_split(parts) for key, value in batch.items()}
    return [{key: chunks[i] for key, chunks in cut.items()} for i in range(parts)]
