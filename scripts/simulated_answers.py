"""Comparisons of arms whose true accuracies are known: drawn by a model of predictions, or from real predictions.

What is drawn is the correctness on single test images; images and seeds are both samples. Image i is classified
correctly by arm A trained with seed s with probability sigmoid(a_A + 2·z_i + tau·g_Ai + u_As): how hard the image is
for all arms (z), for this arm (g), and how good this seed is (u). A score is the mean over five draws of labels. `a`
and `tau` are such that the population's accuracy, and the standard deviation over images of the true difference of two
arms, are those of the setting (SETTINGS); on real predictions that deviation is .05 to .29.
"""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from gssl.config.menus import shared
from gssl.report import collect, scores
from gssl.report.scores import Predictions

ARMS = ("simclr", "dcgan", "scratch")  # all three pairs are the default rule's family
HARD, DRAWS = 2.0, 5  # weight of z; draws of labels per seed
LARGE, SMALL = 0.05, 0.01  # true differences: power is for the first, the second must not be called equivalent
STOP = 16  # seeds at which the setting `stopping` ends without a winner
NODES = 40


@dataclass(frozen=True)
class Setting:
    """What the arms are.

    accuracy: of the population, the same for all arms; image_sd: s.d. over images of two arms' true difference;
    scatter: s.d. of u, per arm; skewed: the first arm's u is 1 − exponential, so it fails occasionally; minority:
    fraction of the second class, 0 where classes do not matter; majority: the third arm always predicts the first
    class; group: number of images with the same z and g; known: whether the data set has the groups.
    """

    accuracy: float = 0.8
    image_sd: float = 0.19
    scatter: tuple[float, float, float] = (0.05, 0.05, 0.05)
    skewed: bool = False
    minority: float = 0.0
    majority: bool = False
    group: int = 1
    known: bool = True


SETTINGS = {
    "standard": Setting(),
    "alike": Setting(image_sd=0.05),
    "ceiling": Setting(accuracy=0.98, image_sd=0.06),
    "scatter": Setting(scatter=(0.3, 0.3, 0.3)),
    "unequal": Setting(scatter=(0.25, 0.05, 0.05)),
    "skewed": Setting(scatter=(0.25, 0.05, 0.05), skewed=True),
    "90/10": Setting(minority=0.1),
    "majority": Setting(accuracy=0.86, minority=0.1, majority=True),
    "groups": Setting(group=10),
    "groups unknown": Setting(group=10, known=False),
    "stopping": Setting(),
}
# Random numbers are a function of these names, which the settings had when the published figures were made.
STREAMS = {"standard": "plain", "groups unknown": "groups unsaid"}


@dataclass(frozen=True)
class Condition:
    """One cell of the tables; `lost`: how many of its seeds the second arm lost to failures."""

    setting: str
    n_test: int
    seeds: int
    lost: int = 0


def conditions() -> Iterator[Condition]:
    """All cells of docs/results/statistics_simulation.md."""
    yield from (Condition("standard", n, s) for n in (20, 100, 300, 1_000, 10_000) for s in (2, 3, 6, 10))
    for setting in ("alike", "ceiling", "scatter", "unequal", "skewed"):
        yield from (Condition(setting, n, s) for n in (100, 1_000) for s in (3, 6, 10))
    yield from (Condition("90/10", n, s) for n in (100, 300, 1_000) for s in (3, 6, 10))
    yield from (Condition("majority", n, 6) for n in (100, 1_000))
    yield from (Condition("groups", n, s) for n in (100, 300, 1_000) for s in (3, 6, 10))
    yield from (Condition("groups unknown", n, 6) for n in (100, 300, 1_000))
    yield from (Condition("standard", n, s, lost) for n in (100, 1_000) for s, lost in ((6, 2), (6, 4), (10, 6)))
    yield from (Condition("stopping", n, 6) for n in (100, 1_000))


