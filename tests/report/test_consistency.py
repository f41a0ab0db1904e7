"""Runs that are there twice are left out and said; what is not alike though it is compared is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gssl.errors import UsageError
from gssl.report import consistency
from gssl.report.collect import Run, read_runs
from tests.report.documents import build

Change = Callable[[dict[str, Any]], object]


def change(path: Path, how: Change, name: str = "result.json") -> None:
    """Edit a JSON file of a run."""
    text = json.loads((path / name).read_text())
    how(text)
    (path / name).write_text(json.dumps(text))


def set_all(key: str, value: Any) -> Change:
    return lambda result: [score.update({key: value}) for score in result["scores"]]


def told(runs: list[Run], kind: str) -> str:
    """The sentence of a kind; there is one at most."""
    found = [entry["text"] for entry in consistency.notes(runs) if entry["kind"] == kind]
    assert len(found) <= 1
    return "".join(found)


def transfers(fake: ModuleType, root: Path, arm: str, seeds: int = 3, parts: bool = False) -> list[Path]:
    """Transfer runs with label draws of their own, as real runs have them."""
    out = []
    for seed in range(seeds):
        source = fake.pretrain(root, arm, seed, parts=parts) if arm in fake.TRAINED else None
        out.append(fake.transfer(root, arm, seed, source, parts=parts))
        change(out[-1], lambda r: [s.update(subset=f"{r['seed']}{s['draw']}{s['n_train']}") for s in r["scores"]])
    return out


@pytest.mark.parametrize("parts", [False, True])
def test_copies_of_a_seed_are_no_further_seeds(fake: ModuleType, tmp_path: Path, parts: bool) -> None:
    made = transfers(fake, tmp_path, "simclr", 2, parts)
    for seed in range(2, 6):  # the same run, said to be of other seeds
        path = Path(shutil.copytree(made[0], tmp_path / f"again-{seed}"))
        change(path, lambda result, seed=seed: result.update(seed=seed))
        if parts:
            change(path, lambda part, seed=seed: part.update(seed=seed), "part.json")
        (path / "config.yaml").write_text((path / "config.yaml").read_text().replace("seed: 0", f"seed: {seed}"))
        made.append(path)
    report = build(read_runs(made), {})
    assert [arm["name"] for arm in report["arms"]] == ["simclr"] and report["arms"][0]["seeds"] == [0, 1]
    assert all(row["n_seeds"] == 2 for row in report["table"])
    (text,) = [text for text in report["verdict"]["cautions"] if "copied" in text]
    assert "SimCLR: seed 0 was copied" in text and "4 runs left out, no further seed" in text
    # seeds whose draws of labels are others are seeds, though every answer is the same
    for seed, path in enumerate(made):
        change(path, set_all("subset", f"{seed}"))
    assert build(read_runs(made), {})["arms"][0]["seeds"] == [0, 1, 2, 3, 4, 5]


def test_one_seed_under_two_paths_is_one(fake: ModuleType, tmp_path: Path) -> None:
    made = transfers(fake, tmp_path, "simclr", 2)
    made.append(Path(shutil.copytree(made[0], tmp_path / "other" / made[0].name)))
    runs = read_runs(made)
    assert {run.arm for run in runs} == {"simclr"} and "copied" in told(runs, "copy")
    assert len([run for run in runs if run.stage == "transfer"]) == 2
    # the same seed and settings with other answers, as another machine gives them, is no second seed either
    change(made[-1], set_all("accuracy", 0.5))
    runs = read_runs(made)
    assert {run.arm for run in runs} == {"simclr"} and told(runs, "copy") == ""
    assert "seed 0 was evaluated again with the same settings" in told(runs, "repeat")
    kept = [run for run in runs if run.stage == "transfer" and run.seed == 0]
    assert len(kept) == 1


def test_predictions_decide_before_scores(fake: ModuleType, tmp_path: Path) -> None:
    made = transfers(fake, tmp_path, "pixels", 1)
    other = Path(shutil.copytree(made[0], tmp_path / "other"))
    one, two = read_runs([made[0]])[0], read_runs([other])[0]
    assert consistency.same_predictions(one, two)
    found = json.loads((other / "result.json").read_text())["scores"]
    fake.answer(other, found[::-1])
    assert not consistency.same_predictions(one, two)
    (other / "predictions.npz").unlink()
    assert consistency.same_predictions(one, two)


def test_one_run_under_two_names_is_one_contestant(fake: ModuleType, tmp_path: Path) -> None:
    made = [path for arm in ("simclr", "scratch") for path in transfers(fake, tmp_path, arm, 3, parts=True)]
    for path in [path for path in made if "simclr" in path.name]:
        other = Path(shutil.copytree(path, tmp_path / f"hot-{path.name}"))
        change(other, lambda part: part.update(arm="hot"), "part.json")
        made.append(other)
    runs = read_runs(made)
    assert consistency.second_names(runs) in ({"simclr": "hot"}, {"hot": "simclr"})
    assert "one run under two names" in told(runs, "name") and "never compared" in told(runs, "name")
    alone = consistency.one_name_each(runs)
    report = build(alone, {})
    (name,) = [arm["name"] for arm in report["arms"] if arm["pretrained"]]
    assert {"hot", "simclr"} - {name} <= set(told(alone, "name").split()) and "is left out" in told(alone, "name")
    assert not any({d["a"], d["b"]} == {"hot", "simclr"} for d in report["differences"])
    assert [c["arm"] for c in report["cost"] if c["metric"] == "flops"] == [name]  # what was trained is still there
    with pytest.raises(UsageError, match="one and the same run under two names"):
        consistency.one_name_each(runs, [("hot", "simclr")])
    change(made[-1], set_all("accuracy", 0.5))  # one seed of one of them is another
    assert consistency.second_names(read_runs(made)) == {}


def test_budgets_are_compared_seed_by_seed(fake: ModuleType, tmp_path: Path) -> None:
    """Seeds of 1.9, 1 and .1 times the budget have its mean; so means say nothing."""
    made = [path for arm in ("simclr", "dcgan") for path in transfers(fake, tmp_path, arm)]
    equal = consistency.notes(read_runs(made))
    assert not [entry for entry in equal if entry["kind"].startswith("budget")]
    for seed, share in enumerate((1.9, 1.0, 0.1)):
        change(tmp_path / f"simclr-{seed}", lambda r, share=share: r["spent"].update(flops=share * 3.2e12))
    runs = read_runs(made)
    assert "seeds of SimCLR spent 0.1 to 1.9 times the FLOPs of DCGAN" in told(runs, "budget")
    assert "Seeds of SimCLR had unlike budgets: seed 0 spent 19 times the FLOPs of seed 2" in told(
        runs, "budget_within"
    )
    assert told(runs, "budget") in build(runs, {})["verdict"]["cautions"]
    for seed in range(3):  # without FLOPs on record, steps and seconds
        for arm in ("simclr", "dcgan"):
            spent = {"flops": None, "steps": 100 + 50 * seed, "seconds": 60.0 if arm == "dcgan" else 120.0}
            change(tmp_path / f"{arm}-{seed}", lambda r, spent=spent: r["spent"].update(spent))
    both = [entry for entry in consistency.notes(read_runs(made)) if entry["kind"] == "budget_within"]
    assert len(both) == 2 and "2 times the steps" in both[0]["text"]
    assert "seeds of SimCLR spent 2 times the seconds of DCGAN" in told(read_runs(made), "budget")


def test_seeds_on_one_network_and_networks_that_differ(fake: ModuleType, tmp_path: Path) -> None:
    made = transfers(fake, tmp_path, "simclr")
    net = {"name": "convnet", "norm": "batch", "width": 16, "patch": 4, "size": 32}
    for path in made:
        change(path, lambda r: r.update(backbone=net))
    assert told(read_runs(made), "network") == told(read_runs(made), "network_shared") == ""
    change(made[2], lambda r: r.update(backbone=net | {"width": 32}))
    text = told(read_runs(made), "network")
    assert text == "The networks of SimCLR differ between its seeds in width: 16 (seeds 0 and 1) and 32 (seed 2)."
    for path in made[:2]:
        change(path, lambda r: r["source"].update(sha256="a" * 64))
    assert told(read_runs(made), "network_shared").startswith("Seeds 0 and 1 of SimCLR rest on one network")


def test_other_data_subsets_draws_and_versions_are_said(fake: ModuleType, tmp_path: Path) -> None:
    made = [path for arm in ("simclr", "random", "pixels") for path in transfers(fake, tmp_path, arm)]
    assert consistency.notes(read_runs(made)) == []
    one = made[3]  # random, seed 0
    change(one, lambda r: [s.update(subset="x") for s in r["scores"] if s["labels_per_class"] == 10])
    text = told(read_runs(made), "subset")
    assert text.startswith(
        "Random features had other labelled images than raw pixels (10 labels per class, seed 0, draw 0"
    )
    assert "and 2 more draws" in text
    change(one, lambda r: r.update(scores=[s for s in r["scores"] if s["draw"] < 2]))
    text = told(read_runs(made), "draws")
    assert text.startswith("Numbers of draws of labels differ (knn, 1 label per class): 3 for") and "seed 0" in text
    change(made[4], lambda r: r["data"].update(hash="e" * 16))
    text = told(read_runs(made), "data")
    assert "data hashes differ" in text and "e" * 12 + ": random features seed 1" in text
    change(made[8], lambda e: e.update(gssl="0.2.0"), "environment.json")
    assert "0.2.0: raw pixels seed 2" in told(read_runs(made), "version")
    change(tmp_path / "simclr-1", lambda e: e.update(gssl="0.0.9"), "environment.json")  # of its training alone
    assert "0.0.9: SimCLR seed 1" in told(read_runs(made), "version")


def test_label_use_comes_with_the_weights(fake: ModuleType, tmp_path: Path) -> None:
    """A transfer run on a copied file of a supervised run: no name and no directory tells it, the record does."""
    made = transfers(fake, tmp_path, "random")
    for used, role in ((True, "reference"), (False, "contestant"), (None, "contestant")):
        for path in made:
            source = {
                "kind": "file",
                "path": "x.safetensors",
                "method": "mine",
                "sha256": path.name,
                "labels_used": used,
            }
            change(path, lambda r, source=source: r.update(source=source))
        runs = read_runs(made)
        (arm,) = build(runs, {})["arms"]
        assert (arm["name"], arm["role"]) == ("mine", role)
        assert ("not on record" in told(runs, "labels")) is (used is None)
