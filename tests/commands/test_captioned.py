"""Whole commands on images with captions: what a run writes and says, its evaluation, retrieval, what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import embed, evaluate, pretrain_ssl, retrieve, transfer
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import captioned
from gssl.nets.weights import read_tensors
from tests.data.captioned import COLOURS, picture, set_of_captioned

SMALL = ["ssl.batch_size=12", "backbone.width=8", "ssl.text_width=16", "ssl.dim=16", "engine.threads=1"]
SMALL += ["engine.device=cpu", "engine.progress=false", "data.size=16", "data.vocab=300"]


def configured(folder: Path, *extra: str):
    return compose("pretrain-ssl", ["data=imagetext", f"data.root={folder}", "ssl=clip", *SMALL, *extra])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return set_of_captioned(tmp_path_factory.mktemp("captioned"))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("runs") / "run"
    pretrain_ssl.main(configured(folder, "budget.steps=60", "ssl.optim.lr=0.01"), where)
    return where


def test_a_run_says_what_it_finds_beside_its_controls(run):
    found = read_json(run / "result.json")
    assert found["objective"]["name"] == "val_recall_10" and 0 < found["objective"]["value"] <= 1
    text = found["captioned"]
    assert (text["part"], text["images"], text["groups"], text["captions"]) == ("val", 12, 6, 24)
    names = [captioned.OWN, captioned.BEFORE, captioned.RIDGE]
    for which, pool in (("all", 9), ("first", 6)):
        ways = text["retrieval"][which]
        assert ways["image_to_text"]["pool"] == ways["text_to_image"]["queries"] == pool
        assert ways["text_to_image"]["pool"] == 12
        for way in ways.values():
            assert [row["name"] for row in way["rows"]] == [*names, "chance"]
            assert all(row["r10"]["low"] <= row["r10"]["value"] <= row["r10"]["high"] for row in way["rows"][:3])
    zero = text["zeroshot"]["rows"]
    assert [row["name"] for row in zero] == [*names, captioned.LARGEST, "chance"] and zero[3]["accuracy"][
        "value"
    ] == 0.5
    for which in ("all", "first"):  # it has learned the colours
        own, before = text["retrieval"][which]["image_to_text"]["rows"][:2]
        assert own["median"]["value"] < before["median"]["value"]


def test_recall_of_the_run_is_that_of_its_files(run, folder):
    """By another way: vectors of both sides, sorted here."""
    network, text = captioned.read(run)
    splits, _ = captioned.splits_of(run)
    cpu, captions = torch.device("cpu"), captioned.Captions.read(splits.val)
    assert text["prompts"] == ["{}"] and text["caption_tokens"] == 32
    scores = network.images(splits.val, cpu) @ network.texts(captions.ids, cpu).T
    found = read_json(run / "result.json")["captioned"]["retrieval"]["all"]["image_to_text"]["rows"][0]
    hits = []
    for row, own in zip(scores, captions.of, strict=True):
        best = max(row[j] for j in own)
        hits.append(sum(1 for j, value in enumerate(row) if value >= best and j not in own) < 1)
    assert found["r1"]["value"] == pytest.approx(np.mean(hits))


def test_evaluating_the_run_again_gives_the_same_and_the_test_part_is_counted(run):
    again = evaluate.evaluate(run, device="cpu")
    own = read_json(run / "result.json")["captioned"]
    assert {key: again[key] for key in own if key != "towers"} == {k: v for k, v in own.items() if k != "towers"}
    assert Path(again["file"]).name == "captioned-val.json" and again["schema"] == "gssl.captioned/1"
    tested = evaluate.evaluate(run, device="cpu", split="test")
    assert tested["part"] == "test" and tested["test_openings"] == 1 and tested["images"] == 12


def test_options_of_generators_are_refused(run):
    for asked in ({"images": 8}, {"truncation": 1.0}):
        with pytest.raises(UsageError, match="-n and --truncation: .* makes no images"):
            evaluate.evaluate(run, device="cpu", **asked)


def test_a_batch_larger_than_the_groups_is_said_where_they_are_negatives(run, capsys):
    images = captioned.splits_of(run)[0].train
    groups = len(np.unique(captioned.units_of(images)))
    for batch, positives, said in ((groups, "captions", False), (groups + 1, "captions", True), (99, "groups", False)):
        captioned.warn_of_large_batches(images, batch, positives)
        assert (f"use at most {groups}, or ssl.positives=groups" in capsys.readouterr().err) == said


def test_words_find_images(run, folder, tmp_path):
    found = retrieve.retrieve(run, "a red square, low", n=5, device="cpu")
    assert found["images"] == 48 and len(found["found"]) == 5
    values = [row["similarity"] for row in found["found"]]
    assert values == sorted(values, reverse=True) and all(Path(row["path"]).is_file() for row in found["found"])
    for i, colour in enumerate(COLOURS):
        picture(tmp_path / f"{colour}.png", colour, True, 90 + i)
    for colour in COLOURS:
        found = retrieve.retrieve(run, colour, tmp_path, device="cpu")
        assert Path(found["found"][0]["path"]).stem == colour
    done = CliRunner().invoke(
        app, ["retrieve", str(run), "red", "--among", str(tmp_path), "--device", "cpu", "-n", "2"]
    )
    assert done.exit_code == 0 and done.stdout.splitlines()[0].endswith("red.png") and len(done.stdout.split()) == 4
    with pytest.raises(UsageError, match="no words: say what to look for"):
        retrieve.retrieve(run, "  ", device="cpu")


def test_both_sides_are_embedded_in_one_space(run, tmp_path):
    for i, colour in enumerate(COLOURS):
        picture(tmp_path / "set" / f"{i}.png", colour, True, 90 + i)
    lines = tmp_path / "words.txt"
    lines.write_text("\n".join([*COLOURS, "", "a red square, low"]))
    embed.embed(run, tmp_path / "set", tmp_path / "images.npz", "cpu")
    assert embed.embed(run, lines, tmp_path / "texts.npz", "cpu")["texts"] == 4
    images, texts = np.load(tmp_path / "images.npz"), np.load(tmp_path / "texts.npz")
    assert (
        images["features"].shape == (3, 64) and images["shared"].shape == (3, 16) and texts["shared"].shape == (4, 16)
    )
    similar = images["shared"] @ texts["shared"].T
    assert similar[:, :3].argmax(1).tolist() == [0, 1, 2] and texts["texts"].tolist()[3] == "a red square, low"
    latin = tmp_path / "latin.txt"
    latin.write_bytes("grün".encode("latin-1"))
    with pytest.raises(UsageError, match="latin.txt: is not UTF-8 .byte 2.; save it as UTF-8"):
        embed.embed(run, latin, tmp_path / "x.npz", "cpu")
    for folder, said in ((tmp_path / "images.npz", "expected a folder of images, or a .txt file"), (lines, "no text")):
        lines.write_text("\n")
        with pytest.raises(UsageError, match=said):
            embed.embed(run, folder, tmp_path / "x.npz", "cpu")


def test_what_a_run_and_its_evaluation_print(run):
    from gssl.cli import captioned_table

    done = CliRunner().invoke(app, ["runs", "show", str(run)])
    assert done.exit_code == 0 and "zero-shot classification" in done.output and captioned.RIDGE in done.output
    assert "image to caption, 12 queries among 9 (all captions)" in done.output
    text = read_json(run / "result.json")["captioned"]
    next(row for row in text["zeroshot"]["rows"] if row["name"] == captioned.LARGEST)["gain"]["accuracy"]["high"] = -0.1
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(captioned_table, "tell", lines.append)
        captioned_table.show(text)
    assert any("always answering the largest class is right more often" in line for line in lines)


@pytest.mark.long
def test_the_image_tower_goes_into_transfer_and_other_images(run, folder, tmp_path):
    """One file of weights, whose description says nothing of a tokenizer."""
    assert "tokenizer" not in read_json(run / "weights" / "backbone.json")
    words = [f"weights={run}", "data=imagetext", f"data.root={folder}", "data.size=16", "data.vocab=300"]
    words += ["probe.use=[linear]", "labels_per_class=[5]", "fractions=[]", "draws=1", "draws_one_shot=1"]
    words += ["diagnose.pictures=false", "engine.device=cpu", "engine.threads=1", "engine.progress=false"]
    transfer.main(compose("transfer", words), tmp_path / "transfer")
    scores = read_json(tmp_path / "transfer" / "result.json")["scores"]
    assert len(scores) == 1 and scores[0]["task"] == "classification"


def test_files_of_a_run_that_changed_are_refused(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "weights" / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match="not the one that the captions were read by"):
        retrieve.retrieve(copy, "red", device="cpu")
    file = copy / "weights" / "towers.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(UsageError, match="damaged or replaced"):
        retrieve.retrieve(copy, "red", device="cpu")
    (copy / "weights" / "towers.json").unlink()
    with pytest.raises(UsageError, match="has no towers of images and captions; give a finished run of ssl=clip"):
        retrieve.retrieve(copy, "red", device="cpu")


def test_equal_captions_are_no_reason_for_a_smaller_batch(folder, tmp_path, capsys):
    """They are true of each other's images."""
    pretrain_ssl.main(configured(folder, "budget.steps=1"), tmp_path, dry_run=True)
    assert "ssl.batch_size" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["ssl.batch_size=1"], "ssl.batch_size: expected an integer, at least 2; got 1"),
        (["ssl=simcse"], "ssl=simcse learns from texts, and data=imagetext brings image and label and caption"),
        (["data.test=folds"], "data.test=folds: is for images; texts without a test part"),
        (["data.frames=3"], "data.frames is for data=video; imagetext has no films"),
        (["data=mnist5k", "data.caption_tokens=3"], "ssl=clip learns from images with captions, and data=mnist5k"),
        (
            ["data=mnist5k", "data.root=null", "ssl=simclr", "data.caption_tokens=3"],
            "data.caption_tokens is for data=imagetext; mnist5k",
        ),
        (["ssl.text=lstm"], "ssl.text: expected"),
        (["backbone=text_small"], "backbone=text_small: reads texts, and data=imagetext brings images"),
    ],
)
def test_mistakes_are_one_line(extra, said):
    with pytest.raises(UsageError) as caught:
        compose("pretrain-ssl", ["data=imagetext", "data.root=x", "ssl=clip", *extra])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_groups_are_asked_for_where_there_are_none(tmp_path):
    root = set_of_captioned(tmp_path / "set")
    file = root / "captions.csv"
    file.write_text(file.read_text().replace(",group,", ",flock,", 1))
    cfg = configured(root, "ssl.positives=groups", "budget.steps=1")
    with pytest.raises(UsageError, match="give a column group, or ssl.positives=captions"):
        pretrain_ssl.main(cfg, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    "extra", [["ssl=siglip", "ssl.positives=groups"], ["recipe=slip", "ssl.text=transformer"]], ids=["siglip", "slip"]
)
def test_other_ways_to_learn_run(folder, tmp_path, extra):
    pretrain_ssl.main(configured(folder, *extra, "budget.steps=2"), tmp_path)
    found = read_json(tmp_path / "result.json")
    assert found["captioned"]["images"] == 12 and found["spent"]["flops"] > 0
    towers = read_tensors(tmp_path / "weights" / "towers.safetensors")
    assert any(key.startswith("text.blocks") for key in towers) == ("ssl.text=transformer" in extra)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert any("loss_images" in line for line in lines) == ("recipe=slip" in extra)
