"""What a folder holds: every way in which images and labels lie there, in words, and what cannot be compared on."""

import json

import pytest
from PIL import Image

from gssl.data import layout
from gssl.errors import UsageError
from tests.data.captioned import set_of_captioned


def fill(folder, count, side=8):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new("RGB", (side, side + 4)).save(folder / f"{i}.png")


@pytest.fixture
def photos(tmp_path):
    fill(tmp_path / "photos/cat", 3)
    fill(tmp_path / "photos/dog", 2)
    return tmp_path / "photos"


def test_class_folders(photos):
    found = layout.look(photos)
    assert (found.name, found.keys) == ("imagefolder", {"root": str(photos)})
    assert found.lines == [f"{photos}: 5 images in 2 class folders (cat 3, dog 2)"]


@pytest.mark.parametrize("where", ["photos/unlabelled", "photos/unlabeled", "unlabelled"])
def test_unlabelled_images_inside_or_beside_are_for_pretraining_and_no_class(photos, where):
    pool = photos.parent / where
    fill(pool, 4)
    found = layout.look(photos)
    assert found.keys == {"root": str(photos), "pretrain": str(pool)}
    assert "2 class folders" in found.lines[0] and "4 unlabelled images" in found.lines[1]
    assert "data.pretrain=null" in found.lines[1]


def test_loose_images_beside_class_folders_are_for_pretraining(photos):
    fill(photos, 6)
    found = layout.look(photos)
    assert found.keys["pretrain"] == str(photos) and "6 images in no class folder" in found.lines[1]


def test_split_folders(tmp_path):
    for part, count in (("train", 4), ("val", 1), ("test", 2)):
        for name in "ab":
            fill(tmp_path / "set" / part / name, count)
    found = layout.look(tmp_path / "set")
    assert found.keys == {"root": str(tmp_path / "set")}
    assert "8 images in 2 class folders (a 4, b 4), val/ with 2, test/ with 4" in found.lines[0]


def test_a_csv_and_images_that_it_does_not_list(tmp_path):
    fill(tmp_path, 9)
    (tmp_path / "labels.csv").write_text("path,label\n0.png,x\n1.png,y\n")
    found = layout.look(tmp_path)
    assert "2 labelled images of 2 classes (x 1, y 1)" in found.lines[0]
    assert found.keys["pretrain"] == str(tmp_path) and "7 images that labels.csv does not list" in found.lines[1]
    (tmp_path / "labels.csv").write_text("path,label\n0.png,x\n1.png,y\n2.png,\n")
    found = layout.look(tmp_path)  # it names the unlabelled ones itself
    assert "pretrain" not in found.keys and "1 images without a label" in found.lines[1]


def test_masks(tmp_path):
    fill(tmp_path / "images", 3)
    fill(tmp_path / "masks", 3)
    assert (found := layout.look(tmp_path)).name == "segmentation" and "3 images with masks" in found.lines[0]


def test_masks_of_other_parts_are_no_images_of_them(tmp_path):
    for part, count in (("train", 3), ("val", 2), ("test", 4)):
        fill(tmp_path / part / "images", count)
        fill(tmp_path / part / "masks", count)
    (line,) = layout.look(tmp_path).lines
    assert line.endswith("3 images with masks, val/ with 2, test/ with 4")


# ── boxes, anomalies, fakes ──────────────────────────────────────────────────────────────────────


def voc(root):
    fill(root / "JPEGImages", 3)
    (root / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
    for i in range(3):
        text = f"<annotation><object><name>cell</name>{box}</object></annotation>"
        (root / "Annotations" / f"{i}.xml").write_text(text)


def coco(root):
    fill(root / "train", 3)
    images = [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 12} for i in range(3)]
    boxes = [{"id": i, "image_id": i, "category_id": 7, "bbox": [1, 1, 4, 4]} for i in range(3)]
    text = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "cell"}]}
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(text))


