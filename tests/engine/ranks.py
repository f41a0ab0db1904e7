"""Methods trained for some steps by one process or several: what `test_together` compares, importable by processes."""

import traceback
from pathlib import Path
from typing import Any

import torch

from gssl.config import registry
from gssl.config.composing import compose
from gssl.data import Draws
from gssl.engine import dist
from gssl.engine.device import Precision
from gssl.engine.optim import Optimizer
from gssl.method import Context
from gssl.nets.backbone import build_backbone
from gssl.nets.log_mel import BandScale, SoundInputs
from gssl.vocabulary import ASSISTANT, FIRST, PAD, SEP, USER

CPU, SIZE, IMAGES, CLASSES = torch.device("cpu"), 16, 16, 4
Found = dict[str, Any]


class Taught(torch.nn.Module):
    """A teacher: 12 features of an image averaged to 2×2 positions."""

    dim = 12

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


def _configured(family: str, name: str, overrides: list[str]) -> Any:
    command = {"ssl": "pretrain-ssl", "gan": "train-gan"}[family]
    entry = registry.FAMILIES[family][name]
    data = {
        "image": [],
        "video": ["data=video"],
        "paired": ["data=paired"],
        "domain": ["data=unpaired", "gan.blocks=2"],
        "text": ["data=text", "data.tokenizer=byte"],
        "audio": ["data=audio"],
        "caption": ["data=imagetext"],
    }[entry.column]
    own = compose(command, [f"{family}={name}", *data]).backbone.name
    width = f"backbone.width={24 if own.startswith('vit') else 8}"
    more = {"bigan": ["gan.width_d=4"], "videogan": ["gan.motion=2", "gan.frames=4", "gan.motion_head=8"]}
    small = ["gan.width=4", "gan.latent=6", *more.get(name, [])] if family == "gan" else []
    return compose(command, [f"{family}={name}", *data, f"data.size={SIZE}", width, *small, *overrides])


def method_of(family: str, name: str, overrides: list[str]) -> Any:
    cfg = _configured(family, name, overrides)
    torch.manual_seed(0)
    backbone = build_backbone(cfg.backbone, SIZE)
    own = getattr(cfg, family)

    def optimizer(params: Any, optim: Any, steady: Any = ()) -> Optimizer:
        return Optimizer(params, optim, device=CPU, precision=Precision("fp32", CPU), steady=steady)

    def made(params: Any, optim: Any, steady: Any = ()) -> Optimizer:
        found = optimizer(params, optim, steady)
        found.progress = 0.5
        return found

    scale = None
    if registry.FAMILIES[family][name].column == "audio":  # as wide as high, of values like those of images
        backbone.inputs = SoundInputs(SIZE, 20.0, 8000, 160 * (SIZE - 1), 0.5, 0.25)
        scale = BandScale(8000, 20.0, 160 * (SIZE - 1), [0.5] * SIZE, [0.25] * SIZE)
    context = Context(
        Draws(0, dist.rank(), dist.processes()), CPU, SIZE, 3, CLASSES, made, teacher=Taught().eval(),
        vocab=FIRST + 256, caption_tokens=6,
        gather=dist.gather, mean=dist.mean, processes=dist.processes(), scale=scale,
    )  # fmt: skip
    method = registry.load(registry.FAMILIES[family][name].where)(own, backbone, context)
    method.to(memory_format=torch.channels_last).train()
    dist.globalise(method)
    return method


def batch_of(needs: tuple[str, ...], step: int) -> dict[str, torch.Tensor]:
    """This process's part of a batch of smooth coloured images under the names that a method needs."""
    g = torch.Generator().manual_seed(step)
    base = torch.rand(IMAGES, 3, 4, 4, generator=g, dtype=torch.float32)
    smooth = torch.nn.functional.interpolate(base, size=(SIZE, SIZE), mode="bilinear")
    found = {}
    for name in sorted({*needs, "label"}):
        noise = 0.05 * torch.randn(IMAGES, 3, SIZE, SIZE, generator=g, dtype=torch.float32)
        image = (smooth + noise).clamp(0, 1).to(torch.get_default_dtype())
        found[name] = torch.arange(IMAGES) % CLASSES if name == "label" else image
        if name in ("tokens", "dialogue", "pair"):  # bytes, and rows of unlike lengths
            ids = torch.randint(FIRST, FIRST + 256, (IMAGES, SIZE), generator=g)
            found[name] = ids.where(torch.arange(SIZE) < 4 + torch.arange(IMAGES)[:, None] % 12, PAD)
        if name in ("caption", "captions"):  # of captions there are two, of which one or the other was drawn
            ids = torch.randint(FIRST, FIRST + 256, (IMAGES, 2, 5), generator=torch.Generator().manual_seed(step))
            found["caption"], found["captions"] = ids[torch.arange(IMAGES), torch.arange(IMAGES) % 2], ids
        if name == "dialogue":
            found[name][:, 0], found[name][:, 2] = USER, ASSISTANT
        if name == "pair":
            found[name][:, 2] = SEP
    part = IMAGES // dist.processes()
    mine = slice(dist.rank() * part, (dist.rank() + 1) * part)
    return {
        key: value[mine].contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value[mine]
        for key, value in found.items()
    }


def trained(family: str, name: str, overrides: list[str], steps: int, double: bool) -> Found:
    """What every step returned, and the state afterwards."""
    method = method_of(family, name, overrides)
    if double:
        method.double()
        method.to(memory_format=torch.channels_last)
    logs = []
    for step in range(steps):
        out = method.update(batch_of(method.needs, step), step)
        logs.append({key: value.detach().clone() for key, value in out.items()})
    return {"logs": logs, "state": {key: value.clone() for key, value in method.state_dict().items()}}


def doubled() -> None:
    """Everything in float64 from now on, in this process: casts to float32 keep it, draws are cast up."""
    torch.set_default_dtype(torch.float64)
    single = torch.Tensor.float

    def kept(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return x if x.dtype == torch.float64 else single(x, *args, **kwargs).double()

    torch.Tensor.float = kept  # type: ignore[method-assign, assignment]
    local = Draws._local

    def up(self: Draws, values: Any, shape: Any) -> torch.Tensor:
        found = local(self, values, shape)
        return found.double() if found.is_floating_point() else found

    Draws._local = up  # type: ignore[method-assign]


def main(
    own: int, count: int, folder: str, recipes: list[tuple[str, str, list[str]]], steps: int, double: bool
) -> None:
    """Rank `own` of `count`: a file per recipe, of what `trained` returns or of the traceback."""
    torch.set_num_threads(1)
    if double:
        doubled()
    if count > 1:
        dist.join(own, count, f"file://{folder}/meeting")
    for family, name, overrides in recipes:
        try:
            found = trained(family, name, overrides, steps, double)
        except Exception:
            found = {"error": traceback.format_exc()}
        torch.save(found, Path(folder) / f"{'-'.join([family, name, *overrides]).replace('/', '')}.{own}.pt")
        if "error" in found and count > 1:
            break  # the others wait in vain: their messages end after `dist.SILENT`
    if count > 1:
        dist.leave()
