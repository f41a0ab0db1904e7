"""Several sources on the same draws: cells are means of their runs, gains are paired, parts are never run twice."""

import json
import shutil

import numpy as np
import pytest

from gssl.commands import curve, pretrain_ssl, transfer
from gssl.engine.files import read_json, write_json
from gssl.errors import JobError, UsageError
from gssl.schemas import replace
from gssl.schemas.label_budgets import label_budget_key
from gssl.statistics.intervals import wilson
from gssl.statistics.paired import newcombe_paired, t_interval

pytestmark = pytest.mark.long

DATA = "pictures0"  # the folder that `pictures` makes, by whose name the data set goes
USE = "probe.use=[knn,linear,finetune]"


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, pictures):
    from gssl.config.composing import compose

    path = tmp_path_factory.mktemp("runs") / "ssl"
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "ssl.batch_size=16"]
    cfg = compose("pretrain-ssl", [*words, "budget.steps=3", "engine.progress=false", "engine.device=cpu"])
    pretrain_ssl.main(cfg, path)
    return path


@pytest.fixture(scope="module")
def house(tmp_path_factory, pretrained, pictures):
    """A finished curve over four sources."""
    from gssl.config.composing import compose

    path = tmp_path_factory.mktemp("curve") / "run"
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "engine.threads=1"]
    words += ["engine.progress=false", "engine.device=cpu", "labels_per_class=[1,5]", "draws=3", "draws_one_shot=4"]
    words += ["probe.linear.l2_count=3", "probe.finetune.steps=6", "probe.finetune.lrs=[0.001]", USE]
    words += ["probe.finetune.draws=2", "diagnose.pictures=false", f"sources=[{pretrained},scratch,random,pixels]"]
    cfg = compose("curve", words)
    curve.main(cfg, path)
    return cfg, path, read_json(path / "curve.json")


def test_every_source_is_judged_by_what_can_judge_it(house):
    _, path, text = house
    judged = {}
    for cell in text["cells"]:
        judged.setdefault(cell["source"], set()).add(cell["probe"])
    assert judged == {
        "simclr": {"knn", "linear", "finetune"},
        "scratch": {"finetune"},
        "random": {"knn", "linear"},  # fine-tuning it is scratch
        "pixels": {"knn", "linear"},
    }
    assert {c["label_budget"] for c in text["cells"]} == {"1", "5", "all"}
    assert sorted(p.name for p in (path / "parts").iterdir()) == sorted(
        f"{name}-{DATA}" for name in ("simclr", "scratch", "random", "pixels")
    )
    assert set(read_json(path / "result.json")["test_openings"].values()) == {1}


def test_cells_are_the_means_and_intervals_of_their_runs(house):
    _, path, text = house
    for cell in text["cells"]:
        scores = read_json(path / "parts" / f"{cell['source']}-{DATA}" / "result.json")["scores"]
        key = ("probe", "labels_per_class", "fraction")
        mine = [s for s in scores if [s[k] for k in key] == [cell[k] for k in key]]
        values = [s["accuracy"] for s in mine]
        assert cell["draws"] == len(mine) and cell["mean"] == pytest.approx(np.mean(values))
        if len(mine) > 1 and np.ptp(values) > 0:
            expected = np.clip(t_interval(values)[1:], 0, 1)  # no interval leaves what an accuracy can be
            assert cell["interval"].startswith("t ")
        else:
            expected = wilson(mine[0]["correct"], mine[0]["n_test"])
            assert cell["interval"].startswith("wilson")
        assert (cell["low"], cell["high"]) == pytest.approx(expected)


def test_all_sources_share_their_draws_which_are_nested(house):
    cfg, path, text = house
    n = {(c["source"], c["probe"], c["label_budget"]): c["n_train"] for c in text["cells"]}
    assert {v for (_, _, label_budget), v in n.items() if label_budget == "5"} == {15}
    from gssl.data import label_subset, load_data

    labels = load_data(cfg.data).labelled.labels
    few, more = (set(label_subset(labels, k, None, cfg.seed, 1).tolist()) for k in (1, 5))
    assert few < more


