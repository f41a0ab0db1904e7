"""Features in two dimensions by t-SNE (van der Maaten & Hinton 2008), on cosines."""

import numpy as np

ROUNDS = 1000


def tsne(features: np.ndarray) -> np.ndarray:
    """(n, d) features of n >= 5 images to (n, 2) positions by t-SNE of unit rows; always the same ones."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if np.ptp(unit, axis=0).max() < 1e-6:  # a collapsed network: everything is at one point
        return np.zeros((len(unit), 2))
    perplexity = min(30.0, (len(unit) - 1) / 3)
    start = "pca" if min(unit.shape) >= 2 else "random"
    # one thread: the same sums on every machine, and on a busy one no waiting for each other a thousand times
    with threadpool_limits(1):
        method = TSNE(2, perplexity=perplexity, init=start, random_state=0, max_iter=ROUNDS)
        found: np.ndarray = method.fit_transform(unit)
    return found
