"""A folder with BERT, RoBERTa or GPT-2 under all probes of texts, and as an arm of a comparison."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gssl import schemas
from gssl.commands import compare, pretrain_ssl, transfer
from gssl.comparison import refusals
from gssl.config.composing import compose
from gssl.data import load_data
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import predicted_texts, teacher, weight_sources
from gssl.experiment.models import find_model
from tests.nets.text_folders import folder

HERE = ["engine.threads=1", "engine.progress=false", "engine.device=cpu"]
PROBES = ["labels_per_class=[5]", "fractions=[]", "draws=1", "probe.linear.l2_count=3"]
PROBES += ["probe.finetune.steps=4", "probe.finetune.batch_size=8", "probe.finetune.lrs=[0.0003]"]


@pytest.fixture
def texts(tmp_path):
    """Words tell the classes; one text in three is longer than what is read."""
    file = tmp_path / "t.csv"
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["text", "label"])
        for i in range(60):
            name = ("cat", "dog")[i % 2]
            rows.writerow([f"{name} sat {i}" + f" on the mat {name}" * (3 * (i % 3 == 0)), name])
    return file


@pytest.fixture
def words(texts, tmp_path, monkeypatch):
    """Overrides for a family; whoever imports transformers fails."""
    monkeypatch.setitem(sys.modules, "transformers", None)

    def make(family, own=True):
        path = folder(tmp_path / family, family)
        given = ["data=text", f"data.root={texts}", "data.size=12", *HERE, f"weights=hf:{path}"]
        return given + [f"data.tokenizer={path / 'tokenizer.json'}"] * own

    return make


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_what_the_network_reads_is_what_its_tokenizer_gives(words, texts, family):
    """Ids with special tokens around them, cut off and whole: those of `tokenizers` itself."""
    from tokenizers import Tokenizer

    cfg = compose("transfer", words(family))
    images = load_data(cfg.data).labelled
    source = weight_sources.find_weights(cfg.weights)
    network, report = weight_sources.build(source, cfg.backbone, 12, 0)
    weight_sources.check_column(source, network, images)
    assert not report["missing"] and not report["unexpected"] and report["loaded"] == len(network.state_dict())
    own = Tokenizer.from_file(str(Path(cfg.data.tokenizer)))
    own.enable_truncation(12 + len(own.encode("").ids))
    known = {tuple(own.encode(row["text"]).ids) for row in csv.DictReader(texts.read_text().splitlines())}
    ids, there = network.marked(images.fetch(np.arange(len(images)))["text"])
    assert {tuple(row[mine].tolist()) for row, mine in zip(ids, there, strict=True)} <= known
    assert len(set(there.sum(1).tolist())) > 1


def test_another_tokenizer_and_longer_texts_are_refused_in_a_line(words, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UsageError, match=rf"another tokenizer .*; add data.tokenizer={tmp_path}/bert/tokenizer.json"):
        transfer.main(compose("transfer", words("bert", own=False)), run, dry_run=True)
    with pytest.raises(UsageError, match="data.size=23: .* use data.size=22 or less"):
        transfer.main(compose("transfer", [*words("bert"), "data.size=23"]), run, dry_run=True)
    found = words("gpt2")
    state = tmp_path / "gpt2" / "model.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(UsageError, match="not a whole safetensors file"):
        transfer.main(compose("transfer", found), run, dry_run=True)
    folder(tmp_path / "gpt2", "bert")  # its weights under the description of a GPT-2
    config = folder(tmp_path / "other", "gpt2")
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "gpt2" / name).write_text((config / name).read_text())
    with pytest.raises(
        UsageError, match=r"only a part fits .*; config.json says another network than the file of weights"
    ):
        transfer.main(compose("transfer", found), run, dry_run=True)


def test_no_training_goes_on_from_it_and_no_image_is_read(words, tmp_path, pictures):
    with pytest.raises(UsageError, match="a published network of texts is evaluated and fine-tuned"):
        pretrain_ssl.main(compose("pretrain-ssl", [*words("bert"), "ssl=mlm"]), tmp_path / "p")
    weights = words("bert")[-2]
    with pytest.raises(UsageError, match="the network reads the column text, and the data bring"):
        given = ["data=imagefolder", f"data.root={pictures}", "data.size=16", *HERE, weights]
        transfer.main(compose("transfer", given), tmp_path / "i", dry_run=True)
    with pytest.raises(UsageError, match="reads texts, and a teacher reads images"):
        teacher.find(type("Method", (), {"teacher": weights.removeprefix("weights=")}))


def test_a_comparison_says_what_its_arms_would_refuse_before_anything_is_trained(words):
    bert, gpt2 = (words(family)[-2].removeprefix("weights=") for family in ("bert", "gpt2"))
    own = f"data.tokenizer={bert.removeprefix('hf:')}"  # the folder is enough
    given = [word for word in words("bert", own=False) if not word.startswith("weights=")]
    cfg = compose("compare", [*given, own, "arms=[tfidf]"])
    splits = load_data(cfg.data)

    def check(arms, splits=splits, **data):
        made = schemas.replace(cfg, arms=arms, data=schemas.replace(cfg.data, **data))
        refusals.texts(made, splits)

    check([bert, "tfidf"])
    with pytest.raises(UsageError, match="another tokenizer"):
        check([bert, "tfidf"], load_data(schemas.replace(cfg.data, tokenizer="byte")))
    with pytest.raises(UsageError, match="and .* read ids of different tokenizers, and a comparison has one"):
        check([bert, gpt2])
    with pytest.raises(UsageError, match="a published network of texts is evaluated"):
        check([f"mlm-from-{bert}"])
    with pytest.raises(UsageError, match="data.size=23"):
        check([bert], size=23)


@pytest.mark.long
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_probes_and_predictions(words, family, tmp_path, texts):
    """Linear probe and fine-tuning; a model of each says of a text what it said when it was made."""
    for probe, more in (("linear", []), ("finetune", []), ("finetune", ["probe.finetune.train=last"])):
        run = tmp_path / f"{probe}{len(more)}"
        transfer.main(compose("transfer", [*words(family), *PROBES, f"probe.use=[{probe}]", *more]), run)
        result = read_json(run / "result.json")
        assert result["source"]["kind"] == "hf" and result["backbone"]["name"].startswith(f"text:{family}?")
        assert result["load_report"]["missing"] == [] and result["scores"][0]["probe"] == probe
        if not more:
            out = tmp_path / f"{probe}.csv"
            predicted_texts.write(find_model(run), texts, out, torch.device("cpu"), {}, False)
            rows = list(csv.DictReader(out.read_text().splitlines()))
            assert len(rows) == 60 and {row["label"] for row in rows} <= {"cat", "dog"}


@pytest.mark.long
def test_an_arm_of_a_comparison(words, tmp_path, inline, monkeypatch):
    monkeypatch.setattr("gssl.metrics.tsne.ROUNDS", 250)
    given = words("bert")
    arms = f"arms=[{given[-2].removeprefix('weights=')},mlm,scratch,tfidf]"
    given = [word for word in given if not word.startswith("weights=")]
    given += [arms, *PROBES, "budget.steps=2", "+overrides.mlm=['ssl.batch_size=8']", "eval.milestones=0", "seeds=1"]
    cfg = compose("compare", [*given, "probe.use=[adapted,linear]", f"parts={tmp_path / 'parts'}"])
    compare.main(cfg, tmp_path / "c")
    result = read_json(tmp_path / "c" / "result.json")
    assert not result["failed"] and (tmp_path / "c" / "report.html").is_file()
    assert len(read_json(tmp_path / "c" / "parts.json")["parts"]) == 5
