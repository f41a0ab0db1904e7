"""Folders of images and masks: layouts, sizes, groups, and every mistake as one line with its first path and count."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gssl.config.composing import compose
from gssl.data.columns import IGNORE
from gssl.data.masks import read_legend
from gssl.data.splits import load_data
from gssl.errors import UsageError

NAMES = {"names": ["sky", "road", "car"], "ignore": 9}


def scene(number: int, width: int = 24, height: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """Noise and a mask of three bands of classes, with one ignored row."""
    rng = np.random.default_rng(number)
    mask = np.repeat(np.arange(3, dtype=np.uint8), height // 3)[:, None].repeat(width, 1)
    mask[0] = 9
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), np.roll(mask, number, axis=1)


def save(folder: Path, count: int = 12, first: int = 0, classes: dict | None = NAMES, name: str = "{:03}") -> Path:
    """images/ and masks/ in `folder`, and classes.json beside."""
    for sub in ("images", "masks"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        image, mask = scene(i)
        Image.fromarray(image).save(folder / "images" / f"{name.format(i)}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name.format(i)}.png")
    if classes is not None:
        (folder / "classes.json").write_text(json.dumps(classes))
    return folder


@pytest.fixture
def load(cfg):
    def make(root: Path, **changes) -> object:
        return load_data(cfg(name="segmentation", root=root, **({"size": 18} | changes)))

    return make


# ── layouts ──────────────────────────────────────────────────────────────────────────────────────


def test_two_folders_are_split_by_fractions(tmp_path, load) -> None:
    splits = load(save(tmp_path / "a", 20))
    test = splits.open_test()
    assert splits.columns == ("image", "mask") and splits.classes == ["sky", "road", "car"]
    parts = [splits.train, splits.val, test]
    assert sum(map(len, parts)) == 20 and all(len(part) for part in parts)
    assert len({name for part in parts for name in part.names}) == 20
    for part in parts:
        assert part.masks.shape == (len(part), 18, 24) and part.classes == splits.classes
        for i, path in enumerate(part.names):
            image, mask = scene(int(Path(path).stem))
            np.testing.assert_array_equal(part.masks[i], np.where(mask == 9, IGNORE, mask))
            np.testing.assert_array_equal(part.fetch(np.array([i]))["image"][0].permute(1, 2, 0), image)
    assert splits.labelled.masks.shape[0] == len(splits.train) + len(splits.val)
    assert splits.summary["columns"] == ["image", "mask"] and sum(splits.summary["class_pixels"]["test"]) > 0


def test_train_val_and_test_folders_stay_what_they_are(tmp_path, load) -> None:
    for i, part in enumerate(("train", "val", "test")):
        save(tmp_path / part, 3 + i, 10 * i, classes=None)
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    splits = load(tmp_path)
    assert (len(splits.train), len(splits.val), len(splits.open_test())) == (3, 4, 5)


@pytest.mark.parametrize("template", ["{stem}_mask.png", "*_mask.png", "../labels/{stem}.png", "labels/{stem}.png"])
def test_a_template_says_where_masks_are(tmp_path, load, template: str) -> None:
    pictures = tmp_path / "pictures" if template.startswith("..") else tmp_path
    for folder in (pictures, tmp_path / "labels"):
        folder.mkdir(exist_ok=True)
    for i in range(10):
        image, mask = scene(i)
        Image.fromarray(image).save(pictures / f"{i}.jpg")
        own = pictures / template.replace("{stem}", str(i)).replace("*", str(i))
        Image.fromarray(mask).save(own)
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    splits = load(tmp_path, masks=template)
    assert len(splits.train) + len(splits.val) + len(splits.open_test()) == 10
    assert splits.train.masks.max() == IGNORE


def test_images_for_pretraining_need_no_masks(tmp_path, load, paint) -> None:
    root = save(tmp_path / "a")
    for i in range(5):
        paint(root / "more" / f"{i}.png")
    splits = load(root, pretrain="more")
    assert len(splits.pretrain) == 5 and splits.pretrain.columns == ("image",)
    assert splits.unlabelled.columns == ("image",)


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("size", "shape"), [(18, (18, 24)), (9, (9, 12)), ([20, 30], (20, 30)), ([9, 24], (9, 24))])
def test_images_and_masks_are_stored_at_data_size(tmp_path, load, size, shape) -> None:
    part = load(save(tmp_path / "a"), size=size).train
    assert part.shape == shape and part.masks.shape[1:] == shape
    assert set(np.unique(part.masks).tolist()) <= {0, 1, 2, IGNORE}


@pytest.mark.parametrize(
    ("size", "crop", "side"), [(64, None, 64), (64, 32, 32), ([176, 240], None, 176), ([176, 240], 64, 64)]
)
def test_the_side_of_square_images(cfg, size, crop, side) -> None:
    assert cfg(size=size, crop=crop).side == side


def test_images_of_other_sizes_are_padded(tmp_path, load) -> None:
    root = save(tmp_path / "a")
    image, mask = scene(99, 30, 18)
    Image.fromarray(image).save(root / "images" / "wide.png")
    Image.fromarray(mask).save(root / "masks" / "wide.png")
    splits = load(root)
    assert splits.train.shape is None and splits.train.masks.shape[2] == 30 or splits.val.masks.shape[2] == 30


# ── groups ───────────────────────────────────────────────────────────────────────────────────────


def test_groups_by_a_pattern_stay_together_and_leaks_are_warned_of(tmp_path, load) -> None:
    root = tmp_path / "a"
    for i, group in enumerate("uvwxyz"):
        save(root, 4, 10 * i, name=group + "_{:03}")
    splits = load(root, groups="{group}_*")
    sides = [set(part.groups) for part in (splits.train, splits.val, splits.open_test())]
    assert sum(map(len, sides)) == 6 == len(set.union(*sides))
    assert splits.summary["test_groups"] == len(sides[2])
    leaking = tmp_path / "b"
    for part, first in (("train", 0), ("test", 50)):
        save(leaking / part, 8, first, classes=None, name="u_{:03}")
    save(leaking / "train", 8, 20, classes=None, name="v_{:03}")
    (leaking / "classes.json").write_text(json.dumps(NAMES))
    text = " ".join(load(leaking, groups="{group}_*").summary["warnings"])
    assert "1 group has some of the test images and some of those trained on" in text


def test_groups_by_a_folder_or_a_csv(tmp_path, load, refused) -> None:
    root = save(tmp_path / "a")
    rows = [f"images/{i:03}.png,{i // 2}" for i in range(12)]
    (root / "groups.csv").write_text("\n".join(["path,group", *rows]))
    splits = load(root, groups="groups.csv")
    assert {int(Path(n).stem) // 2 for n in splits.train.names} == set(map(int, splits.train.groups))
    (root / "groups.csv").write_text("\n".join(["path,group", *rows[1:]]))
    assert "has no row for images/000.png" in refused(root, groups="groups.csv")
    (root / "groups.csv").write_text("name,group\na,1")
    assert "expected the columns path,group" in refused(root, groups="groups.csv")
    assert "does not fit this pattern" in refused(root, groups="{group}_*")
    assert "expected a pattern with {group}" in refused(root, groups="x_*")
    for i in range(6):
        (root / "images" / f"p{i % 6}").mkdir(exist_ok=True), (root / "masks" / f"p{i % 6}").mkdir(exist_ok=True)
    for i in range(12):
        for sub in ("images", "masks"):
            (root / sub / f"{i:03}.png").rename(root / sub / f"p{i % 6}" / f"{i:03}.png")
    assert set(load(root, groups="{group}/*").train.groups) <= {f"p{i}" for i in range(6)}


# ── classes.json ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16", "RGB", "RGBA", "P with colours"])
def test_masks_as_ids_as_a_palette_and_as_colours(tmp_path, load, mode: str) -> None:
    colours = [[10, 20, 30], [200, 0, 0]]
    classes: dict = {"names": ["a", "b"]}
    root = save(tmp_path / "a", 8, classes=None)
    for i in range(8):
        ids = (scene(i)[1] % 2).astype(np.uint8)
        image = Image.fromarray(ids)
        if mode in ("P", "P with colours"):
            image.putpalette([channel for colour in colours for channel in colour])
        elif mode == "1":
            image = Image.fromarray(ids.astype(bool))
        elif mode == "I;16":
            image = Image.fromarray(ids.astype(np.uint16))
        elif mode != "L":
            image = Image.fromarray(np.array(colours, dtype=np.uint8)[ids]).convert(mode)
        image.save(root / "masks" / f"{i:03}.png")
    if mode in ("RGB", "RGBA", "P with colours"):
        classes["colours"] = colours
    (root / "classes.json").write_text(json.dumps(classes))
    part = load(root).train
    for i, path in enumerate(part.names):
        np.testing.assert_array_equal(part.masks[i], scene(int(Path(path).stem))[1] % 2)


def test_values_may_be_named_one_by_one(tmp_path, load) -> None:
    root = save(tmp_path / "a", 8, classes={"names": {"0": "background", "255": "vessel"}})
    for i in range(8):
        Image.fromarray(255 * (scene(i)[1] % 2).astype(np.uint8)).save(root / "masks" / f"{i:03}.png")
    splits = load(root)
    assert splits.classes == ["background", "vessel"] and set(np.unique(splits.train.masks).tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is not understood"),
        ('{"classes": ["a"]}', "no key classes"),
        ('{"ignore": 3}', "names is missing"),
        ('{"names": []}', "names are empty"),
        ('{"names": ["a", "a"]}', "one stands there twice"),
        ('{"names": ["a", "b"], "ignore": 1}', "ignore is 1, which is the id of b"),
        ('{"names": ["a", "b"], "ignore": 300}', "300 is no value of a pixel"),
        ('{"names": ["a", "b"], "colours": [[0, 0, 0]]}', "1 colours for 2 names"),
    ],
)
def test_a_classes_file_that_is_wrong(tmp_path, content: str, text: str) -> None:
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        read_legend(tmp_path / "classes.json")
    assert text in str(caught.value) and str(tmp_path / "classes.json") in str(caught.value)
    assert '{"names": ["sky", "road"], "ignore": 255}' in str(caught.value)


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────


def test_folders_that_are_not_there(tmp_path, refused) -> None:
    assert "data.root: no folder given" in refused(None)
    assert "there is no" in refused(save(tmp_path / "a", classes=None)) and "classes.json" in str(
        tmp_path / "classes.json"
    )
    (tmp_path / "b" / "images").mkdir(parents=True)
    (tmp_path / "b" / "classes.json").write_text(json.dumps(NAMES))
    assert "has no folder masks; expected images/ and masks/" in refused(tmp_path / "b")
    (tmp_path / "b" / "masks").mkdir()
    assert "no images below" in refused(tmp_path / "b")
    save(tmp_path / "c" / "test", classes=None)
    (tmp_path / "c" / "classes.json").write_text(json.dumps(NAMES))
    assert "has test and no train" in refused(tmp_path / "c")
    assert "expected one {stem} in it" in refused(tmp_path / "b", masks="mask.png")
    assert "fits every image" in refused(save(tmp_path / "d"), masks="{stem}.png")


def test_an_image_without_a_mask_and_a_mask_without_an_image(tmp_path, load, refused) -> None:
    root = save(tmp_path / "a")
    (root / "masks" / "003.png").unlink(), (root / "masks" / "005.png").unlink()
    text = refused(root)
    assert f"2 of 12 images have no mask: {root}/images/003.png, {root}/images/005.png" in text
    assert "data.on_error=skip" in text
    splits = load(root, on_error="skip")
    assert len(splits.train) + len(splits.val) + len(splits.open_test()) == 10
    said = f"data.root: 2 of 12 images have no mask, the first is {root}/images/003.png: left out"
    assert said in splits.summary["warnings"]
    assert splits.summary["skipped"] == [f"{root}/images/{name}.png (no mask)" for name in ("003", "005")]
    save(tmp_path / "b")
    (tmp_path / "b" / "images" / "004.png").unlink()
    warnings = load(tmp_path / "b").summary["warnings"]
    assert f"data.root: 1 mask without an image, the first is {tmp_path}/b/masks/004.png: left out" in warnings


@pytest.mark.parametrize("template", ["{stem}_mask.png", "mask-{stem}.png"])
def test_masks_in_their_folder_with_another_name_hint_at_the_template(tmp_path, load, refused, template) -> None:
    root = save(tmp_path / "a", name="{}")
    for path in (root / "masks").iterdir():
        path.rename(path.with_name(template.replace("{stem}", path.stem)))
    (root / "masks" / template.replace("{stem}", "7")).unlink()
    assert f"12 of 12 images have no mask: {root}/images/0.png" in refused(root, on_error="skip")
    assert f"or give data.masks='../masks/{template}'" in refused(root)
    splits = load(root, masks=f"../masks/{template}", on_error="skip")
    assert len(splits.train) + len(splits.val) + len(splits.open_test()) == 11


def test_classes_may_be_a_list_of_names(tmp_path, load) -> None:
    root = save(tmp_path / "a", classes=["sky", "road"])
    for i in range(12):
        put(root, i, (scene(i)[1] % 2).astype(np.uint8))
    assert load(root).classes == ["sky", "road"]


def put(root: Path, number: int, mask: np.ndarray) -> None:
    Image.fromarray(mask).save(root / "masks" / f"{number:03}.png")


@pytest.mark.parametrize(
    ("mask", "text", "more"),
    [
        (np.zeros((9, 12), np.uint8), "masks have another size than their image", "(12×9, its image 24×18 pixels"),
        (np.full((18, 24), 9, np.uint8), "masks ignore every pixel", "(every pixel is ignored)"),
        (255 * np.eye(18, 24, dtype=np.uint8), "ids that classes.json does not name", "(ids 255); list every value"),
        (np.full((18, 24), 700, np.uint16), "ids that classes.json does not name", "(ids 700)"),
        (np.full((18, 24, 3), 1, np.uint8), "hold colours where class ids", "its channels are equal: save one of them"),
        (np.arange(18 * 24 * 3).reshape(18, 24, 3).astype(np.uint8), "hold colours where class ids", "mode RGB, "),
    ],
)
def test_masks_that_are_wrong_are_named_and_can_be_left_out(tmp_path, load, refused, mask, text, more) -> None:
    root = save(tmp_path / "a")
    put(root, 2, mask), put(root, 7, mask)
    found = refused(root)
    assert found.startswith("data.root: 2 of 12 masks ") and text in found and more in found
    assert f"{root}/masks/002.png (" in found and f"{root}/masks/007.png (" in found
    assert "data.on_error=skip" in found
    splits = load(root, on_error="skip")
    assert len(splits.train) + len(splits.val) + len(splits.open_test()) == 10
    assert len(splits.summary["skipped"]) == 2 and "002.png" in splits.summary["skipped"][0]


def test_masks_of_0_and_255_are_told_from_ids(tmp_path, refused) -> None:
    """Else 255 would be ignored, and every pixel that counts would be background."""
    root = save(tmp_path / "a", classes={"names": ["background", "object"]})
    for i in range(12):
        put(root, i, 255 * (scene(i)[1] % 2).astype(np.uint8))
    found = refused(root)
    assert "12 of 12 masks have ids that classes.json does not name" in found and "(ids 255)" in found
    assert '{"names": {"0": "background", "255": "object"}}' in found
    assert "12 of 12" in refused(root, on_error="skip")  # nothing would be left


def test_masks_of_one_class_are_an_error(tmp_path, load, refused) -> None:
    """Else, of masks of 0 and 255, what is 255 would be ignored and a constant prediction would be perfect."""
    root = save(tmp_path / "a", classes={"names": ["sky", "road", "car", "pole"], "ignore": 255})
    for i in range(12):
        put(root, i, 255 * (scene(i)[1] % 2).astype(np.uint8))
    found = refused(root)
    assert "every labelled pixel of the 12 training masks is of the class sky" in found
    assert '"names": {"0": "background", "255": "object"}' in found and f"{root}/classes.json" in found
    assert "of the class sky" in refused(root, on_error="skip")
    (root / "classes.json").write_text(json.dumps({"names": {"0": "sky", "255": "road"}}))
    assert load(root).classes == ["sky", "road"]
    one = save(tmp_path / "b", classes={"names": ["sky", "road"]})
    for i in range(12):
        put(one, i, np.ones((18, 24), np.uint8))
    assert "is of the class road, so there is nothing to learn; give masks with at least two classes" in refused(one)
    assert '"255"' not in refused(one)


def test_unknown_colours_and_broken_files(tmp_path, refused) -> None:
    root = save(tmp_path / "a", classes={"names": ["a", "b"], "colours": [[0, 0, 0], [255, 0, 0]]})
    for i in range(12):
        put(root, i, np.zeros((18, 24, 3), np.uint8))
    put(root, 4, np.full((18, 24, 3), (1, 2, 3), np.uint8))
    assert "1 of 12 masks have colours that classes.json does not name" in refused(root)
    assert "(colours (1, 2, 3))" in refused(root)
    put(root, 4, np.zeros((18, 24, 3), np.uint8))
    (root / "images" / "005.png").write_bytes(b"no image")
    assert f"1 of 12 images cannot be read, or their masks: {root}/images/005.png (UnidentifiedImageError" in refused(
        root
    )


def test_files_are_read_once(tmp_path, load, monkeypatch) -> None:
    root = save(tmp_path / "a")
    first = load(root)
    monkeypatch.setattr("gssl.data.sources.segmentation._decode", None)
    again = load(root)
    assert again.hash == first.hash
    np.testing.assert_array_equal(again.train.masks, first.train.masks)


# ── what does not go with masks ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("command", "method"), [("pretrain-ssl", "ssl=supervised"), ("train-gan", "gan=acgan")])
def test_a_method_that_reads_labels_does_not_go_with_masks(command: str, method: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose(command, ["data=segmentation", "data.root=photos", method])
    assert f"{method} reads the column label, and data=segmentation brings image and mask" in str(caught.value)


def test_findings_count_pixels(tmp_path, load) -> None:
    root = save(tmp_path / "a", classes={"names": ["sky", "road", "car", "ufo"], "ignore": 9})
    kinds = {f["kind"]: f["text"] for f in load(root).summary["findings"]}
    assert "1 of 4 classes has no test pixel (ufo)" in kinds["missing_classes"]
    assert set(kinds) <= {"missing_classes", "few_test_images", "imbalance"}


def test_the_same_image_in_training_and_test_is_found(tmp_path, load) -> None:
    for part, first in (("train", 0), ("test", 50)):
        save(tmp_path / part, 8, first, classes=None)
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    for sub in ("images", "masks"):
        (tmp_path / "test" / sub / "050.png").write_bytes((tmp_path / "train" / sub / "003.png").read_bytes())
    found = next(f for f in load(tmp_path).summary["findings"] if f["kind"] == "test_in_training")
    assert found["images"] == 1 and "050.png" in found["examples"][0]


@pytest.mark.parametrize("above", ["", "archive"])
@pytest.mark.parametrize("names", [("Training", "Testing"), ("train", "validation", "test_set")])
def test_parts_by_other_names_and_an_archives_only_folder(cfg, tmp_path, above, names):
    root = tmp_path / "set"
    for number, part in enumerate(names):
        for i in range(4):
            pixels = np.random.default_rng((number, i)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            for kind, image in (("images", pixels), ("masks", pixels[:, :, 0] % 2)):
                (root / above / part / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(root / above / part / kind / f"{i}.png")
    (root / above / "classes.json").write_text('["a", "b"]')
    (root / above / names[0] / "images/notes.txt").touch()
    splits = load_data(cfg(name="segmentation", root=root))
    assert splits.summary["counts"]["test"] == 4
    found = splits.summary["found"]
    assert all(f"{name} is the" in found for name in names if name not in ("train", "val", "test"))
    assert "1 .txt" in found and "\n" not in found and ("the only folder in" in found) == bool(above)