def yolo(root):
    fill(root / "images" / "train", 3)
    (root / "labels" / "train").mkdir(parents=True)
    for i in range(3):
        (root / "labels" / "train" / f"{i}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "data.yaml").write_text("names: [cell]\n")


@pytest.mark.parametrize("make", [voc, coco, yolo])
@pytest.mark.parametrize("inside", ["", "archive"])
def test_boxes(tmp_path, make, inside):
    (tmp_path / "set" / inside).mkdir(parents=True)
    make(tmp_path / "set" / inside)
    found = layout.look(tmp_path / "set")
    assert (found.name, found.keys) == ("detection", {"root": str(tmp_path / "set")})
    assert found.lines == [f"{tmp_path / 'set'}: 3 images with 3 boxes of the class cell"]


def test_what_is_wrong_with_boxes_is_said_when_they_are_looked_at(tmp_path):
    voc(tmp_path)
    (tmp_path / "JPEGImages" / "2.png").unlink()
    with pytest.raises(UsageError, match="1 file of boxes names an image that is not there"):
        layout.look(tmp_path)


def test_one_box_of_one_image(tmp_path):
    yolo(tmp_path)
    for name in "12":
        (tmp_path / "images" / "train" / f"{name}.png").unlink()
        (tmp_path / "labels" / "train" / f"{name}.txt").unlink()
    assert layout.look(tmp_path).lines == [f"{tmp_path}: 1 image with 1 box of the class cell"]


def test_a_class_called_good_has_a_hint_at_anomalies(tmp_path):
    fill(tmp_path / "good", 3)
    fill(tmp_path / "defect", 2)
    found = layout.look(tmp_path)
    assert found.name == "imagefolder"
    assert f"data=anomaly data.good={tmp_path / 'good'} data.bad={tmp_path / 'defect'}" in found.lines[1]
    fill(tmp_path / "crack", 2)
    assert "data.bad=a folder of the others, one for each kind of defect" in layout.look(tmp_path).lines[1]


def test_good_images_and_defects(tmp_path):
    fill(tmp_path / "train" / "good", 4)
    fill(tmp_path / "test" / "good", 2)
    fill(tmp_path / "test" / "crack", 3)
    found = layout.look(tmp_path)
    assert (found.name, found.keys) == ("anomaly", {"root": str(tmp_path)})
    assert found.lines == [f"{tmp_path}: 4 good images, tested on 5 (crack 3, good 2)"]


def test_real_and_generated_images(tmp_path):
    for folder, count in (("real", 4), ("fake/a", 3), ("fake/b", 2)):
        fill(tmp_path / folder, count)
    found = layout.look(tmp_path)
    assert (found.name, found.keys) == ("fake", {"root": str(tmp_path), "held_out": ["b"]})
    assert "4 real images and those of 2 generators (a 3, b 2)" in found.lines[0] and "data.held_out" in found.lines[1]
    fill(tmp_path / "fake", 2)  # loose ones: two classes of images, whoever made them
    assert layout.look(tmp_path).name == "imagefolder"


# ── films ────────────────────────────────────────────────────────────────────────────────────────


def moves(path, frames=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *more = (Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(frames))
    first.save(path, save_all=True, append_images=more)


def test_films_by_their_names(tmp_path):
    for part, label in (("train", "run"), ("train", "walk"), ("test", "run")):
        (tmp_path / part / label).mkdir(parents=True)
        (tmp_path / part / label / "1.mp4").touch()
    found = layout.look(tmp_path)
    assert (found.name, found.keys) == ("video", {"root": str(tmp_path)})
    assert found.lines == [f"{tmp_path}: 2 films in 2 class folders (run 1, walk 1), 1 for test"]


def test_gifs_that_move_are_films_and_others_are_images(tmp_path):
    for label in "ab":
        for i in range(2):
            moves(tmp_path / "moving" / label / f"{i}.gif")
            moves(tmp_path / "still" / label / f"{i}.gif", 1)
            moves(tmp_path / "mixed" / label / f"{i}.gif")
        fill(tmp_path / "mixed" / label, 1)
    found = layout.look(tmp_path / "moving")
    assert found.name == "video" and "4 films in 2 class folders (a 2, b 2)" in found.lines[0]
    assert layout.look(tmp_path / "still").name == layout.look(tmp_path / "mixed").name == "imagefolder"


def frames(root, numbers=(8, 9, 10), label="ab", film="12"):
    for a in label:
        for b in film:
            (root / a / f"film{b}").mkdir(parents=True, exist_ok=True)
            for n in numbers:
                Image.new("RGB", (8, 8)).save(root / a / f"film{b}" / f"frame_{n}.png")


def test_numbered_frames_in_folders_of_their_own_are_films(tmp_path):
    frames(tmp_path / "set" / "train")
    frames(tmp_path / "set" / "test", label="a")
    found = layout.look(tmp_path / "set")
    assert found.name == "video" and "4 frame folders in 2 class folders (a 2, b 2), 2 for test" in found.lines[0]
    assert "as single images: data=imagefolder" in found.lines[0]


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("numbers with gaps", {"numbers": (1, 2, 7)}),
        ("one folder in each class", {"film": "1"}),
        ("no folders in a class", None),
    ],
)
def test_other_pictures_in_folders_are_images(tmp_path, what, how):
    if how is None:
        fill(tmp_path / "a", 3)
        fill(tmp_path / "b", 3)
    else:
        frames(tmp_path, **how)
    assert layout.look(tmp_path).name == "imagefolder", what