def test_gains_are_paired_differences_to_scratch(house):
    _, path, text = house
    for cell in text["cells"]:
        if cell["source"] == "scratch":
            assert cell["gain"] is None
            continue
        right = {}
        for name, probe in ((cell["source"], cell["probe"]), ("scratch", "finetune")):
            folder = path / "parts" / f"{name}-{DATA}"
            with np.load(folder / "predictions.npz") as found:
                answers = found["guess"] == found["labels"]
            right[name] = {
                s["draw"]: answers[i]
                for i, s in enumerate(read_json(folder / "result.json")["scores"])
                if s["probe"] == probe
                and label_budget_key(s["labels_per_class"], s["fraction"]) == cell["label_budget"]
            }
        mine, its = right[cell["source"]], right["scratch"]
        shared = sorted(set(mine) & set(its))
        assert cell["gain_draws"] == len(shared) == (1 if cell["label_budget"] == "all" else 2)
        differences = [mine[d].mean() - its[d].mean() for d in shared]
        assert cell["gain"] == pytest.approx(np.mean(differences))
        if cell["gain_interval"].startswith("t "):
            expected = np.clip(t_interval(differences)[1:], -1, 1)
        else:
            a, b = mine[shared[0]], its[shared[0]]
            counts = [(a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()]
            expected = newcombe_paired(*map(int, counts))[1:]
        assert (cell["gain_low"], cell["gain_high"]) == pytest.approx(expected)


def test_predictions_are_the_scores(house):
    _, path, _ = house
    for folder in (path / "parts").iterdir():
        result = read_json(folder / "result.json")
        with np.load(folder / "predictions.npz") as found:
            assert ((found["guess"] == found["labels"]).sum(1) == [s["correct"] for s in result["scores"]]).all()
            assert np.isfinite(found["confidence"]).all()


def test_the_table_and_the_picture_show_them(house):
    _, path, text = house
    table = (path / "table.md").read_text()
    for cell in text["cells"]:
        assert f"{100 * cell['mean']:.1f} (" in table
    assert "Gain over training from scratch" in table and "Steps to reach" in table and "CKA" in table
    from PIL import Image

    picture = np.asarray(Image.open(path / "curve.png").convert("L"))
    assert picture.size > 1e5 and picture.std() > 10


def test_steps_to_reach_what_scratch_reached(house):
    _, path, text = house
    rows = {(r["source"], r["label_budget"]): r for r in text["reach"]}
    assert {source for source, _ in rows} == {"simclr", "scratch"}
    for (source, label_budget), row in rows.items():
        curves = read_json(path / "parts" / f"{source}-{DATA}" / "result.json")["learning_curves"]
        mine = [
            c
            for c in curves
            if c["draw"] == 0 and label_budget_key(c["labels_per_class"], c["fraction"]) == label_budget
        ]
        (points,) = (c["points"] for c in mine)
        hits = [p["step"] for p in points if p["val_accuracy"] >= row["level"]]
        assert row["steps"] == (hits[0] if hits else None)
    assert rows["scratch", "all"]["times"] == 1.0


def test_a_second_call_runs_nothing_again(house, monkeypatch, tmp_path):
    cfg, path, text = house
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    write_json(copy / "status.json", read_json(copy / "status.json") | {"state": "interrupted"})
    (copy / "result.json").unlink()
    monkeypatch.setattr(transfer.Prober, "fit", lambda self: pytest.fail("a finished part was run again"))
    curve.main(replace(cfg, engine=replace(cfg.engine, resume="auto")), copy)
    assert read_json(copy / "curve.json")["cells"] == text["cells"]


@pytest.mark.parametrize("left", ["", '{"schema": "gssl.st', None])
def test_a_part_whose_status_is_damaged_is_made_again_and_only_it(house, monkeypatch, tmp_path, capsys, left):
    cfg, path, text = house
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    write_json(copy / "status.json", read_json(copy / "status.json") | {"state": "interrupted"})
    (copy / "result.json").unlink()
    (part,) = (copy / "parts").glob("pixels-*")
    (part / "status.json").unlink() if left is None else (part / "status.json").write_text(left)
    cfg = replace(cfg, engine=replace(cfg.engine, resume="auto"))
    curve.main(cfg, copy, dry_run=True)
    assert "the part will be made again" in capsys.readouterr().err and not list(part.glob(".damaged-*"))
    made, fit = [], transfer.Prober.fit
    monkeypatch.setattr(transfer.Prober, "fit", lambda self: made.append(self.cfg.weights) or fit(self))
    curve.main(cfg, copy)
    assert made == ["pixels"] and read_json(copy / "curve.json")["cells"] == text["cells"]
    (aside,) = part.glob(".damaged-*")
    assert (aside / "result.json").is_file() and read_json(part / "status.json")["state"] == "finished"


def test_parts_in_a_folder_that_was_no_curves_are_refused_where_their_status_is_damaged(house, tmp_path):
    cfg, path, _ = house
    shutil.copytree(path / "parts", tmp_path / "parts")
    (part,) = (tmp_path / "parts").glob("pixels-*")
    (part / "status.json").write_text("")
    (part / "result.json").unlink()
    with pytest.raises(UsageError, match="status.json is damaged"):
        curve.main(replace(cfg, engine=replace(cfg.engine, resume="auto")), tmp_path)
    assert not list(part.glob(".damaged-*"))


def test_a_failed_part_does_not_lose_the_others(tiny, tmp_path, monkeypatch):
    fit = transfer.Prober.fit

    def failing(self):
        if self.origin.kind == "random" and "finetune" in self.cfg.probe.use:
            raise JobError("diverged")
        yield from fit(self)

    monkeypatch.setattr(transfer.Prober, "fit", failing)
    cfg = tiny("curve", "sources=[pixels,scratch]", "probe.use=[knn]", "labels_per_class=[5]", "fractions=[]")
    with pytest.raises(JobError, match=r"1 of 2 parts failed \(scratch on pictures0: diverged\)"):
        curve.main(cfg, tmp_path / "run")
    text = read_json(tmp_path / "run" / "curve.json")
    assert {c["source"] for c in text["cells"]} == {"pixels"} and list(text["failed"]) == ["scratch on pictures0"]
    assert read_json(tmp_path / "run" / "status.json")["state"] == "failed"
    monkeypatch.setattr(transfer.Prober, "fit", fit)  # the same call again makes what is missing
    curve.main(replace(cfg, engine=replace(cfg.engine, resume="auto")), tmp_path / "run")
    assert {c["source"] for c in read_json(tmp_path / "run" / "curve.json")["cells"]} == {"pixels", "scratch"}


def test_a_part_of_another_configuration_is_not_shown(tiny, tmp_path):
    """As one that was copied there: its scores are those of other settings."""
    run, words = tmp_path / "run", ["sources=[pixels,random]", "labels_per_class=[5]", "fractions=[]"]
    transfer.main(tiny("transfer", "weights=pixels", "labels_per_class=[5]"), run / "parts" / f"pixels-{DATA}")
    with pytest.raises(JobError, match="holds a run with another configuration"):
        curve.main(tiny("curve", *words, "probe.use=[linear]"), run)
    text = read_json(run / "curve.json")
    assert {c["source"] for c in text["cells"]} == {"random"} and list(text["failed"]) == [f"pixels on {DATA}"]


def test_transfer_to_other_data_sets(tiny, tmp_path, pretrained, pictures):
    """One row of the matrix: another folder of images, each cell beside scratch, and how alike the data sets are."""
    other = tmp_path / "inverted"
    for file in pictures.rglob("*.png"):
        from PIL import Image, ImageOps

        target = other / file.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.invert(Image.open(file)).save(target)
    words = ["probe.use=[linear]", "labels_per_class=[5]", "fractions=[]", f"weights={pretrained}"]
    cfg = tiny("transfer", *words, f"to=[imagefolder,{other}/]")
    transfer.main(cfg, tmp_path / "run")
    text = read_json(tmp_path / "run" / "curve.json")
    cells = {(c["source"], c["target"]): c for c in text["cells"]}
    assert set(cells) == {(s, t) for s in ("simclr", "scratch") for t in ("imagefolder", "inverted")}
    assert all(cells["simclr", t]["gain"] is not None for t in ("imagefolder", "inverted"))
    alike = {s["target"]: s for s in text["similarity"]}
    assert alike["imagefolder"]["low"] < 0 < alike["imagefolder"]["high"]  # its own other images: no distance
    assert alike["inverted"]["low"] > alike["imagefolder"]["high"]
    json.dumps(text, allow_nan=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sources=[nowhere]"], "no such file"),
        (["sources=[random]", "labels_per_class=[41]"], "smallest class has 40"),
        (["sources=[random]", "to=[nothere]"], "to: nothere"),
        (["sources=[scratch@random]"], "scratch is the name of"),
        (["sources=[random]", "probe.use=[finetune]", "probe.finetune.train=last", "probe.finetune.stages=9"], "has 4"),
    ],
)
def test_what_cannot_be_judged_is_found_before_anything_is(tiny, tmp_path, words, message):
    with pytest.raises(UsageError, match=message):
        curve.main(tiny("curve", *words), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("status.json"))


