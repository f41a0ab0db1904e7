"""The model of a comparison: what its report recommends, trained on all labels, in RUN/model.

The arm is the one that the advice says to use, by the way of adapting that was chosen for it most often at its largest
label budget. A control is no model, nor is what has no network: then it is the best of the rest, and the card says that
nothing was shown to beat the control. The network starts where the arm's own of the first seed (and fold) did; head and
settings are chosen once more on folds of all labels.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.executors import checks
from gssl.comparison.parts import Part
from gssl.config.registry import PROBE
from gssl.data import Images, Splits, targets
from gssl.data.joined import joined
from gssl.engine.device import prepare
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.errors import JobError, UsageError
from gssl.experiment import augmentation, checkpoint_weights, cross_validation, model_folder
from gssl.experiment.model_files import FOLDER
from gssl.experiment.out_of_fold import out_of_fold
from gssl.experiment.probing import Prober, find_source
from gssl.experiment.tasks import task_of
from gssl.report.model import Arm, Report, Score
from gssl.schemas.ready_made import READY_MADE
from gssl.words import PROBES, data_name, label_budget_text


@dataclass(frozen=True)
class Choice:
    """Which arm becomes the model, by which probe, and the score that says what to expect."""

    arm: Arm
    probe: str
    score: Score | None
    why: str
    notes: list[str]


def make(cfg: schemas.Compare, report: Report, parts: Sequence[Part], splits: Splits, run_dir: Path) -> dict[str, Any]:
    """Train and write the model; returns the entry for result.json, which has `why` alone where there is none,
    and `failed` where it could not be made."""
    usable = {part.arm for part in parts if part.stage == "transfer" and part.finished}
    choice = choose(report, usable)
    if choice is None:
        return {"why": "no arm with a network of its own has a score"}
    start = time.perf_counter()
    own = [p for p in parts if p.stage == "transfer" and p.finished and p.arm == choice.arm.name]
    part = min(own, key=lambda p: (p.seed, p.fold is None, p.fold or 0))
    where = "" if isinstance(cfg.executor, schemas.Local) else ", on this machine (model=false leaves it out)"
    say(f"model: {choice.arm.title} on all labels{where}")
    try:
        text = train(cfg, choice, part, splits, run_dir / FOLDER)
    except (JobError, UsageError) as error:
        return {"why": f"{choice.arm.name}: {error}", "failed": True}
    kept = {key: text.get(key) for key in ("sha256", "expected", "calibration", "why")}
    found = {"folder": FOLDER, "arm": choice.arm.name, "probe": text["probe"], "images": text["trained"]["images"]}
    return found | kept | {"seconds": round(time.perf_counter() - start, 3)}


def seconds(cfg: schemas.Compare, parts: Sequence[Part], costs: Mapping[Path, Any]) -> float:
    """What the model takes at most: as long as the longest evaluation, which fits all label budgets; 0 without one."""
    known = [costs[part.path].seconds for part in parts if part.stage == "transfer"]
    return max([float(one) for one in known if one], default=0.0) if cfg.model else 0.0


# ── which ────────────────────────────────────────────────────────────────────────────────────────


def choose(report: Report, usable: set[str]) -> Choice | None:
    """usable: arms with a finished evaluation. None where none of them can be a model."""
    candidates = {a.name: a for a in report.arms if a.name in usable and a.role == "contestant" and _network(a)}
    means = {name: row.mean for name in candidates if (row := report.row(name))}
    if not means:
        return None
    advice, notes = report.advice, []
    use = max(means, key=lambda name: means[name])
    why = f"{candidates[use].title} has the highest score."
    if advice and advice.use in means:
        use, why = advice.use, advice.sentences[0]
    elif advice:
        kept = sorted((k.flops, k.seconds, -k.mean, k.arm) for k in advice.kept if k.arm in means)
        use = kept[0][-1] if kept else use
        other = report.titles[advice.use]
        why = f"of what has a network and is no control, {candidates[use].title} comes first."
        notes.append(
            f"**The comparison recommends {other}, which is no model: nothing here is shown to beat it.**"
            if _role(report, advice.use) == "control"
            else f"The comparison recommends {other}, which has no network to be kept."
        )
    probe, score = _adapted(report, use)
    if score is None:
        notes.append(f"The figures of the comparison are of {report.primary.probe}, which has no head to be kept.")
    return Choice(candidates[use], probe, score, why, notes)


def _network(arm: Arm) -> bool:
    return arm.family != "classical" and arm.kind != "classical"


def _role(report: Report, name: str) -> str:
    return next(a.role for a in report.arms if a.name == name)


def _adapted(report: Report, arm: str) -> tuple[str, Score | None]:
    """The probe that becomes the head, and the arm's score at its largest label budget."""
    primary, task = report.primary.probe, report.primary.task
    rows = [row for b in report.label_budgets if (row := report.row(arm, primary, b.key))]
    last = rows[-1] if rows else None
    if PROBE[primary].reads == "menu" and last and last.adapted_by:
        by = last.adapted_by
        return max(by, key=lambda name: by[name]), last
    if _has_head(primary):
        return primary, last
    own = next(name for name, entry in PROBE.items() if _has_head(name) and task in entry.tasks)
    others = [row for b in report.label_budgets if (row := report.row(arm, own, b.key))]
    return own, others[-1] if others else None


