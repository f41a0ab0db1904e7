"""Self-supervised training, ours against lightly's: one network, one recipe, the same images and the same seconds.

    python scripts/bench/peers.py --root cifar10 [--methods simclr byol …] [--seconds 60] [--rounds 3] [--threads 2]

`--root` is what data=imagefolder takes: class folders, or `train/` with class folders; CIFAR-10's images as PNG files
are meant. Each run is a process of its own, ours and theirs in turn, the order exchanged from round to round.

Ours: the real `gssl pretrain-ssl`. Theirs: lightly's losses, its projection heads with our sizes, its transforms with
our strengths (32 px, no blur) in a torch DataLoader with `--workers` processes that read the files, ordinary PyTorch
around them. Both: our convnet with the same random start, the values of conf/ssl/NAME.yaml, weight decay on matrices
and kernels only, learning rate and momentum as functions of the time that is spent. In their favour: their clock
starts when the first batch is there, the fused optimiser, channels-last batches, workers that live on between epochs.
Ours decodes the files once into a cache, before its clock starts; `setup` is the time until then.

img/s: images of the training part per second of training. linear: accuracy of our linear probe on the validation
part, fitted on `--labels` training images; both networks' batch statistics are recomputed on the same images first.
MB: peak resident memory during training, per process; pages that a worker has in common with its parent count in both.
saved: distinct memory that autograd kept for one backward, weights left out.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.metadata import version
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gssl.commands import pretrain_ssl
from gssl.config.composing import compose
from gssl.data import Draws, centre, load_data, sequential
from gssl.engine.device import peak_memory, reset_peak_memory, set_threads
from gssl.engine.files import read_json, write_json
from gssl.engine.loop import Trainer
from gssl.engine.optim import lr_factor
from gssl.nets.backbone import build_backbone
from gssl.nets.ema import momentum
from gssl.nets.norms import recompute_batch_norm
from gssl.nets.weights import load_into, read_weights, save_weights
from gssl.probe.features import extract
from gssl.probe.linear import Linear

METHODS = ["simclr", "byol", "simsiam", "barlow_twins", "vicreg"]
CPU = torch.device("cpu")
LOOK = 1  # the step in which saved tensors are counted
START = time.perf_counter()


def words(args: argparse.Namespace, method: str, seed: int) -> list[str]:
    """Our command line for one run."""
    given = [f"ssl={method}", "data=imagefolder", f"data.root='{args.root}'", "data.size=32", "backbone=convnet"]
    given += ["backbone.width=16", "ssl.batch_size=256", f"seed={seed}", f"budget.seconds={args.seconds}"]
    given += [f"engine.threads={args.threads}", "engine.device=cpu", "engine.progress=false", "eval.images=64"]
    return [*given, *([f"data.limit={args.limit}"] if args.limit else [])]


class Saved:
    """Counts what autograd keeps between `with` and the backward: `bytes` of distinct storages, weights left out."""

    def __init__(self, module: nn.Module) -> None:
        self.weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self.seen: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.seen[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # holds the storage, so that no other takes its place

    @property
    def bytes(self) -> int:
        return sum(self.seen.values())


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────


def ours(args: argparse.Namespace, cfg: Any) -> dict[str, Any]:
    """One run of `gssl pretrain-ssl` as it is, but for the look at one step."""
    found: dict[str, Any] = {}
    fit = Trainer.fit

    def watched(self: Trainer, method: Any, *rest: Any, **named: Any) -> Any:
        update = method.update

        def looking(batch: Any, step: int) -> Any:
            if step == 0:
                found["setup"] = time.perf_counter() - START
            saved = Saved(method)
            with saved.hooks if step == LOOK else nullcontext():
                out = update(batch, step)
            if step == LOOK:
                found["saved"] = saved.bytes
            return out

        method.update = looking
        return fit(self, method, *rest, **named)

    Trainer.fit = watched  # type: ignore[method-assign]
    pretrain_ssl.main(cfg, args.run)
    spent = (read_json(args.run / "result.json") or {})["spent"]
    same = {key: spent[key] for key in ("steps", "seconds", "images_per_second")}
    return found | same | {"rss": [spent["peak_memory_bytes"]]}


# ── theirs ───────────────────────────────────────────────────────────────────────────────────────


class Files(torch.utils.data.Dataset[Any]):
    """Images read from their files, one after the other, as torchvision's ImageFolder does it."""

    def __init__(self, paths: list[str], transform: Callable[[Any], Any]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB"))


def transform(name: str, views: Any, size: int) -> Callable[[Any], Any]:
    """lightly's transform for the method, with our strengths."""
    from lightly import transforms as T

    same = dict(
        input_size=size, cj_prob=views.jitter, cj_strength=1.0, cj_bright=views.brightness, cj_contrast=views.contrast,
        cj_sat=views.saturation, cj_hue=views.hue, min_scale=views.crop_scale[0], random_gray_scale=views.grayscale,
        gaussian_blur=views.blur, hf_prob=views.flip, normalize=None,
    )  # fmt: skip
    if name in ("simclr", "simsiam"):
        return (T.SimCLRTransform if name == "simclr" else T.SimSiamTransform)(**same)
    if name == "vicreg":
        return T.VICRegTransform(**same, solarize_prob=views.solarize)
    # lightly's Barlow Twins uses BYOL's views
    first = T.BYOLView1Transform(**same, solarization_prob=views.solarize)
    return T.BYOLTransform(first, T.BYOLView2Transform(**same, solarization_prob=views.solarize))


def head(sizes: list[int], last_norm: bool = False) -> nn.Module:
    """lightly's projection head with the layers of ours."""
    from lightly.models.modules.heads import ProjectionHead

    blocks: list[Any] = [(a, b, nn.BatchNorm1d(b), nn.ReLU()) for a, b in zip(sizes[:-2], sizes[1:-1], strict=True)]
    norm = nn.BatchNorm1d(sizes[-1], affine=False) if last_norm else None
    return ProjectionHead([*blocks, (sizes[-2], sizes[-1], norm, None)])


class Peer(nn.Module):
    """A method put together from lightly's parts, as its examples do it; `forward` gives the loss of two views."""

    def __init__(self, cfg: Any, backbone: Any) -> None:
        import lightly.loss as L
        from lightly.models.utils import deactivate_requires_grad

        super().__init__()
        self.cfg, self.name = cfg, cfg.name
        name, width = cfg.name, cfg.head[-1]
        last_norm = name == "simsiam" or (name == "byol" and cfg.last_norm)
        self.online = nn.Sequential(backbone, head([backbone.dim, *cfg.head], last_norm))
        if name in ("byol", "simsiam"):
            self.predictor = head([width, cfg.predictor, width])
            self.criterion: nn.Module = L.NegativeCosineSimilarity()
            if name == "byol":
                self.target = copy.deepcopy(self.online)
                deactivate_requires_grad(self.target)
        elif name == "simclr":
            self.criterion = L.NTXentLoss(temperature=cfg.temperature)
        elif name == "barlow_twins":
            self.criterion = L.BarlowTwinsLoss(lambda_param=cfg.redundancy)
        else:
            self.criterion = L.VICRegLoss(cfg.invariance, cfg.variance, cfg.covariance)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        z0, z1 = self.online(x0), self.online(x1)
        if self.name == "byol":
            with torch.no_grad():
                t0, t1 = self.target(x0), self.target(x1)
            # twice the cosines, as in the paper's squared distances and in ours
            return 2 * (self.criterion(self.predictor(z0), t1) + self.criterion(self.predictor(z1), t0))
        if self.name == "simsiam":
            p0, p1 = self.predictor(z0), self.predictor(z1)
            return (self.criterion(p0, z1.detach()) + self.criterion(p1, z0.detach())) / 2
        loss: Tensor = self.criterion(z0, z1)
        return loss * self.cfg.scale if self.name == "barlow_twins" else loss

    def optimizer(self) -> torch.optim.Optimizer:
        """Our optimiser's settings; SimSiam's predictor keeps its rate (`steady`)."""
        from lightly.models.utils import get_weight_decay_parameters

        falling = [self.online, *([self.predictor] if self.name == "byol" else [])]
        groups = []
        for steady, parts in ((False, falling), (True, [self.predictor] if self.name == "simsiam" else [])):
            decayed, others = get_weight_decay_parameters(parts)
            groups.append({"params": decayed, "weight_decay": self.cfg.optim.weight_decay, "steady": steady})
            groups.append({"params": others, "weight_decay": 0.0, "steady": steady})
        groups = [group for group in groups if group["params"]]
        o = self.cfg.optim
        if o.name == "sgd":
            return torch.optim.SGD(groups, lr=o.lr, momentum=o.momentum, fused=True)
        if o.name == "lars":
            raise SystemExit(f"ssl={self.name}: this comparison knows sgd, adam and adamw, its recipe asks for lars")
        kind = torch.optim.Adam if o.name == "adam" else torch.optim.AdamW
        return kind(groups, lr=o.lr, betas=(o.betas[0], o.betas[1]), fused=True)


def theirs(args: argparse.Namespace, cfg: Any) -> dict[str, Any]:
    """Ordinary training around `Peer`, as long as ours."""
    from lightly.models.utils import update_momentum

    torch.set_num_threads(args.threads)
    torch.manual_seed(cfg.seed)
    backbone = build_backbone(cfg.backbone, cfg.data.size)
    model = Peer(cfg.ssl, backbone).to(memory_format=torch.channels_last).train()
    optimizer, o = model.optimizer(), cfg.ssl.optim
    paths = json.loads((args.run / "files.json").read_text())
    data = Files(paths, transform(cfg.ssl.name, cfg.data.views, cfg.data.size))
    several: dict[str, Any] = {"num_workers": args.workers, "persistent_workers": args.workers > 0}
    loader = torch.utils.data.DataLoader(data, cfg.ssl.batch_size, shuffle=True, drop_last=True, **several)
    stream: Iterator[list[Tensor]] = chain.from_iterable(repeat(loader))
    batch = next(stream)
    reset_peak_memory(CPU)
    found: dict[str, Any] = {"setup": time.perf_counter() - START}
    step, spent, start = 0, 0.0, time.perf_counter()
    while spent < args.seconds:
        progress = spent / args.seconds
        rate, peak = (o.lr * lr_factor(progress, o.warmup, kind) for kind in (o.schedule, "constant"))
        for group in optimizer.param_groups:
            group["lr"] = peak if group["steady"] else rate
        x0, x1 = (view.to(memory_format=torch.channels_last) for view in batch)
        optimizer.zero_grad(set_to_none=True)
        saved = Saved(model)
        with saved.hooks if step == LOOK else nullcontext():
            model(x0, x1).backward()
        if step == LOOK:
            found["saved"] = saved.bytes
        if o.clip:
            nn.utils.clip_grad_norm_(model.parameters(), o.clip)
        optimizer.step()
        if cfg.ssl.name == "byol":
            update_momentum(model.online, model.target, momentum(cfg.ssl.momentum, progress))
        step += 1
        batch = next(stream)
        spent = time.perf_counter() - start
    workers = getattr(loader._iterator, "_workers", [])
    memory = {"rss": [peak_memory(CPU), *(_peak_of(worker.pid) for worker in workers)]}
    (args.run / "weights").mkdir()
    save_weights(backbone, args.run / "weights" / "backbone.safetensors")
    rate = step * cfg.ssl.batch_size / spent
    return found | memory | {"steps": step, "seconds": spent, "images_per_second": rate}


def _peak_of(pid: int) -> int:
    """Peak resident bytes of another process, 0 where the system does not tell (Linux does)."""
    file = Path(f"/proc/{pid}/status")
    lines = file.read_text().splitlines() if file.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


class Prober:
    """Validation accuracy of the linear probe, for networks in files."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.cfg = compose("pretrain-ssl", words(args, "simclr", 0))
        self.probe = Linear(compose("transfer", ["weights=random"]).probe.linear)
        self.splits = load_data(self.cfg.data)
        draws, train = Draws(0), self.splits.train
        chosen = draws.permutation("peers/labels", 0, len(train))[: args.labels]
        self.fit, images = train.subset(np.sort(chosen)), self.splits.pretrain
        self.sample = images.subset(draws.permutation("recompute", 0, len(images))[:2048])
        root = Path(args.root).expanduser().absolute()
        below = root / "train" if (root / "train").is_dir() else root
        self.files = [str(below / images.name(i)) for i in range(len(images))]

    def __call__(self, weights: Path | None, seed: int = 0) -> float:
        """`weights`: a file; None: as at the start with `seed`."""
        size = self.cfg.data.size
        torch.manual_seed(seed)
        network = build_backbone(self.cfg.backbone, size)
        if weights:
            load_into(network, read_weights(weights))
        network.to(memory_format=torch.channels_last)
        centred = (centre(b["image"], size, b.get("extent")) for b in sequential(self.sample, 256, CPU))
        recompute_batch_norm(network, centred)
        x, held = (extract(network, part, size, 256, CPU) for part in (self.fit, self.splits.val))
        fitted = self.probe.fit(x, self.fit.labels, len(self.splits.classes), 0)
        return float(np.mean(fitted.predict(held) == self.splits.val.labels))


def run(args: argparse.Namespace, prober: Prober, side: str, method: str, seed: int) -> dict[str, Any]:
    """One run in a fresh process."""
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp) / "run"
        folder.mkdir()
        if side == "theirs":
            write_json(folder / "files.json", prober.files)
        argv = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--methods", method, "--seed", str(seed)]
        env = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
        done = subprocess.run([*argv, "--run", str(folder)], capture_output=True, text=True, env=env)
        if done.returncode:
            raise SystemExit(f"{side} {method}: {done.stderr.strip()}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if "saved" not in found:
            raise SystemExit(f"{side} {method}: only {found['steps']} steps in {args.seconds:g} s; give more --seconds")
        found["linear"] = prober(folder / "weights" / "backbone.safetensors", seed)
    return {"side": side, "method": method, "seed": seed, **found}


def table(rows: list[dict[str, Any]], methods: list[str]) -> str:
    """Medians over the rounds; accuracies are means."""

    def both(method: str, key: str, kind: Callable[[Any], Any] = statistics.median) -> list[Any]:
        sides = ("ours", "theirs")
        return [kind([row[key] for row in rows if (row["side"], row["method"]) == (s, method)]) for s in sides]

    def added(values: list[list[int]]) -> str:
        return "+".join(f"{peak / 1e6:.0f}" for peak in np.median(values, axis=0))

    two = f"{'ours':>7} {'theirs':>7}"
    lines = [
        f"{'':12} {'img/s':^22} {'linear %':^16} {'saved MB':^15} {'setup s':^16}  MB, each process",
        f"{'':12} {two} {'ratio':>6} {two}  {two}  {two}  ours | theirs",
    ]
    for method in methods:
        (a, b), memory = both(method, "images_per_second"), both(method, "rss", added)
        linear, saved, setup = (both(method, *w) for w in (("linear", statistics.mean), ("saved",), ("setup",)))
        lines.append(
            f"{method:12} {a:7.0f} {b:7.0f} {a / b:6.2f} {100 * linear[0]:7.1f} {100 * linear[1]:7.1f}"
            f"  {saved[0] / 1e6:7.1f} {saved[1] / 1e6:7.1f}  {setup[0]:7.1f} {setup[1]:7.1f}  {memory[0]} | {memory[1]}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of images, as for data=imagefolder data.root=")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, for each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, with seeds 0, 1, …")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on both sides")
    parser.add_argument("--workers", type=int, default=2, help="of their DataLoader")
    parser.add_argument("--labels", type=int, default=10_000, help="training images that the linear probe is fitted on")
    parser.add_argument("--limit", type=int, help="at most so many images per split")
    parser.add_argument("--out", type=Path, help="JSON with every run")
    for inner in ("--side", "--seed", "--run"):  # arguments of a run's own process
        parser.add_argument(inner, help=argparse.SUPPRESS, type={"--seed": int, "--run": Path}.get(inner, str))
    args = parser.parse_args()
    if args.side:
        cfg = compose("pretrain-ssl", words(args, args.methods[0], args.seed))
        print(json.dumps((ours if args.side == "ours" else theirs)(args, cfg)))
        return

    machine = {name: version(name) for name in ("torch", "torchvision", "lightly")} | {"cores": str(os.cpu_count())}
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    set_threads(1)  # for probes: small products
    prober = Prober(args)
    counts = f"{len(prober.files)} images to train on, {len(prober.splits.val)} to evaluate on"
    print(
        f"{counts}; {args.seconds:g} s, {args.threads} threads, {args.workers} workers, {args.rounds} rounds",
        flush=True,
    )
    rows: list[dict[str, Any]] = []
    for seed in range(args.rounds):
        rows.append({"side": "random", "method": "random", "seed": seed, "linear": prober(None, seed)})
        for method in args.methods:
            for side in ("ours", "theirs") if seed % 2 == 0 else ("theirs", "ours"):
                rows.append(run(args, prober, side, method, seed))
                row = rows[-1]
                numbers = (
                    f"{row['images_per_second']:.0f} img/s, {row['steps']} steps, linear {100 * row['linear']:.1f} %"
                )
                print(f"  round {seed}: {method} {side}: {numbers}", file=sys.stderr, flush=True)
            if args.out:
                given = {key: value for key, value in vars(args).items() if key not in ("side", "seed", "run", "out")}
                write_json(args.out, {"machine": machine, "given": given, "rows": rows})
    print(table(rows, args.methods))
    start = statistics.mean(row["linear"] for row in rows if row["side"] == "random")
    print(f"untrained: linear {100 * start:.1f} %; medians over {args.rounds} rounds, accuracies: means")


if __name__ == "__main__":
    main()
