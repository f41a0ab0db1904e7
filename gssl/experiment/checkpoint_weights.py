"""Weights out of the middle of a run: what the run would have exported, had it ended at one of its checkpoints."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from gssl import schemas
from gssl.config import registry
from gssl.config.validate import first_line, section
from gssl.data import Draws, Splits
from gssl.engine import checkpoint
from gssl.engine.device import Precision
from gssl.engine.files import read_json
from gssl.engine.optim import Optimizer
from gssl.errors import UsageError
from gssl.experiment import continued, teacher, weight_sources
from gssl.experiment.trained import splits_of
from gssl.experiment.weight_sources import WeightSource
from gssl.method import Context
from gssl.nets.norms import keep_statistics, recompute_batch_norm
from gssl.nets.tensors import load_tensors
from gssl.nets.weights import State, as_stored


def resolve(origin: WeightSource, device: torch.device, splits: Splits | None = None) -> WeightSource:
    """`origin` with its weights at hand where it is a checkpoint, so that `weight_sources.build` reads nothing more.

    The run's method is built again from its config.yaml and filled; batch-norm statistics are recomputed on the run's
    own training images as its export does. Any other source comes back as it is. Raises UsageError where the run's
    images or its configuration are not what they were. `splits`: the run's own images, where they are at hand.
    """
    if origin.kind != "checkpoint":
        return origin
    return replace(origin, kept={"state": weights_of(origin, device, splits)})


def weights_of(origin: WeightSource, device: torch.device, splits: Splits | None = None) -> State:
    """The exported network's tensors, as they would stand in the run's weights/backbone.safetensors."""
    assert origin.path is not None and origin.backbone is not None
    run = origin.path.absolute().parent.parent
    written = weight_sources.read_config(run)
    family = next(name for name in registry.FAMILIES if name in written)
    entry = registry.FAMILIES[family].get(written[family]["name"])
    if entry is None:
        raise UsageError(f"weights={origin.path}: this version of gssl has no {family}={written[family]['name']}")
    try:
        cfg = section(entry.schema, written[family])
    except UsageError as error:
        raise _other_version(origin, str(error)) from error
    known = ((read_json(run / "status.json") or {}).get("inputs") or {}).get("images")
    if splits is None or splits.hash != known:
        splits, _ = splits_of(run)
    draws, side = Draws(written["seed"]), weight_sources.side_of(written)
    with torch.random.fork_rng(devices=[]):  # first weights, which are overwritten
        taught: dict[str, Any] = {}
        if source := teacher.find(cfg):  # its dimension is that of the method's head
            taught["teacher"], _ = teacher.made(resolve(source, device), cfg, device)
        method, labels = _method(entry, cfg, origin, splits, side, draws, device, taught)
    try:
        method.load_state_dict(load_tensors(origin.path / "model.safetensors", device=str(device)))
    except (OSError, SafetensorError) as error:  # a run that goes on has removed it
        raise UsageError(f"weights={origin.path}: this checkpoint has vanished; take a newer one") from error
    except RuntimeError as error:
        raise _other_version(origin, first_line(error)) from error
    network = weight_sources.exported(method)
    if continued.kept(written["weights"], written.get("continued", {}).get("batch_statistics", "trained")):
        keep_statistics(network)
    images = splits.train if labels else splits.pretrain
    recompute_batch_norm(network, weight_sources.centred(images, draws, side, device))
    return State(as_stored(network))


def method_of(origin: WeightSource, device: torch.device) -> tuple[Any, int]:
    """The whole GAN of a finished run at the step that it exported, in evaluation mode, and the side of its images.

    Networks that a run does not export, such as a BiGAN's discriminator of pairs, are in its checkpoints alone. Raises
    UsageError where there is none of that step.
    """
    run = origin.path
    assert run is not None
    written, result = weight_sources.read_config(run), read_json(run / "result.json") or {}
    entry, side = registry.GAN[written["gan"]["name"]], weight_sources.side_of(written)
    made = read_json(run / "weights" / "generator.json") or {}
    state, about = exported_state(run, result.get("exported") or {}, device)
    if state is None:
        raise UsageError(f"weights={run}: its discriminator is kept in the checkpoints alone, and {about}")
    shape = made["shape"]
    with torch.random.fork_rng(devices=[]):  # first weights, which are overwritten
        context = Context(
            draws=Draws(written["seed"]),
            device=device,
            size=side,
            channels=shape["channels"],
            classes=shape["classes"],
            optimizer=partial(Optimizer, device=device, precision=Precision("fp32", device)),
        )
        blank = origin.blank(schemas.Backbone.model_construct(), side)
        method = registry.load(entry.where)(section(entry.schema, written["gan"]), blank, context)
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise _other_version(origin, first_line(error)) from error
    return method.to(memory_format=torch.channels_last).eval().requires_grad_(False), side


def exported_state(
    run: Path, exported: Mapping[str, Any], device: torch.device
) -> tuple[dict[str, torch.Tensor] | None, str]:
    """The tensors of a GAN run's whole method at the step that it exported, and where they are; or None and why."""
    folder = run / "checkpoints"
    if exported.get("which") == "best":
        name, found = "checkpoints/best", checkpoint.read_best(folder, device)
    else:
        path = checkpoint.newest(folder)[0]
        name = f"checkpoints/{path.name}" if path else ""
        found = checkpoint.read(path, device)[::2] if path else None
    if found is None or found[1].get("step") != exported.get("step"):
        return None, "there is none of the exported step"
    return found[0], name


def _method(
    entry: registry.Entry,
    cfg: Any,
    origin: WeightSource,
    splits: Splits,
    size: int,
    draws: Draws,
    device: torch.device,
    taught: dict[str, Any],
) -> tuple[Any, bool]:
    """The method with random weights, and whether it reads labels."""
    cls = registry.load(entry.where)
    needs = cls.reads(cfg) if hasattr(cls, "reads") else cls.needs
    context = Context(
        draws=draws,
        device=device,
        size=size,
        channels=splits.pretrain.channels,
        classes=len(splits.classes),
        optimizer=partial(Optimizer, device=device, precision=Precision("fp32", device)),
        **taught,
    )
    method = cls(cfg, origin.blank(schemas.Backbone.model_construct(), size), context)
    method.to(memory_format=torch.channels_last)
    method.train()
    return method, "label" in needs


def _other_version(origin: WeightSource, why: str) -> UsageError:
    return UsageError(
        f"weights={origin.path}: this version of gssl builds the run's method otherwise ({why[:160]}); evaluate it with"
        " the version in the run's environment.json"
    )