def test_parts_of_each_class_are_no_films(tmp_path):
    for label in "ab":
        for part in ("train", "test"):
            fill(tmp_path / label / part, 3)
    assert layout.look(tmp_path).name == "imagefolder"


def test_a_csv_of_folders_lists_films(tmp_path):
    frames(tmp_path, label="x")
    (tmp_path / "labels.csv").write_text("path,label\nx/film1,run\nx/film2,walk\n")
    assert layout.look(tmp_path).name == "video"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("", "5 images and no labels: a comparison needs some; put images into one folder per class"),
        ("unlabelled", "5 images and no labels"),
        ("all/images", "all labelled images are in one folder, all/, and a comparison needs two classes"),
    ],
)
def test_what_cannot_be_compared_on_is_a_line_that_says_what_to_do(tmp_path, where, said):
    fill(tmp_path / where, 5)
    with pytest.raises(UsageError, match=said) as error:
        layout.look(tmp_path)
    assert "\n" not in str(error.value)


def test_an_empty_folder(tmp_path):
    with pytest.raises(UsageError, match="no images in it; expected one folder per class"):
        layout.look(tmp_path)


def test_many_classes_are_counted_not_named(tmp_path):
    for i in range(9):
        fill(tmp_path / f"c{i}", i + 1)
    assert "9 class folders of 1 to 9 images" in layout.look(tmp_path).lines[0]
    for i in range(9):
        fill(tmp_path / f"c{i}", 9)
    assert "9 class folders of 9 images each" in layout.look(tmp_path).lines[0]


@pytest.mark.parametrize(
    ("sides", "most", "size"),
    [([], 128, 32), ([20, 28, 28], 128, 32), ([30, 64, 65], 128, 64), ([63], 64, 48), ([1000], 64, 64)],
)
def test_the_size_is_one_that_half_of_the_images_have(sides, most, size):
    assert layout.chosen_size(sides, most) == size
    assert all(size % patch == 0 for patch in (4, 8, 16))  # of the ViTs


def test_shorter_sides_come_from_heads_and_broken_files_are_left_out(tmp_path):
    fill(tmp_path / "a", 2, side=40)
    fill(tmp_path / "b", 1, side=20)
    (tmp_path / "b/broken.jpg").write_bytes(b"no picture")
    assert layout.shorter_sides([tmp_path]) == [20, 40, 40]


def test_a_table_of_captions_with_classes_is_images_with_captions(tmp_path):
    root = set_of_captioned(tmp_path)
    found = layout.look(root)
    assert (found.name, found.keys, found.smallest) == ("imagetext", {"root": str(root)}, 18)
    assert found.lines == [f"{root}: 60 images with 120 captions, of 2 classes"]
    file = root / "captions.csv"
    file.write_text(file.read_text().replace(",low\n", ",high\n"))
    with pytest.raises(UsageError, match="captions.csv has no two classes of training images"):
        layout.look(root)
    file.write_text(file.read_text().replace(",class", ",kind", 1))  # what is not ours is left to others
    with pytest.raises(UsageError, match="all labelled images are in one folder, images/"):
        layout.look(root)


def test_a_table_of_captions_wins_over_the_only_folder_of_its_images(tmp_path):
    root = set_of_captioned(tmp_path / "archive" / "set")
    fill(root / "images" / "one_vendor", 3)
    fill(root / "images" / "another", 3)
    for given in (root, tmp_path / "archive"):  # as archives have it, too
        assert layout.look(given).name == "imagetext"
