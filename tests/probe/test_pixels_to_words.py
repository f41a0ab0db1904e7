"""The control of images with captions: ridge regression as scikit-learn has it."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from gssl.metrics.retrieval import ranks
from gssl.probe.pixels_to_words import STRENGTHS, WORDS, PixelsToWords


@pytest.fixture
def learned():
    """Pixels of which some go with words, and captions of one or two texts."""
    rng = np.random.default_rng(0)
    words = ["red", "green", "blue", "up", "down"]
    kinds = rng.integers(0, 5, 120)
    pixels = rng.random((120, 12)).astype(np.float32)
    pixels[np.arange(120), kinds] += 2
    texts = [[words[k], f"a {words[k]} thing"][: 1 + i % 2] for i, k in enumerate(kinds)]
    return pixels, texts, np.array([f"g{i}" for i in range(120)])


def test_scores_are_cosines_of_sklearns_prediction(learned):
    pixels, texts, units = learned
    control = PixelsToWords.fit(pixels, texts, units)
    vectoriser = TfidfVectorizer(token_pattern=WORDS)
    target = vectoriser.fit_transform([" ".join(own) for own in texts]).toarray()
    given = Ridge(alpha=control.strength).fit(pixels.astype(np.float64), target).predict(pixels[:9].astype(np.float64))
    asked = vectoriser.transform(["red", "a thing up"]).toarray()
    expected = given / np.linalg.norm(given, axis=1, keepdims=True) @ asked.T
    np.testing.assert_allclose(control.scores(pixels[:9], ["red", "a thing up"]), expected, atol=1e-6)
    assert control.strength in STRENGTHS


def test_it_learns_and_unknown_words_score_nothing(learned):
    pixels, texts, units = learned
    control = PixelsToWords.fit(pixels[:80], texts[:80], units[:80])
    pool = ["red", "green", "blue", "up", "down"]
    true = np.array([[text[0] == name for name in pool] for text in texts[80:]])
    assert (ranks(control.scores(pixels[80:], pool), true) == 1).mean() > 0.9
    assert not control.scores(pixels, ["zebra"]).any()


def test_captions_without_a_word_are_refused():
    with pytest.raises(ValueError, match="empty vocabulary"):
        PixelsToWords.fit(np.zeros((4, 3), np.float32), [["!"]] * 4, np.array(list("abcd")))
