"""Does a generator repeat its training images? Real images that it never saw tell how near is near.

After Meehan et al. 2020 (arXiv:2004.05675): a generator that learnt the distribution is no nearer to its training
images than held-out images are. Both figures say what chance is; neither notices a generator of bad images, which is
far from everything. `copied` does not notice copies that are rarer than about one in twenty; `train_share` shows
only copies of the training images that were drawn, about ½ + n/(2t) at most with n held-out and t training images,
and scatters more than its number of samples says, for a few images are the nearest of many.
"""

from typing import NamedTuple

import numpy as np

from gssl.metrics import pairs
from gssl.metrics.pairs import Features
from gssl.statistics.intervals import wilson

LEVEL = 0.05  # of held-out images count as near a training image


class Copied(NamedTuple):
    proportion: float  # of samples that are nearer to their training image than 95% of held-out images to theirs
    low: float  # Wilson 95% interval over samples; the held-out images are taken as they are
    high: float
    chance: float  # that of held-out images: .05, more where many of them have a copy in the training set


def copied(fake: np.ndarray, held: np.ndarray) -> Copied:
    """From squared distances to the nearest training image: of samples (m,) and of held-out real images (n,)."""
    rank = max(1, round(LEVEL * (len(held) + 1)))  # an image like the held-out ones is below it in 5% of cases
    limit = float(np.sort(held)[rank - 1]) * (1 + pairs.TIE)
    count = int((fake <= limit).sum())
    return Copied(count / len(fake), *wilson(count, len(fake)), float((held <= limit).mean()))


def train_share(train: np.ndarray, held: np.ndarray) -> float:
    """Proportion of samples that are nearer to a training than to a held-out image, equal distances counting half.

    From squared distances (m,) to the nearest of *equally many* images of both kinds. Chance is .5.
    """
    return float(np.mean((train < held * (1 - pairs.TIE)) + 0.5 * (np.abs(train - held) <= held * pairs.TIE)))


def memorisation(train: np.ndarray, held: np.ndarray, fake: np.ndarray, seed: int = 0) -> tuple[Copied, float]:
    """`copied` and `train_share` of features (·, d): training images, held-out real ones, samples.

    The larger side of training and held-out images is cut for `train_share` to as many as the smaller has.
    """
    trained, other, made = Features(train, "train"), Features(held, "held"), Features(fake, "fake")
    first = equal(trained, len(other), seed)
    near, near_equal = nearest_train(made, *first)
    few, _ = equal(other, len(trained), seed)
    return copied(near, nearest_train(other, *first)[0]), train_share(near_equal, pairs.nearest(made, few))


def equal(features: Features, count: int, seed: int) -> tuple[Features, Features | None]:
    """At most `count` of the images, drawn from `seed`, and the others (None: there are none)."""
    if len(features) <= count:
        return features, None
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(features))
    return features.subset(order[:count]), features.subset(order[count:])


def nearest_train(x: Features, drawn: Features, others: Features | None) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances (n,) to the nearest training image, and to the nearest of the drawn ones."""
    near = pairs.nearest(x, drawn)
    return near if others is None else np.minimum(near, pairs.nearest(x, others)), near
