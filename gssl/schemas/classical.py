"""Types and meanings of the keys in `conf/classical.yaml`: unsupervised learning without a network, every field MISSING."""

from dataclasses import dataclass, fields

from omegaconf import MISSING

from gssl.schemas.fields import number


@dataclass
class Pca:
    """Principal components of small images."""

    side: int = number(min=1)  # images are averaged to so many pixels per side first, as weights=pixels does
    dim: int = number(min=1)  # leading components that are kept
    whiten: bool = MISSING  # bring every component to variance 1


@dataclass
class Kmeans:
    """Distances of whitened patches to k-means centres, pooled over quadrants."""

    centres: int = number(min=2)  # K; there are 4·K features
    patch: int = number(min=2)  # side in pixels
    stride: int = number(min=1)  # pixels from patch to patch where features are made
    patches: int = number(min=2)  # random ones that the whitening and the centres are learnt from
    iterations: int = number(min=1)  # of k-means, at most
    contrast: float = number(above=0)  # added to a patch's variance (values of 0 to 255) before its root divides
    epsilon: float = number(above=0)  # added to the eigenvalues before whitening


@dataclass
class Classical:
    """How the sources of features that learn without a network learn."""

    pca: Pca = MISSING
    kmeans: Kmeans = MISSING


NAMES = tuple(f.name for f in fields(Classical))
