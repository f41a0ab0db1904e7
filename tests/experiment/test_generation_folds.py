"""A generator's test images where labels are few: a fold, all labelled images where it had none, or none at all."""

import pytest

from gssl.commands import evaluate, train_gan
from gssl.errors import UsageError


@pytest.mark.long
def test_generators_are_tested_on_what_they_have_not_had(tiny, pictures, tmp_path):
    root = tmp_path / "few"
    for name in "abc":
        (root / name).mkdir(parents=True)
        for i in range(9):
            (root / name / f"{i}.png").write_bytes((pictures / "train" / name / f"{i:03}.png").read_bytes())

    def train(name: str, *more: str):
        train_gan.main(tiny("train-gan", f"data.root={root}", "data.folds=3", "budget.steps=2", *more), tmp_path / name)
        return tmp_path / name

    asked = {"split": "test", "evaluator": "random", "device": "cpu"}
    with pytest.raises(UsageError, match="trained on all labelled images.* --split val"):
        evaluate.evaluate(train("whole"), **asked)
    assert evaluate.evaluate(train("fold", "data.test=folds", "data.fold=0"), **asked)["n"] == 9
    apart = train("apart", f"data.pretrain={pictures / 'test'}")
    assert evaluate.evaluate(apart, **asked)["n"] == 27
