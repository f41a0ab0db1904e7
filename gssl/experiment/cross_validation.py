"""Transfer over outer folds: one whole run per fold, then one result in which every labelled image was tested on once.

A fold's run never saw the images that it is tested on, nor did a choice of it. What is merged here are predictions:
metrics are computed from those of all folds together.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from gssl import schemas
from gssl.config import registry
from gssl.config.menus import trains
from gssl.data import Images, Splits, load_data
from gssl.engine import recorded
from gssl.engine.files import read_json
from gssl.engine.outputs import open_to_append
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import JobError, UsageError
from gssl.experiment import told
from gssl.experiment.model_files import MODEL
from gssl.experiment.tasks import CLASSIFICATION, NAMED
from gssl.metrics.calibration import ece
from gssl.schemas.label_budgets import KEYS
from gssl.statistics.metric import METRICS

FOLDER = "folds"  # in the directory of a run over all folds
PREDICTIONS = "predictions.npz"
ITEMS = "items.npy"  # beside it: which images they are of, void (n,) content hashes
SAME = ("task", "source", "load_report", "backbone", "classes", "classical", "predictions")  # in all folds
FIT = ("probe", *KEYS, "draw")  # which fit an entry is of

Main = Callable[..., float | None]


def save_items(run_dir: Path, splits: Splits, test: Images) -> None:
    """Which images a fold's predictions are of; nothing where there are no folds."""
    if splits.folds:
        np.save(run_dir / ITEMS, test.image_hashes())


# ── one run over all folds ───────────────────────────────────────────────────────────────────────


def over_folds(cfg: schemas.Transfer, run: Run, splits: Splits, main: Main, dry_run: bool) -> float | None:
    """Every fold by `main` in a directory of its own, then their result; pictures are of the first fold."""
    assert splits.folds
    count = splits.folds.count
    paths = [run.path / FOLDER / str(fold) for fold in range(count)]
    quiet = schemas.Diagnose(pictures=False, map=False, corruptions=False)
    engine = schemas.replace(cfg.engine, resume="auto")
    if not dry_run:
        say(f"note: {sentence(splits)}")
        told.found_and_warnings(splits.summary)
        for warning in run.begin():
            say(f"warning: {warning}")
    for fold, path in enumerate(paths):
        data = schemas.replace(cfg.data, test="folds", fold=fold)
        own = schemas.replace(cfg, data=data, engine=engine, diagnose=quiet if fold else cfg.diagnose)
        if dry_run:
            return main(own, path, dry_run=True)
        say(f"fold {fold + 1} of {count}")
        path.mkdir(parents=True, exist_ok=True)
        with open_to_append(path / "log.txt") as log, contextlib.ExitStack() as stack:
            if fold:  # which says what the first one has said
                stack.enter_context(contextlib.redirect_stderr(log))
            main(own, path)
    run.finish(merged(paths, run.path, splits) | {"seed": cfg.seed})
    return run.objective


def sentence(splits: Splits) -> str:
    """What is done with so few labels, and how to have it otherwise."""
    assert splits.folds
    count, images = splits.folds.count, splits.summary["folds"]["images"]
    return (
        f"{images} labelled images: each is tested on in one of {count} folds, by what learnt from the others"
        " (data.test=split holds one part back instead)"
    )


def tested(splits: Splits) -> str:
    """Hash of the images that are tested on: all labelled ones where there are folds."""
    own: str = splits.summary["folds"]["items"] if splits.folds else splits.summary["hashes"]["test"]
    return own


def refuse_models(run: Path | None, splits: Splits, key: str = "weights") -> None:
    """Raises UsageError where `run` is the model of a comparison of these images and they trained its network.

    A network under a frozen probe has not learnt from labels: its pretraining counts as that of the arm.
    """
    folders = (run, run / "model", *run.absolute().parents[:2]) if run else ()
    texts = (read_json(folder / "predict.json") for folder in folders if folder.is_dir())
    text = next((t for t in texts if t and t.get("schema") == MODEL), None)
    if text and trains(str(text.get("probe"))) and (text.get("data") or {}).get("tested") == tested(splits):
        raise UsageError(
            f"{key}={run}: the model of a comparison has learnt from all of these labels, the tested ones among them;"
            " evaluate it on other images, or give the weights of the arm that it was made of"
        )


