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
    assert next(strings(splits.val))[0].split()[-2] == "and"


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


def test_of_pairs_each_text_and_what_they_have_in_common(tmp_path):
    """Against scikit-learn's own rows and products by hand."""
    words = ("apple", "pear", "plum", "fig")
    rows = [f"{words[i % 4]} {words[i // 2 % 4]} {i},{words[i % 3]} and pear,{i % 2}" for i in range(60)]
    (tmp_path / "t.csv").write_text("text,text_b,label\n" + "\n".join(rows))
    cfg = compose("transfer", ["data=text", f"data.root={tmp_path / 't.csv'}", "weights=tfidf", "data.tokenizer=byte"])
    splits = load_data(cfg.data)
    made = Tfidf.fit(cfg.classical.tfidf, splits.pretrain)
    pairs = list(strings(splits.val))
    assert all(second.endswith(" and pear") for _, second in pairs)
    x, dims = made.features(splits.val), len(made.vectoriser.vocabulary_)
    first, second = (made.vectoriser.transform(own).toarray() for own in zip(*pairs, strict=True))
    assert x.shape[1] == 3 * dims + 1 == made.record()["dims"]
    np.testing.assert_allclose(x[:, :-1], np.hstack([first, second, first * second]))
    np.testing.assert_allclose(x[:, -1], [np.dot(a, b) for a, b in zip(first, second, strict=True)], rtol=1e-5)
