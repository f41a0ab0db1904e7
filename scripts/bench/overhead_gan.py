"""GAN training against the bare networks: the real loop, data and all, in alternation with bare torch code.

    python scripts/bench/overhead_gan.py [--rounds 7]

Bare: for the same networks and batch, the discriminator's step on fixed real images and new fake ones, the generator's
step, with torch's own losses, spectral norm (`torch.nn.utils.parametrizations`), gradients, Adam; no data, no running
average, nothing logged, none of our engine. Loop: `Trainer.fit` on CIFAR-like images (random uint8, 32 px), timed from
the start of one update to the start of the next. Printed: medians over all steps and their ratio; one process, the same
threads. Where the bare loop is slower, that is torch's spectral norm, which works once per pass and ours once per loss.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from overhead import loop, pictures
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gssl.commands import train_gan
from gssl.config.composing import compose
from gssl.nets.backbone import build_backbone
from gssl.nets.discriminator import Discriminator, Heads
from gssl.nets.generator import Generator, Shape

STEPS = 12
CASES = ("dcgan", "sngan", "wgan_gp", "acgan")


class Bare:
    """One recipe's networks and a bare loop."""

    def __init__(self, cfg: Any) -> None:
        self.cfg, gan = cfg.gan, cfg.gan
        self.classes = 2 if gan.condition != "none" else 0
        shape = Shape(gan.generator, gan.latent, gan.width, 32, 3, gan.norm_g, classes=self.classes)
        summed = gan.spectral_norm == "d"
        self.g = Generator(shape).to(memory_format=torch.channels_last).train()
        heads = Heads(classes=self.classes, summed=summed)
        self.d = Discriminator(build_backbone(cfg.backbone, 32), heads, 32).train()
        self.d.to(memory_format=torch.channels_last)
        if summed:
            for module in list(self.d.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear):
                    spectral_norm(module)
        self.adam = [
            torch.optim.Adam(net.parameters(), lr=o.lr, betas=(o.betas[0], o.betas[1]), fused=True)
            for net, o in ((self.d, gan.optim_d), (self.g, gan.optim_g))
        ]
        self.real = torch.rand(gan.batch_size, 3, 32, 32).to(memory_format=torch.channels_last)
        self.label = torch.arange(gan.batch_size) % 2

    def d_step(self) -> Tensor:
        classes = self.label if self.classes else None
        with torch.no_grad():
            fake = self.g(torch.randn(len(self.real), self.cfg.latent), classes)
        on_real, on_fake = self.d(self.real), self.d(fake)
        x, y = on_real.logit, on_fake.logit
        if self.cfg.loss == "hinge":
            return F.relu(1 - x).mean() + F.relu(1 + y).mean()
        if self.cfg.loss == "wasserstein":
            at = torch.rand(len(self.real), 1, 1, 1)
            between = (at * self.real + (1 - at) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(self.d(between).logit.sum(), between, create_graph=True)
            return y.mean() - x.mean() + 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        loss = F.binary_cross_entropy_with_logits(x, torch.ones_like(x))
        loss = loss + F.binary_cross_entropy_with_logits(y, torch.zeros_like(y))
        if self.classes:
            loss = loss + self.class_loss(on_real.features)
        return loss

    def g_step(self) -> Tensor:
        seen = self.d(self.g(torch.randn(len(self.real), self.cfg.latent), self.label if self.classes else None))
        if self.cfg.loss != "non_saturating":
            return -seen.logit.mean()
        loss = F.softplus(-seen.logit).mean()
        return loss + self.class_loss(seen.features) if self.classes else loss

    def class_loss(self, features: Tensor) -> Tensor:
        assert self.d.classify is not None
        return F.cross_entropy(self.d.classify(features), self.label)

    def steps(self, count: int) -> list[float]:
        times = []
        for step in range(count):
            start = time.perf_counter()
            self.adam[0].zero_grad(set_to_none=True)
            self.d_step().backward()
            self.adam[0].step()
            if step % self.cfg.n_dis == 0:
                self.d.requires_grad_(False)
                self.adam[1].zero_grad(set_to_none=True)
                self.g_step().backward()
                self.adam[1].step()
                self.d.requires_grad_(True)
            times.append(time.perf_counter() - start)
        return times


def per_period(times: list[float], period: int) -> list[float]:
    """Seconds per step, averaged over whole periods: not every step has a generator's step in it."""
    return [sum(times[i : i + period]) / period for i in range(0, len(times) - period + 1, period)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians over {rounds} alternating rounds")
    print(f"{'recipe':10} {'batch':>5} {'loop ms':>9} {'bare ms':>9} {'ratio':>6}  ratios by round")
    with tempfile.TemporaryDirectory() as temp:
        pictures(Path(temp) / "images")
        for name in CASES:
            words = [
                "data=imagefolder",
                f"data.root={temp}/images",
                "data.on_error=skip",
                f"gan={name}",
                "evaluator=random",
            ]
            words += [f"budget.steps={STEPS + 7}", "eval.images=16", "eval.every=null", "engine.progress=false"]
            cfg = compose("train-gan", words)
            bare, n = Bare(cfg), cfg.gan.n_dis
            bare.steps(3)
            ours: list[float] = []
            theirs: list[float] = []
            ratios = []
            for i in range(rounds):
                # the first two periods are left out: FLOPs are counted in one of them
                a = per_period(loop(cfg, Path(temp) / f"{name}-{i}", train_gan.main)[2 * n - 1 :], n)
                b = per_period(bare.steps(STEPS), n)
                ours, theirs = ours + a, theirs + b
                ratios.append(statistics.median(a) / statistics.median(b))
            x, y = statistics.median(ours), statistics.median(theirs)
            by_round = " ".join(f"{r:.2f}" for r in sorted(ratios))
            middle = statistics.median(ratios)
            print(f"{name:10} {cfg.gan.batch_size:5} {1e3 * x:9.1f} {1e3 * y:9.1f} {middle:6.3f}  {by_round}")


if __name__ == "__main__":
    main()
