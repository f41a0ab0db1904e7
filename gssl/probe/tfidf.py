"""TF-IDF of texts: the source of features that pretraining on texts has to beat.

Of a pair the features of both texts stand side by side, and behind them their products, word by word, and the sum of
these: the cosine of the two. So a linear probe reads what each text says, and what both have in common.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gssl.data import Images, sequential, text_pairs
from gssl.data.tokens import Tokenizer
from gssl.errors import JobError
from gssl.schemas import classical as schema

BATCH = 256
WORDS = r"(?u)\b\w\w+\b"  # of two letters and more


def strings(images: Images) -> Iterator[tuple[str, ...]]:
    """The text of each row, or both of a pair, of their tokens: what a network reads of them."""
    tokenizer = Tokenizer(images.store.meta["tokenizer"])
    for batch in sequential(images, BATCH, torch.device("cpu")):
        for ids in batch["text"].numpy():
            own = text_pairs.halves(ids) if images.store.meta.get("pairs") else (ids,)
            yield tuple(tokenizer.decode(text.tolist()) for text in own)


@dataclass(frozen=True)
class Tfidf:
    """A fitted vectoriser."""

    vectoriser: Any
    pairs: bool

    @classmethod
    def fit(cls, cfg: schema.Tfidf, images: Images) -> "Tfidf":
        """Words and in how many texts they stand, of `images`; no label is read. Raises JobError where there are no
        words."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # takes a while to import

        made = TfidfVectorizer(
            token_pattern=WORDS, max_features=cfg.features, ngram_range=(1, cfg.ngrams), dtype=np.float32
        )
        try:
            made.fit(text for own in strings(images) for text in own)
        except ValueError as error:
            raise JobError(f"weights=tfidf: {error}") from error
        return cls(made, bool(images.store.meta.get("pairs")))

    def features(self, images: Images) -> np.ndarray:
        """(n, features) float32, rows of length 1, or 0 where no word is known; of pairs (n, 3 · features + 1)."""
        columns = zip(*strings(images), strict=True)
        sides: list[np.ndarray] = [self.vectoriser.transform(own).toarray() for own in columns]
        if not self.pairs:
            return sides[0]
        common = sides[0] * sides[1]
        return np.concatenate([*sides, common, common.sum(1, keepdims=True)], axis=1)

    def record(self) -> dict[str, Any]:
        words = len(self.vectoriser.vocabulary_)
        return {"dims": 3 * words + 1 if self.pairs else words}
