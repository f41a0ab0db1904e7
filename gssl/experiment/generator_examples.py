"""What a GAN run's generator and discriminator have learnt, as examples: computed here, drawn by `figures.generator`.

The test split is never read.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl.data import Draws, Images, Splits
from gssl.engine.documents import read_result
from gssl.errors import UsageError
from gssl.experiment.checkpoint_weights import exported_state
from gssl.experiment.crops import centre_crops
from gssl.experiment.generators import latents, load_discriminator, load_generator, translates
from gssl.figures import generator as figures
from gssl.figures.tiles import Section, save_page
from gssl.gan import explain
from gssl.metrics.evaluator import Evaluator, RandomEvaluator, evaluator_features, make_evaluator
from gssl.metrics.memorisation import copied
from gssl.metrics.pairs import Features
from gssl.metrics.pairs import nearest as nearest_squared
from gssl.nets.generator import Generator

BATCH = 256
WIDE, STEPS = 16, 7  # tiles of a row, of one way through the latent space (two in a row)
CLASSES, OF_CLASS = 10, 4  # rows of classes, real images of each
PAIRS, DIRECTIONS, FAR = 3, 4, 3.0  # rows of interpolations, main directions, deviations to either side
COMPARED, SHOWN, NEAREST = 256, 4, 5  # samples compared with training images, rows of them, neighbours of each
EXPLAINED, ATTENDED = 8, 3  # images with a saliency map, with attention maps
COPIES, NOISE = 16, 0.1  # SmoothGrad: noisy copies, deviation of the noise (from black to white is 1)
POSITIONS = [(0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.5)]  # whose attention is drawn: height, width


def explained(run: Path, status: dict[str, Any]) -> bool:
    """Whether a run, of that status.json, has a generator of latent vectors."""
    return status.get("command") == "train-gan" and not translates(run)


class GeneratorExamples:
    """Generator and discriminator of a finished run, real images, and a section of generator.png for each question."""

    def __init__(
        self,
        run: Path,
        written: dict[str, Any],
        splits: Splits,
        held: Images,
        bank: Images,
        encoder: nn.Module,
        device: torch.device,
    ) -> None:
        """`written`: the run's config; `held`, `bank`: validation and training images; `encoder`: its backbone."""
        self.run, self.written, self.splits, self.held, self.bank = run, written, splits, held, bank
        self.device, self.encoder, self.draws = device, encoder, Draws(written["seed"])
        self.result: dict[str, Any] = read_result(run) or {}
        self.sampler = load_generator(run, device)
        self.discriminator = load_discriminator(run, device)
        self.size, self.classes = self.sampler.generator.shape.size, self.sampler.classes

    def save(self, path: Path) -> None:
        """Write the page, whole or not at all. The same run gives the same picture."""
        found = [self.samples(), self.interpolations(), self.between_classes(), self.directions(), self.neighbours()]
        found += [self.saliency(), self.attention(), self.reconstructions()]
        sections = [section for section in found if section]
        numbered = [replace(section, title=f"{i}. {section.title}") for i, section in enumerate(sections, 1)]
        title = f"What generator and discriminator have learnt: {self.sampler.method}, run {self.run.name}"
        save_page(title, self.about(), numbered, path)

    def about(self) -> str:
        """The line below the heading."""
        data, result, sampler = self.written["data"], self.result, self.sampler
        text = data["name"] + (f" {Path(data['root']).name}" if data["root"] else "")
        text += f", {self.size} px. The generator makes an image of a latent vector z, {sampler.generator.latent} draws"
        text += " from the standard normal distribution"
        text += "" if sampler.truncation is None else f" cut at ±{sampler.truncation:g}"
        text += f", and of one of {len(self.classes)} classes." if self.classes else "; it is given no class."
        if which := result.get("exported"):
            text += f" Weights: {which['which']}, step {which['step']:,}."
        objective, evaluator, real = (result.get(key) for key in ("objective", "evaluator", "kid_baseline"))
        if objective and evaluator and objective["value"] is not None:
            named = f"{evaluator['name']}@{evaluator['hash'][:8]}, d {evaluator['dim']}, n {evaluator['n']:,}"
            text += f" KID {objective['value']:.3g} by the evaluator {named}, {evaluator['split']} images, seed"
            text += f" {result['seed']}"
            text += f" (real images: {real['train_real']['kid']:.1g})." if isinstance(real, dict) else "."
        return text.replace(" -", " −")

    # ── images ───────────────────────────────────────────────────────────────────────────────────

    def z(self, purpose: str, count: int) -> Tensor:
        shape = (count, self.sampler.generator.latent)
        return latents(self.draws, f"inspect/{purpose}", 0, shape, self.sampler.truncation)

    def made(self, z: Tensor, labels: np.ndarray | int = 0, generator: Generator | None = None) -> Tensor:
        """Samples (n, 3, S, S) on the CPU, of `labels` where classes are given; `generator`: another one."""
        of = np.broadcast_to(np.asarray(labels), len(z)).copy()
        sampler = self.sampler if generator is None else replace(self.sampler, generator=generator)
        return torch.cat([sampler.make(z[i : i + BATCH], of[i : i + BATCH]).cpu() for i in range(0, len(z), BATCH)])

    def real(self, part: Images, chosen: np.ndarray) -> Tensor:
        return centre_crops(part.subset(chosen), self.size)

    def some(self, count: int) -> np.ndarray:
        """Indices of `count` held-out images, drawn."""
        return np.sort(self.draws.permutation("inspect/sheet", 0, len(self.held))[:count])

    # ── the sections ─────────────────────────────────────────────────────────────────────────────

    def samples(self) -> Section:
        if not self.classes:
            made = self.made(self.z("samples", 4 * WIDE))
            return figures.samples(made.split(WIDE), self.real(self.held, self.some(WIDE)))
        z, found = self.z("samples", WIDE - OF_CLASS - 1), []
        for label in np.unique(np.linspace(0, len(self.classes) - 1, CLASSES).astype(int)).tolist():
            mine = np.flatnonzero(self.held.labels == label)[:OF_CLASS]
            real = self.real(self.held, mine) if len(mine) else torch.zeros(0, 3, self.size, self.size)
            found.append(figures.ClassSamples(self.classes[label], self.made(z, label), real))
        return figures.class_samples(found, len(self.classes))

    def interpolations(self) -> Section:
        rows = []
        for i, pairs in enumerate(self.z("ways", 4 * PAIRS).unflatten(0, (PAIRS, 2, 2))):
            label = i % max(len(self.classes), 1)
            blocks = [self.made(explain.slerp(a, b, STEPS), label) for a, b in pairs]
            name = figures.short(self.classes[label]) if self.classes else f"pairs {2 * i + 1}, {2 * i + 2}"
            rows.append((name, blocks))
        return figures.interpolations(rows)

    def between_classes(self) -> Section | None:
        if len(self.classes) < 2:
            return None
        z, count, rows = self.z("between", 2), len(self.classes), []
        for i in range(min(PAIRS, count - 1)):
            a, b = (2 * i) % count, (2 * i + 1) % count
            mixed = explain.between_classes(self.sampler.generator, a, b, STEPS)
            blocks = [self.made(code.expand(STEPS, -1), np.arange(STEPS), mixed) for code in z]
            rows.append((f"{figures.short(self.classes[a])}\n→ {figures.short(self.classes[b])}", blocks))
        return figures.between_classes(rows)

    def directions(self) -> Section:
        found = explain.directions(explain.first_layer(self.sampler.generator), DIRECTIONS)
        at, z, rows = torch.linspace(-FAR, FAR, STEPS), self.z("directions", 2), []
        for i, (vector, fraction) in enumerate(zip(*found, strict=True)):
            rows.append((f"{i + 1}: {fraction:.1%}", [self.made(explain.along(code, vector, at)) for code in z]))
        return figures.directions(rows, at.tolist(), z.shape[1], self.classes[0] if self.classes else "")

    def neighbours(self) -> Section:
        evaluator, note = self.evaluator()
        made = self.made(self.z("neighbours", COMPARED), self.sampler.labels(COMPARED))
        of_made, of_held, of_bank = (
            evaluator_features(evaluator, x, BATCH, self.device) for x in (made, self.held, self.bank)
        )
        usual = np.sqrt(nearest_squared(Features(of_held, "held-out images"), Features(of_bank, "training images")))
        order, distance = explain.neighbours(of_made, of_bank, NEAREST)
        near = distance[:, 0]
        closest = np.argsort(near, kind="stable")[:SHOWN]
        random = np.setdiff1d(np.arange(COMPARED), closest)[:SHOWN]
        shown = [*random.tolist(), *closest.tolist()]
        copies = copied(near**2, usual**2)
        return figures.neighbours(
            figures.Neighbours(
                random.tolist(),
                closest.tolist(),
                {i: made[i] for i in shown},
                {i: self.real(self.bank, order[i]) for i in shown},
                {i: distance[i] for i in shown},
                usual,
                near,
                len(self.bank),
                evaluator.name,
                note,
                figures.Copies(copies.proportion, copies.low, copies.high, copies.chance),
            )
        )

    def evaluator(self) -> tuple[Evaluator, str]:
        """The run's own evaluator, or the random one and a note that says so."""
        asked = self.written.get("evaluator", "random")
        try:
            found = make_evaluator(asked, self.splits, self.size, self.device)
        except UsageError:
            return RandomEvaluator(self.size).to(self.device), f" (the run's own, {asked}, is not available here)"
        known = (self.result.get("evaluator") or {}).get("hash", found.hash)
        return found, "" if known == found.hash else " (trained anew: not the weights that evaluated the run)"

    def saliency(self) -> Section:
        network = self.discriminator
        if network is None:
            reason = "this discriminator takes pairs of an image and its z, and is kept in the checkpoints only."
            return figures.left_out(figures.SALIENCY, reason)
        chosen, labels = self.some(EXPLAINED), self.sampler.labels(EXPLAINED)
        real, made = self.real(self.held, chosen), self.made(self.z("saliency", EXPLAINED), labels)
        shape = (COPIES * EXPLAINED, 3, self.size, self.size)
        noise = (NOISE * self.draws.normal("inspect/noise", 0, shape)).unflatten(0, (COPIES, EXPLAINED))
        noise = noise.to(self.device)
        found = []
        for name, images, kinds in (("real", real, self.held.labels[chosen]), ("generated", made, labels)):
            given = torch.from_numpy(kinds.astype(np.int64)).to(self.device) if network.heads.projection else None
            maps, logit = explain.saliency(network, images.to(self.device), given, noise[:, : len(images)])
            found.append(figures.Saliency(name, images, maps, logit.tolist()))
        return figures.saliency(found, COPIES, NOISE)

    def attention(self) -> Section | None:
        z, labels = self.z("attention", ATTENDED), self.sampler.labels(ATTENDED)
        made, real = self.made(z, labels), self.real(self.held, self.some(ATTENDED))
        given = torch.from_numpy(labels).to(self.device) if self.classes else None
        generator, network = self.sampler.generator, self.discriminator
        attended = [("generator", made, explain.generator_attention(generator, z.to(self.device), given, POSITIONS))]
        for name, images in (("discriminator,\nsamples", made), ("discriminator,\nreal", real)):
            if network is not None:
                maps = explain.discriminator_attention(network, images.to(self.device), POSITIONS)
                attended.append((name, images, maps))
        found = [
            figures.Attention(name, images, one.heat.cpu(), one.positions, one.gamma)
            for name, images, one in attended
            if one is not None
        ]
        return figures.attention(found) if found else None

    def reconstructions(self) -> Section | None:
        """Images and G(E(image)) of a BiGAN; None where there is no encoder."""
        if self.discriminator is not None:
            return None
        weights, source = encoder_head(self.run, self.result)
        if weights is None:
            return figures.left_out(figures.RECONSTRUCTIONS, source)
        chosen = self.some(WIDE)
        images, labels = self.real(self.held, chosen), self.held.labels[chosen]
        with torch.no_grad():
            features = self.encoder(images.to(self.device))
            z = nn.functional.linear(features, weights[0].to(self.device), weights[1].to(self.device)).cpu()
        return figures.reconstructions(images, self.made(z, np.maximum(labels, 0)), source)


def encoder_head(run: Path, result: dict[str, Any]) -> tuple[tuple[Tensor, Tensor] | None, str]:
    """Weight and bias of a BiGAN encoder's last layer at the exported step, and where they were; or None and why."""
    state, name = exported_state(run, result.get("exported") or {}, torch.device("cpu"))
    if state is None or "to_z.weight" not in state:
        return None, "the encoder's last layer is kept in the checkpoints only, and there is none of the exported step."
    return (state["to_z.weight"], state["to_z.bias"]), name
