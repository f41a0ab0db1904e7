"""A clip's features: those of its frames, pooled over time. No network of videos is needed to ask what motion adds.

| pooling | features of a clip of T frames with d features each |
|---|---|
| frame | those of the middle frame: what one image tells |
| mean | the mean over time: what images tell, in whatever order |
| motion | mean, standard deviation and mean absolute difference of neighbouring frames, 3 d |
| order | all frames side by side, T · d |
| shuffled | motion of the same frames in another order: what is left of motion without its order |

`motion` is the same for a clip and for the same clip backwards, `order` is not.
"""

from collections.abc import Callable

import numpy as np

from gssl.data import Draws


def frame(x: np.ndarray) -> np.ndarray:
    """(n, T, d) → (n, d): of the middle frame."""
    return x[:, x.shape[1] // 2]


def mean(x: np.ndarray) -> np.ndarray:
    """(n, T, d) → (n, d)."""
    found: np.ndarray = x.mean(axis=1)
    return found


def motion(x: np.ndarray) -> np.ndarray:
    """(n, T, d) → (n, 3 d): mean, standard deviation, mean absolute difference of neighbours."""
    return np.concatenate([x.mean(axis=1), x.std(axis=1), np.abs(np.diff(x, axis=1)).mean(axis=1)], axis=1)


def order(x: np.ndarray) -> np.ndarray:
    """(n, T, d) → (n, T · d): frame after frame."""
    return x.reshape(len(x), -1)


def shuffled(x: np.ndarray, contents: np.ndarray) -> np.ndarray:
    """(n, T, d) with the frames of each clip in another order, never their own, which its content (n,) decides."""
    frames, found = x.shape[1], np.empty_like(x)
    for i, content in enumerate(contents.tolist()):
        random = Draws(int(content)).generator("clips/shuffled")
        index = random.permutation(frames)
        while frames > 1 and (index == np.arange(frames)).all():
            index = random.permutation(frames)
        found[i] = x[i, index]
    return found


POOLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "frame": frame,
    "mean": mean,
    "motion": motion,
    "order": order,
}
NAMES = (*POOLINGS, "shuffled")


def pooled(x: np.ndarray, pooling: str, contents: np.ndarray) -> np.ndarray:
    """Features of frames (n, T, d) as features of clips, float32; contents: uint64 (n,) of the clips (`shuffled`)."""
    if pooling == "shuffled":
        return np.ascontiguousarray(motion(shuffled(x, contents)), dtype=np.float32)
    return np.ascontiguousarray(POOLINGS[pooling](x), dtype=np.float32)