def test_scratch_is_trained_whole_and_beside_every_frozen_probe(tiny, tmp_path):
    """Whatever is frozen of pretrained networks, and whatever it is called."""
    words = ["sources=[base@scratch,random]", "probe.use=[linear,fixmatch]", "labels_per_class=[5]", "fractions=[]"]
    curve.main(tiny("curve", *words, "probe.finetune.train=lora", "probe.finetune.layer_decay=0.5"), tmp_path / "run")
    text = read_json(tmp_path / "run" / "curve.json")
    assert {(c["source"], c["probe"]) for c in text["cells"]} == {
        ("base", "finetune"), ("base", "fixmatch"), ("random", "linear"),
    }  # fmt: skip
    assert [c["gain"] is not None for c in text["cells"]] == [c["source"] == "random" for c in text["cells"]]
    (part,) = (tmp_path / "run" / "parts").glob("base-*")
    written = (part / "config.yaml").read_text()
    assert "train: all" in written and "layer_decay: 1.0" in written


def test_two_folders_of_one_name_are_two_targets(tiny, tmp_path, pictures):
    for place in "xy":
        shutil.copytree(pictures, tmp_path / place / "photos")
    words = ["sources=[pixels]", f"to=[{tmp_path}/x/photos,{tmp_path}/y/photos/]", "probe.use=[knn]", "fractions=[]"]
    curve.main(tiny("curve", *words), tmp_path / "run")
    assert list(read_json(tmp_path / "run" / "curve.json")["targets"]) == ["photos", "y/photos"]


def test_a_target_has_its_own_size_unless_one_was_chosen(tmp_path, pictures, pretrained):
    """The default data's 28 px are no choice of the user for a folder of photographs."""
    from gssl.comparison.sources_by_targets import PanelSource
    from gssl.comparison.targets import targets_of
    from gssl.config.composing import compose
    from gssl.config.image_size import chosen

    def sizes(weights, *words):
        cfg = compose("transfer", [f"weights={weights}", f"to=[mnist5k,{pictures}/]", *words])
        made = PanelSource(str(weights)).origin.size
        return [target.data.size for target in targets_of(cfg, {made} if made else set()).values()]

    own = chosen({"name": "imagefolder", "root": str(pictures)}, "cpu")
    assert own != 28 and sizes("random", "engine.device=cpu") == [28, own]
    assert sizes("random", "data.size=20") == [20, 20]
    assert sizes(pretrained)[1] == 16  # what the network was made for
