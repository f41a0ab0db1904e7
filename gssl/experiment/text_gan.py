"""How near lines of a generator of texts are to held-out ones, beside controls; its samples, and its best weights.

| side | what |
|---|---|
| `generated` | lines of the generator |
| `language_model` | lines of a run of ssl=clm, if given: as long as training lines, whose ends it does not know |
| `real` | as many training lines: as near as can be |
| `unigrams` | characters by themselves, as often as in training lines |
| `places` | the same, as often as at that place of training lines |
| `chain` | characters by the three before them, a Markov chain of training lines |

Of each side `DRAWS` samples as large as the held-out lines are measured: the mean, the least and the most. The held-out
lines are the same in all, so no interval over these is in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Draws, Images
from gssl.data.columns import TextColumn
from gssl.data.tokens import Tokenizer
from gssl.engine import checkpoint, outputs
from gssl.engine.documents import find_yaml
from gssl.engine.files import read_json, write_text
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.gan_evaluation import above
from gssl.experiment.generation import Asked, held_out
from gssl.experiment.generators import TextSampler, latents, load_text_generator
from gssl.experiment.language import method_of, network_of
from gssl.experiment.text_samples import generate
from gssl.experiment.trained import splits_of
from gssl.experiment.training import Training
from gssl.metrics.characters import Known, RepetitionMonitor, by_place, chained, drawn, lengths, repetition

BATCH, SHOWN, LEAST = 256, 32, 2
DRAWS = 5  # samples of each side
Write = Callable[[int], list[str]]  # the number of a draw → lines
Lines = Callable[[int, int], list[str]]  # how many, and the number of a draw → lines


def lines_of(images: Images) -> list[str]:
    """The text of every row."""
    column = images.column_of(TextColumn)
    assert column is not None
    tokenizer, starts = Tokenizer(images.store.meta["tokenizer"]), column.offsets[images.rows]
    both = zip(starts.tolist(), (starts + column.counts[images.rows]).tolist(), strict=True)
    return [tokenizer.decode(column.values[a:b].tolist()) for a, b in both]


def some(images: Images, draws: Draws, count: int, number: int = 0) -> Images:
    """At most `count` rows, which by the seed; of every `number` others."""
    return images.subset(np.sort(draws.permutation("eval/lines", number, len(images))[:count]))


@dataclass(frozen=True)
class Sides:
    """Held-out lines, and what is measured against them. size: characters of the longest."""

    held: list[str]
    known: Known
    size: int
    draws: Draws

    def controls(self, train: Images) -> dict[str, Write]:
        """Sides that need no network."""

        def real(number: int) -> list[str]:
            return lines_of(some(train, self.draws, len(self.held), number))

        def by(name: str, make: Callable[[Sequence[str], np.ndarray], list[str]]) -> Write:
            shape = (len(self.held), 1 + self.size)
            return lambda number: make(
                self.known.lines, self.draws.uniform(f"lines/{name}", number, shape).double().numpy()
            )

        return {
            "real": real,
            "unigrams": by("unigrams", drawn),
            "places": by("places", by_place),
            "chain": by("chain", chained),
        }

    def row(self, write: Write, count: int = DRAWS) -> dict[str, Any]:
        """Figures of a side: mean, least and most of `count` samples."""
        found = [self.known.figures(write(number), self.held) for number in range(count)]
        return {key: _spread([own[key] for own in found]) for key in found[0]}


def _spread(values: list[float]) -> dict[str, float]:
    return {"value": sum(values) / len(values), "low": min(values), "high": max(values)}


def verdict(rows: dict[str, Any]) -> list[str]:
    """Whether the generator is farther than each side that is not real, nearer, or as near, by the mean divergence."""
    own = rows["generated"]["js"]
    groups: dict[str, list[str]] = {"loses to": [], "is below that of": [], "cannot be told from that of": []}
    for name, js in ((name, row["js"]) for name, row in rows.items() if name not in ("generated", "real")):
        which = "loses to" if js["high"] < own["low"] else "is below that of"
        which = which if js["high"] < own["low"] or js["low"] > own["high"] else "cannot be told from that of"
        groups[which].append(f"{name.replace('_', ' ')} ({js['value']:.3f})")
    mean = f"the generator's mean divergence, {own['value']:.3f},"
    return [f"{mean} {which} {', '.join(names)}" for which, names in groups.items() if names]


class TextGANEvaluator:
    """Measures samples against validation lines, and keeps the weights whose samples are nearest to them.

    The samples begin with the same latents at every evaluation: what changes is the generator.
    """

    def __init__(self, training: Training, cfg: schemas.TrainGAN, pictures: bool) -> None:
        """`pictures`: write samples and keep the best weights. Raises UsageError for too few validation lines."""
        self.cfg, self.method, self.run, self.device = cfg, training.method, training.run, training.device
        self.pictures, self.draws, self.beside = pictures, training.draws.shared, training.beside
        self.folder = training.run.path / "checkpoints"
        splits = training.splits
        if len(splits.val) < LEAST:
            raise UsageError(
                f"data: {len(splits.val)} validation lines, at least {LEAST} are needed to measure samples by; give"
                " more texts, or a larger data.val_fraction"
            )
        self.tokenizer = Tokenizer(splits.pretrain.store.meta["tokenizer"])
        self.held, self.train = some(splits.val, self.draws, cfg.eval.images), splits.pretrain
        column = self.train.column_of(TextColumn)
        assert column is not None
        if bool((column.counts[self.train.rows] == cfg.data.side).all()):
            say(
                f"warning: no training text is shorter than data.size={cfg.data.side} characters: what is learned is"
                " pieces of that length, never a whole line; raise data.size for lines"
            )
        with self.beside("evaluations"):
            self.sides = Sides(lines_of(self.held), Known(lines_of(self.train)), int(cfg.data.side), self.draws)
            self.real = repetition(lines_of(some(self.train, self.draws, len(self.held))))
        self.watch = RepetitionMonitor(self.real["distinct"])
        self.last: dict[str, Any] = {}
        self.best: dict[str, Any] = {}

    def _ids(self, number: int, count: int, purpose: str = "samples") -> Tensor:
        shape = (count, self.method.latent)
        z = latents(self.draws, purpose, number, shape, self.cfg.gan.truncation)
        return torch.cat([self.method.texts(part.to(self.device)) for part in z.split(BATCH)])

    def _lines(self, number: int) -> list[str]:
        return [self.tokenizer.decode(ids) for ids in self._ids(number, len(self.held)).tolist()]

    def evaluate(self, step: int) -> dict[str, float]:
        with self.beside("evaluations"):
            figures = self.sides.known.figures(self._lines(0), self.sides.held)
            found = {f"val_{key}" if key.startswith("js") else key: value for key, value in figures.items()}
            found["progress"] = self.method.optimizer_g.progress  # fraction of the budget, before the last step
            found |= self._discrimination()
        self.last = {"step": step, "val_js": figures["js"], "figures": figures}
        if self.pictures:
            self._write(step)
            checkpoint.keep_best(self.folder, step, self.method, "js", figures)
        return found

    def _discrimination(self) -> dict[str, float]:
        """The chance that the discriminator puts a validation or a training line above a sample's rows."""
        z = latents(self.draws, "samples", 0, (len(self.held), self.method.latent), self.cfg.gan.truncation)
        parts = [self.method.discriminate(self.method.sample(x.to(self.device))) for x in z.split(BATCH)]
        train = some(self.train, self.draws, len(self.held))
        return {
            "d_val": above(self._logits(self.held), torch.cat(parts)),
            "d_train": above(self._logits(train), torch.cat(parts)),
        }

    def _logits(self, part: Images) -> Tensor:
        column = part.column_of(TextColumn)
        assert column is not None
        batches = (torch.from_numpy(column.fetch(part.rows[i : i + BATCH])) for i in range(0, len(part), BATCH))
        return torch.cat([self.method.discriminate(self.method.rows(ids.to(self.device))) for ids in batches])

    def _write(self, step: int) -> None:
        file = self.run.path / "samples" / f"step-{step:08d}.txt"
        file.parent.mkdir(exist_ok=True)
        texts = [self.tokenizer.decode(ids) for ids in self._ids(0, SHOWN, "grid").tolist()]
        write_text(file, "".join(f"{text}\n" for text in texts))

    def alarms(self, entry: dict[str, Any]) -> list[str]:
        return self.watch(entry)

    def choose(self) -> None:
        """Load the best weights into the method where they are to be exported."""
        kept = checkpoint.read_best(self.folder, next(self.method.parameters()).device)
        assert kept is not None  # the last evaluation kept one
        model, state = kept
        self.best = {key: state[key] for key in ("step", "val_js", "figures")}
        if self.cfg.export == "best":
            self.method.load_state_dict(model)

    def result(self) -> dict[str, Any]:
        """The method's part of result.json, of the exported weights."""
        chosen = self.best if self.cfg.export == "best" else self.last
        with self.beside("evaluations"):
            sides = {"generated": lambda number: self._lines(1 + number)} | self.sides.controls(self.train)
            rows = {name: self.sides.row(write) for name, write in sides.items()}
        return {
            "objective": {"name": "val_js", "value": chosen["val_js"], "direction": "min"},
            "exported": {"which": self.cfg.export, "step": chosen["step"], "chosen_with_labels": False},
            "last": self.last,
            "best": self.best,
            "lines": {"split": "val", "n": len(self.held), "draws": DRAWS, "size": self.sides.size, "rows": rows}
            | {"verdict": verdict(rows)},
        }


