"""What compare plans where every labelled image is tested on once: every fold of every seed, nothing twice."""

from collections import Counter

import pytest

from gssl import schemas
from gssl.comparison.plan import Planner
from gssl.comparison.preregistration import plan_of
from gssl.errors import UsageError

FOLDS = {"count": 3, "fold": None, "auto": True, "least_per_class": 4, "apart": False, "images": 18, "items": "x"}


@pytest.fixture
def planned(small):
    def make(*words: str, **folds: object):
        cfg = small("arms=[simclr,supervised,random,pixels]", "seeds=2", *words)
        planner = Planner(cfg, "data", 1, FOLDS | folds)
        return planner, planner.plan()

    return make


def test_every_fold_of_every_seed_and_what_merges_them(planned):
    planner, parts = planned()
    stages = Counter((part.arm, part.stage) for part in parts)
    for arm in ("simclr", "supervised", "random", "pixels"):
        assert stages[arm, "fold"] == 6 and stages[arm, "transfer"] == 2
    assert stages["simclr", "pretrain"] == stages["supervised", "pretrain"] == 6
    assert len({part.path for part in parts}) == len(parts) == len({part.name for part in parts})
    done: set = set()
    for part in parts:  # each after what it needs
        assert set(part.depends) <= done
        done.add(part.path)
    for part in parts:
        if part.stage == "fold":
            assert part.cfg.data.test == "folds" and part.cfg.data.split_seed == part.seed
            assert part.record()["fold"] == part.fold == part.cfg.data.fold
            assert f"data.fold={part.fold}" in part.shell and "data.test=folds" in part.shell
        if part.command == "folds":
            runs = [other for other in parts if str(other.path) in part.cfg.of]
            assert [run.fold for run in runs] == [0, 1, 2] and {run.seed for run in runs} == {part.seed}
    trained = {part.path: part for part in parts if part.stage == "pretrain"}
    for part in parts:  # what is tested on a fold was trained without it
        if part.stage in ("fold", "milestones"):
            assert all(trained[path].fold == part.fold for path in part.depends if path in trained)


@pytest.mark.parametrize(("words", "folds"), [(["transductive=true"], {}), ([], {"apart": True})])
def test_one_network_for_all_folds_where_it_may_be_but_never_one_that_reads_labels(planned, words, folds):
    _, parts = planned(*words, **folds)
    stages = Counter((part.arm, part.stage) for part in parts)
    assert stages["simclr", "pretrain"] == 2 and stages["supervised", "pretrain"] == 6
    assert {part.fold for part in parts if (part.arm, part.stage) == ("simclr", "pretrain")} == {None}


@pytest.mark.long
def test_the_same_plan_has_the_same_parts_and_another_partition_others(planned):
    names = [{part.path for part in planned(*words)[1]} for words in ([], [], ["data.split_seed=1"])]
    assert names[0] == names[1]
    same = {path.name for path in names[0] & names[2]}  # seed 1 of the one divides as seed 0 of the other, no more
    assert not any("-fold-" in name for name in same)


def test_generated_images_are_compared_where_enough_are_held_back(small):
    cfg = small("arms=[dcgan]", "seeds=2")

    def count(**folds: object) -> int:
        return sum(part.stage == "evaluate" for part in Planner(cfg, "d", 1, FOLDS | folds).plan())

    assert count() == 0 and count(images=150) == 2 and count(apart=True) == 2


def test_settings_are_not_searched_on_what_is_tested(small):
    cfg = small("arms=[simclr]", "search.trials=2", "+search.space.simclr=['ssl.temperature=0.1,0.2']")
    planner = Planner(cfg, "d", 1, FOLDS)
    with pytest.raises(UsageError, match="search.trials: .*data.test=split, or search.trials=0"):
        planner.trials(planner.arms()[0])


def test_the_record_names_the_folds_and_what_is_scored(planned):
    planner, parts = planned()
    plan = plan_of(planner.cfg, planner, "x")
    assert plan["settings"]["data.folds"] == 3 and plan["settings"]["transductive"] is False
    from gssl.comparison.preregistration import _named

    named = _named(planner, parts)
    assert all("-fold-" in name for names in named.values() for name in names)
    assert {arm: len(names) for arm, names in named.items()} == {"simclr": 6, "supervised": 6}
    assert isinstance(planner.cfg, schemas.Compare)
