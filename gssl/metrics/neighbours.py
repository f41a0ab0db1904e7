"""What nearest neighbours in feature space say of single images: outliers, suspicious labels, clusters.

An image never votes on itself, and neither do its copies: what is said of it is out of fold. The rule for labels is
that of confident learning (Northcutt et al. 2021, arXiv:1911.00068): a class is likely where its vote reaches what
images of that class usually give to it, so no threshold is chosen by hand and a rare class is not drowned.
"""

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 10
TEMPERATURE = 0.07  # of the votes (Wu et al. 2018, arXiv:1805.01978)
FENCE = 3.0  # interquartile ranges above the upper quartile (Tukey's far outliers)
BLOCK = 1 << 22  # cosines at once
COMPONENTS = 50  # of the features, for clusters


@dataclass(frozen=True)
class Neighbours:
    """Of n images the k nearest of other groups, the nearest first."""

    index: np.ndarray  # int64 (n, k)
    cosine: np.ndarray  # float32 (n, k), -inf where there are fewer


@dataclass(frozen=True)
class Suspects:
    """Images whose neighbours carry another label, the clearest first."""

    index: np.ndarray  # int64 (m,)
    likely: np.ndarray  # int64 (m,): the class that the neighbours name
    given: np.ndarray  # float64 (m,): their vote for the label that the image has
    vote: np.ndarray  # float64 (m,): and for the likely one
    agreement: float  # proportion of labelled images whose neighbours name their label


def unit(features: np.ndarray) -> np.ndarray:
    """(n, d) float32: less their mean, of length 1."""
    x = features.astype(np.float32)
    x = x - x.mean(axis=0)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def nearest(features: np.ndarray, groups: np.ndarray, k: int = NEIGHBOURS) -> Neighbours:
    """The k nearest images by cosine; `groups` (n,): equal numbers are copies of each other and no neighbours."""
    x, n = unit(features), len(features)
    k = min(k, n - 1)
    index, cosine = np.zeros((n, k), np.int64), np.full((n, k), -np.inf, np.float32)
    step = max(1, BLOCK // n)
    for start in range(0, n, step):
        similar = x[start : start + step] @ x.T
        similar[groups[start : start + step, None] == groups] = -np.inf
        best = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        value = np.take_along_axis(similar, best, axis=1)
        order = np.lexsort((best, -value), axis=1)
        index[start : start + step] = np.take_along_axis(best, order, axis=1)
        cosine[start : start + step] = np.take_along_axis(value, order, axis=1)
    return Neighbours(index, cosine)


def distances(found: Neighbours) -> np.ndarray:
    """(n,): 1 − cosine to the nearest others, on average; NaN where an image has none."""
    known = np.isfinite(found.cosine)
    total = np.where(known, 1 - found.cosine, 0).sum(axis=1, dtype=np.float64)
    count = known.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def fence(values: np.ndarray) -> float:
    """The distance above which an image is an outlier."""
    low, high = np.nanpercentile(values, (25, 75))
    return float(high + FENCE * (high - low))


def suspects(found: Neighbours, labels: np.ndarray, classes: int) -> Suspects:
    """`labels` (n,), -1 where unknown: these have no vote and are not asked."""
    weight = np.exp((found.cosine.astype(np.float64) - 1) / TEMPERATURE)
    voters = labels[found.index]
    weight = np.where(voters >= 0, weight, 0.0)
    votes = np.zeros((len(labels), classes))
    rows = np.repeat(np.arange(len(labels)), found.index.shape[1])
    np.add.at(votes, (rows, np.maximum(voters, 0).ravel()), weight.ravel())
    total = votes.sum(axis=1)
    votes /= np.maximum(total, 1e-300)[:, None]
    asked = np.flatnonzero((labels >= 0) & (total > 0))
    if not len(asked):
        none = np.zeros(0, np.int64)
        return Suspects(none, none, np.zeros(0), np.zeros(0), float("nan"))
    own = votes[asked, labels[asked]]
    usual = np.array([own[labels[asked] == c].mean() if (labels[asked] == c).any() else 2.0 for c in range(classes)])
    confident = np.where(votes[asked] >= usual, votes[asked], -1.0)
    likely = confident.argmax(axis=1)
    wrong = (confident.max(axis=1) >= 0) & (likely != labels[asked]) & (votes[asked].argmax(axis=1) == likely)
    margin = votes[asked, likely] - own
    order = np.flatnonzero(wrong)[np.argsort(-margin[wrong], kind="stable")]
    agreement = float((votes[asked].argmax(axis=1) == labels[asked]).mean())
    return Suspects(asked[order], likely[order], own[order], votes[asked, likely][order], agreement)


def clusters(features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(cluster of each image (n,), distance to its centre (n,)) by k-means on the leading components; the largest
    cluster is 0. Always the same ones."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    x = unit(features)
    if np.ptp(x, axis=0).max() < 1e-6:  # all alike
        return np.zeros(len(x), np.int64), np.zeros(len(x))
    with threadpool_limits(1):
        some = min(COMPONENTS, *x.shape)
        low = PCA(some, random_state=0, svd_solver="randomized").fit_transform(x)
        distinct = len(np.unique(low.round(5), axis=0))
        means = KMeans(min(count, distinct), n_init=4, random_state=0).fit(low)
    far = means.transform(low)
    sizes = np.bincount(means.labels_, minlength=far.shape[1])
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[means.labels_], far[np.arange(len(x)), means.labels_]


def prefix_excess(found: Neighbours, groups: np.ndarray, labels: np.ndarray) -> float:
    """How many times as often the nearest neighbour is of an image's own group as it would be by chance, among images
    of its label; `groups` (n,): -1 where unknown."""
    first = found.index[:, 0]
    known = (groups >= 0) & np.isfinite(found.cosine[:, 0])
    if not known.any():
        return float("nan")
    _, code = np.unique(labels, return_inverse=True)
    both = code * (groups.max() + 2) + groups + 1
    size = np.bincount(both)[both]
    of_label = np.bincount(code)[code]
    expected = ((size - 1) / np.maximum(of_label - 1, 1))[known].mean()
    observed = (groups[first] == groups)[known].mean()
    return float(observed / expected) if expected > 0 else float("nan")
