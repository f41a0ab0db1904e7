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
from gssl.engine.generated import latents, load_discriminator, load_generator
from gssl.engine.panels import Panel, Row, Tile, heat, overlay, save_sheet
from gssl.errors import UsageError
from gssl.gan import explain
from gssl.metrics.judge import Judge, RandomJudge, judge_features, make_judge
from gssl.metrics.memorisation import copied
from gssl.metrics.pairs import Features
from gssl.metrics.pairs import nearest as nearest_squared
from gssl.nets.generator import Generator

BATCH = 256
WIDE, STEPS = 16, 7  # tiles of a row, of one way through the latent space (two in a row)
CLASSES, LETTERS = 10, 14  # rows of classes, letters of a name
WAYS, DIRECTIONS, FAR = 3, 4, 3.0  # interpolations, main directions, deviations to either side
JUDGED, SHOWN, NEAREST = 256, 4, 5  # samples compared with training images, rows of them, neighbours of each
LOOKED, ASKED = 8, 3  # images with a saliency map, with attention maps
COPIES, NOISE = 16, 0.1  # SmoothGrad: noisy copies, deviation of the noise (black to white is 1)
PLACES = [(0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.5)]  # from where attention is asked: height, width


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
        self.run, self.splits, self.held, self.bank, self.device = run, splits, held, bank, device
        self.data, self.asked, self.draws = (
            written["data"]["name"],
            written.get("judge", "random"),
            Draws(written["seed"]),
        )
        self.result: dict[str, Any] = read_json(run / "result.json") or {}
        self.sampler = load_generator(run, device)
        self.discriminator = load_discriminator(run, device)
        self.size, self.encoder = self.sampler.size, encoder

    # ── images ───────────────────────────────────────────────────────────────────────────────────

    def z(self, purpose: str, count: int) -> Tensor:
        shape = (count, self.sampler.generator.latent)
        return latents(self.draws, f"inspect/{purpose}", 0, shape, self.sampler.truncation)

    def made(self, z: Tensor, labels: np.ndarray | int = 0, generator: Generator | None = None) -> Tensor:
        """Samples (n, 3, S, S) on the CPU, of `labels` where classes are told."""
        told = np.broadcast_to(np.asarray(labels), len(z))
        sampler = self.sampler if generator is None else replace(self.sampler, generator=generator)
        return torch.cat([sampler.make(z[i : i + BATCH], told[i : i + BATCH]).cpu() for i in range(0, len(z), BATCH)])

    def real(self, part: Images, chosen: np.ndarray) -> Tensor:
        return pixels(part.subset(chosen), self.size)

    def some(self, part: Images, count: int) -> np.ndarray:
        """Indices of `count` images, drawn."""
        return np.sort(self.draws.permutation("inspect/sheet", 0, len(part))[:count])

    @property
    def classes(self) -> list[str]:
        return self.sampler.classes

    def name(self, label: int) -> str:
        name = self.classes[label]
        return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"

    # ── the panels ───────────────────────────────────────────────────────────────────────────────

    def samples(self) -> Panel:
        if not self.classes:
            made = self.made(self.z("samples", 4 * WIDE))
            rows = [Row("samples" if i == 0 else "", tiles(part)) for i, part in enumerate(made.split(WIDE))]
            rows.append(Row("real images", tiles(self.real(self.held, self.some(self.held, WIDE)))))
            text = "Every sample from a latent vector z of its own, none picked. Below them real images that were not"
            return Panel("Samples", f"{text} trained on (validation).", rows)
        shown = np.unique(np.linspace(0, len(self.classes) - 1, CLASSES).astype(int))
        z, rows = self.z("samples", WIDE - 5), []
        for label in shown:
            mine = np.flatnonzero(self.held.labels == label)[:4]
            real = tiles(self.real(self.held, mine)) if len(mine) else []
            rows.append(Row(self.name(int(label)), [*tiles(self.made(z, int(label))), None, *real]))
        text = "One row per class; one column is one latent vector z, so what stays the same down a column is what z"
        text += " decides, and what changes is what the class decides. Right: real images of the class (validation)."
        few = "" if len(shown) == len(self.classes) else f" {len(shown)} of {len(self.classes)} classes are shown."
        return Panel("Samples of each class", text + few, rows)

    def ways(self) -> list[Panel]:
        ends = self.z("ways", 4 * WAYS).unflatten(0, (WAYS, 2, 2))
        rows = []
        for i, pairs in enumerate(ends):
            label = i % max(len(self.classes), 1)
            blocks = [tiles(self.made(explain.slerp(a, b, STEPS), label)) for a, b in pairs]
            rows.append(Row(self.name(label) if self.classes else f"pairs {2 * i + 1}, {2 * i + 2}", joined(blocks)))
        text = (
            f"Spherical interpolation between two latent vectors in {STEPS} equal steps, two pairs in each row. Smooth"
        )
        text += " changes through plausible images speak for a learnt space; jumps between the same few images do not."
        ends_of = ["z₁", *[""] * (STEPS - 2), "z₂"]
        found = [Panel("Between two latent vectors", text, rows, [*ends_of, "", *ends_of])]
        if len(self.classes) > 1:
            found.append(self.between())
        return found

    def between(self) -> Panel:
        z, count, rows = self.z("between", 2), len(self.classes), []
        for i in range(min(WAYS, count - 1)):
            a, b = (2 * i) % count, (2 * i + 1) % count
            mixed = explain.between_classes(self.sampler.generator, a, b, STEPS)
            made = [tiles(self.made(code.expand(STEPS, -1), np.arange(STEPS), mixed)) for code in z]
            rows.append(Row(f"{self.name(a)} → {self.name(b)}", joined(made)))
        text = "The latent vector stays, the class goes evenly from the first to the second (the scales and offsets that the"
        text += " class sets in the generator's norm layers). Two latent vectors in each row."
        heads = ["first", *[""] * (STEPS - 2), "second"]
        return Panel("Between two classes", text, rows, [*heads, "", *heads])

    def directions(self) -> Panel:
        weight = explain.first_layer(self.sampler.generator)
        found = explain.directions(weight, DIRECTIONS)
        at, z, rows = torch.linspace(-FAR, FAR, STEPS), self.z("directions", 2), []
        for i, (vector, share) in enumerate(zip(*found, strict=True)):
            blocks = [tiles(self.made(explain.along(code, vector, at))) for code in z]
            rows.append(Row(f"{i + 1}: {share:.1%}", joined(blocks)))
        heads = [f"{x:+.0f}σ" if x else "0" for x in at.tolist()]
        text = "Closed-form factorisation (SeFa, arXiv:2007.06600): the directions in which a step of z moves the first layer"
        text += f" most, the top eigenvectors of WᵀW; beside each its share (a direction at random has {1 / len(z[0]):.1%})."
        text += (
            f" Along a row one direction goes from −{FAR:.0f} to +{FAR:.0f} standard deviations of z, for two samples"
        )
        told = f" of class {self.name(0)}" if self.classes else ""
        text += f"{told}; the rest of z stays. A direction means something where both samples change alike."
        return Panel("Main directions of the latent space", text, rows, [*heads, "", *heads])

    def neighbours(self) -> Panel:
        judge, note = self.judge()
        labels = self.sampler.labels(JUDGED)
        made = self.made(self.z("neighbours", JUDGED), labels)
        fake, held, bank = (judge_features(judge, x, BATCH, self.device) for x in (made, self.held, self.bank))
        train = Features(bank, "training images")
        usual = np.sqrt(nearest_squared(Features(held, "held-out images"), train))
        order, distance = explain.neighbours(fake, bank, NEAREST)
        near = distance[:, 0]
        suspects = np.argsort(near, kind="stable")[:SHOWN]
        few = np.setdiff1d(np.arange(JUDGED), suspects)[:SHOWN]
        rows = []
        for pair in zip(few, suspects, strict=True):
            blocks = []
            for i in pair:
                below = float((usual < near[i]).mean())
                found = self.real(self.bank, order[i])
                block: list[Tile | None] = [Tile(made[i], f"{below:.0%} nearer"), None]
                blocks.append(block + [Tile(x, f"{d:.3g}") for x, d in zip(found, distance[i], strict=True)])
            rows.append(Row("", [*blocks[0], None, *blocks[1]]))
        share = copied(near**2, usual**2)
        text = (
            f"Left of each row {SHOWN} samples at random, right the {SHOWN} of {JUDGED} samples that are nearest to a"
        )
        text += f" training image; after each its {order.shape[1]} nearest of {len(bank):,} training images with their distances"
        text += f" in the features of the judge {judge.name}{note}. Under a sample: the share of held-out real images that are"
        text += " nearer to their training image than it is to its own; 0% on all samples, and twins in the row, would be copying."
        text += f" Held-out images are usually {np.median(usual):.3g} away (5% below {np.quantile(usual, 0.05):.3g}, 5% above"
        text += f" {np.quantile(usual, 0.95):.3g}). {share.share:.0%} of the samples (95% interval {share.low:.0%} to"
        text += f" {share.high:.0%}) are as near as the nearest {share.chance:.0%} of held-out images are: "
        text += "more than chance, look for copies." if share.low > share.chance else "no sign of copying."
        heads = ["sample", "", "nearest", *[""] * (order.shape[1] - 1)]
        chart = histogram(usual, near, judge.name)
        return Panel("Nearest training images of samples", text, rows, [*heads, "", *heads], chart)

    def judge(self) -> tuple[Judge, str]:
        """The run's own judge, or the random one and a note that says so."""
        try:
            found = make_judge(self.asked, self.splits, self.size, self.device)
        except UsageError:
            return RandomJudge(self.size).to(self.device), f" (the run's own, {self.asked}, cannot be had here)"
        known = (self.result.get("judge") or {}).get("hash", found.hash)
        return found, "" if known == found.hash else " (trained anew: its weights are not those that judged the run)"

    def saliency(self) -> Panel:
        title = "What the discriminator's answer depends on"
        network = self.discriminator
        if network is None:
            text = "Left out: this discriminator judges pairs of image and z and stays in the checkpoints (BiGAN)."
            return Panel(title, text)
        labels = self.sampler.labels(LOOKED)
        chosen = self.some(self.held, LOOKED)
        shape = (COPIES * LOOKED, 3, self.size, self.size)
        noise = (NOISE * self.draws.normal("inspect/noise", 0, shape)).unflatten(0, (COPIES, LOOKED)).to(self.device)
        rows = []
        made = self.made(self.z("saliency", LOOKED), labels)
        for name, images, kinds in (
            ("real", self.real(self.held, chosen), self.held.labels[chosen]),
            ("generated", made, labels),
        ):
            told = torch.from_numpy(kinds.astype(np.int64)).to(self.device) if network.heads.projection else None
            values, logit = explain.saliency(network, images.to(self.device), told, noise[:, : len(images)])
            line: list[Tile | None] = []
            for image, coloured, answer in zip(images, heat(values, self.size), logit.tolist(), strict=True):
                line += [Tile(image, f"logit {answer:+.2f}"), Tile(coloured)]
            rows.append(Row(name, line))
        text = "Pairs of an image and its saliency map: |∂ logit / ∂ pixel| summed over the colours, the gradient averaged over"
        text += f" {COPIES} copies with noise of {NOISE:g} (SmoothGrad, arXiv:1706.03825). Light: a small change of this pixel moves"
        text += " the answer most; each map has its own scale. Under an image the logit: the higher, the more real it looks to"
        text += " the discriminator. Real images are held-out ones."
        return Panel(title, text, rows)

    def attention(self) -> Panel | None:
        z, labels = self.z("attention", ASKED), self.sampler.labels(ASKED)
        made = self.made(z, labels)
        real = self.real(self.held, self.some(self.held, ASKED))
        told = torch.from_numpy(labels).to(self.device) if self.classes else None
        generator, network = self.sampler.generator, self.discriminator
        asked = [("generator", made, explain.generator_attention(generator, z.to(self.device), told, PLACES))]
        if network is not None:
            for name, images in (("discr., samples", made), ("discr., real", real)):
                asked.append((name, images, explain.discriminator_attention(network, images.to(self.device), PLACES)))
        rows, strengths = [], {}
        for name, images, found in asked:
            if found is None:
                continue
            rows.append(
                Row(name, joined([looked(x, part, found.places) for x, part in zip(images, found.heat, strict=True)]))
            )
            strengths[name.partition(".")[0]] = found.gamma
        if not rows:
            return None
        text = "An image, and where the self-attention block looks from the ringed place: the lighter, the more of its"
        text += (
            " attention (keys are pooled 2×2, hence the squares). Under each map the largest share ÷ an even one: ×1"
        )
        text += (
            " looks everywhere alike. What the block sees is added with the learnt weight γ, which starts at 0: γ = "
        )
        text += ", ".join(f"{value:.2g} ({name})" for name, value in strengths.items())
        return Panel("Where self-attention looks", text + ".", rows)

    def reconstructions(self) -> Panel | None:
        """Images and G(E(image)) of a BiGAN; None where there is no encoder. The backbone given is the exported one."""
        if self.discriminator is not None:
            return None
        title = "Images and what the generator makes of their codes, G(E(image))"
        weights, source = encoder_head(self.run, self.result)
        if weights is None:
            return Panel(title, f"Left out: {source}")
        images = self.real(self.held, self.some(self.held, WIDE))
        with torch.no_grad():
            features = self.encoder(images.to(self.device))
            z = nn.functional.linear(features, weights[0].to(self.device), weights[1].to(self.device)).cpu()
        rows = [Row("image", tiles(images)), Row("G(E(image))", tiles(self.made(z)))]
        text = f"Held-out images. The encoder is the exported backbone, its last layer is from {source}. Nothing but the game"
        return Panel(
            title, f"{text} asks image and reconstruction to be alike: kin, not twins, are to be expected.", rows
        )

    def title(self) -> tuple[str, str]:
        """The heading of the sheet and the line below it."""
        text = f"{self.data}, {self.size} px, latent vectors z of {self.sampler.generator.latent} numbers"
        text += f", {len(self.classes)} classes told" if self.classes else ", no class told"
        which = self.result.get("exported")
        if which:
            text += f". Weights of the {which['which']} evaluation, step {which['step']:,}"
        objective, judge = self.result.get("objective"), self.result.get("judge")
        if objective and judge and objective["value"] is not None:
            floor = self.result.get("kid_floor")
            least = f" (real images get {floor['train_real']['kid']:.3g})" if isinstance(floor, dict) else ""
            text += f"; KID {objective['value']:.3g}{least} by {judge['name']}"
        return f"What the generator of {self.run.name} has learnt ({self.sampler.method})", text + "."

    def panels(self) -> list[Panel]:
        found = [self.samples(), *self.ways(), self.directions(), self.neighbours(), self.saliency()]
        found += [panel for panel in (self.attention(), self.reconstructions()) if panel]
        return [replace(panel, title=f"{i}. {panel.title}") for i, panel in enumerate(found, 1)]

    def save(self, path: Path) -> None:
        """Write the sheet, whole or not at all."""
        save_sheet(*self.title(), self.panels(), path)


