"""`weights=` means the same everywhere: random, torchvision, a run directory or a file of weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gssl.config import schema
from gssl.engine.files import read_json, sha256, write_json
from gssl.errors import UsageError
from gssl.nets.backbone import Backbone, build_backbone
from gssl.nets.norms import recompute_batch_norm
from gssl.nets.weights import load_into, read_weights, save_weights


@dataclass(frozen=True)
class Source:
    """Where a backbone's weights come from. `backbone` and `size` are set where the source says what it is."""

    kind: str  # random | torchvision | run | file
    path: Path | None = None
    method: str | None = None
    sha256: str | None = None
    backbone: schema.Backbone | None = None
    size: int | None = None
    seed: int | None = None

    def record(self) -> dict[str, Any]:
        """For result.json."""
        path = str(self.path) if self.path else None
        return {"kind": self.kind, "path": path, "method": self.method, "sha256": self.sha256}


def find(weights: str) -> Source:
    """Look a `weights=` value up; reads descriptions only. Raises UsageError where nothing usable is there."""
    if weights in ("random", "torchvision"):
        return Source(weights)
    path = Path(weights).expanduser()
    if not path.exists():
        raise UsageError(
            f"weights={weights}: no such file or directory; expected random, torchvision, a run directory,"
            " or a .safetensors file"
        )
    if path.is_file():
        return _described(Source("file", path, sha256=sha256(path)), read_json(path.with_suffix(".json")))
    status = read_json(path / "status.json")
    if not status:
        raise UsageError(f"weights={weights}: not a run directory (no status.json in it)")
    file = path / "weights" / "backbone.safetensors"
    if not file.is_file():
        raise UsageError(
            f"weights={weights}: this {status['command']} run is {status['state']} and has no exported backbone;"
            " finish it with engine.resume=auto first"
        )
    return _described(Source("run", path, sha256=sha256(file)), read_json(file.with_suffix(".json")))


def _described(source: Source, text: Any) -> Source:
    if not isinstance(text, dict) or text.get("schema") != "gssl.weights/1":
        return source
    if text["sha256"] != source.sha256:
        raise UsageError(f"weights={source.path}: the weights' sha256 is not the one on record: damaged or replaced")
    return Source(
        source.kind,
        source.path,
        text["method"],
        source.sha256,
        schema.Backbone(**text["backbone"]),
        text["size"],
        text["seed"],
    )


def build(
    source: Source, cfg: schema.Backbone, size: int, seed: int, allow_partial: bool = False
) -> tuple[Backbone, dict[str, Any]]:
    """A backbone filled from its source, and the load report for result.json.

    The network is the source's own where the source describes it, else `cfg`'s. `seed` decides the random part.
    """
    torch.manual_seed(seed)
    network = build_backbone(source.backbone or cfg, source.size or size)
    report: dict[str, Any] = {"loaded": 0, "missing": [], "unexpected": []}
    if source.kind == "random":
        return network, report
    if source.kind == "torchvision":
        from gssl.nets.resnet import torchvision_weights  # torchvision takes seconds to import

        state = torchvision_weights(cfg.name)
    else:
        assert source.path is not None
        inside = source.path / "weights" / "backbone.safetensors"
        state = read_weights(inside if source.kind == "run" else source.path)
    report |= asdict(load_into(network, state, allow_partial=allow_partial))
    return network, report


def exported(method: Any) -> Backbone:
    """The network of a method that is judged and handed on: its `exported()` where it has one, else its backbone."""
    network: Backbone = method.exported() if hasattr(method, "exported") else method.backbone
    return network


def export(
    method: Any, batches: Any, path: Path, name: str, backbone: schema.Backbone, size: int, seed: int
) -> dict[str, Any]:
    """Write `weights/backbone.safetensors` and its description below `path`; returns the entry for result.json.

    Batch-norm statistics are recomputed on `batches` (centre-cropped training images) first, for every method: a
    discriminator's own mix real and fake. The network is the method's `exported()` where it has one.
    """
    network = exported(method)
    recompute_batch_norm(network, batches)
    file = path / "weights" / "backbone.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    digest = save_weights(network, file)
    description = {
        "schema": "gssl.weights/1",
        "method": name,
        "seed": seed,
        "sha256": digest,
        "backbone": asdict(backbone),
        "size": size,
    }
    write_json(file.with_suffix(".json"), description)
    return {"file": "weights/backbone.safetensors", "sha256": digest}