def _has_head(probe: str) -> bool:
    entry = PROBE[probe]
    if entry.pooling is not None:
        return not entry.control
    return entry.reads in ("network", "dense") or (entry.reads == "pooled" and entry.linear_head)


# ── the model ────────────────────────────────────────────────────────────────────────────────────


def train(cfg: schemas.Compare, choice: Choice, part: Part, splits: Splits, folder: Path) -> dict[str, Any]:
    """Fit the choice on all labels and write its folder; returns predict.json."""
    engine = checks.engine_here(cfg.executor, part.cfg.engine)
    own: schemas.Transfer = schemas.replace(
        part.cfg, engine=engine, data=cfg.data, labels_per_class=[], fractions=[1.0], images_labelled=[], draws=1,
        draws_one_shot=1, probe=schemas.replace(part.cfg.probe, use=[choice.probe]),
    )  # fmt: skip
    device, _ = prepare(own.engine)
    images, with_test = all_labelled(splits)
    origin = checkpoint_weights.resolve(find_source(own.weights), device)
    synthetic = augmentation.find_generated_images(own.generated, device)
    more = (splits.unlabelled, synthetic, splits.pretrain.unlabelled())
    prober = Prober(own, origin, images, splits.classes, device, *more)
    *_, fitted = prober.fit()
    found = out_of_fold(prober, fitted) if targets.TARGETS[prober.task.column].classes else None
    score = choice.score
    facts: dict[str, Any] = {
        "arm": {"name": choice.arm.name, "title": choice.arm.title},
        "why": choice.why,
        "notes": choice.notes,
        "expected": None if score is None else expected(score),
        "data": {
            "name": data_name(cfg.data.name, cfg.data.root, cfg.data.train, cfg.data.pretrain),
            "hash": splits.hash,
            "with_test": with_test,
            "tested": cross_validation.tested(splits),
        },
        "source": {"weights": own.weights, "words": source_words(choice.arm, own.weights), **origin.record()},
        "pretraining": pretraining(part, splits),
        "licences": licences(own.weights),
    }
    return model_folder.write(folder, prober, fitted, found, facts)


def all_labelled(splits: Splits) -> tuple[Images, bool]:
    """Training, validation and test images, as far as these may be learned from: the report is written, nothing is
    measured on any of them any more. And whether test images are among them."""
    parts = [splits.labelled]
    if splits.val.store is not splits.train.store:
        parts.append(splits.val)
    tested = None if splits.folds else task_of(splits.columns).learnable(splits.open_test())
    return joined([*parts, *([] if tested is None else [tested])]), tested is not None


def expected(score: Score) -> dict[str, Any]:
    """What the report says of the arm at its largest label budget."""
    return {
        "metric": score.metric,
        "mean": score.mean,
        "interval": score.interval and {key: getattr(score.interval, key) for key in ("low", "high", "level")},
        "n_test": score.n_test,
        "n_seeds": score.n_seeds,
        "n_train": score.n_train or 0,
        "probe": score.probe,
        "label_budget": score.label_budget,
        "labels": f"{label_budget_text(score.label_budget)} ({PROBES.get(score.probe, score.probe)})",
    }


def source_words(arm: Arm, weights: str) -> str:
    """What the network was before it saw a label of these images."""
    if weights == "random":
        return "random weights"
    return f"published weights ({weights})" if arm.kind == "ready" else f"what training {arm.title} gave ({weights})"


def pretraining(part: Part, splits: Splits) -> str:
    """Which of several pretrained networks of the arm it is; empty where nothing was trained here."""
    if not Path(part.cfg.weights).is_dir() or not part.depends:
        return ""
    fold = part.fold
    said = f"The pretrained network is that of seed {part.seed}"
    if splits.folds is not None and fold is not None:
        said += f" and fold {fold + 1} of {splits.folds.count}, whose pretraining did not see that fold's images"
    return f"{said}."


def licences(weights: str) -> list[str]:
    """Of the published weights that it began with, however many runs ago."""
    for _ in range(10):
        if made := READY_MADE.get(weights):
            return [made.licence]
        source = (read_json(Path(weights) / "result.json") or {}).get("source") or {}
        if source.get("licence"):
            return [str(source["licence"])]
        if not source.get("path"):
            return []
        weights = str(source["path"])
    return []
