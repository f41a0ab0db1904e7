"""`generator.png` of `gssl inspect RUN`: what a GAN run's two players do, as panels that explain themselves."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gssl.data import Draws, Images, Splits, centre, sequential
from gssl.engine import checkpoint
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment.generators import latents, load_discriminator, load_generator
from gssl.figures.panels import Panel, Row, Tile, heat, overlay, save_sheet
from gssl.gan import explain
from gssl.metrics.evaluator import Evaluator, RandomEvaluator, evaluator_features, make_evaluator
from gssl.metrics.memorisation import copied
from gssl.metrics.pairs import Features
from gssl.metrics.pairs import nearest as nearest_squared
from gssl.nets.generator import Generator

BATCH = 256
WIDE, STEPS = 16, 7  # tiles of a row, of one way through the latent space (two in a row)
CLASSES, LETTERS = 10, 14  # rows of classes, letters of a name
WAYS, DIRECTIONS, FAR = 3, 4, 3.0  # rows of interpolations, main directions, deviations to either side
JUDGED, SHOWN, NEAREST = 256, 4, 5  # samples compared with training images, rows of them, neighbours of each
LOOKED, ASKED = 8, 3  # images with a saliency map, with attention maps
COPIES, NOISE = 16, 0.1  # SmoothGrad: noisy copies, deviation of the noise (from black to white is 1)
PLACES = [(0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.5)]  # from where attention is asked: height, width
BRIGHT = 4  # times an even share of attention: maps below it everywhere stay dark


class Sheet:
    """What the panels share: both players, real images, the run's seed. The test split is never read."""

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
        self.result: dict[str, Any] = read_json(run / "result.json") or {}
        self.sampler = load_generator(run, device)
        self.discriminator = load_discriminator(run, device)
        self.size, self.classes = self.sampler.size, self.sampler.classes

    def save(self, path: Path) -> None:
        """Write the sheet, whole or not at all. The same run gives the same picture."""
        found = [self.samples(), self.ways(), self.between(), self.directions(), self.neighbours(), self.saliency()]
        panels = [panel for panel in [*found, self.attention(), self.reconstructions()] if panel]
        numbered = [replace(panel, title=f"{i}. {panel.title}") for i, panel in enumerate(panels, 1)]
        title = f"What generator and discriminator have learnt: {self.sampler.method}, run {self.run.name}"
        save_sheet(title, self.about(), numbered, path)

    def about(self) -> str:
        """The line below the heading."""
        data, result, sampler = self.written["data"], self.result, self.sampler
        text = data["name"] + (f" {Path(data['root']).name}" if data["root"] else "")
        text += f", {self.size} px. The generator makes an image of a latent vector z, {sampler.generator.latent} draws"
        text += " from the standard normal distribution"
        text += "" if sampler.truncation is None else f" cut at ±{sampler.truncation:g}"
        text += f", and of one of {len(self.classes)} classes." if self.classes else "; it is told no class."
        if which := result.get("exported"):
            text += f" Weights: {which['which']}, step {which['step']:,}."
        objective, evaluator, floor = result.get("objective"), result.get("evaluator"), result.get("kid_baseline")
        if objective and evaluator and objective["value"] is not None:
            named = f"{evaluator['name']}@{evaluator['hash'][:8]}, d {evaluator['dim']}, n {evaluator['n']:,}, {evaluator['split']} images"
            text += f" KID {objective['value']:.3g} by the judge {named}, seed {result['seed']}"
            text += f" (real images: {floor['train_real']['kid']:.1g})." if isinstance(floor, dict) else "."
        return text.replace(" -", " −")

    # ── images ───────────────────────────────────────────────────────────────────────────────────

    def z(self, purpose: str, count: int) -> Tensor:
        shape = (count, self.sampler.generator.latent)
        return latents(self.draws, f"inspect/{purpose}", 0, shape, self.sampler.truncation)

    def made(self, z: Tensor, labels: np.ndarray | int = 0, generator: Generator | None = None) -> Tensor:
        """Samples (n, 3, S, S) on the CPU, of `labels` where classes are told; `generator`: another one."""
        told = np.broadcast_to(np.asarray(labels), len(z)).copy()
        sampler = self.sampler if generator is None else replace(self.sampler, generator=generator)
        return torch.cat([sampler.make(z[i : i + BATCH], told[i : i + BATCH]).cpu() for i in range(0, len(z), BATCH)])

    def real(self, part: Images, chosen: np.ndarray) -> Tensor:
        return pixels(part.subset(chosen), self.size)

    def some(self, count: int) -> np.ndarray:
        """Indices of `count` held-out images, drawn."""
        return np.sort(self.draws.permutation("inspect/sheet", 0, len(self.held))[:count])

    def name(self, label: int) -> str:
        name = self.classes[label]
        return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"

    # ── the panels ───────────────────────────────────────────────────────────────────────────────

    def samples(self) -> Panel:
        if not self.classes:
            made = self.made(self.z("samples", 4 * WIDE))
            rows = [Row("samples" if i == 0 else "", tiles(part)) for i, part in enumerate(made.split(WIDE))]
            rows.append(Row("real images", tiles(self.real(self.held, self.some(WIDE)))))
            text = "Every sample from a z of its own, none picked. Below them real images that were not trained on."
            return Panel("Samples", text, rows)
        z, rows = self.z("samples", WIDE - 5), []
        shown = np.unique(np.linspace(0, len(self.classes) - 1, CLASSES).astype(int)).tolist()
        for label in shown:
            mine = np.flatnonzero(self.held.labels == label)[:4]
            real = tiles(self.real(self.held, mine)) if len(mine) else []
            rows.append(Row(self.name(label), [*tiles(self.made(z, label)), None, *real]))
        text = (
            "One row per class; one column is one z: what stays the same down a column is what z decides, what"
            " changes is what the class decides. Right: real images of the class that were not trained on."
        )
        few = "" if len(shown) == len(self.classes) else f" {len(shown)} of {len(self.classes)} classes are shown."
        return Panel("Samples of each class", text + few, rows)

    def ways(self) -> Panel:
        rows = []
        for i, pairs in enumerate(self.z("ways", 4 * WAYS).unflatten(0, (WAYS, 2, 2))):
            label = i % max(len(self.classes), 1)
            blocks = [tiles(self.made(explain.slerp(a, b, STEPS), label)) for a, b in pairs]
            rows.append(Row(self.name(label) if self.classes else f"pairs {2 * i + 1}, {2 * i + 2}", joined(blocks)))
        text = (
            f"Spherical interpolation from z₁ to z₂ in {STEPS} steps of equal angle, two pairs in each row. Smooth"
            " changes through plausible images speak for a learnt space; jumps between a few fixed images speak"
            " against it."
        )
        heads = ["z₁", *[""] * (STEPS - 2), "z₂"]
        return Panel("Between two latent vectors", text, rows, [*heads, "", *heads])

    def between(self) -> Panel | None:
        if len(self.classes) < 2:
            return None
        z, count, rows = self.z("between", 2), len(self.classes), []
        for i in range(min(WAYS, count - 1)):
            a, b = (2 * i) % count, (2 * i + 1) % count
            mixed = explain.between_classes(self.sampler.generator, a, b, STEPS)
            made = [tiles(self.made(code.expand(STEPS, -1), np.arange(STEPS), mixed)) for code in z]
            rows.append(Row(f"{self.name(a)}\n→ {self.name(b)}", joined(made)))
        text = (
            "z stays, the class goes evenly from the first to the second: the scales and offsets that it sets in the"
            " generator's norm layers. Two z in each row."
        )
        heads = ["first", *[""] * (STEPS - 2), "second"]
        return Panel("Between two classes", text, rows, [*heads, "", *heads])

    def directions(self) -> Panel:
        found = explain.directions(explain.first_layer(self.sampler.generator), DIRECTIONS)
        at, z, rows = torch.linspace(-FAR, FAR, STEPS), self.z("directions", 2), []
        for i, (vector, share) in enumerate(zip(*found, strict=True)):
            blocks = [tiles(self.made(explain.along(code, vector, at))) for code in z]
            rows.append(Row(f"{i + 1}: {share:.1%}", joined(blocks)))
        heads = [f"{x:+.0f}σ".replace("-", "−") if x else "0" for x in at.tolist()]
        told = f" of class {self.name(0)}" if self.classes else ""
        text = (
            "Closed-form factorisation of the first layer W, the norm behind it included (SeFa, arXiv:2007.06600):"
            " the directions in which a step of z moves it most are the top eigenvectors of WᵀW. Beside each its"
            f" share of the sum of all; a direction at random has {1 / z.shape[1]:.1%}. Along a row z goes from"
            f" −{FAR:.0f} to +{FAR:.0f} standard deviations in this direction and stays in all others, for two"
            f" samples{told}. A direction that does the same to both means something."
        )
        return Panel("Main directions of the latent space", text, rows, [*heads, "", *heads])

    def neighbours(self) -> Panel:
        evaluator, note = self.evaluator()
        made = self.made(self.z("neighbours", JUDGED), self.sampler.labels(JUDGED))
        fake, held, bank = (evaluator_features(evaluator, x, BATCH, self.device) for x in (made, self.held, self.bank))
        usual = np.sqrt(nearest_squared(Features(held, "held-out images"), Features(bank, "training images")))
        order, distance = explain.neighbours(fake, bank, NEAREST)
        near = distance[:, 0]
        closest = np.argsort(near, kind="stable")[:SHOWN]
        any_of = np.setdiff1d(np.arange(JUDGED), closest)[:SHOWN]
        rows = []
        for pair in zip(any_of, closest, strict=True):
            blocks = []
            for i in pair:
                found = zip(self.real(self.bank, order[i]), distance[i], strict=True)
                sample = Tile(made[i], f"{float((usual < near[i]).mean()):.0%} nearer")
                blocks.append([sample, None, *(Tile(x, f"{d:#.3g}") for x, d in found)])
            rows.append(Row("", joined(blocks)))
        share = copied(near**2, usual**2)
        more = (
            "more than chance: copies where a sample looks like its neighbour; plain samples are near everything too."
        )
        text = (
            f"Left {SHOWN} samples at random, right the {SHOWN} of {JUDGED} samples that are nearest to a training"
            f" image, each with the {order.shape[1]} nearest of {len(bank):,} training images and their distances in"
            f" the features of the judge {evaluator.name}{note}. Under a sample: how many held-out real images are nearer"
            f" to a training image than it is. Held-out images are usually {np.median(usual):.3g} away, 5% of them"
            f" below {np.quantile(usual, 0.05):.3g}. {share.share:.0%} of the samples (95% interval {share.low:.0%}"
            f" to {share.high:.0%}) are as near as the nearest {share.chance:.0%} of held-out images:"
            f" {more if share.low > share.chance else 'no sign of copying.'}"
        )
        heads = [["who", "", "nearest", *[""] * (order.shape[1] - 1)] for _ in range(2)]
        heads[0][0], heads[1][0] = "any sample", "closest"
        chart = histogram(usual, near, evaluator.name)
        return Panel("Nearest training images of samples", text, rows, [*heads[0], "", *heads[1]], chart)

    def evaluator(self) -> tuple[Evaluator, str]:
        """The run's own judge, or the random one and a note that says so."""
        asked = self.written.get("evaluator", "random")
        try:
            found = make_evaluator(asked, self.splits, self.size, self.device)
        except UsageError:
            return RandomEvaluator(self.size).to(self.device), f" (the run's own, {asked}, is not to be had here)"
        known = (self.result.get("evaluator") or {}).get("hash", found.hash)
        return found, "" if known == found.hash else " (trained anew: not the weights that judged the run)"

    def saliency(self) -> Panel:
        title = "What the discriminator's answer depends on"
        network = self.discriminator
        if network is None:
            text = (
                "Left out: this discriminator judges pairs of an image and its z, and is kept in the checkpoints only."
            )
            return Panel(title, text)
        chosen, labels = self.some(LOOKED), self.sampler.labels(LOOKED)
        real, made = self.real(self.held, chosen), self.made(self.z("saliency", LOOKED), labels)
        shape = (COPIES * LOOKED, 3, self.size, self.size)
        noise = (NOISE * self.draws.normal("inspect/noise", 0, shape)).unflatten(0, (COPIES, LOOKED)).to(self.device)
        rows = []
        for name, images, kinds in (("real", real, self.held.labels[chosen]), ("generated", made, labels)):
            told = torch.from_numpy(kinds.astype(np.int64)).to(self.device) if network.heads.projection else None
            values, logit = explain.saliency(network, images.to(self.device), told, noise[:, : len(images)])
            row: list[Tile | None] = []
            for image, coloured, answer in zip(images, heat(values, self.size), logit.tolist(), strict=True):
                row += [Tile(image, f"logit {answer:+.2f}".replace("-", "−")), Tile(coloured)]
            rows.append(Row(name, row))
        text = (
            "Images, each with its saliency map: |∂ logit / ∂ pixel| summed over the colours, of the gradient's mean"
            f" over {COPIES} copies with noise of deviation {NOISE:g} (SmoothGrad, arXiv:1706.03825). Where it is"
            " light, a small change moves the answer most; each map has a scale of its own. The higher the logit,"
            " the more real the image is to the discriminator. The real images were not trained on."
        )
        return Panel(title, text, rows)

    def attention(self) -> Panel | None:
        z, labels = self.z("attention", ASKED), self.sampler.labels(ASKED)
        made, real = self.made(z, labels), self.real(self.held, self.some(ASKED))
        told = torch.from_numpy(labels).to(self.device) if self.classes else None
        generator, network = self.sampler.generator, self.discriminator
        asked = [("generator", made, explain.generator_attention(generator, z.to(self.device), told, PLACES))]
        for name, images in (("discriminator,\nsamples", made), ("discriminator,\nreal", real)):
            if network is not None:
                asked.append((name, images, explain.discriminator_attention(network, images.to(self.device), PLACES)))
        rows, strengths = [], {}
        for name, images, found in asked:
            if found is not None:
                blocks = [looked(x, part.cpu(), found.places) for x, part in zip(images, found.heat, strict=True)]
                rows.append(Row(name, joined(blocks)))
                strengths[name.partition(",")[0]] = found.gamma
        if not rows:
            return None
        text = (
            "An image, and what the self-attention block looks at from the ringed place: the lighter, the more of"
            " its attention (in squares, for keys are pooled 2×2; white is the map's largest share, and at least"
            f" {BRIGHT} times an even one). Under each map the largest share ÷ an even one: ×1 looks at everything"
            " alike. What the block sees is added with a learnt weight γ that starts at 0: "
        )
        text += ", ".join(f"{value:.2g} ({name})" for name, value in strengths.items()).replace("-", "−")
        return Panel("Where self-attention looks", text + ".", rows)

    def reconstructions(self) -> Panel | None:
        """Images and G(E(image)) of a BiGAN; None where there is no encoder."""
        if self.discriminator is not None:
            return None
        title = "Images and what the generator makes of their codes"
        weights, source = encoder_head(self.run, self.result)
        if weights is None:
            return Panel(title, f"Left out: {source}")
        chosen = self.some(WIDE)
        images, labels = self.real(self.held, chosen), self.held.labels[chosen]
        with torch.no_grad():
            features = self.encoder(images.to(self.device))
            z = nn.functional.linear(features, weights[0].to(self.device), weights[1].to(self.device)).cpu()
        rows = [Row("image", tiles(images)), Row("G(E(image))", tiles(self.made(z, np.maximum(labels, 0))))]
        text = (
            f"Images that were not trained on. The encoder E is the exported backbone, its last layer from {source}."
            " Only the game asks an image and its reconstruction to be alike: kin is to be expected, not twins."
        )
        return Panel(title, text, rows)


