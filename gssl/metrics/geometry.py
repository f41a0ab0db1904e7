"""What features look like without labels: has the network collapsed?"""

import numpy as np
import torch

EPSILON = 1e-7  # RankMe's


def geometry(features: np.ndarray) -> dict[str, float]:
    """Diagnostics of `features` (n >= 2, d).

    std: standard deviation of the unit-length features, per dimension, averaged, times √d. Near 1 is
        healthy, 0 is a constant feature (Chen & He 2021, arXiv:2011.10566); below .1 is an alarm.
    cosine: mean over pairs of different images; above .95 is an alarm.
    rankme: effective rank (Garrido et al. 2023, arXiv:2210.02885); below 5% of min(n, d) is an alarm. It
        depends on n and compares runs of one method only.
    n, d, epsilon: what the numbers depend on, to be printed beside them.
    """
    features = np.asarray(features, dtype=np.float64)
    n, d = features.shape
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-300)
    total = unit.sum(axis=0)
    return {
        "std": float(unit.std(axis=0).mean() * np.sqrt(d)),
        "cosine": float((total @ total - np.square(unit).sum()) / (n * (n - 1))),
        "rankme": rankme(features),
        "n": n,
        "d": d,
        "epsilon": EPSILON,
    }


def rankme(features: np.ndarray) -> float:
    """exp(-Σ pₖ log pₖ) with pₖ = σₖ/Σσ + 1e-7 over the singular values of `features` (n, d), not centred."""
    singular = torch.linalg.svdvals(torch.from_numpy(np.asarray(features, dtype=np.float64))).numpy()
    p = singular / max(singular.sum(), 1e-300) + EPSILON
    return float(np.exp(-(p * np.log(p)).sum()))
