"""Diagnostics of a transfer run: values computed again from its files, pictures that show something."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.commands import pretrain_ssl, transfer
from gssl.config.composing import compose
from gssl.data.corruptions import KINDS
from gssl.data.splits import Splits
from gssl.engine.files import read_json
from gssl.experiment import diagnostic_pictures, diagnostics, examples
from gssl.experiment.examples import caption, decimals
from gssl.figures import cka, confusion, feature_map, reliability
from gssl.metrics.tsne import tsne
from gssl.probe.saliency import NotPooled

pytestmark = pytest.mark.long

NAMES = ("confusion", "mistakes", "saliency", "reliability", "map", "cka", "corruptions")
PROBES = ["knn", "linear", "linear_multilayer", "fewshot", "cluster", "finetune"]


def words(pictures, *more):
    base = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "engine.threads=1"]
    return [*base, "engine.progress=false", "engine.device=cpu", *more]


def transfer_of(pictures, weights, *more):
    quick = ["labels_per_class=[1,3]", "fractions=[]", "draws=2", "draws_one_shot=2", "probe.linear.l2_count=3"]
    quick += ["probe.finetune.steps=2", "probe.finetune.batch_size=8", "probe.finetune.lrs=[0.001]"]
    quick += ["probe.fewshot.shots=[1]", "probe.fewshot.draws=2", "probe.cluster.n_init=1"]
    return compose("transfer", words(pictures, f"weights={weights}", *quick, *more))


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory, pictures):
    """A run with everything, what was evaluated, and how often it opened the test set; a few labels are wrong."""
    root = tmp_path_factory.mktemp("diagnosed")
    shutil.copytree(pictures, root / "photos")
    for i in range(4):
        (root / "photos" / "test" / "a" / f"00{i}.png").replace(root / "photos" / "test" / "b" / f"00{i}_too.png")
    pictures = root / "photos"
    pretrain_ssl.main(compose("pretrain-ssl", words(pictures, "ssl.batch_size=16", "budget.steps=2")), root / "ssl")
    kept, opened = [], []
    with pytest.MonkeyPatch.context() as patch:
        original, opening = diagnostics.diagnose, Splits.open_test
        keep = lambda evaluated, *rest: (kept.append(evaluated), original(evaluated, *rest))[1]  # noqa: E731
        patch.setattr(diagnostics, "diagnose", keep)
        patch.setattr(Splits, "open_test", lambda self: (opened.append(1), opening(self))[1])
        cfg = transfer_of(pictures, root / "ssl", f"probe.use={PROBES}".replace(" ", ""), "diagnose.corruptions=true")
        transfer.main(cfg, root / "run")
    return root / "run", kept[0], len(opened)


def numbers(run):
    """result.json, and of the fit that an entry names: labels, guesses, confidences out of predictions.npz."""
    result, saved = read_json(run / "result.json"), np.load(run / "predictions.npz")

    def of(entry):
        per_class = int(entry["label_budget"].split()[0])
        wanted = (entry["probe"], per_class, 0)
        fits = [(s["probe"], s["labels_per_class"], s["draw"]) for s in result["scores"]]
        row = fits.index(wanted)
        return saved["labels"], saved["guess"][row], saved["confidence"][row].astype(np.float64)

    return result, of


def colours(path):
    with Image.open(path) as picture:
        assert min(picture.size) > 100
        found = picture.convert("RGB").getcolors(1 << 24)
    assert max(found)[1] == (255, 255, 255)
    return len(found)


def test_every_picture_is_there_and_none_is_blank(diagnosed):
    run, _, _ = diagnosed
    result = read_json(run / "result.json")
    assert result["pictures"] == [f"pictures/{name}.png" for name in NAMES] and result["pictures_left_out"] == {}
    assert sorted(p.name for p in (run / "pictures").iterdir()) == sorted(f"{name}.png" for name in NAMES)
    assert all(colours(run / file) > 30 for file in result["pictures"])
    assert not (run / "log.txt").exists() and not list(run.glob(".pictures*"))


def test_the_test_set_is_opened_once(diagnosed):
    run, _, opened = diagnosed
    assert opened == 1 == read_json(run / "result.json")["test_openings"]


def test_confusion_and_classes_computed_again(diagnosed):
    result, of = numbers(diagnosed[0])
    labels, guess, _ = of(result["confusion"])
    assert (result["confusion"]["probe"], result["confusion"]["label_budget"]) == ("linear", "3 per class")
    pairs = list(zip(labels.tolist(), guess.tolist(), strict=True))
    expected = [[pairs.count((i, j)) for j in range(3)] for i in range(3)]
    assert result["confusion"]["matrix"] == expected and 0 < np.trace(expected) < 60
    label_budgets = [(e["probe"], e["label_budget"]) for e in result["per_class"]]
    most = {p: "1 per class" if p == "fewshot" else "3 per class" for p in PROBES if p != "cluster"}
    assert label_budgets == list(most.items())
    for entry in result["per_class"]:
        labels, guess, _ = of(entry)
        assert entry["n"] == [16, 24, 20]
        assert entry["accuracy"] == [float((guess[labels == c] == c).mean()) for c in range(3)]


def test_calibration_computed_again(diagnosed):
    result, of = numbers(diagnosed[0])
    assert [e["probe"] for e in result["calibration"]] == [p for p in PROBES if p != "cluster"]
    for entry in result["calibration"]:
        labels, guess, confidence = of(entry)
        place = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
        gaps = [abs((guess == labels)[place == b].sum() - confidence[place == b].sum()) for b in range(15)]
        assert entry["ece"] == pytest.approx(sum(gaps) / 60, abs=2e-3)  # confidences are kept as float16
        assert sum(b["count"] for b in entry["bins"]) == entry["n"] == 60
        scores = [s for s in result["scores"] if s["probe"] == entry["probe"] and s["draw"] == 0]
        assert entry["ece"] == max(scores, key=lambda s: s["n_train"])["ece"]


def test_cka_of_averaged_maps_on_training_images(diagnosed):
    run, evaluated, _ = diagnosed
    found = read_json(run / "result.json")["cka"]
    assert found["n"] == len(evaluated.prober.images) == 120
    stages, random = np.array(found["stages"]), np.array(found["random"])
    np.testing.assert_allclose(np.diag(stages), 1)
    np.testing.assert_allclose(stages, stages.T)
    assert abs(stages - random).max() > 0.02 and random[0, 0] < 0.999
    x = torch.from_numpy(np.array([evaluated.prober.images.fetch([i])["image"][0].numpy() for i in range(120)])) / 255
    with torch.no_grad():
        maps = [m.mean((2, 3)).double().numpy() for m in evaluated.prober.network.eval().dense(x)]
    for i in range(4):
        for j in range(4):
            assert stages[i, j] == pytest.approx(unbiased_cka(maps[i], maps[j]), abs=1e-4)


def unbiased_cka(x, y):
    """By the sums of Song et al. 2012, equation 5."""

    def hsic(k, m):
        n = len(k)
        one = np.ones(n)
        ends = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return ((k * m).sum() + ends - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def test_a_corruption_that_does_nothing_gives_the_clean_accuracy(diagnosed, monkeypatch):
    run, evaluated, _ = diagnosed
    scores = {s["probe"]: s for s in read_json(run / "result.json")["scores"] if s["draw"] == 0}  # the last budget
    monkeypatch.setattr(diagnostics, "corrupt", lambda pixels, *rest, first=0: pixels.copy())
    for entry in diagnostics.corruptions(evaluated)["probes"]:
        assert entry["clean"] == scores[entry["probe"]]["accuracy"]
        assert entry["accuracy"] == {kind: [entry["clean"]] * 5 for kind in KINDS}
        assert entry["mean"] == pytest.approx(entry["clean"])


def test_corruptions_do_not_depend_on_how_many_images_go_together(diagnosed, monkeypatch):
    run, evaluated, _ = diagnosed
    found = read_json(run / "result.json")["corruptions"]
    assert found["n"] == 60 and found["kinds"] == list(KINDS) and found["strengths"] == [1, 2, 3, 4, 5]
    flat = [v for entry in found["probes"] for row in entry["accuracy"].values() for v in row]
    assert len({entry["probe"] for entry in found["probes"]}) == 5 and len(set(flat)) > 1
    for entry in found["probes"]:
        means = [np.mean(row) for row in entry["accuracy"].values()]
        assert entry["mean"] == pytest.approx(np.mean(means)) and list(entry["mean_per_kind"].values()) == means
    monkeypatch.setattr(diagnostics, "CHUNK", 7 * 16 * 16 * 3)
    assert diagnostics.corruptions(evaluated) == found


def test_a_corruption_of_known_effect(diagnosed, monkeypatch):
    """Every image is replaced by another, whose answer is known."""
    _, evaluated, _ = diagnosed
    monkeypatch.setattr(diagnostics, "corrupt", lambda pixels, *rest, first=0: np.roll(pixels, 20, axis=0))
    expected = float((np.roll(evaluated.found[evaluated.shown()].guess, 20) == evaluated.test.labels).mean())
    entry = next(e for e in diagnostics.corruptions(evaluated)["probes"] if e["probe"] == "linear")
    assert entry["mean"] == pytest.approx(expected) and entry["mean"] != pytest.approx(entry["clean"])


def test_what_is_shown_is_decided_by_what_probes_declare(diagnosed):
    _, evaluated, _ = diagnosed
    only = lambda *names: replace(  # noqa: E731
        evaluated,
        fitted=[f for f in evaluated.fitted if f.probe in names],
        found=[a for f, a in zip(evaluated.fitted, evaluated.found, strict=True) if f.probe in names],
    )
    assert evaluated.name(evaluated.shown()) == "linear probe, 3 per class"
    some = only("fewshot", "knn", "cluster")
    assert some.fitted[some.shown()].probe == "knn" and some.fitted[some.shown()].draw == 0
    assert only("cluster").shown() is None and diagnostics.answers(only("cluster"))["per_class"] == []


def test_a_failure_to_draw_keeps_the_scores_and_the_traceback(pictures, tmp_path, monkeypatch, capsys):
    def failing(*args):
        raise ZeroDivisionError("of the pencil")

    monkeypatch.setattr(reliability, "figure", failing)
    transfer.main(transfer_of(pictures, "random", "probe.use=[linear]"), tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert result["scores"] and result["confusion"] and "pictures" not in result
    assert "in failing" in (tmp_path / "run" / "log.txt").read_text()
    assert "warning: no pictures: ZeroDivisionError: of the pencil" in capsys.readouterr().err
    assert not (tmp_path / "run" / "pictures").exists() and not list((tmp_path / "run").glob(".pictures*"))


def test_without_a_network(pictures, tmp_path):
    transfer.main(transfer_of(pictures, "pixels", "probe.use=[linear]"), tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert set(result["pictures_left_out"]) == {"saliency.png", "cka.png"} and "cka" not in result
    assert len(result["pictures"]) == 4


def test_without_pictures_nothing_is_computed_for_them(pictures, tmp_path, monkeypatch):
    def never(*args):
        raise AssertionError("images were read for CKA")

    monkeypatch.setattr("gssl.experiment.stage_similarity.of_prober", never)
    transfer.main(transfer_of(pictures, "random", "probe.use=[knn]", "diagnose.pictures=false"), tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert "cka" not in result and "pictures" not in result and not (tmp_path / "run" / "log.txt").exists()
    assert set(result["spent"]["beside"]) == {"diagnostics"}


def test_a_network_with_other_features_has_no_saliency(diagnosed, tmp_path, monkeypatch):
    def refusing(*args):
        raise NotPooled("as it is")

    monkeypatch.setattr(examples, "grad_cam", refusing)
    run, evaluated, _ = diagnosed
    with pytest.raises(examples.LeftOut, match="as it is"):
        diagnostic_pictures.draw_saliency(evaluated, {}, tmp_path / "s.png")
    assert list(tmp_path.iterdir()) == []


def test_three_grey_test_images(pictures, tmp_path):
    for split, most in (("train", 40), ("test", 1)):
        for name in "abc":
            for file in sorted((pictures / split / name).iterdir())[:most]:
                (tmp_path / "grey" / split / name).mkdir(parents=True, exist_ok=True)
                with Image.open(file) as picture:
                    picture.convert("L").save(tmp_path / "grey" / split / name / file.name)
    cfg = transfer_of(tmp_path / "grey", "random", "probe.use=[linear]", "diagnose.corruptions=true")
    transfer.main(cfg, tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert list(result["pictures_left_out"]) == ["map.png"] and result["corruptions"]["n"] == 3
    assert result["cka"]["random"] is None and not (tmp_path / "run" / "log.txt").exists()


@pytest.mark.parametrize("count", [2, 24])
def test_diagrams_of_few_and_many_classes(tmp_path, count):
    rng = np.random.default_rng(0)
    labels, guess = rng.integers(1, count, 400), rng.integers(0, count, 400)  # class 0 does not occur
    matrix = np.bincount(labels * count + guess, minlength=count**2).reshape(count, count)
    names = ["$x$ of a long name_^ that ends somewhere", "猫", *(f"class {c}" for c in range(2, count))]
    confusion.figure(matrix, names, "title").save(tmp_path / "confusion.png")
    points = rng.normal(size=(60, 8))
    thumbnails = torch.rand(5, 3, 16, 16)
    heading = "title " * 30
    feature_map.figure(tsne(points), labels[:60], names, thumbnails, heading).save(tmp_path / "map.png")
    assert colours(tmp_path / "confusion.png") > 20 and colours(tmp_path / "map.png") > 20
    with Image.open(tmp_path / "confusion.png") as picture:
        assert max(picture.size) < 3000


def test_a_collapsed_network_and_undefined_similarities_can_be_drawn(tmp_path):
    assert (tsne(np.ones((9, 4))) == 0).all()
    table = cka.Similarity("a", "b", [[None, -0.001], [1.0, 0.5], [0.2, 0.1]])
    cka.figure([table], "title").save(tmp_path / "cka.png")
    assert colours(tmp_path / "cka.png") > 20


def test_captions_keep_to_their_room():
    assert caption(["cat", "dog"], 0, 1, 0.974, 20) == "cat → dog .97"
    assert caption(["automobile", "airplane"], 0, 1, 0.5, 22) == "automo… → airplane .50"
    assert all(len(caption(["a" * n, "b" * m], 0, 1, 0.5, 20)) <= 20 for n in range(1, 30) for m in range(1, 30))
    assert [decimals(p) for p in (0.0, 0.999, 1.0)] == [".00", ">.99", ">.99"]


def test_pictures_can_be_left_out(pictures, tmp_path):
    transfer.main(transfer_of(pictures, "random", "probe.use=[knn]", "diagnose.pictures=false"), tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert "pictures" not in result and "corruptions" not in result and result["confusion"]["probe"] == "knn"
    assert not (tmp_path / "run" / "pictures").exists()
