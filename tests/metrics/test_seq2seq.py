"""chrF and BLEU of texts: those of sacrebleu's own functions, and intervals by drawing texts anew."""

import numpy as np
import pytest

from gssl.metrics import seq2seq

REFERENCES = ["the cat sat on the mat", "a red bird", "two dogs run over the hill", "grün ist der Baum", "x"]
MADE = ["the cat sat on a mat", "a blue bird", "dogs run over hills", "grün ist das Haus", "x"]


def test_scores_are_those_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    found = seq2seq.scores(MADE, REFERENCES)
    for name, score in (("chrf", sacrebleu.corpus_chrf), ("bleu", sacrebleu.corpus_bleu)):
        theirs = score(MADE, [REFERENCES]).score
        assert found[name].value(found[name].rows.sum(0)) == pytest.approx(theirs) and 0 < theirs < 100
        part = score(MADE[1:3], [REFERENCES[1:3]]).score
        assert found[name].value(found[name].rows[1:3].sum(0)) == pytest.approx(part)
    assert found["equal"].value(found["equal"].rows.sum(0)) == 20
    assert "nc:6" in found["chrf"].signature and "tok:13a" in found["bleu"].signature


def test_intervals_and_differences_are_of_the_same_draws():
    """Against draws of whole texts, each scored by sacrebleu itself."""
    sacrebleu = pytest.importorskip("sacrebleu")
    systems = {"network": MADE, "copy": REFERENCES}
    found = seq2seq.compared(systems, REFERENCES, np.array([0, 0, 1, 1, 2]))
    chrf = found["chrf"]
    assert chrf["copy"] == {"value": 100, "low": 100, "high": 100}
    assert chrf["more_than"]["copy"]["value"] == pytest.approx(chrf["network"]["value"] - 100)
    units = [[0, 1], [2, 3], [4]]
    drawn = np.random.Generator(np.random.Philox(key=0x5EED)).integers(3, size=(seq2seq.RESAMPLES, 3))
    rows = [[i for unit in own for i in units[unit]] for own in drawn.tolist()]
    scores = {key: sacrebleu.corpus_chrf([MADE[i] for i in key], [[REFERENCES[i] for i in key]]).score
              for key in {tuple(own) for own in rows}}  # fmt: skip
    low, high = np.quantile([scores[tuple(own)] for own in rows], [0.025, 0.975])
    assert (chrf["network"]["low"], chrf["network"]["high"]) == pytest.approx((low, high))


def test_bleu_is_left_out_where_nobody_could_have_a_score():
    pytest.importorskip("sacrebleu")
    assert set(seq2seq.scores(["a b c", "d"], ["a b d", "d"])) == {"equal", "chrf"}
    assert set(seq2seq.scores(["a b c", "d"], ["a b d e", "d"])) == {"equal", "chrf", "bleu"}


def test_without_sacrebleu_equal_texts_are_counted(monkeypatch):
    monkeypatch.setattr(seq2seq, "missing", lambda: True)
    found = seq2seq.compared({"network": MADE}, REFERENCES, np.arange(5))
    assert list(found) == ["equal"] and found["equal"]["network"]["value"] == 20