def sampled(sampler: TextSampler, count: int, seed: int, number: int, truncation: float | None) -> list[str]:
    """`count` lines of an exported generator: a function of (seed, number)."""
    limit = sampler.truncation if truncation is None else truncation
    z = latents(Draws(seed), "sample", number, (count, sampler.generator.latent), limit)
    return [line for part in z.split(BATCH) for line in sampler.lines(part)]


def write(
    run: Path, n: int, out: Path, seed: int, device: torch.device, truncation: float | None, force: bool
) -> dict[str, Any]:
    """`n` lines of a run's generator in the file `out` (.txt). Raises UsageError."""
    outputs.check(out, ".txt", force)
    lines = sampled(load_text_generator(run, device), n, seed, 0, truncation)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "".join(f"{line}\n" for line in lines))
    outputs.describe(out, {"schema": "gssl.sample/1", "run": str(run), "seed": seed})
    return {"file": str(out), "texts": n, "distinct": repetition(lines)["distinct"], "seed": seed}


def of_language_model(run: Path, known: Known, size: int, seed: int, device: torch.device) -> Lines:
    """Lines of a run of ssl=clm, each as long as a training line: it does not know where lines end.
    Raises UsageError for another run."""
    network, reads = network_of(run)
    if method_of(run) != "clm":
        raise UsageError(f"--beside {run}: is no run of ssl=clm; give one")
    tokenizer = Tokenizer((run / "weights" / "tokenizer.json").read_text(encoding="utf-8"))
    network.to(device).eval()

    def lines(count: int, number: int) -> list[str]:
        chance = Draws(seed).uniform("lines/clm", number, (count,)).double().numpy()
        start = torch.zeros((count, 0), dtype=torch.int64, device=device)
        ids = generate(network, start, reads, size, 1.0, seed * DRAWS + number).tolist()
        return [tokenizer.decode(own)[:n] for own, n in zip(ids, lengths(known.lines, chance), strict=True)]

    return lines


