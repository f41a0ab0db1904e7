"""Folders of images and boxes: layouts, sizes, groups, and every mistake as one line with its first path and count."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from gssl.data import Images
from gssl.data.annotations import layout_of
from gssl.data.sources import DataSource
from gssl.data.sources.detection import read

CLASSES = ["cat", "dog"]
WIDTH, HEIGHT = 40, 30
OBJECTS = [  # left, top, right, bottom, class of every image, by its number modulo 3
    [(4, 6, 20, 16, 0), (10, 2, 40, 30, 1)],
    [(0, 0, 8, 9, 1)],
    [],
]


def picture(path: Path, number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def xml(name: str, boxes: list, size: tuple[int, int] = (WIDTH, HEIGHT), difficult: int = 0) -> str:
    things = "".join(
        f"<object><name>{CLASSES[c]}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2, c in boxes
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation><filename>{name}</filename>{sides}{things}</annotation>"


def voc(root: Path, counts: dict[str, int] | None = None) -> Path:
    """Pixels are counted from 1, as in VOC. The first image has both kinds, the last none."""
    first = 0
    for part, count in (counts or {"train": 6, "val": 3, "test": 3}).items():
        names = [f"{i:03}" for i in range(first, first + count)]
        first += count
        for name in names:
            picture(root / "JPEGImages" / f"{name}.png", int(name))
            own = [(x1 + 1, y1 + 1, x2, y2, c) for x1, y1, x2, y2, c in OBJECTS[int(name) % 3]]
            (root / "Annotations").mkdir(exist_ok=True)
            (root / "Annotations" / f"{name}.xml").write_text(xml(f"{name}.png", own))
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names))
        (root / "ImageSets" / "Main" / f"cat_{part}.txt").write_text("\n".join(f"{name} -1" for name in names))
    return root


def coco_text(numbers: range, suffix: str = ".png") -> dict:
    """Ids of categories are neither 0, 1 nor in order."""
    boxes = [
        {
            "image_id": 100 + i,
            "category_id": (7, 3)[c],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
            "id": 10 * i + k,
        }
        for i in numbers
        for k, (x1, y1, x2, y2, c) in enumerate(OBJECTS[i % 3])
    ]
    images = [{"id": 100 + i, "file_name": f"{i:03}{suffix}", "width": WIDTH, "height": HEIGHT} for i in numbers]
    return {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]}


def coco(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    for part, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        for i in numbers:
            picture(root / f"{part}2017" / f"{i:03}.png", i)
        text = coco_text(numbers)
        for box in text["annotations"]:
            box["category_id"] = {7: 3, 3: 7}[box["category_id"]]  # 3 is cat
        (root / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(text))
    return root


def yolo(root: Path) -> Path:
    for part, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        for i in numbers:
            picture(root / "images" / part / f"{i:03}.png", i)
            rows = [
                f"{c} {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} {(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}"
                for x1, y1, x2, y2, c in OBJECTS[i % 3]
            ]
            if rows:  # no file: nothing in it
                (root / "labels" / part).mkdir(parents=True, exist_ok=True)
                (root / "labels" / part / f"{i:03}.txt").write_text("\n".join(rows) + "\n")
    text = {"path": "../datasets/mine", "train": "images/train", "val": "images/val", "test": "images/test"}
    (root / "data.yaml").write_text(yaml.safe_dump(text | {"names": CLASSES, "nc": 2}))
    return root


LAYOUTS = {"voc": voc, "coco": coco, "yolo": yolo}


@pytest.fixture
def load(cfg):
    def make(root: Path, **changes) -> DataSource:
        return read(cfg(name="detection", root=root, **({"size": HEIGHT} | changes)))

    return make


def found(images: Images) -> dict[str, list[list[float]]]:
    return {Path(str(name)).stem: own.tolist() for name, own in zip(images.names, images.boxes, strict=True)}


# ── layouts ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_boxes(tmp_path, load, layout) -> None:
    source = load(LAYOUTS[layout](tmp_path / "a"))
    assert layout_of(tmp_path / "a") == layout
    parts = [source.train, source.val, source.test]
    assert [len(part) for part in parts] == [6, 3, 3]
    for part in parts:
        assert part.columns == ("image", "boxes") and part.classes == CLASSES
        for stem, own in found(part).items():
            expected = [[*box, 0] for box in OBJECTS[int(stem) % 3]]  # with none: a negative that is kept
            np.testing.assert_allclose(np.reshape(own, (-1, 6)), np.reshape(expected, (-1, 6)), atol=1e-4)
    assert not source.skipped and not source.warnings


def test_a_json_beside_its_images_is_read_too(tmp_path, load) -> None:
    for part, numbers in (("train", range(6)), ("valid", range(6, 9))):
        for i in numbers:
            picture(tmp_path / part / f"{i:03}.png", i)
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(coco_text(numbers)))
    source = load(tmp_path)
    assert (len(source.train), len(source.val), source.test) == (6, 3, None)
    assert source.train.classes == ["cat", "dog"]


def test_without_lists_every_file_of_boxes_is_read_and_the_only_folder_is_looked_into(tmp_path, load) -> None:
    root = voc(tmp_path / "a" / "VOC2007")
    for path in (root / "ImageSets" / "Main").iterdir():
        path.unlink()
    source = load(tmp_path / "a")
    assert len(source.train) == 12 and source.test is None and "the only folder" in " ".join(source.told)


def test_an_image_without_a_file_of_boxes_is_told(tmp_path, load) -> None:
    root = voc(tmp_path)
    picture(root / "JPEGImages" / "new.png", 99)
    assert any("1 image in" in text and "new.png" in text for text in load(root).told)


def test_files_that_count_from_zero_are_recognised(tmp_path, load) -> None:
    root = voc(tmp_path)
    (root / "Annotations" / "000.xml").write_text(xml("000.png", [(0, 6, 20, 16, 0)]))
    source = load(root)
    assert found(source.train)["000"] == [[0, 6, 20, 16, 0, 0]]
    assert "boxes count pixels from 0" in source.told


def test_what_is_difficult_or_a_crowd_is_marked(tmp_path, load) -> None:
    root = voc(tmp_path / "voc")
    (root / "Annotations" / "000.xml").write_text(xml("000.png", [(1, 1, 20, 16, 0)], difficult=1))
    assert found(load(root).train)["000"] == [[0, 0, 20, 16, 0, 1]]
    root = coco(tmp_path / "coco")
    path = root / "annotations" / "instances_train2017.json"
    text = json.loads(path.read_text())
    text["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(text))
    assert found(load(root).train)["000"][0][5] == 1


def test_boxes_are_in_pixels_of_the_stored_image(tmp_path, load) -> None:
    root = voc(tmp_path)
    source = load(root, size=[15, 80])
    assert source.train.shape == (15, 80)
    assert found(source.train)["000"] == [[8, 3, 40, 8, 0, 0], [20, 1, 80, 15, 1, 0]]
    batch = source.train.fetch(np.array([2, 0]))
    assert batch["boxes"].shape == (2, 2, 6) and batch["boxes"][0, :, 4].tolist() == [-1, -1]
    assert batch["boxes"][1, 0].tolist() == [8, 3, 40, 8, 0, 0]
    again = pickle.loads(pickle.dumps(source.train))
    assert found(again) == found(source.train) and again.hash == source.train.hash


def test_other_boxes_are_other_data(tmp_path, load) -> None:
    root = voc(tmp_path)
    before = load(root).train.hash
    (root / "Annotations" / "000.xml").write_text(xml("000.png", [(2, 2, 20, 16, 0)]))
    assert load(root).train.hash != before


def test_groups_and_images_without_boxes_for_pretraining(tmp_path, load) -> None:
    root = voc(tmp_path / "a")
    for i in range(4):
        picture(tmp_path / "more" / f"{i}.png", i)
    source = load(root, groups="{group}?".replace("?", "*"), pretrain=str(tmp_path / "more"))
    assert source.train.groups is not None and len(source.pretrain) == 4
    assert source.pretrain.columns == ("image",)


# ── mistakes ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_that_is_known(tmp_path, refused) -> None:
    picture(tmp_path / "a.png", 0)
    assert "has no boxes; expected Pascal VOC" in refused(tmp_path)


def test_boxes_without_area_are_dropped_and_counted(tmp_path, load) -> None:
    root = voc(tmp_path)
    (root / "Annotations" / "000.xml").write_text(xml("000.png", [(5, 5, 5, 9, 0), (3, 4, 9, 4, 0), (1, 1, 9, 9, 1)]))
    source = load(root)
    assert found(source.train)["000"] == [[0, 0, 9, 9, 1, 0]]
    (warning,) = source.warnings
    assert "2 boxes without an area" in warning and "000.xml" in warning


def test_boxes_outside_of_their_image(tmp_path, load, refused) -> None:
    root = voc(tmp_path)
    (root / "Annotations" / "000.xml").write_text(xml("000.png", [(1, 1, 41, 31, 0)]))  # by a pixel: clipped
    assert found(load(root).train)["000"] == [[0, 0, 40, 30, 0, 0]]
    (root / "Annotations" / "000.xml").write_text(xml("000.png", [(1, 1, 50, 9, 0), (45, 1, 50, 9, 0)]))
    text = refused(root)
    assert text.startswith("data.root: 1 of 6 images have boxes that reach more than 1 pixel over the edge")
    assert "000.png" in text and "data.on_error=skip" in text
    source = load(root, on_error="skip")
    assert found(source.train)["000"] == [[0, 0, 40, 9, 0, 0]] and len(source.train) == 6
    assert "2 boxes more than 1 pixel over the edge" in source.warnings[0]


def test_width_and_height_where_edges_belong(tmp_path, refused) -> None:
    root = voc(tmp_path)
    for i in range(12):
        own = [(20, 15, 10, 8, 0), (11, 12, 9, 14, 1)]
        (root / "Annotations" / f"{i:03}.xml").write_text(xml(f"{i:03}.png", own))
    assert "24 of 24 boxes end before they begin" in (text := refused(root)) and "x, y, width, height" in text


def test_edges_where_width_and_height_belong(tmp_path, refused) -> None:
    root = coco(tmp_path)
    for path in (root / "annotations").iterdir():
        text = json.loads(path.read_text())
        for box in text["annotations"]:
            box["bbox"] = [18, 14, 38, 29]
        path.write_text(json.dumps(text))
    assert "looks like left, top, right, bottom" in (text := refused(root)) and "in 8 of 8 images" in text


def test_a_file_of_boxes_names_an_image_that_is_not_there(tmp_path, refused) -> None:
    root = voc(tmp_path / "voc")
    (root / "JPEGImages" / "001.png").unlink()
    (root / "JPEGImages" / "007.png").unlink()
    text = refused(root)
    assert "2 files of boxes name an image that is not there" in text and "001.xml" in text
    root = coco(tmp_path / "coco")
    (root / "train2017" / "003.png").unlink()
    text = refused(root)
    assert "1 of 6 images that" in text and "train2017/003.png" in text
    root = yolo(tmp_path / "yolo")
    (root / "labels" / "train" / "classes.txt").write_text("cat\ndog\n")
    (root / "images" / "train" / "003.png").unlink()
    text = refused(root)
    assert "1 file of boxes has no image" in text and "labels/train/003.txt" in text


def test_a_list_names_a_file_that_is_not_there(tmp_path, refused) -> None:
    root = voc(tmp_path)
    (root / "Annotations" / "004.xml").unlink()
    assert "1 name of ImageSets/Main has no file of boxes" in (text := refused(root)) and "004.xml" in text


def test_categories_that_are_not_named(tmp_path, refused) -> None:
    root = coco(tmp_path)
    path = root / "annotations" / "instances_train2017.json"
    text = json.loads(path.read_text())
    text["categories"] = text["categories"][:1]
    path.write_text(json.dumps(text))
    line = refused(root)
    assert "boxes in" in line and "have a category_id that categories does not have" in line and "annotation 0" in line


@pytest.mark.parametrize("key", ["category_id", "image_id"])
def test_an_id_that_is_written_as_text_is_the_same_id(tmp_path, load, key) -> None:
    a, b = coco(tmp_path / "a"), coco(tmp_path / "b")
    for path in (b / "annotations").iterdir():
        text = json.loads(path.read_text())
        for own in text["annotations"]:
            own[key] = str(own[key])
        path.write_text(json.dumps(text))
    for part in ("train", "test"):
        one, other = (getattr(load(root), part).store.columns["boxes"] for root in (a, b))
        np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize(
    ("key", "more", "said"),
    [
        ("categories", {"name": "bird"}, "1 id of categories in"),
        ("categories", {"id": 99}, "1 name of categories in"),
        ("images", {"file_name": "004.png"}, "1 id of images in"),
    ],
)
def test_an_id_or_a_name_that_stands_twice(tmp_path, refused, key, more, said) -> None:
    """Else boxes would be of the last class with that id, and an image would be lost."""
    root = coco(tmp_path)
    path = root / "annotations" / "instances_train2017.json"
    text = json.loads(path.read_text())
    text[key].append(text[key][0] | more)
    path.write_text(json.dumps(text))
    assert said in (line := refused(root)) and "there more than once" in line and path.name in line


def test_boxes_of_no_image(tmp_path, refused) -> None:
    root = coco(tmp_path)
    path = root / "annotations" / "instances_train2017.json"
    text = json.loads(path.read_text())
    text["annotations"][1]["image_id"] = 999
    path.write_text(json.dumps(text))
    assert "1 box in" in (line := refused(root)) and "image_id 999" in line


def test_other_categories_in_another_part(tmp_path, refused) -> None:
    root = coco(tmp_path)
    path = root / "annotations" / "instances_val2017.json"
    text = json.loads(path.read_text())
    text["categories"][0]["name"] = "horse"
    path.write_text(json.dumps(text))
    assert "are not those of the other files" in refused(root)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 20 12 8 9", "1 line has values that are no fractions"),
        ("0 0.5 0.5 1.5 0.2", "1 line has values that are no fractions"),
        ("2 0.5 0.5 0.5 0.5", "1 line has a class that"),
        ("0 0.5 0.5 0.5", "1 line is not class, centre x"),
        ("cat 0.5 0.5 0.5 0.5", "1 line is not class, centre x"),
    ],
)
def test_lines_of_yolo(tmp_path, refused, line, expected) -> None:
    root = yolo(tmp_path)
    (root / "labels" / "train" / "000.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")
    assert expected in (text := refused(root)) and "000.txt:2" in text


def test_a_folder_that_data_yaml_names_is_not_there(tmp_path, refused) -> None:
    root = yolo(tmp_path)
    (root / "data.yaml").write_text(yaml.safe_dump({"names": CLASSES, "train": "pictures/all"}))
    assert "pictures/all, and there is no such folder" in refused(root)


@pytest.mark.parametrize(
    ("layout", "name", "content"),
    [
        ("voc", "Annotations/000.xml", "<annotation><object></annotation>"),
        ("voc", "Annotations/000.xml", xml("0", [(1, 1, "x", 4, 0)])),
        ("voc", "Annotations/000.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'),
        ("coco", "annotations/instances_train2017.json", '{"images": [], "annotations": [1, "categories"'),
        ("coco", "annotations/instances_train2017.json", '{"images": [{}], "annotations": [], "categories": []}'),
        ("yolo", "data.yaml", "names: 3"),
        ("yolo", "data.yaml", "names: {0: a, 2: b}"),
        ("yolo", "data.yaml", "names: [a, a]"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, refused, layout, name, content) -> None:
    root = LAYOUTS[layout](tmp_path)
    (root / name).write_text(content)
    assert "cannot be read" in (text := refused(root)) and name in text


@pytest.mark.parametrize("text", ['{"images": [], "annotations": [1', '{"images": [{"id": 1'])
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_json_that_is_cut_off_is_named_and_no_part_is_left_out_for_it(tmp_path, refused, part, text) -> None:
    root = coco(tmp_path)
    name = f"instances_{part}2017.json"
    (root / "annotations" / name).write_text(text)
    assert "cannot be read" in (said := refused(root)) and name in said
    (root / "annotations" / "notes.json").write_text('{"images": "none of these"}')  # JSON, and none of COCO's
    assert name in refused(root)


def test_images_of_another_size_than_said_and_broken_ones(tmp_path, load, refused) -> None:
    root = voc(tmp_path)
    picture(root / "JPEGImages" / "003.png", 3, (WIDTH + 2, HEIGHT))
    text = refused(root)
    assert (
        "1 of 6 images have another size than their file of boxes says" in text and "42×30" in text and "40×30" in text
    )
    (root / "JPEGImages" / "003.png").write_bytes(b"nothing")
    assert "1 of 6 images cannot be read" in (text := refused(root)) and "003.png" in text
    source = load(root, on_error="skip")
    assert len(source.train) == 5 and len(source.keys) == 5 and "003.png" in source.skipped[0]


def test_training_images_without_any_box(tmp_path, refused) -> None:
    root = voc(tmp_path, {"train": 1})
    (root / "Annotations" / "000.xml").write_text(xml("000.png", []))
    assert "none of the 1 training images" in refused(root)


def test_an_image_that_stands_twice(tmp_path, refused) -> None:
    root = voc(tmp_path)
    (root / "ImageSets" / "Main" / "train.txt").write_text("000\n001\n000\n")
    assert "1 image twice in the train part" in refused(root)


def test_a_relative_root_is_the_same_data(tmp_path, load, monkeypatch) -> None:
    """Files that were not found had one empty hash in common: one key for all contents, one side in every split."""
    whole = load(voc(tmp_path / "set"))
    monkeypatch.chdir(tmp_path)
    source = load(Path("set"))
    assert source.keys == whole.keys and len(set(source.keys)) == len(source.keys) and "" not in source.keys
