"""What all tasks have in common: what a task knows, a fitted probe, and an entry of result.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gssl.config import registry
from gssl.data import Draws, Images
from gssl.data.preprocessing import Preprocessing
from gssl.errors import UsageError
from gssl.experiment.label_budgets import LabelBudget
from gssl.probe.sized import Sized
from gssl.statistics.metric import METRICS

NEVER = -1e4  # logit of a class without a label: its probability is 0


@dataclass
class Fitted:
    """A probe that has made its choices, waiting for the test set."""

    probe: str
    label_budget: LabelBudget
    draw: int
    n_train: int  # real images
    generated: int  # generated images beside them
    model: Any
    subset: str = ""  # hash of the real images

    @property
    def member(self) -> str:
        """The probe that answers: of a menu the one that was chosen."""
        return self.model.member if registry.PROBE[self.probe].reads == "menu" else self.probe

    @property
    def answering(self) -> Any:
        """The fit that answers."""
        return self._member.model if isinstance(self._member, Sized) else self._member

    @property
    def view(self) -> Preprocessing | None:
        """How images are brought to the network, where the source has several sizes; None: crops of data.size."""
        return self._member.view if isinstance(self._member, Sized) else None

    @property
    def sizes(self) -> dict[str, float]:
        """The validation metric of each size that was compared; {}: none was."""
        return self._member.validated if isinstance(self._member, Sized) else {}

    @property
    def _member(self) -> Any:
        return self.model.model if registry.PROBE[self.probe].reads == "menu" else self.model

    @property
    def reads(self) -> str:
        return registry.PROBE[self.member].reads


class Task(Protocol):
    """What a task knows. metrics: names in METRICS, all computed from the same statistics, the primary one first."""

    name: str
    column: str  # what is predicted, a key of `targets.TARGETS`, which says what is labelled one by one
    metrics: tuple[str, ...]
    bare: tuple[str, ...]  # weights without a network that have features for it
    dense: bool  # whether probes on frozen networks read maps of whole images, not one vector of a square
    diagnose: str  # `module:function` of (Evaluated, schemas.Diagnose, run directory) → entries of result.json
    predict: str | None  # `module:function` that writes predictions (`predicted_masks.write`), None: a class per row

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        """Raises UsageError for labelled images from which nothing can be learnt."""

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        """Sorted indices of the labelled images of draw `draw`: a smaller budget's lie among a larger one's."""

    def comparable(self, images: Images, seed: int) -> bool:
        """Whether these labelled images leave something to choose on."""

    def value(self, validated: np.ndarray) -> float:
        """The primary metric of rows that a probe keeps of its validation images (`unselected`)."""

    def validation(self, model: Any) -> float | None:
        """The primary metric of a fitted probe on its validation folds."""

    def answers(self, f: Fitted, read: Any, test: Images) -> Any:
        """What a fitted probe says of the test images, from what it reads of them."""

    def score(self, f: Fitted, found: Any, test: Images) -> dict[str, Any]:
        """One entry of result.json's scores."""

    def save(self, path: Path, found: Sequence[Any], test: Images) -> None:
        """predictions.npz: a row per entry of scores, then of generated_scores."""

    def learnable(self, test: Images) -> Images | None:
        """Of the test images those that a model may learn from, once nothing is measured on them any more; None: none
        of them."""

    def majority(self, images: Images, probe: str) -> Any:
        """In place of `probe`, the control that looks at no image. images: all labelled ones."""

    def together(self, models: Sequence[Any], test: Images, setting: Any) -> list[Any]:
        """What fits on dense features read of the test images, in one pass; `answers` is given it one by one."""

    def head(self, f: Fitted) -> dict[str, Any]:
        """What describes the head of a fit, for `gssl.experiment.models` to build it again."""

    def state(self, f: Fitted, count: int) -> dict[str, Tensor]:
        """The weights of a head on frozen features, by their names in the network that `head` describes."""


def entry_of(task: Task, f: Fitted, n_test: int) -> dict[str, Any]:
    """What the scores of all tasks say of a fit."""
    return {
        "probe": f.probe,
        "task": task.name,
        **f.label_budget.record(),
        "draw": f.draw,
        "n_train": f.n_train,
        "subset": f.subset,
        **({"generated": f.generated} if f.generated else {}),
        "n_test": n_test,
    }


def chosen_by(task: Task, f: Fitted) -> dict[str, Any]:
    """What a fit chose, and by what."""
    entry = {"chosen": f.model.chosen, "validation": {task.metrics[0]: task.validation(f.model)}}
    if registry.PROBE[f.probe].reads == "menu":
        entry |= {"validated": f.model.validated, "n_val": f.model.n_val}
    if f.view is not None:
        entry["preprocessing"] = f.view.record()
        if f.sizes:
            entry["sizes"] = f.sizes
    return entry


def write_predictions(path: Path, arrays: dict[str, np.ndarray], test: Images) -> None:
    """predictions.npz: the arrays, and groups int32 (n,) where some test images belong together."""
    groups = test.group_codes()
    if groups is not None:
        arrays["groups"] = groups
    np.savez_compressed(path, allow_pickle=False, **arrays)


def drawn_images(n: int, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
    """Sorted indices of the labelled images of a draw, of tasks that count images: a smaller budget's lie among a
    larger one's. Raises UsageError where there are not so many."""
    wanted = label_budget.images
    if wanted is None:
        wanted = max(1, round((label_budget.fraction or 1.0) * n))
    elif wanted > n:
        raise UsageError(
            f"{label_budget.key}: {wanted} asked for, but there are {n} labelled training images; use at most {n}"
        )
    chances = Draws(seed).generator(f"labels/{draw}").random(n)
    return np.sort(np.argsort(chances, kind="stable")[:wanted])


def counted_entry(task: Task, f: Fitted, stats: np.ndarray, test: Images) -> dict[str, Any]:
    """One entry of result.json's scores, of a task whose answers are statistics (n, k) of the test items."""
    metrics = {name: METRICS[name].value(stats) for name in task.metrics}
    named = {name: METRICS[name].components(stats, test.classes) for name in task.metrics}
    components = {name: each for name, each in named.items() if each}
    left_out = sorted({c for each in components.values() for c, value in each.items() if value is None})
    entry = entry_of(task, f, len(test)) | {"metrics": metrics, "components": components}
    if left_out:  # neither labelled nor predicted in any test image
        entry["classes_left_out"] = left_out
    return entry | chosen_by(task, f)


def write_statistics(path: Path, task: Task, found: Sequence[np.ndarray], test: Images) -> None:
    """predictions.npz of such a task: stats (fits, n, k), int32 or float32; metric: the metrics that are computed from
    them; groups int32 (n,) where some images belong together; items: the hash of the test images."""
    stats = np.array(found)
    stats = stats.astype(np.int32 if np.issubdtype(stats.dtype, np.integer) else np.float32)
    arrays = {"stats": stats, "metric": np.array(task.metrics), "items": np.array(test.hash)}
    write_predictions(path, arrays, test)


def head_state(weight: np.ndarray, bias: np.ndarray, classes: np.ndarray, count: int) -> dict[str, Tensor]:
    """A linear head for `count` classes from rows (C, d) and (C,) of the `classes` that had a label."""
    full, offset = torch.zeros(count, weight.shape[1]), torch.full((count,), NEVER)
    rows = torch.from_numpy(classes)
    full[rows] = torch.from_numpy(weight).float()
    offset[rows] = torch.from_numpy(bias).float()
    return {"head.weight": full, "head.bias": offset}