def _tell_other_texts(run: Path, beside: Path) -> None:
    """Says so where the two runs learned from texts of other places."""
    roots = [(find_yaml(own / "config.yaml").get("data") or {}).get("root") for own in (run, beside)]
    if roots[0] != roots[1]:
        say(f"warning: {beside} learned from data.root={roots[1]}, {run} from data.root={roots[0]}: not the same texts")


def spent(run: Path) -> float | None:
    """FLOPs that a run took."""
    found = ((read_json(run / "result.json") or {}).get("spent") or {}).get("flops")
    return None if found is None else float(found)


def evaluate_run(run: Path, asked: Asked, device: torch.device) -> dict[str, Any]:
    """`gssl.lines/1` of the generator that `run` exported, beside controls, and a language model where `asked` names
    its run. Raises UsageError."""
    sampler = load_text_generator(run, device)
    splits, _ = splits_of(run, asked.root)
    draws, train = Draws(asked.seed), splits.pretrain
    known, size = Known(lines_of(train)), sampler.generator.shape.size
    beside = None if asked.beside is None else Path(asked.beside)
    model = None if beside is None else of_language_model(beside, known, size, asked.seed, device)
    held = held_out(run, splits, asked)
    held = some(held, draws, asked.images or len(held))
    sides = Sides(lines_of(held), known, size, draws)
    writes: dict[str, Write] = {
        "generated": lambda number: sampled(sampler, len(held), asked.seed, 1 + number, asked.truncation)
    }
    flops = {"generated": spent(run)}
    if beside is not None and model is not None:
        writes["language_model"] = partial(model, len(held))
        flops["language_model"] = spent(beside)
        _tell_other_texts(run, beside)
    writes |= sides.controls(train)
    rows = {name: sides.row(make) for name, make in writes.items()}
    return {
        "schema": "gssl.lines/1",
        "run": str(run),
        "beside": asked.beside,
        "method": sampler.method,
        "generator": sampler.sha256,
        "split": asked.split,
        "n": len(held),
        "draws": DRAWS,
        "size": size,
        "seed": asked.seed,
        "images": splits.hash,
        "flops": flops,
        "rows": rows,
        "verdict": verdict(rows),
        "test_openings": (read_json(run / "status.json") or {}).get("test_openings", 0),
    }
