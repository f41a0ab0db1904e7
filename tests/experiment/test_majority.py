"""`weights=majority` end to end: an unbalanced folder, every answer the same class, and no diagnostics of images."""

import numpy as np
import pytest

from gssl.commands import transfer
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment.probing import find_source
from tests.conftest import draw_pictures


@pytest.fixture
def unbalanced(tmp_path):
    root = tmp_path / "unbalanced"
    draw_pictures(root / "train", {"a": 12, "b": 60, "c": 12})
    draw_pictures(root / "test", {"a": 4, "b": 34, "c": 2}, seed=1)
    return root


def test_it_answers_the_largest_class(tiny, tmp_path, unbalanced):
    use = ["probe.use=[linear,knn,adapted]", "labels_per_class=[5]", "fractions=[1.0]", f"data.root={unbalanced}"]
    transfer.main(tiny("transfer", "weights=majority", *use, "diagnose.pictures=true"), tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert {score["probe"] for score in result["scores"]} == {"linear", "knn", "adapted"}
    for score in result["scores"]:
        assert score["correct"] == 34 and score["balanced_accuracy"] == pytest.approx(1 / 3)
    with np.load(tmp_path / "run" / "predictions.npz") as kept:
        assert (kept["guess"] == 1).all()
        shares = {round(float(value), 2) for value in kept["confidence"].ravel()}
    assert shares == {0.33, 0.71}  # 5 of each class; 60 of 84
    assert "cka" not in result and not (tmp_path / "run" / "pictures").exists()
    assert find_source("majority").kind == "majority"
    (found,) = (f for f in result["data"]["findings"] if f["kind"] == "imbalance")
    assert found["parts"]["test"]["majority_fraction"] == 0.85


def test_it_has_no_clusters_and_no_network(tiny, tmp_path, unbalanced):
    for probe in ("cluster", "finetune", "linear_multilayer"):
        cfg = tiny("transfer", "weights=majority", f"probe.use=[{probe}]", f"data.root={unbalanced}")
        with pytest.raises(UsageError, match=f"probe.use: {probe} needs"):
            transfer.main(cfg, tmp_path / probe)
