"""Keys of `conf/classical.yaml`: unsupervised learning without a network."""

from pydantic import Field

from gssl.schemas.section import Section


class Pca(Section):
    """Principal components of small images."""

    side: int = Field(ge=1, description="images are averaged to so many pixels per side first, as weights=pixels does")
    dim: int = Field(ge=1, description="leading components that are kept")
    whiten: bool = Field(description="bring every component to variance 1")


class Kmeans(Section):
    """Distances of whitened patches to k-means centres, pooled over quadrants."""

    centres: int = Field(ge=2, description="K; there are 4·K features")
    patch: int = Field(ge=2, description="side in pixels")
    stride: int = Field(ge=1, description="pixels from patch to patch where features are made")
    patches: int = Field(ge=2, description="random ones that the whitening and the centres are learnt from")
    iterations: int = Field(ge=1, description="of k-means, at most")
    contrast: float = Field(
        gt=0, description="added to a patch's variance (values of 0 to 255) before its root divides"
    )
    epsilon: float = Field(gt=0, description="added to the eigenvalues before whitening")


class Tfidf(Section):
    """How often words stand in a text, less for those that stand in many."""

    features: int = Field(ge=2, description="the words that stand in most texts; fewer where there are fewer")
    ngrams: int = Field(ge=1, le=5, description="up to so many words in a row count as one, too")


class MelStats(Section):
    """Mean and deviation over time of each mel band of a sound."""

    padding: bool = Field(description="count the silence that short sounds are padded with, too")


class Mfcc(MelStats):
    """The same of cepstral coefficients."""

    coefficients: int = Field(ge=1, description="the first so many; at most data.size")


class Loudness(Section):
    """How loud a sound is, and how long its file."""

    length: bool = Field(description="the length, too")


class Classical(Section):
    """How the sources of features that learn without a network learn."""

    pca: Pca
    kmeans: Kmeans
    tfidf: Tfidf
    mel_stats: MelStats
    mfcc: Mfcc
    loudness: Loudness


NAMES = tuple(Classical.model_fields)
