"""SSL training against the bare network: the real loop, views and all, in alternation with bare torch code.

    python scripts/bench/overhead.py [--rounds 7]

Bare: forward of both views, NT-Xent, backward, SGD on fixed tensors, channels-last, written out here without any of
our engine. Loop: `Trainer.fit` on CIFAR-like images (random uint8, 32 px, colour views), timed from the start of one
update to the start of the next. Printed: the medians over all steps and their ratio, one process, same threads.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from gssl.commands import pretrain_ssl
from gssl.config.composing import compose
from gssl.engine.loop import Trainer
from gssl.nets.backbone import build_backbone
from gssl.nets.heads import mlp
from gssl.ssl.losses import nt_xent

CASES = {"convnet": (256, 8), "resnet18": (32, 4)}  # batch, steps per round


def pictures(root: Path, count: int = 512) -> None:
    """Class folders of noise: what is measured is time."""
    rng = np.random.default_rng(0)
    for i in range(count):
        folder = root / ("test" if i >= count - 32 else "train") / str(i % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def loop(cfg: Any, folder: Path, command: Any = pretrain_ssl.main) -> list[float]:
    """Seconds from update to update of one real run, without the first step, in which FLOPs are counted."""
    starts: list[float] = []
    fit = Trainer.fit

    def timed(self: Trainer, method: Any, *args: Any, **kwargs: Any) -> Any:
        update = method.update

        def noting(batch: Any, step: int) -> Any:
            out = update(batch, step)
            starts.append(time.perf_counter())
            return out

        method.update = noting
        return fit(self, method, *args, **kwargs)

    Trainer.fit = timed  # type: ignore[method-assign]
    try:
        command(cfg, folder)
    finally:
        Trainer.fit = fit  # type: ignore[method-assign]
    return list(np.diff(starts))


class Bare:
    """The network's part of a step, in bare torch code."""

    def __init__(self, cfg: Any) -> None:
        self.backbone = build_backbone(cfg.backbone, 32)
        self.head = mlp([self.backbone.dim, *cfg.ssl.head])
        self.net = nn.Sequential(self.backbone, self.head).to(memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
        shape = (cfg.ssl.batch_size, 3, 32, 32)
        self.views = [torch.rand(shape).to(memory_format=torch.channels_last) for _ in range(2)]

    def steps(self, count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            self.optimizer.zero_grad(set_to_none=True)
            nt_xent(self.net(self.views[0]), self.net(self.views[1]), 0.2).backward()
            self.optimizer.step()
            times.append(time.perf_counter() - start)
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians over {rounds} alternating rounds")
    print(f"{'backbone':10} {'batch':>5} {'loop ms':>9} {'bare ms':>9} {'ratio':>6}  {'ratios by round'}")
    with tempfile.TemporaryDirectory() as temp:
        pictures(Path(temp) / "images")
        for name, (batch, steps) in CASES.items():
            words = ["data=imagefolder", f"data.root={temp}/images", "data.on_error=skip", f"backbone={name}"]
            words += ["data/views=natural", f"ssl.batch_size={batch}", f"budget.steps={steps + 2}", "eval.images=2"]
            cfg = compose("pretrain-ssl", [*words, "engine.progress=false"])
            bare = Bare(cfg)
            bare.steps(2)
            ours: list[float] = []
            theirs: list[float] = []
            ratios = []
            for i in range(rounds):
                a = loop(cfg, Path(temp) / f"{name}-{i}")
                b = bare.steps(steps)
                ours, theirs = ours + a, theirs + b
                ratios.append(statistics.median(a) / statistics.median(b))
            x, y = statistics.median(ours), statistics.median(theirs)
            by_round = " ".join(f"{r:.2f}" for r in sorted(ratios))
            print(f"{name:10} {batch:5} {1e3 * x:9.1f} {1e3 * y:9.1f} {statistics.median(ratios):6.3f}  {by_round}")


if __name__ == "__main__":
    main()
