"""What a folder holds: every way in which images and labels lie there, in words, and what cannot be compared on."""

import pytest
from PIL import Image

from gssl.data import layout
from gssl.errors import UsageError


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
