"""The GAN of spectrograms: what its networks read and make, whole runs, and the sounds that it leaves behind."""

import json
import math

import numpy as np
import pytest
import torch

from gssl.commands import evaluate, sample, train_gan, transfer
from gssl.config.composing import compose
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError
from gssl.experiment import generators

soundfile = pytest.importorskip("soundfile")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Low and high tones by six speakers."""
    where, rng = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    for i in range(72):
        path = where / ("low", "high")[i % 2] / f"s{i // 2 % 6}_{i}.wav"
        path.parent.mkdir(exist_ok=True)
        hertz = (300, 1500)[i % 2] * (1 + 0.05 * (i // 2 % 3))
        wave = np.sin(2 * np.pi * hertz * np.arange(2000) / 8000) + 0.1 * rng.standard_normal(2000)
        soundfile.write(path, 0.3 * wave / np.abs(wave).max(), 8000)
    return where


def small(root, *extra, name="specgan"):
    base = [f"gan={name}", "data=audio", f"data.root={root}", "data.seconds=0.3", "data.size=16", "evaluator=random"]
    base += [
        "data.groups='{group}_*'",
        "data.test=split",
        "backbone.width=8",
        "gan.width=4",
        "gan.latent=6",
        "gan.batch_size=8",
    ]
    base += ["budget.steps=4", "engine.threads=1", "engine.progress=false", "engine.device=cpu", "engine.log_every=1"]
    return compose("train-gan", [*base, *extra])


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "run"
    train_gan.main(small(root, "export=last"), where)
    return where


def test_the_discriminator_reads_the_spectrogram_and_the_trunk_is_that_of_sounds(build, batch):
    method = build("specgan").eval()
    pictures = torch.rand(3, 3, 16, 16)
    spectrogram = (pictures[:, :1] - 0.5) * 6 * 0.25 + 0.5
    features = method.backbone((spectrogram - 0.5) / 0.25 * 0.25 + 0.5)
    torch.testing.assert_close(method.discriminator(pictures).features, features)
    torch.testing.assert_close(method.discriminate(pictures), method.discriminate(pictures[:, :1]))
    made = method.sample(torch.randn(2, method.latent))
    assert made.shape == (2, 3, 16, 16) and torch.equal(made[:, 0], made[:, 2])
    assert not [key for key in method.state_dict() if "mean" in key and "running" not in key]


@pytest.mark.parametrize("option", ["gan.penalty=r1_r2", "gan.loss=relativistic", "gan.spectral_norm=both"])
def test_other_parts_of_recipes_go_with_sounds(option, build, batch):
    out = build("specgan", option).update(batch(4), 0)
    assert math.isfinite(out["loss"]) and math.isfinite(out["g_loss"])


@pytest.mark.parametrize(
    "option", ["gan.augment=diffaugment", "gan.rotation_d=1.0", "gan.consistency=1.0", "gan.start=median"]
)
def test_parts_of_recipes_that_are_about_photographs_are_refused(option, build):
    with pytest.raises(UsageError, match=f"^{option}: is of photographs; set") as error:
        build("specgan", option)
    assert "\n" not in str(error.value)


def test_a_class_needs_labels(build):
    with pytest.raises(UsageError, match="gan=specgan_projection: it reads the class of each sound"):
        build("specgan_projection", classes=0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["gan=specgan"], "gan=specgan learns from sounds, and data=mnist5k brings image and label; use data=audio"),
        (["gan=dcgan", "data=audio", "data.root=/x"], "brings audio and label; use gan=specgan or gan=specgan_proj"),
        (["gan=dcgan", "data=text", "data.root=/x"], "brings text and label; use gan=textgan"),
    ],
)
def test_other_data_are_a_line(words, text):
    with pytest.raises(UsageError) as error:
        compose("train-gan", words)
    assert text in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("arm", ["simclr-on-specgan", "scratch-with-specgan_projection"])
def test_arms_do_not_learn_from_its_sounds(arm):
    with pytest.raises(UsageError, match=f"arms: {arm}: specgan.* makes sounds, .* leave -on- and -with- out"):
        compose("compare", ["data=audio", "data.root=/x", f"arms=[{arm},random]"])


def test_other_spectrograms_than_the_weights_learned_from_are_a_line(root, run, tmp_path):
    with pytest.raises(
        UsageError, match="weights: learned from .* 16 bands every 20 ms.* set data.size=16 data.hop_ms=20"
    ):
        train_gan.main(small(root, f"weights={run}", "data.hop_ms=30"), tmp_path / "run")


def test_a_run_is_scored_beside_controls_of_sounds(run):
    text = read_json(run / "weights" / "generator.json")
    assert text["shape"]["wide"] == 16 == 1 + text["sounds"]["samples"] // 160 and len(text["sounds"]["mean"]) == 16
    assert not (run / "weights" / "discriminator.json").exists()
    trunk = read_json(run / "weights" / "backbone.json")
    assert trunk["input"]["bands"] == 16 and trunk["backbone"]["hop_ms"] == 20 and not trunk["labels_used"]
    sounds = read_json(run / "result.json")["sounds"]
    for kind in ("features", "pixels"):
        assert list(sounds[kind]) == ["generated", "real", "codec", "untrained", "means"]
        assert all(own["low"] <= own["kid"] <= own["high"] for own in sounds[kind].values())
        assert sounds[kind]["real"]["kid"] < sounds[kind]["untrained"]["kid"]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert all(math.isfinite(v) for line in lines for v in json.loads(line).values() if isinstance(v, float))


def test_sounds_come_out_as_files(run, tmp_path):
    out = tmp_path / "sounds"
    text = sample.sample(run, 3, out, 0, "cpu")
    assert text["sounds"] == 3 and text["seconds"] == 0.3
    assert sorted(p.name for p in out.iterdir()) == [
        *(f"0000{i}.wav" for i in range(3)),
        "made.json",
        "spectrograms.png",
    ]
    own, rate = soundfile.read(out / "00000.wav")
    assert rate == 8000 and len(own) == 2400 and 0 < np.abs(own).max() <= 1
    first = (out / "00001.wav").read_bytes()
    sample.sample(run, 2, out, 0, "cpu")  # over its own
    assert len(list(out.glob("*.wav"))) == 2 and (out / "00001.wav").read_bytes() == first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.txt").write_text("kept")
    for given, why in (("mine", "has files that are not of gssl sample"), ("a.png", "give the name of a folder")):
        with pytest.raises(UsageError, match=why):
            sample.sample(run, 2, tmp_path / given, 0, "cpu")
    with pytest.raises(UsageError, match="--files: .* makes sounds"):
        sample.sample(run, 2, tmp_path / "files", 0, "cpu", files=True)
    with pytest.raises(UsageError, match="its generator makes sounds, and what learns here reads images"):
        generators.find_generator(str(run), CPU)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "sounds"]


def test_transfer_reads_its_trunk_and_evaluate_its_sounds(root, run, tmp_path):
    words = [
        "data=audio",
        f"data.root={root}",
        "data.seconds=0.3",
        "data.size=16",
        "data.groups='{group}_*'",
        "data.test=split",
    ]
    words += ["engine.threads=1", "engine.device=cpu", "engine.progress=false", f"weights={run}", "draws=1"]
    words += ["labels_per_class=[4]", "probe.use=[linear]", "fractions=[]", "diagnose.pictures=false"]
    transfer.main(compose("transfer", words), tmp_path / "t")
    result = read_json(tmp_path / "t" / "result.json")
    assert result["source"]["method"] == "specgan" and result["load_report"]["missing"] == []
    text = evaluate.evaluate(run, device="cpu", split="test", evaluator="random")
    assert text["n"] == text["sounds"]["n"] > 8 and text["sounds"]["features"]["codec"]["n"] > 1
    with pytest.raises(UsageError, match="evaluator=dinov2: has learnt from photographs"):
        evaluate.evaluate(run, device="cpu", evaluator="dinov2")


@pytest.mark.long
def test_a_run_that_was_stopped_ends_with_the_same_bytes(root, tmp_path, killed):
    cfg = small(root, "export=last", "resume=auto", "engine.checkpoint_every=2")
    train_gan.main(cfg, tmp_path / "whole")
    killed(train_gan.main, cfg, tmp_path / "broken", step=3)
    train_gan.main(cfg, tmp_path / "broken")
    for file in sorted((tmp_path / "whole" / "weights").glob("*")):
        assert sha256(file) == sha256(tmp_path / "broken" / "weights" / file.name), file.name
    whole, broken = (read_json(tmp_path / name / "result.json") for name in ("whole", "broken"))
    assert whole["sounds"] == broken["sounds"] and whole["last"] == broken["last"]


@pytest.mark.long
def test_one_that_takes_a_class_says_how_often_it_is_heard(root, tmp_path):
    cfg = small(root, "evaluator=classifier", name="specgan_projection")
    train_gan.main(cfg, tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    heard = result["sounds"]["wanted_class"]
    assert result["reads_labels"] and heard["held_out"]["accuracy"] > 0.9 < heard["codec"]["accuracy"]
    assert set(heard) == {"generated", "real", "codec", "untrained", "means", "held_out"}
    sample.sample(tmp_path / "run", 2, tmp_path / "sounds", 0, "cpu", classes=["low"])
    assert {p.name for p in (tmp_path / "sounds").glob("*.wav")} == {"00000-low.wav", "00001-low.wav"}
    text = evaluate.evaluate(tmp_path / "run", device="cpu", split="test")
    assert {"gan_train", "gan_test", "real", "ratio"} <= set(text["conditional"])