# ── answers ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Drawn:
    """One comparison.

    right: arm → seed → float (n,), fraction of the draws in which an image was classified correctly; truth: arm → the
    population's value of `metric`.
    """

    right: dict[str, dict[int, np.ndarray]]
    items: Predictions
    truth: dict[str, float]
    metric: str = "accuracy"

    def first(self, seeds: int) -> "Drawn":
        return replace(self, right={a: {s: r for s, r in by.items() if s < seeds} for a, by in self.right.items()})


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _nodes(sd: float, skewed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature of a variable with mean 0: values and weights."""
    x, w = _gauss(skewed)
    return sd * x, w


@cache
def _gauss(skewed: bool) -> tuple[np.ndarray, np.ndarray]:
    if skewed:
        x, w = np.polynomial.laguerre.laggauss(NODES)
        return 1 - x, w
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    return x, w / w.sum()


def population_accuracy(a: float, tau: float, sd: float, skewed: bool = False) -> float:
    (x, wx), (u, wu) = _nodes(float(np.hypot(HARD, tau))), _nodes(sd, skewed)
    return float(wx @ sigmoid(a + x[:, None] + u) @ wu)


def population_sd(a: float, tau: float) -> float:
    """Over images, of the true difference of two arms without scatter over seeds."""
    (z, wz), (g, wg) = _nodes(HARD), _nodes(tau)
    p = sigmoid(a + z[:, None] + g)
    return float(np.sqrt(2 * wz @ (p**2 @ wg - (p @ wg) ** 2)))


def _root(rises: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0: regula falsi, its standing end halved (Illinois)."""
    below, above = rises(low), rises(high)
    while True:
        at = (low * above - high * below) / (above - below)
        value = rises(at)
        if abs(value) < 1e-12 or high - low < 1e-12:
            return at
        if value < 0:
            low, below, above = at, value, above / 2
        else:
            high, above, below = at, value, below / 2


@cache
def level(accuracy: float, tau: float, sd: float, skewed: bool = False) -> float:
    """a, by the population's accuracy."""
    return _root(lambda a: population_accuracy(a, tau, sd, skewed) - accuracy, -10, 15)


@cache
def spread(accuracy: float, image_sd: float) -> float:
    """tau, by the s.d. over images."""
    return _root(lambda tau: population_sd(level(accuracy, tau, 0.05), tau) - image_sd, 0.0, 5.0)


def draw(c: Condition, rng: np.random.Generator) -> tuple[Drawn, Drawn]:
    """One comparison where all arms are equally good, and one of the same images and seeds where the first arm is LARGE
    and the second SMALL better than the third (worse where they cannot be better)."""
    of = SETTINGS[c.setting]
    n, seeds = c.n_test, STOP if c.setting == "stopping" else c.seeds
    tau = spread(of.accuracy, of.image_sd)
    which = np.arange(n) // of.group
    z = rng.standard_normal(which[-1] + 1)[which]
    g = rng.standard_normal((3, which[-1] + 1))[:, which]
    labels = (np.arange(n) < round(of.minority * n)).astype(int) if of.minority else np.arange(n) % 10
    items = Predictions(labels, np.zeros((0, n), bool), which if of.group > 1 and of.known else None)
    noise = rng.standard_normal((3, seeds))
    if of.skewed:
        noise[0] = 1 - rng.standard_exponential(seeds)

    def answer(k: int, accuracy: float) -> dict[int, np.ndarray]:
        mine = seeds - c.lost if k == 1 else seeds
        if of.majority and k == 2:
            return {s: (labels == 0).astype(float) for s in range(mine)}
        a = level(accuracy, tau, of.scatter[k], of.skewed and k == 0)
        p = sigmoid(a + HARD * z + tau * g[k] + of.scatter[k] * noise[k, :mine, None])
        return dict(enumerate(rng.binomial(DRAWS, p) / DRAWS))

    metric = "balanced_accuracy" if of.minority else "accuracy"
    sign = 1 if of.accuracy + LARGE < 0.99 else -1
    third, value = answer(2, of.accuracy), 0.5 if of.majority else of.accuracy
    out = []
    for shift in ((0.0, 0.0), (LARGE, SMALL)):
        two = [of.accuracy + sign * by for by in shift]
        right = dict(zip(ARMS, [answer(0, two[0]), answer(1, two[1]), third], strict=True))
        out.append(Drawn(right, items, dict(zip(ARMS, [*two, value], strict=True)), metric))
    return out[0], out[1]


# ── real predictions ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Population:
    """Correctness of real arms: arm → float (seeds, n) in [0, 1]; labels int (n,)."""

    right: dict[str, np.ndarray]
    labels: np.ndarray


def population(path: str, arms: Sequence[str] | None = None) -> Population:
    """The population of `arms`, else of the first three found.

    From an .npz with `labels` (n,) and per arm an array (seeds, n) of correctness in [0, 1], or from a pattern of run
    directories: of the probe and label budget that most arms have.
    """
    if path.endswith(".npz"):
        with np.load(path) as found:
            right, labels = {k: found[k].astype(float) for k in found.files if k != "labels"}, found["labels"]
    else:
        found_cells = scores.cells(collect.read_runs(glob.glob(path)))
        at = shared(found_cells)
        kept = {key[0]: cell for key, cell in found_cells.items() if key[1:] == at}
        items = next(cell.items for cell in kept.values() if cell.items)
        same = {arm: cell.right for arm, cell in kept.items() if cell.items and cell.items.same_items(items)}
        assert items is not None and items.labels is not None
        right = {arm: np.stack([r for _, r in sorted(by.items())]) for arm, by in same.items()}
        labels = items.labels
    if missing := [arm for arm in arms or [] if arm not in right]:
        raise SystemExit(f"--arms: {missing[0]!r} is not there; there are {', '.join(right)}")
    return Population({arm: right[arm] for arm in arms or list(right)[:3]}, labels)


def equal_weights(of: Population) -> np.ndarray:
    """float (n,), sum 1: weights under which all arms are equally good, nearest to equal ones (exponential tilting)."""
    rows = [r.mean(axis=0) for r in of.right.values()]
    d = np.stack([row - rows[-1] for row in rows[:-1]])
    by, w = np.zeros(len(d)), np.full(d.shape[1], 1 / d.shape[1])
    for _ in range(100):
        step = np.linalg.solve((d * w) @ d.T - np.outer(d @ w, d @ w) + 1e-12 * np.eye(len(d)), d @ w)
        by -= step / max(1.0, float(np.abs(step).max()))
        w = np.exp(by @ d - (by @ d).max())
        w /= w.sum()
    if np.abs(d @ w).max() > 1e-9:
        raise SystemExit("--population: one arm is nowhere worse than another, so they cannot be made equally good")
    return w


def subsample(of: Population, weights: np.ndarray, c: Condition, rng: np.random.Generator) -> Drawn:
    at = rng.choice(len(weights), c.n_test, p=weights)
    seeds = rng.permutation(min(map(len, of.right.values())))[: c.seeds]
    right = {arm: dict(enumerate(r[seeds][:, at])) for arm, r in of.right.items()}
    truth = {arm: float(r.mean(axis=0) @ weights) for arm, r in of.right.items()}
    return Drawn(right, Predictions(of.labels[at], np.zeros((0, len(at)), bool)), truth)
