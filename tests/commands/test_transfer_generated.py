"""Generated images beside the real ones: what they add is measured, what they must not touch stays as it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gssl.cli.result_table import print_result
from gssl.commands import train_gan, transfer
from gssl.data import Draws, load_data
from gssl.data.splits import Splits
from gssl.engine.files import read_json, write_json
from gssl.errors import JobError, UsageError
from gssl.experiment import augmentation
from gssl.experiment.generators import Sampler, latents
from gssl.nets.generator import Generator, Shape
from gssl.nets.weights import save_weights
from gssl.probe import classification, knn, linear

pytestmark = pytest.mark.long


def fake_run(path: Path, classes: tuple[str, ...] = ("a", "b", "c"), state: str = "finished", **shape) -> Path:
    """The files of a train-gan run with an untrained generator."""
    about = {"kind": "dcgan", "latent": 4, "width": 4, "size": 16, "channels": 3, "classes": len(classes)} | shape
    path.mkdir(parents=True)
    write_json(path / "status.json", {"command": "train-gan", "state": state})
    write_json(path / "result.json", {"data": {"hash": "another", "counts": {"train": 108}}})
    (path / "weights").mkdir()
    file = path / "weights" / "generator.safetensors"
    made = Shape(**about)
    torch.manual_seed(0)
    digest = save_weights(Generator(made), file)
    method = {"name": "acgan" if made.classes else "dcgan", "truncation": None, "classes": list(classes)}
    text = {"schema": "gssl.generator/2", "sha256": digest, "method": method, "shape": made.record()}
    write_json(file.with_suffix(".json"), text)
    return path


@pytest.fixture
def run(tmp_path):
    return fake_run(tmp_path / "gan")


@pytest.fixture
def real_images(monkeypatch, pictures):
    """A generator that returns real training images: `shift` classes further than the one it was told."""

    def patch(shift: int = 0) -> None:
        files = [sorted((pictures / "train" / name).iterdir()) for name in "abc"]
        pixels = [np.stack([np.asarray(Image.open(f)) for f in some]) for some in files]

        def batches(self, labels, seed=0, purpose="generated", truncation=None, batch_size=256):
            chosen = np.random.default_rng([seed, *purpose.encode()]).integers(0, 40, len(labels))
            images = np.stack([pixels[(c + shift) % 3][i] for c, i in zip(labels, chosen, strict=True)])
            yield torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255

        monkeypatch.setattr(Sampler, "batches", batches)

    return patch


def prober(tiny, path, *overrides):
    transfer.main(tiny("transfer", *overrides), path)
    return read_json(path / "result.json")


def test_images_of_the_class_do_no_harm_and_images_of_another_class_do(tiny, tmp_path, run, real_images):
    words = ["weights=pixels", "labels_per_class=[5]", f"generated.run={run}", "generated.per_real=3"]
    real_images()
    good = prober(tiny, tmp_path / "good", *words)
    real_images(shift=1)
    bad = prober(tiny, tmp_path / "bad", *words)
    assert len(good["generated_gain"]) == len(bad["generated_gain"]) == 4
    assert all(row["gain"] > -0.04 for row in good["generated_gain"])
    assert all(row["gain"] < -0.3 for row in bad["generated_gain"])
    assert good["scores"] == bad["scores"]


def test_every_score_has_its_twin_and_the_gain_is_their_mean_difference(tiny, tmp_path, run):
    use = "probe.use=[knn,linear,finetune]"
    result = prober(tiny, tmp_path / "t", "weights=random", use, f"generated.run={run}", "generated.per_real=2")
    plain = prober(tiny, tmp_path / "classical", "weights=random", use)
    assert result["scores"] == plain["scores"] and "generated_gain" not in plain and "generated" not in plain
    key = ("probe", "labels_per_class", "fraction", "draw", "n_train", "n_test")
    twins = [[s[k] for k in key] for s in result["generated_scores"]]
    assert twins == [[s[k] for k in key] for s in result["scores"]]
    assert all(s["generated"] == 2 * s["n_train"] for s in result["generated_scores"])
    assert result["generated_scores"] != result["scores"]
    for row in result["generated_gain"]:
        group = [
            (a["accuracy"], b["accuracy"])
            for a, b in zip(result["scores"], result["generated_scores"], strict=True)
            if [a[k] for k in key[:3]] == [row[k] for k in key[:3]]
        ]
        a, b = np.array(group).T
        assert row["gain"] == pytest.approx((b - a).mean()) and row["draws"] == len(a)
        assert (row["accuracy"], row["accuracy_generated"]) == pytest.approx((a.mean(), b.mean()))
        assert row["interval"].startswith("t " if np.ptp(b - a) > 1e-9 else "newcombe_paired")
        assert row["low"] <= row["gain"] <= row["high"] and row["n_test"] == 60
    record = result["generated"]
    assert record["method"] == "acgan" and record["per_real"] == 2 and len(record["sha256"]) == 64
    assert record["labels_used"] and record["labels_read"] == 108 and "108 training images" in record["caution"]
    assert record["same_images"] is False
    assert result["test_openings"] == 1
    assert read_json(tmp_path / "t" / "status.json")["inputs"]["generator"] == record["sha256"]


def test_the_saved_network_and_the_objective_are_those_of_real_images(tiny, tmp_path, run, real_images):
    real_images(shift=1)
    words = ["weights=random", "probe.use=[linear,finetune]", "labels_per_class=[]", "fractions=[0.5]", "draws=1"]
    a = prober(tiny, tmp_path / "a", *words)
    b = prober(tiny, tmp_path / "b", *words, f"generated.run={run}")
    assert a["weights"] == b["weights"] and a["objective"] == b["objective"]
    assert b["generated_scores"][0]["val_accuracy"] < b["scores"][0]["val_accuracy"] - 0.1
    assert b["generated_scores"][1]["generated"] == 60


def test_folds_hold_real_images_only(tiny, tmp_path, run, monkeypatch):
    asked = []
    for room in (knn, linear):
        own = room.clip_folds
        monkeypatch.setattr(
            room, "clip_folds", lambda y, groups, seed, own=own: asked.append(y) or own(y, groups, seed)
        )
    own = classification.label_folds
    monkeypatch.setattr(classification, "label_folds", lambda x, seed: asked.append(x.labels) or own(x, seed))
    opened = Splits.open_test
    monkeypatch.setattr(Splits, "open_test", lambda self: asked.append("open") or opened(self))
    words = ["weights=random", "probe.use=[knn,linear,finetune]", f"generated.run={run}", "labels_per_class=[5]"]
    result = prober(tiny, tmp_path / "t", *words)
    assert asked.pop() == "open" and "open" not in [str(y) for y in asked]  # once, after every choice
    expected = [s["n_train"] for s in result["scores"] for _ in (0, 1)]
    assert [len(y) for y in asked] == expected
    for first, second in zip(asked[::2], asked[1::2], strict=True):  # the same folds without and with
        assert np.array_equal(np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1])


def test_a_seed_decides_and_draws_differ(tiny, tmp_path, run):
    words = ["weights=random", "probe.use=[knn,finetune]", "probe.finetune.draws=2", f"generated.run={run}"]
    a = prober(tiny, tmp_path / "a", *words)
    b = prober(tiny, tmp_path / "b", *words)
    for key in ("generated_scores", "generated_gain"):
        assert a[key] == b[key]
    fakes = augmentation.find_generated_images(tiny("transfer", *words).generated, torch.device("cpu"))
    data = load_data(tiny("transfer", *words).data).labelled
    few, more = data.subset(np.array([0, 40, 80])), data.subset(np.array([0, 1, 40, 41, 80, 81]))
    first = fakes.images(few, 0, 0)
    assert first.hash == fakes.images(few, 0, 0).hash
    assert first.hash not in (fakes.images(few, 1, 0).hash, fakes.images(few, 0, 1).hash)
    assert fakes.images(more, 0, 0).subset(np.arange(3)).hash == first.hash  # small draws' images begin larger ones'
    assert (
        first.hash
        != augmentation.SyntheticImages(
            tiny("transfer", *words, "generated.truncation=0.1").generated, fakes.sampler, {}
        )
        .images(few, 0, 0)
        .hash
    )


def test_images_are_stored_as_real_ones_are(run, stored, tiny, monkeypatch):
    fakes = augmentation.find_generated_images(
        tiny("transfer", "weights=random", f"generated.run={run}").generated, torch.device("cpu")
    )
    grey = stored(np.zeros((3, 8, 8, 1), np.uint8), np.arange(3))
    made = fakes.images(grey, 0, 0)
    assert made.channels == 1 and made.shape == (16, 16) and made.labels.tolist() == [0, 1, 2]
    z = latents(Draws(0), "transfer/0", 0, (3, 4), None)
    exact = fakes.sampler.generator(z, torch.arange(3))[:, :1] * 255
    batch = made.fetch(np.arange(3))["image"]
    assert batch.dtype == torch.uint8 and 0.4 < (batch - exact).abs().max() < 0.501
    monkeypatch.setattr(Sampler, "batches", lambda *_: iter([torch.full((3, 3, 16, 16), 99.6 / 255)]))
    assert set(fakes.images(grey, 0, 0).fetch(np.arange(3))["image"].unique().tolist()) == {100}  # rounded, not cut


@pytest.mark.parametrize(
    ("per_real", "counts", "expected"),
    [(1.0, [2, 2, 2], [2, 2, 2]), (0.1, [2, 0, 30], [1, 0, 3]), (2.5, [1, 3, 0], [3, 8, 0])],
)
def test_classes_are_as_in_the_draw(per_real, counts, expected):
    made = augmentation.labels_like(np.repeat(np.arange(3), counts), 3, per_real)
    assert np.bincount(made, minlength=3).tolist() == expected


def test_one_draw_is_judged_over_test_images():
    rng = np.random.default_rng(0)
    real, mixed = rng.random(500) < 0.7, rng.random(500) < 0.8
    (row,) = augmentation.gains([augmentation.Pair("knn", None, 1.0, real, mixed)])
    n = len(real)
    assert row["interval"] == "newcombe_paired over test images"
    same = augmentation.gains([augmentation.Pair("knn", 1, None, real, real)] * 3)[0]
    assert same["low"] < same["gain"] == 0 < same["high"] and same["draws"] == 3
    wald = 1.96 * np.std(mixed.astype(float) - real) / n**0.5  # McNemar's normal interval, from the discordant counts
    assert row["gain"] == pytest.approx(mixed.mean() - real.mean())
    assert row["high"] - row["low"] == pytest.approx(2 * wald, rel=0.05)


def test_what_is_printed(tiny, tmp_path, run, capsys):
    result = prober(tiny, tmp_path / "t", "weights=pixels", f"generated.run={run}", "labels_per_class=[10]")
    assert "another data split" in capsys.readouterr().err
    print_result(tmp_path / "t", result)
    said = capsys.readouterr().out
    assert "with generated" in said and "over" in said
    (line,) = [line for line in said.splitlines() if line.startswith("generated images: ")]
    assert " points (95% interval " in line and ", 2 draws) with 10 labels per class, linear probe; " in line
    assert "has read the labels of all 108 training images" in line and "no few-label result" in line
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("change", "override", "message"),
    [
        ({}, "generated.run={path}/nowhere", "no such directory"),
        ({}, "generated.run={path}", "not a run directory"),
        ({"state": "interrupted"}, "", "is interrupted"),
        ({"classes": ()}, "", "takes no class"),
        ({"classes": ("a", "c", "b")}, "", "class 1 as 'c', the data as 'b'"),
        ({"classes": ("a", "b")}, "", "2 classes, the data 3"),
        ({"size": 32}, "", "data.size=32"),
        ({"channels": 1}, "", "grey images, the data are colour"),
        ({"damaged": True}, "", "damaged or replaced"),
    ],
)
def test_a_generator_that_does_not_fit_is_a_usage_error_that_leaves_nothing(tiny, tmp_path, change, override, message):
    damaged = change.pop("damaged", False)
    run = fake_run(tmp_path / "gan", **change)
    if damaged:
        shutil.copy(run / "result.json", run / "weights" / "generator.safetensors")
    words = [override.format(path=tmp_path) or f"generated.run={run}", "weights=random"]
    with pytest.raises(UsageError, match=message) as error:
        transfer.main(tiny("transfer", *words), tmp_path / "run")
    assert str(error.value).startswith("generated.run") and "\n" not in str(error.value)
    assert list((tmp_path / "run").iterdir()) == []


def test_other_keys_are_checked_and_play_no_part_when_it_is_off(tiny, run):
    from gssl.schemas.determining import config_hash

    with pytest.raises(UsageError, match="generated.per_real: expected a number, above 0"):
        tiny("transfer", "weights=random", "generated.per_real=0")
    off = [tiny("transfer", "weights=random", f"generated.per_real={r}") for r in (1, 2)]
    on = [tiny("transfer", "weights=random", f"generated.run={run}", f"generated.per_real={r}") for r in (1, 2)]
    assert config_hash(off[0]) == config_hash(off[1])
    assert len({config_hash(cfg) for cfg in (off[0], *on)}) == 3
    moved = tiny("transfer", "weights=random", "generated.run=elsewhere")
    assert config_hash(moved) == config_hash(on[0])  # the content ties it, not the place


def test_infinite_images_stop_it(tiny, tmp_path, run, monkeypatch):
    monkeypatch.setattr(
        Sampler, "batches", lambda self, labels, *_: iter([torch.full((len(labels), 3, 16, 16), np.inf)])
    )
    with pytest.raises(JobError, match="NaN or infinite"):
        prober(tiny, tmp_path / "t", "weights=pixels", f"generated.run={run}")


def test_a_trained_conditional_gan_serves(tiny, tmp_path, capsys):
    train_gan.main(tiny("train-gan", "gan=acgan", "evaluator=random", "budget.steps=3"), tmp_path / "gan")
    words = [f"weights={tmp_path / 'gan'}", f"generated.run={tmp_path / 'gan'}", "probe.use=[knn]"]
    result = prober(tiny, tmp_path / "t", *words)
    assert result["generated"]["same_images"] is True and result["generated"]["method"] == "acgan"
    assert f"all {result['data']['counts']['train']} training images" in result["generated"]["caution"]
    assert "another data split" not in capsys.readouterr().err
    assert transfer.main(tiny("transfer", *words), tmp_path / "dry", dry_run=True) is None
