"""What a fitted probe's recipe says of images that it has not learnt from: for its temperature and its reference.

Of a head on frozen features, folds of the labels are held out in turn and the head is fitted again with the λ that was
chosen. Of a trained network one fold is held out, and it is trained once more with the setting that was chosen.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gssl import schemas
from gssl.config.registry import PROBE
from gssl.data import Draws, Images
from gssl.data.preprocessing import Preprocessing
from gssl.experiment.answers import BANK, both, distances
from gssl.experiment.models import Model
from gssl.experiment.probing import Prober
from gssl.experiment.tasks import Fitted
from gssl.experiment.transfer_results import description
from gssl.probe.folds import clip_folds, label_folds
from gssl.probe.linear import fixed, softmax

MOST = 5000  # images that are looked at
FOLDS = 5  # of a head on frozen features, which is quickly fitted


class OutOfFold(NamedTuple):
    """p: probabilities (n, classes) of images that were kept apart, with their labels; both empty where labels leave
    nothing to keep apart. reference: distances of images of this kind to others, None where there are none."""

    p: np.ndarray
    labels: np.ndarray
    reference: np.ndarray | None


def out_of_fold(prober: Prober, f: Fitted) -> OutOfFold:
    """Of a fit of classes on all images, or clips, of `prober`."""
    return _trained(prober, f) if f.reads == "network" else _frozen(prober, f)


def some(images: Images, most: int, draws: Draws, purpose: str) -> np.ndarray:
    """Sorted indices of at most `most` images, drawn."""
    found: np.ndarray = np.sort(draws.permutation(purpose, 0, len(images))[:most])
    return found


def _frozen(prober: Prober, f: Fitted) -> OutOfFold:
    images = prober.images.subset(some(prober.images, MOST, prober.draws, "model/calibration"))
    x, y, count = prober.features(images, f.reads, f.view), images.labels, len(prober.classes)
    given: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    whole = prober.keeps_groups(f.member) and images.groups is not None  # as the folds of the fit
    for fit, val in clip_folds(y, images.groups, prober.cfg.seed) if whole else folds_of(y, prober.draws):
        weight, bias, classes = fixed(x[fit], y[fit], float(f.model.chosen["l2"]))
        scores = np.ascontiguousarray((x[val].astype(np.float64) @ weight.T + bias).T)
        softmax(scores)
        p = np.zeros((len(val), count))
        p[:, classes] = scores.T
        given.append(p)
        labels.append(y[val])
    bank = x[some(images, BANK, prober.draws, "model/bank")]
    of_images = PROBE[f.member].pooling is None  # a model of clips says nothing of how unlike a clip is
    reference = distances(bank, bank, own=True) if of_images and len(bank) > 1 else None
    return _joined(given, labels, reference, count)


def folds_of(labels: np.ndarray, draws: Draws) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (fit, validation) that cover everything once, stratified; [] where a class has one label."""
    _, counts = np.unique(labels, return_counts=True)
    count = min(FOLDS, int(counts.min()))
    if count < 2:
        return []
    order = draws.permutation("model/folds", 0, len(labels))
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % count
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(count)]


def _trained(prober: Prober, f: Fitted) -> OutOfFold:
    folds = label_folds(prober.images, prober.cfg.seed)
    if not folds:
        return _joined([], [], None, len(prober.classes))
    fit, val = folds[0]
    again = Prober(
        fixed_setting(prober.cfg, f), prober.origin, prober.images.subset(fit), prober.classes, prober.device,
        prober.unlabelled, prober.synthetic, prober.pretrain,
    )  # fmt: skip
    *_, g = again.fit()
    model = Model(g.answering.network, description(again, g), Path())
    view = model.preprocessing
    held = prober.images.subset(val[:MOST])
    learnt = again.images.subset(some(again.images, BANK, prober.draws, "model/bank"))
    of_held, p = both(model, at(prober, held, view), prober.device)
    of_learnt, _ = both(model, at(prober, learnt, view), prober.device)
    return _joined([p], [held.labels], distances(of_held, of_learnt), len(prober.classes))


def at(prober: Prober, images: Images, view: Preprocessing) -> Images:
    """The images with as many pixels as the view needs, where their files have them."""
    return prober.pixels_at(images, view)


def fixed_setting(cfg: schemas.Probing, f: Fitted) -> schemas.Probing:
    """The configuration by which the member of a fit has its chosen setting alone to try."""
    own: Any = getattr(cfg.probe, f.member)
    lists = {"lrs": "lr", "weight_decays": "weight_decay"}
    chosen = f.model.chosen
    changes: dict[str, Any] = {key: [chosen[one]] for key, one in lists.items() if hasattr(own, key) and one in chosen}
    changes |= {key: value for key, value in (("folds", 1), ("points", 0)) if hasattr(own, key)}
    sizes: dict[str, Any] = {"size_trained": f.view.size} if f.view else {}
    member = {f.member: schemas.replace(own, **changes), "use": [f.member]}
    return schemas.replace(cfg, probe=schemas.replace(cfg.probe, **member, **sizes))


def _joined(p: list[np.ndarray], labels: list[np.ndarray], reference: np.ndarray | None, count: int) -> OutOfFold:
    none = np.zeros((0, count)), np.zeros(0, dtype=np.int64)
    return OutOfFold(np.concatenate(p or [none[0]]), np.concatenate(labels or [none[1]]), reference)
