"""The record of a transfer run: result.json from fits and their answers, with what stands beside it as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.data import Images, Splits
from gssl.engine.beside import Beside
from gssl.experiment import cross_validation, diagnostics
from gssl.experiment.augmentation import SyntheticImages
from gssl.experiment.probing import Prober
from gssl.experiment.tasks import Fitted
from gssl.experiment.transfer_results import gained, learning_curves, save_mistakes, save_models
from gssl.names import load

PREDICTIONS = "predictions.npz"


def record(
    cfg: schemas.Transfer,
    run_dir: Path,
    prober: Prober,
    splits: Splits,
    fitted: Sequence[Fitted],
    found: Sequence[Any],
    scores: Sequence[dict[str, Any]],
    test: Images,
    synthetic: SyntheticImages | None,
    spent: dict[str, Any],
) -> dict[str, Any]:
    """Write predictions, diagnostics, mistakes and models below `run_dir`; returns result.json, the objective included.

    found, scores: what each fit says of the test images, and its entry. spent: is told how long diagnostics took.
    """
    real = [i for i, f in enumerate(fitted) if not f.generated]
    mixed = [i for i, f in enumerate(fitted) if f.generated]
    alone, answers = [fitted[i] for i in real], [found[i] for i in real]
    prober.task.save(run_dir / PREDICTIONS, answers + [found[i] for i in mixed], test)
    cross_validation.save_items(run_dir, splits, test)
    result: dict[str, Any] = {
        "seed": cfg.seed,
        "task": prober.task.name,
        "source": prober.origin.record(),
        "load_report": prober.report,
        "backbone": prober.described,
        "classes": splits.classes,
        "scores": [scores[i] for i in real],
        "learning_curves": learning_curves(alone),
        "predictions": PREDICTIONS,
        "spent": spent,
        "data": splits.summary,
    }
    if prober.classical:
        result["classical"] = prober.classical.record
    if synthetic:
        result |= gained(synthetic, splits, list(fitted), list(found), list(scores), test)
    evaluated, beside = diagnostics.Evaluated(prober, alone, answers, test), Beside()
    with beside("diagnostics"):
        result |= load(prober.task.diagnose)(evaluated, cfg.diagnose, run_dir)
    spent["beside"] = beside.record()
    result |= save_mistakes(evaluated, run_dir) | save_models(prober, alone, run_dir)
    last = [f for f in alone if f.probe == cfg.probe.use[0]][-1]
    name, value = f"val_{last.probe} ({last.label_budget.words})", prober.task.validation(last.model)
    return result | {"objective": {"name": name, "value": value, "direction": "max"}}
