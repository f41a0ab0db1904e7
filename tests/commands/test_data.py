"""`gssl data`: planted faults come out in page.html, data.json and issues.csv; every kind of folder is read."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gssl.cli import app
from gssl.experiment import data_features
from gssl.experiment.data_features import RANDOM_SIDE, Network
from gssl.metrics.evaluator import RandomEvaluator
from gssl.report import data_page


@pytest.fixture(autouse=True)
def random_network(monkeypatch):
    """Random convolutions: the ready-made network takes seconds to import."""
    note = "random filters know little"
    made = Network("random-conv", "random convolutions", note, RANDOM_SIDE, RandomEvaluator(RANDOM_SIDE))
    monkeypatch.setattr(data_features, "network", lambda: made)


def invoke(*args):
    return CliRunner().invoke(app, ["data", *map(str, args)])


def picture(rng, hue):
    """A smooth picture that is unlike others; `hue` says its class."""
    small = rng.integers(0, 120, (4, 4, 3))
    small[..., hue] += 120
    return Image.fromarray(small.astype(np.uint8)).resize((40, 32), Image.Resampling.BICUBIC)


@pytest.fixture
def planted(tmp_path) -> Path:
    """Two classes of 28 and 12 with: a wrong label, copies across parts with another label, a mirrored copy, a blank,
    a broken and an unread file."""
    root, rng = tmp_path / "photos", np.random.default_rng(0)
    for part, counts in (("train", {"red": 28, "blue": 12}), ("test", {"red": 8, "blue": 8})):
        for hue, (name, n) in zip((0, 2), counts.items(), strict=True):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                picture(rng, hue).save(root / part / name / f"{i:02}.png")
    picture(rng, 2).save(root / "train/red/wrong.png")
    first = Image.open(root / "train/red/00.png")
    first.save(root / "test/blue/copy.png")
    first.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "train/red/mirrored.png")
    Image.new("RGB", (40, 32), (90, 90, 90)).save(root / "train/blue/blank.png")
    (root / "train/blue/broken.png").write_bytes(b"\x89PNG")
    (root / "train/blue/phone.heic").write_bytes(b"")
    return root


def test_planted_faults_are_reported(planted, tmp_path):
    out = tmp_path / "report"
    ended = invoke(planted, "-o", out)
    assert ended.exit_code == 0, ended.output
    assert sorted(p.name for p in out.iterdir()) == ["data.json", "issues.csv", "page.html"]
    found = json.loads((out / "data.json").read_text())
    assert found["schema"] == "gssl.data/1"
    assert found["parts"] == {"train": 43, "test": 17}
    assert dict(zip(found["classes"], found["class_counts"]["train"], strict=True)) == {"blue": 13, "red": 30}
    own = found["duplicates"]
    assert (own["groups"], own["images"], own["test_images"], own["conflicting"]) == (1, 3, 1, 1)
    kinds = [problem["kind"] for problem in found["problems"]]
    for kind in ("test_copies", "conflicting_labels", "unreadable", "unused", "blank", "imbalance", "few_test_images"):
        assert kind in kinds, kind
    assert [p["grave"] for p in found["problems"]] == sorted((p["grave"] for p in found["problems"]), reverse=True)
    assert found["features"]["network"] == "random-conv" and "random filters" in found["features"]["note"]
    assert any(own["file"].endswith("wrong.png") for own in found["suspects"]["images"])
    assert "data.test=folds" in [o for s in found["suggestions"] for o in s["overrides"]]
    assert str(out / "page.html") in ended.stdout and "mend: " in ended.stdout


def test_every_fault_is_a_row_of_issues_csv(planted, tmp_path):
    invoke(planted, "-o", tmp_path / "report")
    with open(tmp_path / "report/issues.csv", newline="") as file:
        rows = {(Path(row["file"]).name, row["kind"]) for row in csv.DictReader(file)}
    wanted = {("copy.png", "conflicting_labels"), ("mirrored.png", "conflicting_labels"), ("blank.png", "blank")}
    assert wanted | {("broken.png", "unreadable"), ("wrong.png", "suspicious_label")} <= rows


@pytest.mark.long
def test_features_are_computed_once_per_image(planted, tmp_path, monkeypatch):
    first = json.loads(invoke(planted, "--json", "-o", tmp_path / "report").stdout)
    read = []
    forward = RandomEvaluator.forward
    monkeypatch.setattr(RandomEvaluator, "forward", lambda self, x: read.append(len(x)) or forward(self, x))
    again = json.loads(invoke(planted, "--json", "-o", tmp_path / "report").stdout)
    assert again["outliers"] == first["outliers"] and again["map"] == first["map"] and not read
    picture(np.random.default_rng(9), 1).save(planted / "train/red/new.png")
    invoke(planted, "-o", tmp_path / "report")
    assert sum(read) == 1


def test_the_page_is_one_file_with_every_picture(planted, tmp_path):
    invoke(planted, "-o", tmp_path / "report")
    page = (tmp_path / "report/page.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("data:image/jpeg;base64,") > 20
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', page):
        assert target in ids
    assert "<script>alert" not in page


def test_names_of_files_and_classes_are_escaped(tmp_path):
    name = "<b onload=x>"
    for label in (name, "other"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(6):
            picture(np.random.default_rng(i + len(label)), 1).save(tmp_path / "photos" / label / f"{i}.png")
    assert invoke(tmp_path / "photos", "-o", tmp_path / "report").exit_code == 0
    assert name not in (tmp_path / "report/page.html").read_text().replace("<\\/", "")


def write(root, names):
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(rng, 0).save(root / name)


def test_unlabelled_images(tmp_path):
    write(tmp_path / "photos", [f"{i:02}.png" for i in range(12)])
    ended = invoke(tmp_path / "photos", "--json", "-o", tmp_path / "report")
    found = json.loads(ended.stdout)
    assert found["images"] == 12 and found["labelled"] == 0 and found["suspects"] is None
    assert "Nothing is labelled" in " ".join(s["text"] for s in found["suggestions"])


def test_labels_csv_with_groups_and_unlisted_images(tmp_path):
    root = tmp_path / "photos"
    write(root, [f"{i:02}.png" for i in range(14)])
    lines = ["path,label,group", *(f"{i:02}.png,{'ab'[i % 2]},g{i // 4}" for i in range(12))]
    (root / "labels.csv").write_text("\n".join(lines))
    found = json.loads(invoke(root, "--json", "-o", tmp_path / "report").stdout)
    assert found["parts"] == {"train": 12, "pretrain": 2} and found["groups"] == {"train": 3}
    assert found["class_counts"] == {"train": [6, 6]}


def test_masks(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for i in range(6):
            write(tmp_path / "photos", [f"{part}/images/clip{i // 3}_{i}.png"])
            picture(rng, 1).save(tmp_path / f"photos/{part}/images/clip{i // 3}_{i}.png")
            path = tmp_path / f"photos/{part}/masks/clip{i // 3}_{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray((np.arange(32 * 40).reshape(32, 40) % 3).astype(np.uint8)).save(path)
    (tmp_path / "photos/classes.json").write_text('["x", "y", "z", "never"]')
    found = json.loads(invoke(tmp_path / "photos", "--json", "-o", tmp_path / "report").stdout)
    assert found["data"]["name"] == "segmentation" and found["suspects"] is None
    assert [n > 0 for n in found["class_pixels"]["train"]] == [True, True, True, False]
    assert any(problem["kind"] == "missing_classes" for problem in found["problems"])


@pytest.mark.parametrize("count", [1, 3, 6])
def test_few_images_and_images_that_are_all_alike(count, tmp_path):
    same = picture(np.random.default_rng(0), 1)
    for label in "ab":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(count):
            same.save(tmp_path / f"photos/{label}/{i}.png")
    ended = invoke(tmp_path / "photos", "--json", "-o", tmp_path / "report")
    found = json.loads(ended.stdout)
    assert found["duplicates"]["images"] == 2 * count and found["duplicates"]["conflicting"] == 1
    assert found["outliers"] is None and found["map"] == []


def test_modes_of_files(tmp_path):
    rng, modes = np.random.default_rng(0), ["L", "LA", "P", "RGBA", "CMYK", "1", "RGB"]
    for label in "ab":
        (tmp_path / "photos" / label).mkdir(parents=True)
        deep = Image.fromarray(rng.integers(0, 2**16, (9, 9), dtype=np.uint16))
        deep.save(tmp_path / f"photos/{label}/deep.png")
        for i, mode in enumerate(modes):
            picture(rng, 0).convert(mode).save(tmp_path / f"photos/{label}/{i}.{'tif' if mode == 'CMYK' else 'png'}")
    found = json.loads(invoke(tmp_path / "photos", "--json", "-o", tmp_path / "report").stdout)
    assert found["files"]["modes"] == dict.fromkeys([*modes, "I;16"], 2) and found["skipped"] == []


def test_a_data_set_of_hugging_face(planted, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {"image": {"bytes": p.read_bytes(), "path": p.name}, "label": p.parent.name}
        for p in sorted(planted.rglob("*.png"))
    ]
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "tables/train-0.parquet")
    found = json.loads(invoke(tmp_path / "tables", "--json", "-o", tmp_path / "report").stdout)
    assert found["data"]["name"] == "hf" and found["duplicates"]["conflicting"] == 1 and len(found["skipped"]) == 1


@pytest.mark.long
def test_a_data_set_by_name(tmp_path):
    found = json.loads(invoke("data=mnist5k", "data.size=28", "-n", 100, "--json", "-o", tmp_path / "report").stdout)
    assert found["files"] is None and found["images"] == 5000 and found["features"]["n"] == 100
    assert sum(sum(own) for own in found["class_counts"].values()) == 5000


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "no data: give a folder"),
        (["nowhere"], "nowhere: no such folder"),
        (["photos/1.png"], "photos/1.png: is a file"),
        (["a", "b"], "one folder at a time"),
        (["photos", "seed=1"], "keys of data only"),
        (["photos", "data=mnist5k"], "exclude each other"),
        (["data=imagefoldr"], "did you mean 'imagefolder'?"),
        (["photos", "data.sise=3"], "did you mean"),
        (["empty"], "no images"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(args, says, tmp_path, monkeypatch):
    write(tmp_path, ["photos/1.png"])
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    ended = invoke(*args)
    assert ended.exit_code == 2 and says in ended.stderr and ended.stderr.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "photos"]


def test_a_folder_with_other_files_is_not_overwritten(planted, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    ended = invoke(planted, "-o", out)
    assert ended.exit_code == 2 and "holds other files" in ended.stderr
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_bytes_are_written_for_people():
    assert [data_page.in_bytes(n) for n in (0, 12, 1300, 2.5e6)] == ["0 bytes", "12 bytes", "1.3 kB", "2.5 MB"]


@pytest.mark.parametrize("name", ["page.html", "data.json"])
def test_a_file_of_ones_own_is_kept_whatever_its_name(name, planted, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text('{"mine": true}')
    ended = invoke(planted, "-o", out)
    assert ended.exit_code == 2 and "holds other files" in ended.stderr
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [(name, '{"mine": true}')]


@pytest.mark.long
def test_the_report_goes_into_the_folder_one_stands_in_and_through_a_link(planted, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for out in (".", "../link", "../link"):
        ended = invoke(planted, "-o", out)
        assert ended.exit_code == 0, ended.output
        assert sorted(p.name for p in Path().iterdir()) == ["data.json", "issues.csv", "page.html"]
    assert (tmp_path / "link").is_symlink()


def test_where_nothing_can_be_written_is_found_before_images_are_read(planted, tmp_path):
    (tmp_path / "file").write_text("")
    for out, says in (("file", "is no folder"), ("file/report", "cannot be written")):
        ended = invoke(planted, "-o", tmp_path / out)
        assert ended.exit_code == 2 and says in ended.stderr and ended.stderr.count("\n") == 1


def test_a_report_on_the_folder_one_stands_in_is_not_hidden(planted, monkeypatch):
    monkeypatch.chdir(planted)
    assert invoke(".", "--json").exit_code == 0
    assert [p.name.split("-")[0] for p in (planted / "runs" / "data").iterdir()] == ["photos"]


def test_a_folder_may_have_a_sign_of_equality_in_its_name(planted, tmp_path, monkeypatch):
    planted.rename(tmp_path / "size=large")
    monkeypatch.chdir(tmp_path)
    assert invoke("size=large", "data.size=32", "--json", "-o", "report").exit_code == 0
    assert "keys of data only" in invoke("size=small").stderr


def test_labels_of_images_that_are_not_there(tmp_path):
    write(tmp_path, ["photos/1.png"])
    (tmp_path / "l.csv").write_text("path,label\nnowhere.png,cat\n")
    said = invoke(tmp_path / "photos", f"data.labels={tmp_path / 'l.csv'}").stderr
    assert "1 of 1 images cannot be read" in said and "skip" not in said  # they are left out already: none is left


def test_films_are_spoken_of_as_clips(tmp_path):
    pytest.importorskip("av")
    from tests.data import films

    films.set_of_films(tmp_path / "films", per_class=4)
    (tmp_path / "films" / "train" / "left" / "more.xyz").write_bytes(b"")
    ended = invoke(tmp_path / "films", "-o", tmp_path / "report")
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "report" / "data.json").read_text())
    said = [own["text"] for own in (*found["problems"], *found["suggestions"])]
    assert any("clip" in text for text in said)
    assert not [text for text in said if re.search(r"\bimages?\b", text)]
