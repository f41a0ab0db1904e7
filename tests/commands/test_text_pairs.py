"""Pairs of sentences from pretraining to predictions."""

import csv
from pathlib import Path

import pytest
import torch

from gssl.commands import pretrain_ssl, transfer
from gssl.config.composing import compose
from gssl.data import load_data
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import predicted_texts, published
from gssl.experiment.models import find_model
from gssl.nets.published_text import PublishedText

HERE = ["engine.threads=1", "engine.progress=false", "engine.device=cpu"]
PROBES = ["labels_per_class=[5]", "fractions=[]", "draws=1", "probe.linear.l2_count=3"]
PROBES += ["probe.finetune.steps=4", "probe.finetune.batch_size=8", "probe.finetune.lrs=[0.0003]"]


@pytest.fixture
def words(tmp_path) -> list[str]:
    file = tmp_path / "t.csv"
    animals = ("cat", "dog", "cow")
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["text", "text_b", "label"])
        for i in range(60):
            first, other = animals[i % 3], animals[(i + i % 2) % 3]
            rows.writerow([f"the {first} sat {i}", f"{i} sat a {other}", ("same", "other")[i % 2]])
    return ["data=text", f"data.root={file}", "data.size=16", "backbone.width=16", *HERE]


def test_published_networks_refuse_pairs_in_a_line(words):
    images = load_data(compose("transfer", [*words, "weights=random"]).data).train
    network = object.__new__(PublishedText)
    with pytest.raises(UsageError, match=r"weights=hf:x: published networks read single texts here, .* \(text_b\)"):
        published.check_single("hf:x", network, images)
    published.check_single("RUN", torch.nn.Linear(1, 1), images)


@pytest.mark.long
@pytest.mark.parametrize("method", ["mlm", "clm", "simcse"])
def test_from_pretraining_to_predictions(method, words, tmp_path):
    run = tmp_path / "run"
    pretrain_ssl.main(compose("pretrain-ssl", [*words, f"ssl={method}", "ssl.batch_size=8", "budget.steps=2"]), run)
    for weights, probe in ((str(run), "linear"), (str(run), "finetune"), ("tfidf", "linear"), ("majority", "linear")):
        out = tmp_path / f"{Path(weights).name}_{probe}"
        own = [*words, *PROBES, f"weights={weights}", f"probe.use=[{probe}]", "diagnose.pictures=false"]
        transfer.main(compose("transfer", own), out)
        assert 0 <= read_json(out / "result.json")["scores"][0]["accuracy"] <= 1
    file, said, cpu = tmp_path / "t.csv", tmp_path / "labels.csv", torch.device("cpu")
    model = find_model(tmp_path / "run_finetune")
    with file.open("a") as more:
        more.write("alone,,\n")
    predicted_texts.write(model, file, said, cpu, {}, False)
    rows = list(csv.DictReader(said.read_text().splitlines()))
    assert len(rows) == 61 and {row["label"] for row in rows[:60]} <= {"same", "other"} and rows[60]["label"] == ""
    (tmp_path / "single.csv").write_text("text\na cat\n")
    with pytest.raises(UsageError, match="single.csv:2: the model reads pairs, and this has no text_b; add the column"):
        predicted_texts.write(model, tmp_path / "single.csv", tmp_path / "no.csv", cpu, {}, False)
    assert not (tmp_path / "no.csv").exists()
