"""Lines of progress hold validation figures of finished parts, and no test figure."""

from types import SimpleNamespace

from gssl.comparison.standing import Standing
from gssl.engine.files import write_json


def part(tmp_path, arm, seed, validation, stage="transfer"):
    path = tmp_path / f"{arm}{seed}"
    path.mkdir()
    score = {"probe": "adapted", "labels_per_class": 10, "fraction": None, "accuracy": 0.999}
    scores = [score | {"validation": {"accuracy": value}} for value in validation]
    scores += [score | {"probe": "linear", "validation": {"accuracy": 0.111}}]
    write_json(path / "result.json", {"scores": scores})
    return SimpleNamespace(arm=arm, stage=stage, name=f"{arm} seed {seed}", path=path, finished=True)


def test_the_mean_over_draws_then_over_runs_the_best_first(tmp_path, capsys):
    found = Standing([part(tmp_path, "simclr", 0, [0.5, 0.7])], "adapted", "10", "accuracy")
    found.told(part(tmp_path, "simclr", 1, [0.8]))
    found.told(part(tmp_path, "ready", 0, [0.9]))
    said = capsys.readouterr().err.splitlines()
    assert said[-1].endswith("n runs): 90.0 ready (n 1), 70.0 simclr (n 2)")
    assert "validation folds" in said[-1] and "10 labels per class" in said[-1]
    assert not any("99.9" in line or "11.1" in line for line in said)


def test_what_has_no_validation_figure_says_nothing(tmp_path, capsys):
    found = Standing([], "adapted", "10", "accuracy")
    found.told(part(tmp_path, "random", 0, [None]))
    found.told(part(tmp_path, "simclr", 0, [0.5], stage="pretrain"))
    Standing([], "adapted", "10", "accuracy", show=False).told(part(tmp_path, "byol", 0, [0.5]))
    assert capsys.readouterr().err == ""


def test_of_folds_each_is_read_and_what_puts_them_together_is_not(tmp_path, capsys):
    found = Standing([part(tmp_path, "simclr", 0, [0.5], stage="fold")], "adapted", "10", "accuracy")
    found.told(part(tmp_path, "simclr", 1, [0.7], stage="fold"))
    found.told(part(tmp_path, "simclr", 2, [0.1], stage="transfer"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("60.0 simclr (n 2)")
