"""Real images and those of two generators: written the same way by `sample --files`, then told apart."""

import numpy as np
import pytest
from PIL import Image

from gssl.commands import predict, train_gan, transfer
from gssl.commands.sample import sample
from gssl.config.composing import compose
from gssl.data.sources.fake import way_of
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.statistics.fake import CONDITIONS
from gssl.statistics.metric import METRICS, metrics_of


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """real/ of grey noise; known generators make brighter images, the held-out one brighter ones still."""
    root, random = tmp_path_factory.mktemp("fake"), np.random.default_rng(0)
    for folder, bright in (("real", 0), ("fake/a", 40), ("fake/b", 60)):
        (root / folder).mkdir(parents=True)
        for i in range(60):
            pixels = np.clip(random.normal(100 + bright, 12, (16, 16)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i:02}.png")
    return root


@pytest.fixture
def small(fake):
    def make(*overrides: str):
        base = ["data=fake", f"data.root={fake}", "data.held_out=[b]", "data.size=16", "backbone.width=8"]
        base += ["engine.threads=1", "engine.progress=false", "engine.device=cpu", "labels_per_class=[5]", "draws=2"]
        base += ["probe.finetune.steps=3", "diagnose.pictures=false", "fractions=[]"]
        return compose("transfer", [*base, *overrides])

    return make


def test_scores_of_a_held_out_generator_and_after_jpeg(small, tmp_path):
    transfer.main(small("weights=pixels", "probe.use=[linear]", "diagnose.pictures=true"), tmp_path)
    result = read_json(tmp_path / "result.json")
    assert [(s["probe"], s["labels_per_class"], s["draw"]) for s in result["scores"]] == [
        ("linear", 5, 0),
        ("linear", 5, 1),
    ]
    score = result["scores"][0]
    assert score["task"] == "fake" and tuple(score["metrics"]) == metrics_of("fake")
    assert score["metrics"]["fake_auroc"] > 0.95 and set(score["validation"]) == {"accuracy"}
    assert list(score["components"]["fake_auroc"]) == list(CONDITIONS[2:])
    assert list(score["components"]["fake_accuracy"]) == list(CONDITIONS)
    with np.load(tmp_path / "predictions.npz") as file:
        values = [METRICS["fake_auroc"].value(stats) for stats in file["stats"]]
    assert values == pytest.approx([s["metrics"]["fake_auroc"] for s in result["scores"]])
    assert result["pictures"] == ["pictures/fake.png"] and (tmp_path / "pictures/fake.png").is_file()


@pytest.mark.long
def test_frozen_and_fine_tuned_networks_and_their_answers(small, fake, tmp_path):
    transfer.main(small("weights=random"), tmp_path / "t")
    result = read_json(tmp_path / "t" / "result.json")
    assert {s["probe"] for s in result["scores"]} == {"linear", "finetune"}
    made = predict.predict(tmp_path / "t", fake / "fake" / "b", tmp_path / "out.csv", device="cpu")
    assert made["images"] == 60 and (tmp_path / "out.csv").is_file()


@pytest.mark.long
def test_sample_writes_what_data_fake_reads(tiny, tmp_path):
    runs = []
    for gan in ("dcgan", "lsgan"):
        cfg = tiny("train-gan", f"gan={gan}", "budget.steps=2")
        train_gan.main(cfg, tmp_path / gan)
        runs.append(sample(tmp_path / gan, 30, tmp_path / "f", 0, "cpu", files=True))
    assert [r["generator"] for r in runs] == ["dcgan-0", "lsgan-0"] and [r["real"] for r in runs] == [30, 0]
    assert len({way_of(str(path)) for path in (tmp_path / "f").rglob("*.png")}) == 1
    with pytest.raises(UsageError, match="has dcgan-0 already"):
        sample(tmp_path / "dcgan", 30, tmp_path / "f", 0, "cpu", files=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not written by gssl sample --files"):
        sample(tmp_path / "dcgan", 30, tmp_path / "other", 0, "cpu", files=True)
    words = [f"data.root={tmp_path / 'f'}", "data.held_out=[lsgan-0]", "data.size=16", "weights=pixels"]
    words += ["probe.use=[linear]", "labels_per_class=[5]", "fractions=[]", "draws=1", "diagnose.pictures=false"]
    words += ["engine.progress=false", "engine.threads=1", "engine.device=cpu"]
    transfer.main(compose("transfer", ["data=fake", *words]), tmp_path / "t")
    assert read_json(tmp_path / "t" / "result.json")["scores"][0]["n_test"] > 60