def pixels(images: Images, size: int) -> Tensor:
    """Centre crops of all `images`, (n, 3, size, size) in [0, 1] on the CPU."""
    parts = [centre(b["image"], size, b.get("extent")) for b in sequential(images, BATCH, torch.device("cpu"))]
    return torch.cat(parts)


def tiles(images: Tensor) -> list[Tile | None]:
    return [Tile(image) for image in images]


def joined(blocks: list[list[Tile | None]]) -> list[Tile | None]:
    """Blocks in one row with gaps between them."""
    return [tile for block in blocks for tile in [None, *block]][1:]


def looked(image: Tensor, found: Tensor, places: list[tuple[int, int]]) -> list[Tile | None]:
    """An image, and for each of `places` its attention map, of `found` (places, h, w), over it."""
    height, width = found.shape[1:]
    even = 1 / (4 * (height // 2) * (width // 2))
    row: list[Tile | None] = [Tile(image)]
    colours = overlay(image, heat(found, image.shape[-1], BRIGHT * even))
    for (i, j), part, tile in zip(places, found, colours, strict=True):
        row.append(Tile(tile, f"×{float(part.max()) / even:.1f}", ((i + 0.5) / height, (j + 0.5) / width)))
    return row


def encoder_head(run: Path, result: dict[str, Any]) -> tuple[tuple[Tensor, Tensor] | None, str]:
    """Weight and bias of a BiGAN encoder's last layer at the exported step, and where they were; or None and why."""
    exported, folder, cpu = result.get("exported") or {}, run / "checkpoints", torch.device("cpu")
    if exported.get("which") == "best":
        name = "checkpoints/best"
        state, about = checkpoint.read_best(folder, cpu) or ({}, {})
    else:
        path = checkpoint.newest(folder)[0]
        name = f"checkpoints/{path.name}" if path else ""
        state, about = checkpoint.read(path, cpu)[::2] if path else ({}, {})
    if "to_z.weight" not in state or about.get("step") != exported.get("step"):
        return None, "the encoder's last layer is kept in the checkpoints only, and there is none of the exported step."
    return (state["to_z.weight"], state["to_z.bias"]), name


def histogram(held: np.ndarray, fake: np.ndarray, evaluator: str) -> Image.Image:
    """Distances to the nearest training image, of held-out images and of samples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    edges = np.linspace(0, max(held.max(), fake.max(), 1e-9) * 1.02, 50).tolist()
    figure, axes = pyplot.subplots(figsize=(9, 2.1), dpi=100)
    for values, colour, name in ((held, "0.6", "held-out real images"), (fake, "tab:red", "samples")):
        share = np.full(len(values), 1 / len(values))
        axes.hist(values, edges, weights=share, color=colour, alpha=0.6, label=f"{name} ({len(values):,})")
    axes.axvline(
        float(np.quantile(held, 0.05)), color="0.3", linestyle="--", linewidth=1, label="nearest 5% of held-out"
    )
    axes.set(yticks=[], xlabel=f"distance to the nearest training image ({evaluator})", xlim=(0, edges[-1]))
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    pyplot.close(figure)
    return Image.open(file).convert("RGB")