def seen(run: Path | None, data: schemas.Data, splits: Splits, key: str = "weights") -> bool:
    """Whether what was trained in `run` has had images that are tested on, without their labels.

    run: a run's directory or anything in it. Raises UsageError where it has learnt from their labels, or was trained
    for another fold.
    """
    refuse_models(run, splits, key)
    if splits.folds is None or run is None:
        return False
    home = next((p for p in (run, *run.absolute().parents[:2]) if (p / "result.json").is_file()), None)
    result = read_json(home / "result.json") if home else None
    theirs = ((result or {}).get("data") or {}).get("folds")
    if not result or not theirs or theirs.get("items") != splits.summary["folds"]["items"]:
        return False  # one test part, or other images
    reads, fold, seed = bool(result.get("labels_used")), theirs["fold"], theirs["seed"]
    if theirs["apart"] and not reads:
        return False
    if fold is not None:
        if fold == splits.folds.fold and seed == data.split_seed:
            return False
        raise UsageError(
            f"{key}={run}: was trained without fold {fold} of these images; set data.test=folds data.fold={fold}"
            f" data.split_seed={seed}, or train one for each fold"
        )
    if reads:
        raise UsageError(
            f"{key}={run}: has learnt from the labels of all these images, so no fold can test it; train it with"
            " data.test=folds data.fold=0 and set the same here, or give test images"
        )
    return True


# ── the folds' results as one ────────────────────────────────────────────────────────────────────


def merged(paths: Sequence[Path], run_dir: Path, splits: Splits) -> dict[str, Any]:
    """The result of finished runs, one per fold; writes predictions.npz and items.npy into `run_dir`.

    splits: of all folds, for what is said of the data. Raises JobError where a fold is missing or has other fits.
    """
    results = [_result(path) for path in paths]
    first = results[0]
    tables = [list(_entries(result)) for result in results]
    fits = [[json.dumps([e.get(key) for key in FIT] + [g]) for e, g, _ in table] for table in tables]
    if any(fit != fits[0] for fit in fits):
        raise JobError(f"{run_dir}: the folds were not evaluated by the same probes and label budgets")
    task = NAMED.get(str(first.get("task")), CLASSIFICATION)
    arrays = [_arrays(path) for path in paths]
    order, items = _order(arrays)
    kept = [i for i, (entry, _, _) in enumerate(tables[0]) if registry.PROBE[entry["probe"]].labels]
    if len(kept) < len(tables[0]):
        say("note: clusters get their names by the images of one fold, which are too few: left out")
    rows = [[table[i][2] for i in kept] for table in tables]
    whole = {key: _joined([a[key][r] for a, r in zip(arrays, rows, strict=True)])[:, order]
             for key in ("guess", "confidence", "stats") if key in arrays[0]}  # fmt: skip
    one = {key: np.concatenate([a[key] for a in arrays])[order] for key in ("labels",) if key in arrays[0]}
    one |= {"metric": arrays[0]["metric"]} if "metric" in arrays[0] else {}
    groups = _groups(arrays, order)
    digest = splits.summary["folds"]["items"]
    extra = {} if groups is None else {"groups": groups}
    np.savez_compressed(run_dir / PREDICTIONS, allow_pickle=False, items=np.array(digest), **whole, **one, **extra)
    np.save(run_dir / ITEMS, items)
    scores: list[dict[str, Any]] = []
    mixed: list[dict[str, Any]] = []
    for at, i in enumerate(kept):
        each = [table[i][0] for table in tables]
        row = {key: values[at] for key, values in whole.items()} | {k: one[k] for k in ("labels",) if k in one}
        entry = _entry(each, task.metrics, first["classes"], row)
        (mixed if tables[0][i][1] else scores).append(entry)
    spent = [result.get("spent") or {} for result in results]
    if (pictures := Path(paths[0]) / "pictures").is_dir():
        shutil.copytree(pictures, run_dir / "pictures", dirs_exist_ok=True)
    objectives = [result["objective"]["value"] for result in results]
    known = [value for value in objectives if value is not None]
    return {
        **{key: first[key] for key in SAME if key in first},
        "scores": scores,
        **({"generated": first["generated"], "generated_scores": mixed} if mixed else {}),
        "learning_curves": [curve for result in results for curve in result.get("learning_curves") or []],
        "test_openings": max(result.get("test_openings") or 0 for result in results),
        "spent": {
            "seconds": round(sum(s.get("seconds") or 0.0 for s in spent), 3),
            "peak_memory_bytes": max((s.get("peak_memory_bytes") or 0 for s in spent), default=0),
        },
        "folds": {
            "count": len(paths),
            "paths": [str(path) for path in paths],
            "transductive": any((result.get("folds") or {}).get("transductive") for result in results),
        },
        "data": splits.summary,
        "objective": first["objective"] | {"value": float(np.mean(known)) if known else None},
    }


