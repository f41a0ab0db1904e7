"""Captions without a network: ridge regression from an image's 8×8 pixels to the TF-IDF of what is said about it.

What a small network of images and captions has to beat. Its strength is chosen on a fifth of the training images, which
are held back by group; no other image is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gssl.data.sides import chances_of
from gssl.metrics.retrieval import ranks

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
HELD = 0.2  # of the training groups, to choose among them
WORDS = r"(?u)\b\w+\b"  # a clock's hour and an arrow's direction are words of one sign


@dataclass(frozen=True)
class PixelsToWords:
    """A fitted control: `scores(pixels, texts)` is (images, texts), cosines of what is expected and what is said.

    mean, weights, offset: of the regression. strength: the one that was chosen.
    """

    vectoriser: Any
    mean: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    strength: float

    @classmethod
    def fit(cls, pixels: np.ndarray, texts: Sequence[Sequence[str]], units: np.ndarray) -> "PixelsToWords":
        """pixels: (n, d); texts: captions of each image; units: str (n,), equal where images belong together. Raises
        ValueError where there is no word."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # takes a while to import

        vectoriser = TfidfVectorizer(token_pattern=WORDS, dtype=np.float64)
        words = vectoriser.fit_transform([" ".join(own) for own in texts])  # sparse: images × words would be large
        held = chances_of(units, 0, "pixels_to_words") < HELD
        strength = STRENGTHS[len(STRENGTHS) // 2]
        if held.any() and not held.all():
            pool = sorted({text for own, out in zip(texts, held, strict=True) if out for text in own})
            column = {text: i for i, text in enumerate(pool)}
            true = np.zeros((int(held.sum()), len(pool)), bool)
            for row, own in enumerate(own for own, out in zip(texts, held, strict=True) if out):
                true[row, [column[text] for text in own]] = True
            reached = []
            for one in STRENGTHS:
                scores = cls(vectoriser, *_ridge(pixels[~held], words[~held], one), one).scores(pixels[held], pool)
                sides = (ranks(scores, true), ranks(scores.T, true.T))
                reached.append(sum(float((own <= 10).mean()) for own in sides))
            strength = STRENGTHS[int(np.argmax(reached))]
        return cls(vectoriser, *_ridge(pixels, words, strength), strength)

    def scores(self, pixels: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """float64 (n, texts); 0 of a text none of whose words stands in a training caption."""
        expected = (pixels - self.mean) @ self.weights + self.offset
        expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
        found: np.ndarray = np.asarray(self.vectoriser.transform(texts).dot(expected.T)).T
        return found


def _ridge(pixels: np.ndarray, words: Any, strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean of the pixels, weights (d, words), mean of the words). words: sparse (n, words)."""
    mean, offset = pixels.mean(0), np.asarray(words.mean(axis=0)).ravel()
    x = (pixels - mean).astype(np.float64)
    both = (words.T @ x).T - np.outer(x.sum(0), offset)
    return mean, np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), both), offset
