"""Splits: disjoint, seeded, stratified, stable; label subsets: nested; the test images: behind one door."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gssl.data.splits import exact_split, label_subset, load_data, threshold_split
from gssl.errors import UsageError

RNG = np.random.default_rng(0)


def test_exact_split_is_stratified_and_keeps_both_sides() -> None:
    labels = np.repeat(np.arange(4), [100, 10, 2, 1])
    chosen = exact_split(labels, RNG.random(113), 0.1)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [10, 1, 1, 0]
    most = exact_split(labels, RNG.random(113), 0.9)
    assert np.bincount(labels[most], minlength=4).tolist() == [90, 9, 1, 0]


def test_exact_split_never_tears_a_group() -> None:
    labels = np.tile([0, 1], 60)
    groups = np.repeat([f"g{i}" for i in range(24)], 5)
    chances = np.repeat(RNG.random(24), 5)
    chosen = exact_split(labels, chances, 0.25, groups)
    for group in np.unique(groups):
        assert len(set(chosen[groups == group])) == 1
    assert np.abs(np.bincount(labels[chosen]) - 15).max() <= 3
    alone = exact_split(labels, RNG.random(120), 0.25, np.arange(120).astype(str))
    assert np.bincount(labels[alone]).tolist() == [15, 15]


def test_threshold_split_is_independent_of_others() -> None:
    labels, chances = RNG.integers(0, 3, 300), RNG.random(300)
    chosen = threshold_split(labels, chances, 0.2)
    more = threshold_split(np.append(labels, 0), np.append(chances, 0.0), 0.2)
    assert (more[:-1] == chosen).all() and more[-1]
    assert 0.1 < chosen.mean() < 0.3


def test_threshold_split_gives_every_class_both_sides() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    chances = np.array([0.9, 0.8, 0.7, 0.1, 0.05, 0.0, 0.1, 0.1])
    chosen = threshold_split(labels, chances, 0.2)
    # class 2 has one image and class 3 the same image twice: they can only be trained on
    assert chosen.tolist() == [False, False, True, False, True, False, False, False]


def test_label_subsets_are_stratified_nested_and_sorted() -> None:
    labels = np.concatenate([RNG.permutation(np.repeat(np.arange(5), 40)), np.full(9, -1)])
    parts = [label_subset(labels, n, None, 0, 1) for n in (1, 10, 40)] + [label_subset(labels, None, None, 0, 1)]
    for n, part in zip((1, 10, 40, 40), parts, strict=True):
        assert np.bincount(labels[part]).tolist() == [n] * 5
        assert (np.diff(part) > 0).all() and part.dtype == np.int64
    for small, large in zip(parts, parts[1:], strict=False):
        assert set(small) <= set(large)
    fractions = [label_subset(labels, None, f, 0, 1) for f in (0.025, 0.1, 0.5, 1.0)]
    assert [len(part) for part in fractions] == [5, 20, 100, 200]
    for small, large in zip(fractions, fractions[1:], strict=False):
        assert set(small) <= set(large)
    assert (label_subset(labels, 10, None, 0, 1) == parts[1]).all()
    for seed, draw in ((0, 2), (1, 1)):
        assert (label_subset(labels, 10, None, seed, draw) != parts[1]).any()


def test_label_subset_errors_name_the_smallest_class() -> None:
    labels = np.repeat([0, 1], [20, 7])
    with pytest.raises(UsageError, match="labels_per_class: 8 .* smallest class has 7 "):
        label_subset(labels, 8, None, 0, 0)
    with pytest.raises(UsageError, match="fractions: 0.05 of 27 .* than the 2 classes; use at least 0.074"):
        label_subset(labels, None, 0.05, 0, 0)
    assert len(label_subset(labels, None, 0.074, 0, 0)) == 2
    with pytest.raises(UsageError, match="no labelled"):
        label_subset(np.full(5, -1), 1, None, 0, 0)


def test_unknown_source(cfg: Callable) -> None:
    with pytest.raises(UsageError, match=r"data\.name: no source 'cifar1'; did you mean 'cifar10'"):
        load_data(cfg(name="cifar1"))


def test_parts_are_disjoint_and_deterministic(cfg: Callable, folders: Path) -> None:
    splits = load_data(cfg(root=folders))
    test = splits.open_test()
    names = [set(part.names) for part in (splits.train, splits.val, test)]
    assert len(set.union(*names)) == 36 == sum(map(len, names))
    assert splits.pretrain is splits.train
    again = load_data(cfg(root=folders))
    assert again.hash == splits.hash and again.val.hash == splits.val.hash
    other = load_data(cfg(root=folders, split_seed=1))
    assert other.hash != splits.hash and other.open_test().hash != test.hash
    assert np.bincount(splits.val.labels).min() >= 1
    assert splits.classes == ["a", "b", "c"]


def test_the_test_part_has_one_door(cfg: Callable, folders: Path) -> None:
    splits = load_data(cfg(root=folders))
    assert splits.test_openings == 0
    splits.open_test()
    splits.open_test()
    assert splits.test_openings == 2
    again = pickle.loads(pickle.dumps(splits))
    assert again.test_openings == 2 and again.open_test().hash == splits.open_test().hash
    assert "_test" not in repr(splits)


def test_limit_caps_every_part_in_proportion(cfg: Callable) -> None:
    full = load_data(cfg(name="mnist5k", size=28))
    small, smaller = (load_data(cfg(name="mnist5k", size=28, limit=n)) for n in (100, 30))
    assert small.summary["counts"] == {"pretrain": 100, "train": 100, "val": 100, "test": 100}
    assert np.bincount(small.val.labels).tolist() == [10] * 10
    assert set(smaller.train.rows) <= set(small.train.rows) <= set(full.train.rows)
    assert len({full.hash, small.hash, smaller.hash}) == 3


def test_duplicates_across_train_and_test_are_warned_of(cfg: Callable, folders: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    for i in range(4):
        (held / "a").mkdir(parents=True, exist_ok=True)
        (held / "a" / f"x{i}.png").write_bytes((folders / "b" / f"0{i}.png").read_bytes())
    splits = load_data(cfg(root=folders, test=held))
    text = " ".join(splits.summary["warnings"])
    val = sum("/b/" in name and int(Path(name).stem) < 4 for name in splits.val.names)
    assert f"{4 - val} of 4 test images" in text and "among the labelled training images (data.train)" in text
    assert str(held / "a" / "x") in text and str(folders / "b") in text
    assert "2 of 3 classes have no test image" in text
    assert "pixel for pixel" not in " ".join(load_data(cfg(root=folders)).summary["warnings"])


def test_copies_of_a_file_stay_on_one_side(cfg: Callable, folders: Path) -> None:
    for i in range(12):
        (folders / "a" / f"copy{i}.png").write_bytes((folders / "a" / f"{i:02}.png").read_bytes())
    splits = load_data(cfg(root=folders))
    assert not set(splits.open_test().image_hashes().tolist()) & set(splits.train.image_hashes().tolist())
