"""Adversarial training: one class for every recipe in `conf/gan/`.

Goodfellow et al.: Generative Adversarial Nets, NeurIPS 2014, arXiv:1406.2661. What a recipe consists of: a pair of
losses (`losses`), regularisers (`penalties`, spectral norm), the two networks (`gssl.nets`), augmentation (`augment`)
and second tasks: classes (ACGAN: Odena et al. 2017, arXiv:1610.09585) and quarter turns (SSGAN: Chen et al. 2019,
arXiv:1811.11212). The trunk of the discriminator is the shared backbone; samples come from a running average of the
generator.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize

from gssl.data.rotations import TURNS, rotated
from gssl.errors import UsageError
from gssl.gan.augment import DRAWS, adapted, diffaugment
from gssl.gan.losses import LOSSES
from gssl.gan.penalties import RANGE, consistency, gradient_penalty, lecam, zero_centred
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.discriminator import Discriminator, Heads, Seen
from gssl.nets.ema import EMA
from gssl.nets.generator import Generator, Shape
from gssl.nets.spectral import spectral_norm
from gssl.schemas import gan as schema


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No weight gradients of `module` inside: the generator's step needs only the gradient through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


class GAN(nn.Module):
    """Generator, its running average, and a discriminator made of the backbone and heads."""

    needs = ("real",)
    unit = RANGE  # of what the discriminator reads, in the papers' range

    def __init__(self, cfg: schema.GAN, backbone: Backbone, context: Context, trunk: Backbone | None = None) -> None:
        """`trunk`: the discriminator's, where the backbone is an encoder; it reads pairs of image and z then."""
        super().__init__()
        _check(cfg, backbone if trunk is None else trunk, context)
        self.cfg, self.draws, self.latent, self.processes = cfg, context.draws, cfg.latent, context.processes
        # steps after which the work repeats: FLOPs are counted over one period
        self.period = math.lcm(cfg.n_dis, cfg.penalty_every if cfg.penalty != "none" else 1)
        self.second_derivatives = cfg.penalty != "none"
        self.loss = LOSSES[cfg.loss]
        self.backbone = backbone
        classes = context.classes
        shape = Shape(
            kind=cfg.generator,
            latent=cfg.latent,
            width=cfg.width,
            size=context.size,
            channels=context.channels,
            norm=cfg.norm_g,
            attention=cfg.attention in ("g", "both"),
            classes=classes if cfg.condition != "none" else 0,
            inputs=context.given,
            changes=context.changed,
        )
        heads = Heads(
            attention=cfg.attention in ("d", "both"),
            projection=classes if cfg.condition == "projection" else 0,
            classes=classes if cfg.class_d or cfg.class_g else 0,
            turns=bool(cfg.rotation_d or cfg.rotation_g),
            latent=0 if trunk is None else cfg.latent,
            summed=cfg.spectral_norm in ("d", "both"),
        )
        self.to_z = None if trunk is None else nn.Linear(backbone.dim, cfg.latent)
        self.generator = self._made_generator(shape)
        if cfg.start == "median":
            # batch norm takes brightness and contrast out of a batch of samples before the discriminator's first layer:
            # a generator that starts from grey may stay there, whatever the images look like
            self.generator.begin(context.colour)
        self.discriminator = self._made_discriminator(backbone if trunk is None else trunk, heads, context.size)
        if cfg.spectral_norm in ("d", "both"):
            spectral_norm(self.discriminator)
        if cfg.spectral_norm in ("g", "both"):
            spectral_norm(self.generator)
        # running averages, all on the device: logits (LeCam), the probability of augmentation
        self.register_buffer("usual", torch.zeros(2))
        self.register_buffer("p", torch.tensor(cfg.augment_p if cfg.augment_target is None else 0.0))
        self.to(context.device)
        self.ema = EMA(self.generator, decay=cfg.ema)
        self.optimizer_d = context.optimizer(self.discriminator.parameters(), cfg.optim_d)
        modules = [self.generator] if self.to_z is None else [self.generator, backbone, self.to_z]
        self.optimizer_g = context.optimizer([p for module in modules for p in module.parameters()], cfg.optim_g)

    usual: Tensor
    p: Tensor

    @staticmethod
    def reads(cfg: schema.GAN) -> tuple[str, ...]:
        """The tensors of a batch that this recipe reads."""
        return ("real", "label") if schema.reads_labels(cfg) else ("real",)

    def _made_generator(self, shape: Shape) -> Any:
        return Generator(shape)

    def _made_discriminator(self, trunk: Backbone, heads: Heads, size: int) -> Discriminator:
        return Discriminator(trunk, heads, size)

    def encode(self, images: Tensor) -> Tensor | None:
        """z of images, (B, latent), where the discriminator reads pairs."""
        return None if self.to_z is None else self.to_z(self.backbone(images))

    # ── what the discriminator reads ─────────────────────────────────────────────────────────────

    def augmented(self, images: Tensor, draws: Tensor | None) -> Tensor:
        return images if draws is None else diffaugment(images, draws, self.p)

    def penalised(self, batch: Batch, real: Tensor, fake: Tensor, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """The gradient penalty of this step, weighted."""
        cfg, label, z = self.cfg, batch.get("label"), batch["z"]
        if cfg.penalty == "gp":
            code = z if self.discriminator.heads.latent else None

            def critic(images: Tensor) -> Tensor:
                return self.discriminator(images, label, code).logit

            return cfg.gp_weight * gradient_penalty(critic, real, fake, batch["mixing"], self.unit)
        start, end = cfg.r_weight
        gamma = end + (start - end) * (1 + math.cos(math.pi * min(self.optimizer_d.progress, 1.0))) / 2
        total = torch.zeros((), device=real.device)
        if "r1" in cfg.penalty:
            total = total + zero_centred(on_real, real, self.unit)
        if "r2" in cfg.penalty:
            total = total + zero_centred(on_fake, fake, self.unit)
        return gamma * total

    # ── the two losses ───────────────────────────────────────────────────────────────────────────

    def d_loss(self, batch: Batch) -> dict[str, Tensor]:
        cfg, label = self.cfg, batch.get("label")
        with torch.no_grad():
            fake = self.generator(batch["z"], self._condition(label))
            code, made_from = self._beside(batch)
        real = self.augmented(batch["real"], batch.get("seen_real"))
        fake = self.augmented(fake, batch.get("seen_fake"))
        penalise = "mixing" in batch
        with contextlib.ExitStack() as stack:
            stack.enter_context(parametrize.cached())  # the spectral norm is computed once
            if penalise:
                real = real.detach().requires_grad_("r1" in cfg.penalty)
                fake = fake.detach().requires_grad_("r2" in cfg.penalty)
                # torch's fused attention on a CPU has no second derivative
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            # real and fake in passes of their own: batch norm must not separate them by the statistics of a mixture
            on_real = self.discriminator(real, label, code)
            on_fake = self.discriminator(fake, label, made_from)
            adversarial = self.loss.d(on_real.logit, on_fake.logit)
            out = self._watched(on_real.logit, on_fake.logit)
            total = adversarial
            if penalise:
                penalty = self.penalised(batch, real, fake, on_real.logit, on_fake.logit)
                total = total + penalty * cfg.penalty_every
                out["penalty"] = penalty
            if cfg.consistency:
                moved = diffaugment(batch["real"], batch["moved"])
                term = consistency(on_real.logit, self.discriminator(moved, label, code).logit)
                total, out["consistency"] = total + cfg.consistency * term, term
            if cfg.lecam:
                term = lecam(on_real.logit, on_fake.logit, self.usual[0], self.usual[1])
                total, out["lecam"] = total + cfg.lecam * term, term
            tasks = self._tasks(on_real, batch["real"], label, code, batch, cfg.class_d, cfg.rotation_d)
        if cfg.class_d:
            out["class_accuracy"] = tasks["class_accuracy"]
        if cfg.rotation_d:
            out["rotation_accuracy"] = tasks["rotation_accuracy"]
        return {"loss": total + tasks["task"], "d_loss": adversarial} | out

    def g_loss(self, batch: Batch) -> dict[str, Tensor]:
        cfg, label = self.cfg, batch.get("label")
        with parametrize.cached():
            fake = self.generator(batch["z"], self._condition(label))
            code = self.encode(batch["real"])
            shown = self.augmented(fake, batch.get("seen_fake"))
            on_fake = self.discriminator(shown, label, batch["z"] if code is not None else None)
            on_real = on_fake.logit.detach()
            if self.loss.paired or code is not None:
                real = self.augmented(batch["real"], batch.get("seen_real"))
                on_real = self.discriminator(real, label, code).logit
            adversarial = self.loss.g(on_fake.logit, on_real)
            if code is not None and not self.loss.paired:
                # the encoder's loss: its pairs are to be taken for the generator's
                adversarial = adversarial + self.loss.g(2 * (self.loss.boundary or 0.0) - on_real, on_fake.logit)
            tasks = self._tasks(on_fake, fake, label, batch["z"], batch, cfg.class_g, cfg.rotation_g)
        out = {"g_loss": adversarial.detach()}
        if cfg.class_g:
            out["class_accuracy_g"] = tasks["class_accuracy"]
        if cfg.rotation_g:
            out["rotation_accuracy_g"] = tasks["rotation_accuracy"]
        return {"loss": adversarial + tasks["task"]} | out

    def _beside(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """What the discriminator reads beside real images and beside the generator's; None where it reads no pairs."""
        code = self.encode(batch["real"])
        return code, None if code is None else batch["z"]

    def _condition(self, label: Tensor | None) -> Tensor | None:
        return label if self.generator.classes else None

    def _watched(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """What shows which network is ahead, without gradients."""
        real, fake = real.detach(), fake.detach()
        out = {"logit_real": real.mean(), "logit_fake": fake.mean()}
        if self.loss.boundary is None:
            out["d_pairs"] = (real > fake).float().mean()
        else:
            out["d_real"] = (real > self.loss.boundary).float().mean()
            out["d_fake"] = (fake < self.loss.boundary).float().mean()
            out["sign_real"] = torch.sign(real - self.loss.boundary).mean()
        return out

    def _tasks(
        self, seen: Seen, images: Tensor, label: Tensor | None, code: Tensor | None, batch: Batch, by_class: float,
        by_turn: float,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The discriminator's second tasks on images of either side: weighted loss and accuracies."""
        out = {"task": torch.zeros((), device=images.device)}
        net = self.discriminator
        if by_class:
            assert net.classify is not None and label is not None
            scores = net.classify(seen.features).float()
            out["task"] = out["task"] + by_class * F.cross_entropy(scores, label)
            out["class_accuracy"] = (scores.detach().argmax(1) == label).float().mean()
        if by_turn:
            assert net.turn is not None
            features = net(rotated(images, batch["turns"]), label, code if net.heads.latent else None).features
            scores = net.turn(features).float()
            out["task"] = out["task"] + by_turn * F.cross_entropy(scores, batch["turns"])
            out["rotation_accuracy"] = (scores.detach().argmax(1) == batch["turns"]).float().mean()
        return out

    # ── one update ───────────────────────────────────────────────────────────────────────────────

    def _drawn(self, who: str, step: int, batch: Batch) -> Batch:
        """The batch with every random number that `who`'s loss reads."""
        cfg, count, device = self.cfg, len(batch["real"]), batch["real"].device
        found = {"z": self.draws.normal(f"latent/{who}", step, (count, self.latent))}
        if cfg.augment != "none":
            found["seen_fake"] = self.draws.uniform(f"augment/{who}/fake", step, (count, DRAWS))
            found["seen_real"] = self.draws.uniform(f"augment/{who}/real", step, (count, DRAWS))
        if cfg.rotation_d if who == "d" else cfg.rotation_g:
            found["turns"] = self.draws.integers(f"turns/{who}", step, (count,), TURNS)
        if who == "d":
            if cfg.penalty != "none" and step % cfg.penalty_every == 0:
                found["mixing"] = self.draws.uniform("penalty/share", step, (count,))
            if cfg.consistency:
                found["moved"] = self.draws.uniform("consistency", step, (count, DRAWS))
        return batch | {key: to_device(value, device) for key, value in found.items()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        cfg = self.cfg
        out = self.optimizer_d.minimize(self.d_loss, self._drawn("d", step, batch))
        if cfg.lecam:
            self.usual.lerp_(torch.stack([out["logit_real"], out["logit_fake"]]), 1 - cfg.lecam_decay)
        if cfg.augment_target is not None:
            count = len(batch["real"]) * self.processes
            self.p = adapted(self.p, out["sign_real"], cfg.augment_target, count, cfg.augment_ramp)
            out["augment_p"] = self.p
        out.pop("sign_real", None)
        if step % cfg.n_dis == 0:
            with frozen(self.discriminator):
                made = self.optimizer_g.minimize(self.g_loss, self._drawn("g", step, batch))
            made.pop("loss")
            self.ema.update(self.generator)
            out |= made
        return out

    # ── what the rest of gssl asks for ───────────────────────────────────────────────────────────

    @torch.no_grad()
    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] of the averaged generator; `z` (B, latent), `label` (B,) if conditional."""
        self.ema.eval()
        images: Tensor = self.ema.module(z, self._condition(label))
        return images

    @torch.no_grad()
    def discriminate(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Logits (B,) of whole images in evaluation mode; the mode is left as it was. `z`: of generated ones."""
        training = self.training
        self.eval()
        code = self.encode(images) if z is None else z
        logit: Tensor = self.discriminator(images, label, code if self.discriminator.heads.latent else None).logit
        self.train(training)
        return logit


def _check(cfg: schema.GAN, trunk: Any, context: Context) -> None:
    """Raises UsageError where a recipe's parts do not fit together or the data."""
    if cfg.generator == "unet" and not isinstance(cfg, schema.Pix2Pix):
        raise UsageError(f"gan.generator=unet: is of pairs of images; use gan=pix2pix, not gan={cfg.name}")
    if cfg.generator == "text" and trunk.takes.column != "text":
        raise UsageError(f"gan.generator=text: is of texts; use gan=textgan, not gan={cfg.name}")
    if cfg.generator == "residual" and not isinstance(cfg, schema.Unpaired):
        raise UsageError(f"gan.generator=residual: is of two domains; use gan=cyclegan or gan=cut, not gan={cfg.name}")
    if cfg.norm_g == "instance" and cfg.generator != "residual":
        raise UsageError(f"gan.norm_g=instance: is of gan=cyclegan and gan=cut; gan={cfg.name} has batch or none")
    if schema.reads_labels(cfg) and context.classes < 2:
        raise UsageError(f"gan={cfg.name}: it reads the class of each image; data= has no labels, use gan=dcgan")
    if cfg.class_g and cfg.condition == "none":
        raise UsageError("gan.class_g: the generator is not conditional; set gan.condition=generator or class_g=0")
    if cfg.condition == "generator" and not cfg.class_g:
        raise UsageError(
            "gan.condition=generator: nothing teaches the generator its classes; set gan.class_d and gan.class_g above"
            " 0, or gan.condition=projection"
        )
    for task in ("class", "rotation"):
        if getattr(cfg, f"{task}_g") and not getattr(cfg, f"{task}_d"):
            raise UsageError(f"gan.{task}_g: the discriminator does not learn this task; set gan.{task}_d above 0 too")
    if cfg.augment_target is not None and LOSSES[cfg.loss].boundary is None:
        raise UsageError(f"gan.augment_target: gan.loss={cfg.loss} has no logit between real and fake; set it to null")
    if cfg.augment_target is not None and cfg.augment == "none":
        raise UsageError("gan.augment_target: nothing is augmented; set gan.augment=diffaugment or the target to null")
    if cfg.penalty == "gp" and any(isinstance(m, nn.BatchNorm2d) for m in trunk.modules()):
        key = "gan.norm_d" if isinstance(cfg, schema.BiGAN) else "backbone.norm"
        raise UsageError(
            f"gan.penalty=gp: a penalty per image needs a discriminator without batch norm; set {key}=none"
        )