def _result(path: Path) -> dict[str, Any]:
    found: dict[str, Any] | None = read_json(path / "result.json")
    if not found or not (path / ITEMS).is_file():
        raise JobError(f"{path}: this fold has not finished")
    return found


def _entries(result: dict[str, Any]) -> list[tuple[dict[str, Any], bool, int]]:
    """Scores, whether with generated images, and their rows of predictions.npz."""
    alone, mixed = result.get("scores") or [], result.get("generated_scores") or []
    return [(entry, i >= len(alone), i) for i, entry in enumerate([*alone, *mixed])]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(BytesIO(recorded.verified(path, PREDICTIONS))) as found:
        return {key: found[key] for key in found.files} | {ITEMS: np.load(BytesIO(recorded.verified(path, ITEMS)))}


def _order(arrays: Sequence[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The images of all folds in the order of `outer_folds.in_order`, and their hashes in it."""
    items = np.concatenate([a[ITEMS] for a in arrays])
    text = np.ascontiguousarray(items).view(f"S{items.dtype.itemsize}")
    labels = np.concatenate([a["labels"] for a in arrays]) if "labels" in arrays[0] else np.zeros(len(items))
    order: np.ndarray = np.lexsort((labels, text))
    return order, items[order]


def _groups(arrays: Sequence[dict[str, np.ndarray]], order: np.ndarray) -> np.ndarray | None:
    """Codes of the groups of all folds, numbered as they occur: no group lies in two folds."""
    if "groups" not in arrays[0]:
        return None
    codes, start = [], 0
    for a in arrays:
        codes.append(a["groups"].astype(np.int64) + start)
        start += int(a["groups"].max()) + 1
    merged = np.concatenate(codes)[order]
    _, first, of = np.unique(merged, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[of].astype(np.int32)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts), axis=1)


def _entry(
    each: Sequence[dict[str, Any]], names: Sequence[str], classes: Sequence[str], row: dict[str, np.ndarray]
) -> dict[str, Any]:
    """One entry of `scores` from those of all folds and from what was predicted of all images."""
    first, sizes = each[0], np.array([e["n_test"] for e in each], dtype=float)

    def mean(values: Sequence[float | None], weights: np.ndarray) -> float | None:
        known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None]
        return float(np.average([v for v, _ in known], weights=[w for _, w in known])) if known else None

    entry = {key: first[key] for key in ("probe", "task", *KEYS, "draw") if key in first}
    entry |= {
        "n_train": round(float(np.mean([e["n_train"] for e in each]))),
        "subset": sha256(" ".join(str(e.get("subset")) for e in each).encode()).hexdigest()[:12],
        "n_test": int(sizes.sum()),
        "folds": len(each),
    }
    if "generated" in first:
        entry["generated"] = round(float(np.mean([e["generated"] for e in each])))
    if "guess" in row:
        labels, guess = row["labels"].astype(np.int64), row["guess"].astype(np.int64)
        stats = METRICS[names[0]].stats(labels, guess, len(classes))
        metrics = {name: METRICS[name].value(stats) for name in names}
        entry |= {"correct": int((labels == guess).sum()), **metrics, "metrics": metrics}
        entry["val_accuracy"] = mean([e.get("val_accuracy") for e in each], sizes)
        confidence = row["confidence"].astype(np.float64)
        if not np.isnan(confidence).any():
            entry["ece"] = ece(confidence, labels == guess)
    else:
        entry["metrics"] = {name: METRICS[name].value(row["stats"]) for name in names}
        found = {name: METRICS[name].components(row["stats"], classes) for name in names}
        entry["components"] = {name: values for name, values in found.items() if values}
    checked = [e.get("validation") or {} for e in each]
    entry["validation"] = {name: mean([c.get(name) for c in checked], sizes) for name in checked[0]}
    entry |= {"chosen": first.get("chosen"), "chosen_by_fold": [e.get("chosen") for e in each]}
    return entry


# ── a part of a comparison ───────────────────────────────────────────────────────────────────────


def main(cfg: schemas.OverFolds, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Merge finished runs, one per fold; the objective is the mean of theirs."""
    with Run(run_dir, "transfer", cfg) as run:
        if run.finished:
            return run.objective
        splits = load_data(cfg.data)
        run.bind(images=splits.hash)
        run.begin()
        run.finish(merged([Path(path) for path in cfg.of], run_dir, splits) | {"seed": cfg.seed})
        return run.objective
