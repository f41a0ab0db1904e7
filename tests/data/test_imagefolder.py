"""Image folders: layouts, CSV, groups, broken files, and the cache behind them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gssl.data import decode
from gssl.data.splits import load_data
from gssl.errors import UsageError


def sides(splits: object) -> dict[str, str]:
    """File name to side."""
    parts = {"train": splits.train, "val": splits.val, "test": splits.open_test()}  # type: ignore[attr-defined]
    return {str(name): side for side, images in parts.items() for name in images.names}


def test_class_folders_in_order_with_own_pixels(cfg: Callable, folders: Path) -> None:
    splits = load_data(cfg(root=folders))
    for i, name in enumerate(splits.train.names):
        assert splits.classes[splits.train.labels[i]] == Path(name).parent.name
        pixels = splits.train.fetch(np.array([i]))["image"][0].permute(1, 2, 0).numpy()
        assert (pixels == decode.decode(str(name), 16)).all()
    assert splits.train.shape == (10, 12) and splits.train.channels == 3
    assert list(splits.train.names) == sorted(splits.train.names)


def test_adding_files_moves_no_other_across_the_test_border(cfg: Callable, folders: Path, paint: Callable) -> None:
    before = sides(load_data(cfg(root=folders)))
    for i in range(20):
        paint(folders / "ab"[i % 2] / f"new{i}.png")
    after = sides(load_data(cfg(root=folders)))
    assert len(after) == 56
    assert all((after[name] == "test") == (side == "test") for name, side in before.items())
    renamed = folders / "a" / "zzz.png"
    (folders / "a" / "00.png").rename(renamed)
    again = sides(load_data(cfg(root=folders)))
    assert (again[str(renamed)] == "test") == (after[str(folders / "a" / "00.png")] == "test")


def test_the_split_does_not_depend_on_the_training_size(cfg: Callable, folders: Path) -> None:
    assert sides(load_data(cfg(root=folders))) == sides(load_data(cfg(root=folders, size=8, workers=3)))


def test_train_test_val_folders(cfg: Callable, folders: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for part in ("train", "test", "val"):
        shutil.copytree(folders, root / part)
    splits = load_data(cfg(root=root))
    assert splits.summary["counts"] == {"pretrain": 36, "train": 36, "val": 36, "test": 36}
    shutil.rmtree(root / "val")
    assert load_data(cfg(root=root)).summary["counts"]["test"] == 36
    shutil.copytree(folders / "a", root / "test" / "unknown")
    with pytest.raises(UsageError, match="data.root: the test images .* do not have: unknown; rename"):
        load_data(cfg(root=root))


def test_many_unlabelled_and_few_labelled(cfg: Callable, folders: Path, paint: Callable) -> None:
    for i in range(30):
        paint(folders / "more" / "deep" / f"{i}.jpg", size=(20 + i, 24), grey=True)
    splits = load_data(cfg(root=folders, pretrain="more"))  # below root, and no class of its own
    assert splits.classes == ["a", "b", "c"]
    assert len(splits.pretrain) == 30 and set(splits.pretrain.labels) == {-1}
    assert splits.pretrain.channels == 1 and splits.train.channels == 3 and splits.pretrain.shape is None
    batch = splits.pretrain.fetch(np.arange(30))
    assert batch["extent"][:, 0].unique().tolist() == [24] and batch["image"].shape == (30, 1, 24, 49)
    alone = load_data(cfg(pretrain=folders / "more"))
    assert alone.classes == [] and set(alone.train.labels) == {-1} and len(alone.val) > 0


def test_images_for_pretraining_in_the_same_folder_are_those_without_a_label(
    cfg: Callable, folders: Path, paint: Callable
) -> None:
    for i in range(3):
        paint(folders / f"loose{i}.png")
    splits = load_data(cfg(root=folders, pretrain=folders))
    assert len(splits.pretrain) == 3 and {Path(str(name)).stem[:5] for name in splits.pretrain.names} == {"loose"}
    (warning,) = [text for text in splits.summary["warnings"] if text.startswith("data.pretrain")]
    assert "labelled images" in warning and "left out" in warning
    assert not [text for text in splits.summary["warnings"] if "no class" in text]


def test_separate_folders_without_root(cfg: Callable, folders: Path) -> None:
    splits = load_data(cfg(train=folders, test=folders))
    assert splits.summary["counts"]["test"] == 36
    train, val = (f for f in splits.summary["findings"] if f["kind"] == "test_in_training")
    assert (train["part"], val["part"]) == ("train", "val")
    assert 0 < train["images"] < 36 == train["images"] + val["images"]


def test_root_and_train_together_use_the_test_folder_of_root(cfg: Callable, folders: Path) -> None:
    root = folders.with_name("set")
    shutil.copytree(folders, root / "few")
    shutil.copytree(folders, root / "test")
    assert load_data(cfg(root=root, train="few")).summary["counts"]["test"] == 36
    shutil.copytree(folders / "a", root / "loose")
    with pytest.raises(UsageError, match="data.test: the test images .* have no class; expected one folder"):
        load_data(cfg(root=root, train="few", test="loose"))


def test_flat_folder_has_no_labels(cfg: Callable, paint: Callable, tmp_path: Path) -> None:
    for i in range(20):
        paint(tmp_path / "flat" / f"{i}.PNG")
    paint(tmp_path / "flat" / ".hidden.png")
    splits = load_data(cfg(root=tmp_path / "flat"))
    assert splits.classes == [] and set(splits.train.labels) == {-1}
    assert sum(splits.summary["counts"][n] for n in ("train", "val", "test")) == 20


def test_loose_images_beside_class_folders_are_named(cfg: Callable, folders: Path, paint: Callable) -> None:
    paint(folders / "loose.png")
    (folders / "loop").symlink_to(folders)  # a symbolic link that leads back must not hang
    splits = load_data(cfg(root=folders))
    assert splits.summary["warnings"][:1] == [f"data.root: 1 images directly in {folders} have no class: left out"]


def _csv(folders: Path, header: str, row: Callable[[int, str], str]) -> Path:
    names = sorted(str(path.relative_to(folders)) for path in folders.rglob("*.png"))
    path = folders / "labels.csv"
    path.write_text("\n".join([header, *(row(i, name) for i, name in enumerate(names))]))
    return path


def test_csv_groups_are_never_torn(cfg: Callable, folders: Path) -> None:
    _csv(folders, "path,label,group", lambda i, name: f"{name},{'xy'[i % 2]},g{i // 3}")
    side = sides(load_data(cfg(root=folders)))  # labels.csv is found in root
    names = sorted(side)
    assert len(names) == 36 and set(side.values()) == {"train", "val", "test"}
    for i in range(0, 36, 3):
        assert len({side[name] for name in names[i : i + 3]}) == 1


def test_csv_splits_and_unlabelled_rows(cfg: Callable, folders: Path, tmp_path: Path) -> None:
    kinds = ["train", "", "test", "val", "pretrain"]
    path = _csv(folders, "path,label,split", lambda i, n: f"{n},{'' if i % 5 == 4 else 'xy'[i % 2]},{kinds[i % 5]}")
    for given in ({"labels": path}, {"root": folders, "labels": "labels.csv"}):
        splits = load_data(cfg(**given))
        assert splits.summary["counts"] == {"pretrain": 7, "train": 15, "val": 7, "test": 7}
        assert splits.classes == ["x", "y"] and set(splits.pretrain.labels) == {-1}
    one = load_data(cfg(root=folders, test=folders, labels=None))  # explicit rows win over the folder
    assert one.summary["counts"]["test"] == 7


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("file,label", "{name},x", "has the columns file,label; expected a header path,label"),
        ("path,label,splt", "{name},x,train", "columns path,label,splt"),
        ("path,label,split", "{name},x,most", "line 2 has split most; expected one of train"),
        ("path,label,split", "{name},,test", "a test image needs a label"),
        ("path,label", "same.png,x", "line 3 lists same.png again"),
        ("path,label", "{name},", "no labelled training row"),
        ("path,label", "{name}.gone,x", "36 of 36 images cannot be read: .*FileNotFoundError"),
    ],
)
def test_csv_errors(cfg: Callable, folders: Path, header: str, row: str, message: str) -> None:
    _csv(folders, header, lambda i, name: row.format(name=name))
    with pytest.raises(UsageError, match=message) as error:
        load_data(cfg(root=folders))
    assert str(error.value).startswith("data.labels: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "data.root: no folder given"),
        ({"root": "/nowhere"}, "data.root: /nowhere is not a folder"),
        ({"train": "/nowhere"}, "data.train: /nowhere is not a folder"),
        ({"labels": "none.csv", "root": "{}"}, "data.labels: there is no file none.csv"),
        ({"root": "{}"}, "data.root: no images below .*; expected one folder per class"),
        ({"pretrain": "{}"}, "data.pretrain: no images below"),
    ],
)
def test_folder_errors(cfg: Callable, tmp_path: Path, changes: dict[str, str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message) as error:
        load_data(cfg(**{k: v.format(tmp_path / "empty") for k, v in changes.items()}))
    assert "\n" not in str(error.value)


def test_too_few_images_to_divide(cfg: Callable, paint: Callable, tmp_path: Path) -> None:
    for label in "ab":
        paint(tmp_path / "few" / label / "0.png")
    with pytest.raises(UsageError, match="data.test_fraction: 2 images cannot be divided"):
        load_data(cfg(root=tmp_path / "few"))


def test_broken_files(cfg: Callable, folders: Path) -> None:
    whole = (folders / "a" / "00.png").read_bytes()
    (folders / "a" / "00.png").write_bytes(whole[: len(whole) // 2])  # truncated: the header is fine
    (folders / "b" / "05.png").write_bytes(b"not an image")
    for _ in range(2):  # cold, and from the cache
        with pytest.raises(UsageError, match=r"data.root: 2 of 36 .*a/00\.png.*on_error=skip") as error:
            load_data(cfg(root=folders))
        assert "\n" not in str(error.value)
    splits = load_data(cfg(root=folders, on_error="skip"))
    assert len(splits.summary["skipped"]) == 2 and str(folders / "b" / "05.png") in splits.summary["skipped"][1]
    assert sum(splits.summary["counts"][n] for n in ("train", "val", "test")) == 34
    for i, name in enumerate(splits.train.names):  # nothing has slipped by one
        pixels = splits.train.fetch(np.array([i]))["image"][0].permute(1, 2, 0).numpy()
        assert (pixels == decode.decode(str(name), 16)).all()
        assert splits.classes[splits.train.labels[i]] == Path(name).parent.name


def test_only_broken_files_cannot_be_skipped(cfg: Callable, tmp_path: Path) -> None:
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "a" / "0.png").write_bytes(b"")
    with pytest.raises(UsageError, match="1 of 1 images cannot be read"):
        load_data(cfg(root=tmp_path / "bad", on_error="skip"))


def test_warm_start_decodes_nothing(cfg: Callable, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_data(cfg(root=folders))
    monkeypatch.setattr(decode, "decode", lambda *a: pytest.fail("decoded again"))
    assert load_data(cfg(root=folders)).hash == first.hash
    moved = folders.with_name("elsewhere")
    shutil.copytree(folders, moved, copy_function=shutil.copy)  # same contents, another folder and other times
    assert load_data(cfg(root=moved)).hash == first.hash


def test_changed_pixels_change_the_hash(cfg: Callable, folders: Path, paint: Callable) -> None:
    first = load_data(cfg(root=folders)).hash
    shutil.copy(paint(folders.parent / "other.png"), folders / "c" / "03.png")
    assert load_data(cfg(root=folders)).hash != first


def test_folders_that_every_class_has_are_said(cfg: Callable, paint: Callable, tmp_path: Path) -> None:
    for site in ("site_a", "site_b"):
        for i in range(20):
            paint(tmp_path / "photos" / site / ["cat", "ship"][i % 2] / f"{site}{i}.png")
    warnings = load_data(cfg(root=tmp_path / "photos")).summary["warnings"]
    assert any("each class folder of" in text and "the folders cat, ship: where these" in text for text in warnings)
    shutil.rmtree(tmp_path / "photos" / "site_b" / "ship")
    warnings = load_data(cfg(root=tmp_path / "photos")).summary["warnings"]
    assert not any("each class folder" in text for text in warnings)


@pytest.mark.parametrize(("names", "said"), [(("Cat", "cat"), True), (("1", "1.0"), True), (("1", "10"), False)])
def test_classes_of_almost_the_same_name_are_said(cfg, paint, tmp_path, names, said) -> None:
    for name in names:
        for i in range(10):
            paint(tmp_path / "photos" / name / f"{i}.png")
    warnings = load_data(cfg(root=tmp_path / "photos")).summary["warnings"]
    text = f"classes with almost the same name are different classes: {names[0]!r} and {names[1]!r}"
    assert any(text in warning for warning in warnings) is said
