"""Outer folds: stratified, never tearing a group, each image in exactly one, the default where labels are few."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gssl.data import outer_folds
from gssl.data.outer_folds import assign, few
from gssl.data.splits import load_data
from gssl.errors import UsageError

RNG = np.random.default_rng(0)


def parts(cfg: Callable, count: int, **values: object) -> list:
    return [load_data(cfg(folds=count, fold=k, test="folds", **values)) for k in range(count)]


def test_single_images_are_dealt_by_class_and_evenly() -> None:
    labels = np.repeat(np.arange(4), [10, 11, 13, 6])
    of = assign(labels, np.arange(40), RNG.random(40), 5)
    counts = np.array([np.bincount(labels[of == k], minlength=4) for k in range(5)])
    assert (np.ptp(counts, axis=0) <= 1).all() and np.ptp(counts.sum(axis=1)) <= 1
    assert (assign(labels, np.arange(40), RNG.random(40), 5) != of).any()


def test_groups_stay_whole_and_classes_near_their_share() -> None:
    groups = RNG.integers(0, 30, 300)
    labels = RNG.integers(0, 3, 300)
    units = np.unique(groups, return_inverse=True)[1]
    of = assign(labels, units, RNG.random(30)[units], 5)
    assert all(len(set(of[units == g])) == 1 for g in range(units.max() + 1))
    counts = np.array([np.bincount(labels[of == k], minlength=3) for k in range(5)])
    assert np.abs(counts - counts.mean(axis=0)).max() <= 8


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((100, 99), True), ((100, 100), False), ((500, 19), True), ((3000, 19), False), ((10, 10, 10), True)],
)
def test_few_labels_want_folds(sizes: tuple[int, ...], expected: bool) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert few(np.append(labels, np.full(50, -1))) is expected


def test_every_image_is_tested_on_once_and_never_trained_on_then(cfg: Callable, folders: Path) -> None:
    found = parts(cfg, 3, root=folders)
    tested = [set(splits.open_test().names) for splits in found]
    assert sum(map(len, tested)) == 36 == len(set.union(*tested))
    for splits, held in zip(found, tested, strict=True):
        rest = set(splits.train.names) | set(splits.val.names)
        assert not rest & held and len(rest) + len(held) == 36 and set(splits.pretrain.names) == set(splits.train.names)
        assert np.bincount(splits.open_test().labels).tolist() == [4, 4, 4]
    assert len({splits.hash for splits in found}) == 3
    assert len({splits.summary["folds"]["items"] for splits in found}) == 1
    assert found[0].summary["folds"]["least_per_class"] == 8


def test_folds_are_seeded_and_other_seeds_divide_otherwise(cfg: Callable, folders: Path) -> None:
    one, two, other = (load_data(cfg(root=folders, folds=3, fold=0, test="folds", split_seed=s)) for s in (0, 0, 1))
    assert one.hash == two.hash and one.open_test().hash == two.open_test().hash != other.open_test().hash
    assert one.summary["folds"]["items"] == other.summary["folds"]["items"]


def test_without_a_fold_nothing_is_held_back_and_nothing_can_be_opened(cfg: Callable, folders: Path) -> None:
    whole = load_data(cfg(root=folders, folds=5))
    assert whole.folds and whole.folds.auto and len(whole.labelled) == 36 == whole.summary["counts"]["test"]
    with pytest.raises(UsageError, match=r"data\.test=folds: without data\.fold .* 0 to 4"):
        whole.open_test()
    assert whole.summary["hashes"]["test"] == whole.summary["folds"]["items"]


def test_the_old_split_is_there_by_name_and_for_configurations_that_know_no_folds(cfg: Callable, folders: Path) -> None:
    named, old = load_data(cfg(root=folders, folds=5, test="split")), load_data(cfg(root=folders))
    assert named.folds is None and "folds" not in named.summary and named.hash == old.hash
    with pytest.raises(UsageError, match=r"data\.fold=1: these images are not divided"):
        load_data(cfg(root=folders, folds=5, test="split", fold=1))


def test_test_images_of_a_source_are_left_out_where_folds_are_asked_for(cfg: Callable, pictures: Path) -> None:
    own, folds = load_data(cfg(root=pictures, folds=5)), load_data(cfg(root=pictures, folds=5, test="folds", fold=0))
    assert own.folds is None and len(own.open_test()) == 60
    assert len(folds.open_test()) == 24 and "60 test images of its own are left out" in folds.summary["warnings"][0]


def test_copies_of_a_file_lie_in_one_fold(cfg: Callable, folders: Path) -> None:
    for i in range(6):
        (folders / "a" / f"copy{i}.png").write_bytes((folders / "a" / f"{i:02}.png").read_bytes())
    for splits in parts(cfg, 3, root=folders):
        content = set(splits.open_test().image_hashes().tolist())
        assert not content & set(splits.labelled.image_hashes().tolist())


def test_pretraining_images_of_their_own_lose_what_is_tested_on(cfg: Callable, folders: Path, paint: Callable) -> None:
    more = folders.parent / "more"
    for i in range(10):
        paint(more / f"{i}.png")
    apart = load_data(cfg(root=folders, pretrain=more, folds=3, fold=0, test="folds"))
    assert apart.summary["folds"]["apart"] and len(apart.pretrain) == 10
    for i in range(12):
        (more / f"same{i}.png").write_bytes((folders / "a" / f"{i:02}.png").read_bytes())
    found = parts(cfg, 3, root=folders, pretrain=more)
    assert [len(splits.pretrain) for splits in found] == [18, 18, 18]
    assert not found[0].summary["folds"]["apart"]
    for splits in found:
        assert not set(splits.pretrain.contents().tolist()) & set(splits.open_test().contents().tolist())


def test_no_more_folds_than_the_smallest_class_has(cfg: Callable, folders: Path) -> None:
    for path in sorted((folders / "b").iterdir())[4:]:
        path.unlink()
    splits = load_data(cfg(root=folders, folds=5, fold=3, test="folds"))
    assert splits.folds and splits.folds.count == 4 and splits.folds.least_per_class == 3
    with pytest.raises(UsageError, match=r"data\.fold=4: there are 4 folds \(the smallest class has 4 labels\)"):
        load_data(cfg(root=folders, folds=5, fold=4, test="folds"))


def test_groups_of_a_csv_are_counted_and_named_in_errors(cfg: Callable, folders: Path) -> None:
    lines = ["path,label,group"]
    lines += [f"{c}/{i:02}.png,{c},g{i % 4}" for c in "abc" for i in range(12)]
    (folders / "labels.csv").write_text("\n".join(lines))
    for splits in parts(cfg, 4, root=folders):
        assert not set(splits.open_test().groups) & set(splits.labelled.groups)
        assert splits.summary["test_groups"] == 1
    with pytest.raises(UsageError, match=r"data\.folds=5: there are 4 groups, which stay together, for 5 folds"):
        load_data(cfg(root=folders, folds=5, test="folds"))


def test_copies_in_other_folds_are_found(cfg: Callable, folders: Path) -> None:
    from PIL import Image

    for i in range(3):  # other bytes, equal pixels
        Image.open(folders / "a" / f"{i:02}.png").save(folders / "a" / f"again{i}.png", compress_level=0)
    found = load_data(cfg(root=folders, folds=5)).summary["findings"]
    assert "few_test_images" in {f["kind"] for f in found}
    leak = [f for f in found if f["kind"] == "test_in_training"]
    assert leak and all("other folds" in f["text"] for f in leak)


def test_the_order_of_put_together_folds_is_that_of_contents(cfg: Callable, folders: Path) -> None:
    found = parts(cfg, 3, root=folders)
    together = np.concatenate([splits.open_test().image_hashes().view("S16") for splits in found])
    whole = outer_folds.in_order(load_data(cfg(root=folders, folds=3, test="folds")).labelled)
    assert (np.sort(together) == whole.image_hashes().view("S16")).all()