def pixels(images: Images, size: int) -> Tensor:
    """Centre crops of all `images`, (n, 3, size, size) in [0, 1] on the CPU."""
    parts = [centre(b["image"], size, b.get("extent")) for b in sequential(images, BATCH, torch.device("cpu"))]
    return torch.cat(parts)


def tiles(images: Tensor) -> list[Tile | None]:
    return [Tile(image) for image in images]


def joined(blocks: list[list[Tile | None]]) -> list[Tile | None]:
    """Blocks in one row with gaps between them."""
    row = [tile for block in blocks for tile in [None, *block]]
    return row[1:]


def looked(image: Tensor, found: Tensor, places: list[tuple[int, int]]) -> list[Tile | None]:
    """An image, and for each of `places` the attention map (h, w) of `found` over it."""
    height, width = found.shape[1:]
    row: list[Tile | None] = [Tile(image)]
    for (i, j), part, colours in zip(places, found, heat(found, image.shape[-1]), strict=True):
        even = 1 / (4 * (height // 2) * (width // 2))
        mark = ((i + 0.5) / height, (j + 0.5) / width)
        row.append(Tile(overlay(image, colours), f"×{float(part.max()) / even:.2g}", mark))
    return row


def encoder_head(run: Path, result: dict[str, Any]) -> tuple[tuple[Tensor, Tensor] | None, str]:
    """Weight and bias of a BiGAN encoder's last layer at the exported step, and where they were; or None and why."""
    exported, folder = result.get("exported") or {}, run / "checkpoints"
    cpu = torch.device("cpu")
    if exported.get("which") == "best":
        kept, name = checkpoint.read_best(folder, cpu), "checkpoints/best"
        state, about = kept or ({}, {})
    else:
        path = checkpoint.newest(folder)[0]
        name = f"checkpoints/{path.name}" if path else ""
        state, about = (checkpoint.read(path, cpu)[::2]) if path else ({}, {})
    if "to_z.weight" not in state or about.get("step") != exported.get("step"):
        return None, "the encoder's last layer is in the checkpoints only, and there is none of the exported step."
    return (state["to_z.weight"], state["to_z.bias"]), name


def histogram(held: np.ndarray, fake: np.ndarray, judge: str) -> Image.Image:
    """Distances to the nearest training image, of held-out images and of samples."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    edges = np.linspace(0, max(held.max(), fake.max()) * 1.02, 50).tolist()
    figure, axes = pyplot.subplots(figsize=(9, 2.1), dpi=100)
    for values, colour, name in ((held, "0.6", "held-out real images"), (fake, "tab:red", "samples")):
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.6, label=f"{name} ({len(values):,})")
    axes.axvline(np.quantile(held, 0.05), color="0.3", linestyle="--", linewidth=1, label="nearest 5% of held-out")
    axes.set(yticks=[], xlabel=f"distance to the nearest training image ({judge})", xlim=(0, edges[-1]))
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, format="png")
    pyplot.close(figure)
    return Image.open(file).convert("RGB")
