"""What a transfer run tells beside its scores: confusion, calibration, CKA, corruptions, pictures.

Everything is computed of answers that were given already, or of labelled training images. Nothing here opens the test
set, and nothing here chooses: which probe is shown is decided by names alone, which amount by the number of labels.
"""

import copy
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gssl import schemas
from gssl.config import registry
from gssl.data import Images
from gssl.data.corruptions import KINDS, STRENGTHS, corrupt
from gssl.data.memory import in_memory
from gssl.engine.progress import Meter, say
from gssl.errors import Interrupted
from gssl.experiment import examples
from gssl.experiment.examples import LeftOut
from gssl.experiment.probing import BATCH, Prober
from gssl.experiment.tasks import Answers, Fitted
from gssl.figures import diagrams
from gssl.figures.generator import pixels
from gssl.metrics import calibration
from gssl.metrics.accuracy import confusion
from gssl.metrics.cka import cka_matrix
from gssl.probe import majority
from gssl.probe.features import extract
from gssl.probe.multilayer import PooledStages
from gssl.words import PROBES, title, upper

MOST = 1000  # images on the map and behind CKA
LEAST_CKA, LEAST_MAP = 4, 5  # fewer images have no unbiased CKA, no neighbourhoods
THUMBNAILS = 200  # on a map without classes to colour
CHUNK = 64 << 20  # bytes of test images that are corrupted at a time
HEADS = ("linear", "finetune", "fixmatch")  # probes whose answers are differentiable in the last stage's maps


@dataclass(frozen=True)
class Evaluated:
    """A judged backbone: its probes fitted on real images only, what each says of the test images, and these."""

    prober: Prober
    fitted: list[Fitted]
    found: list[Answers]
    test: Images

    def most(self) -> dict[str, int]:
        """Of every probe that reads labels the index of its fit with the most of them, draw 0; in the probes' order."""
        best: dict[str, int] = {}
        for i, f in enumerate(self.fitted):
            if registry.PROBE[f.probe].labels and f.draw == 0:
                old = best.get(f.probe)
                # of equal amounts the last, which is all labels where that was asked for
                best[f.probe] = i if old is None or f.n_train >= self.fitted[old].n_train else old
        return best

    def shown(self) -> int | None:
        """The fit that pictures and the confusion are of: the linear probe, else the first that reads labels."""
        best = self.most()
        return best.get("linear", next(iter(best.values()), None))

    def name(self, index: int) -> str:
        """ "linear probe, all labels"."""
        f = self.fitted[index]
        return f"{PROBES.get(f.probe, f.probe)}, {f.label_budget.words}"

    def key(self, index: int) -> dict[str, Any]:
        """Which fit an entry of result.json is of."""
        return {"probe": self.fitted[index].probe, "label_budget": self.fitted[index].label_budget.words}

    @property
    def who(self) -> str:
        """ "SimCLR, NAME" of a run's directory or a file."""
        origin = self.prober.origin
        kind = origin.backbone.name if origin.kind == "timm" and origin.backbone else origin.method or origin.kind
        parts = [upper(title(kind))]
        if origin.path:
            parts += [origin.path.absolute().parts[-3]] if origin.kind == "checkpoint" else []
            parts.append(origin.path.name)
        return ", ".join(parts)

    def of(self, count: int, split: str = "test") -> str:
        """ "10,000 test images of cifar10"."""
        data = self.prober.cfg.data
        name = Path(data.root).name if data.name == "imagefolder" and data.root else data.name
        return f"{count:,} {split} images of {name}"


