"""TF-IDF of texts: the source of features that pretraining on texts has to beat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gssl.data import Images, sequential
from gssl.data.tokens import Tokenizer
from gssl.errors import JobError
from gssl.schemas import classical as schema

BATCH = 256
WORDS = r"(?u)\b\w\w+\b"  # of two letters and more


def strings(images: Images) -> Iterator[str]:
    """The texts of rows, of their tokens: what a network reads of them."""
    tokenizer = Tokenizer(images.store.meta["tokenizer"])
    for batch in sequential(images, BATCH, torch.device("cpu")):
        for ids in batch["text"].tolist():
            yield tokenizer.decode(ids)


@dataclass(frozen=True)
class Tfidf:
    """A fitted vectoriser."""

    vectoriser: Any

    @classmethod
    def fit(cls, cfg: schema.Tfidf, images: Images) -> "Tfidf":
        """Words and in how many texts they stand, of `images`; no label is read. Raises JobError where there are no
        words."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # takes a while to import

        made = TfidfVectorizer(
            token_pattern=WORDS, max_features=cfg.features, ngram_range=(1, cfg.ngrams), dtype=np.float32
        )
        try:
            made.fit(strings(images))
        except ValueError as error:
            raise JobError(f"weights=tfidf: {error}") from error
        return cls(made)

    def features(self, images: Images) -> np.ndarray:
        """(n, features) float32, rows of length 1, or 0 where no word is known."""
        found: np.ndarray = self.vectoriser.transform(strings(images)).toarray()
        return found

    def record(self) -> dict[str, Any]:
        return {"dims": len(self.vectoriser.vocabulary_)}
