"""TF-IDF as a source of features: of training texts' words, and a linear probe that leaves them as they are."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gssl.config.composing import compose
from gssl.data.splits import load_data
from gssl.probe.linear import Linear
from gssl.probe.tfidf import Tfidf, strings


@pytest.fixture
def found(tmp_path):
    rng = np.random.default_rng(0)
    kinds = (("apple", "pear", "plum"), ("dog", "cat", "cow"))
    rows = [f"{' '.join(rng.choice(kinds[i % 2], 3))} and {i},{i % 2}" for i in range(120)]
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(rows))
    cfg = compose("transfer", ["data=text", f"data.root={tmp_path / 't.csv'}", "weights=tfidf", "data.tokenizer=byte"])
    return cfg, load_data(cfg.data)


def test_words_of_the_tokens_that_a_network_reads(found):
    cfg, splits = found
    words = Tfidf.fit(cfg.classical.tfidf, splits.pretrain)
    x = words.features(splits.val)
    assert {"apple", "dog", "and"} <= set(words.vectoriser.vocabulary_) and x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)
    assert next(strings(splits.val)).split()[-2] == "and"


@pytest.mark.parametrize("count", [20, 80])
def test_the_probe_is_logistic_regression_on_features_as_they_are(found, count):
    """Fewer rows than features, and more. Of two classes scikit-learn has one vector of weights, twice as long."""
    cfg, splits = found
    x = Tfidf.fit(cfg.classical.tfidf.model_copy(update={"features": 40}), splits.pretrain).features(splits.train)
    probe = Linear(cfg.probe.linear.model_copy(update={"l2_low": 0.01, "l2_high": 0.01, "l2_count": 1}))
    probe.standardise = False
    fitted = probe.fit(x[:count], splits.train.labels[:count], 2, 0)
    theirs = LogisticRegression(C=2 / (count * fitted.chosen["l2"]), tol=1e-10, max_iter=10_000)
    theirs.fit(x[:count].astype(np.float64), splits.train.labels[:count])
    np.testing.assert_allclose(fitted.probabilities(x), theirs.predict_proba(x.astype(np.float64)), atol=2e-4)