def diagnose(told: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; writes run_dir/pictures, all or none.

    What takes more than arithmetic never costs the scores: where it fails, a line says so, the traceback goes to
    log.txt and its entry is missing.
    """
    result = answers(told)
    if told.prober.origin.kind == majority.NAME:  # nothing to look at
        return result
    more: dict[str, Callable[[], Any]] = {"cka": lambda: stages(told)}
    if cfg.corruptions:
        more["corruptions"] = lambda: corruptions(told)
    for name, measure in more.items():
        if (found := guarded(name, run_dir, measure)) is not None:
            result[name] = found
    if cfg.pictures or cfg.map:
        only = None if cfg.pictures else ("map.png",)
        result |= guarded("pictures", run_dir, lambda: pictures(told, result, run_dir, only)) or {}
    return result


def guarded(name: str, run_dir: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, or None where it fails."""
    try:
        return make()
    except Interrupted:
        raise
    except Exception as error:
        with (run_dir / "log.txt").open("a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        say(f"warning: no {name}: {type(error).__name__}: {error} ({run_dir / 'log.txt'}); the scores are kept")
        return None


def answers(told: Evaluated) -> dict[str, Any]:
    """What follows from the answers alone: accuracy per class, confusion, calibration."""
    labels, count = told.test.labels, len(told.prober.classes)
    per_class, calibrated = [], []
    for i in told.most().values():
        matrix = confusion(labels, told.found[i].guess, count)
        n, right = matrix.sum(1).tolist(), np.diag(matrix).tolist()
        shares = [k / total if total else None for k, total in zip(right, n, strict=True)]
        per_class.append({**told.key(i), "n": n, "accuracy": shares})
        sure, correct = told.found[i].confidence, told.found[i].guess == labels
        if sure is not None:
            bins = [asdict(b) for b in calibration.reliability(sure, correct)]
            ece = calibration.ece(sure, correct)
            calibrated.append({**told.key(i), "n": len(labels), "ece": ece, "bins": bins})
    result: dict[str, Any] = {"per_class": per_class, "calibration": calibrated}
    if (shown := told.shown()) is not None:
        matrix = confusion(labels, told.found[shown].guess, count)
        result["confusion"] = {**told.key(shown), "matrix": matrix.tolist()}
    return result


# ── CKA ──────────────────────────────────────────────────────────────────────────────────────────


def stages(told: Evaluated) -> dict[str, Any] | None:
    """CKA of the backbone's stages with each other and, where it was trained, with those of a random one."""
    prober = told.prober
    few = np.sort(prober.draws.permutation("diagnose/cka", 0, len(prober.images))[:MOST])
    if prober.network is None or len(few) < LEAST_CKA:
        return None
    images = prober.images.subset(few)
    own = stage_features(prober.network, images, prober.cfg.data.side, prober.device)
    found = {"n": len(few), "stages": listed(cka_matrix(own, own)), "random": None}
    if prober.origin.kind != "random":
        twin = copy.copy(prober)
        twin.origin = replace(prober.origin, kind="random", kept={})  # what was read and built stays behind
        twin.network = None  # it would be copied
        random = stage_features(twin.build(), images, prober.cfg.data.side, prober.device)
        found["random"] = listed(cka_matrix(own, random))
    return found


def stage_features(network: nn.Module, images: Images, size: int, device: torch.device) -> list[np.ndarray]:
    """Of each stage its maps averaged over their places, (n, dims[i]) float32."""
    dims: Any = network.dims
    side_by_side = extract(PooledStages(network), images, size, BATCH, device)
    return np.split(side_by_side, np.cumsum(dims)[:-1], axis=1)


def listed(matrix: np.ndarray) -> list[list[float | None]]:
    """For JSON: nan is null."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in matrix]


# ── corruptions ──────────────────────────────────────────────────────────────────────────────────


def corruptions(told: Evaluated) -> dict[str, Any]:
    """Accuracy on corrupted test images: of `most`, for each kind at each strength.

    Images are centre-cropped first and rounded to the 256 levels they came from; `clean` is the accuracy without that.
    """
    prober, test, size = told.prober, told.test, told.prober.cfg.data.side
    chosen = list(told.most().values())
    reads = {told.fitted[i].reads for i in chosen}
    right = np.zeros((len(chosen), len(KINDS), len(STRENGTHS)), dtype=np.int64)
    step = max(1, CHUNK // (size * size * test.channels))
    todo, done, since = len(test) * len(KINDS) * len(STRENGTHS), 0, time.perf_counter()
    with Meter("corruptions", prober.cfg.engine.progress) as meter:
        for start in range(0, len(test), step):
            part = test.subset(np.arange(start, min(start + step, len(test))))
            clean = rounded(part, size)
            for k, kind in enumerate(KINDS):
                for s, strength in enumerate(STRENGTHS):
                    made = corrupt(clean, kind, strength, prober.draws, first=start)
                    images = in_memory(made, part.labels, part.classes)
                    seen = {name: prober.features(images, name) for name in reads - {"network"}} | {"network": images}
                    for row, i in enumerate(chosen):
                        f = told.fitted[i]
                        right[row, k, s] += (f.model.predict(seen[f.reads]) == part.labels).sum()
                    done += len(part)
                    seconds = time.perf_counter() - since
                    meter.update(done / todo, done // len(test), seconds, done / seconds, None)
    entries = []
    for i, table in zip(chosen, right / len(test), strict=True):
        entry = {**told.key(i), "clean": float((told.found[i].guess == test.labels).mean())}
        entry["accuracy"] = {kind: row.tolist() for kind, row in zip(KINDS, table, strict=True)}
        entry["mean_per_kind"] = {kind: float(row.mean()) for kind, row in zip(KINDS, table, strict=True)}
        entries.append(entry | {"mean": float(table.mean())})
    return {"n": len(test), "kinds": list(KINDS), "strengths": list(STRENGTHS), "probes": entries}


def rounded(images: Images, size: int) -> np.ndarray:
    """Centre crops as uint8 (n, size, size, channels)."""
    crops = pixels(images, size)[:, : images.channels]
    return (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def pictures(
    told: Evaluated, result: dict[str, Any], run_dir: Path, only: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Draw everything, or `only` some, into run_dir/pictures: `pictures`, the files, and `pictures_left_out`, name:
    why."""
    todo: dict[str, Callable[[Path], None]] = {
        "confusion.png": lambda path: draw_confusion(told, result, path),
        "mistakes.png": lambda path: draw_mistakes(told, path),
        "saliency.png": lambda path: draw_saliency(told, path),
        "reliability.png": lambda path: draw_reliability(told, result, path),
        "map.png": lambda path: draw_map(told, path),
        "cka.png": lambda path: draw_cka(told, result, path),
    }
    if "corruptions" in result:
        todo["corruptions.png"] = lambda path: draw_corruptions(told, result, path)
    todo = {name: draw for name, draw in todo.items() if only is None or name in only}
    left_out = {}
    with tempfile.TemporaryDirectory(prefix=".pictures-", dir=run_dir) as beside:
        for name, draw in todo.items():
            try:
                draw(Path(beside) / name)
            except LeftOut as reason:
                left_out[name] = str(reason)
        out = run_dir / "pictures"
        out.mkdir(exist_ok=True)
        files = [name for name in todo if name not in left_out]
        for name in files:
            (Path(beside) / name).replace(out / name)
    return {"pictures": [f"pictures/{name}" for name in files], "pictures_left_out": left_out}


def _shown(told: Evaluated) -> int:
    index = told.shown()
    if index is None:
        raise LeftOut("no probe that reads labels")
    return index


def draw_confusion(told: Evaluated, result: dict[str, Any], path: Path) -> None:
    name = told.name(_shown(told))
    heading = f"Confusion: {name}. {told.who}, {told.of(len(told.test))}"
    diagrams.confusion(np.array(result["confusion"]["matrix"]), told.prober.classes, heading, path)


def draw_mistakes(told: Evaluated, path: Path) -> None:
    index = _shown(told)
    heading = f"Most confident mistakes: {told.name(index)}. {told.who}, {told.of(len(told.test))}"
    size = told.prober.cfg.data.side
    examples.mistakes(told.test, told.found[index], size, told.prober.classes, heading, path)


def draw_saliency(told: Evaluated, path: Path) -> None:
    if told.prober.network is None:
        raise LeftOut(f"weights={told.prober.origin.kind} has no network")
    best = told.most()
    index = next((best[probe] for probe in HEADS if probe in best), None)
    if index is None:
        raise LeftOut(f"needs one of the probes {', '.join(HEADS)}")
    heading = f"What spoke for confident answers: {told.name(index)}. {told.who}, {told.of(len(told.test))}"
    examples.saliency(told.prober, told.fitted[index], told.found[index], told.test, heading, path)


def draw_reliability(told: Evaluated, result: dict[str, Any], path: Path) -> None:
    if not result["calibration"]:
        raise LeftOut("no probe that reads labels")
    best = told.most()
    named = [one | {"name": told.name(best[one["probe"]])} for one in result["calibration"]]
    diagrams.reliability(named, f"Reliability. {told.who}, {told.of(len(told.test))}", path)


def draw_map(told: Evaluated, path: Path) -> None:
    prober, test = told.prober, told.test
    few = test.subset(np.sort(prober.draws.permutation("diagnose/map", 0, len(test))[:MOST]))
    if len(few) < LEAST_MAP:
        raise LeftOut(f"{len(few)} test images; at least {LEAST_MAP} are needed")
    thumbnails = pixels(few.subset(np.arange(min(len(few), THUMBNAILS))), prober.cfg.data.side)
    heading = f"Features of {told.who}: {told.of(len(few))}"
    diagrams.feature_map(prober.features(few), few.labels, prober.classes, thumbnails, heading, path)


def draw_cka(told: Evaluated, result: dict[str, Any], path: Path) -> None:
    if (found := result.get("cka")) is None:
        raise LeftOut("needs a network, and labelled training images")
    panels = [(told.who, told.who, found["stages"])]
    if found["random"]:
        panels.append((told.who, "the same network with random weights", found["random"]))
    diagrams.cka(panels, f"CKA between stages. {told.of(found['n'], 'labelled training')}", path)


def draw_corruptions(told: Evaluated, result: dict[str, Any], path: Path) -> None:
    found, best = result["corruptions"], told.most()
    if not found["probes"]:
        raise LeftOut("no probe that reads labels")
    names = [told.name(best[one["probe"]]) for one in found["probes"]]
    heading = f"Corruptions. {told.who}, {told.of(found['n'])}"
    diagrams.corruptions(found, names, len(told.prober.classes), heading, path)
