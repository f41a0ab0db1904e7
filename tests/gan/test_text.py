"""The GAN of texts: what its networks read, whole runs, the lines that it leaves behind, and what it refuses."""

import json
import math

import pytest
import torch

from gssl.commands import evaluate, sample, train_gan
from gssl.config.composing import compose
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError
from gssl.experiment import generators
from gssl.gan.penalties import gradient_penalty
from gssl.vocabulary import FIRST, PAD

WORDS = ("what", "who", "where", "is", "was", "the", "river", "king", "name")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    file = tmp_path_factory.mktemp("lines") / "lines.csv"
    lines = [f"{WORDS[i % 9]} {WORDS[i // 9 % 9]} {WORDS[i // 81 % 9]}?" for i in range(240)]
    file.write_text("text\n" + "\n".join(lines) + "\n")
    return file


def small(root, *extra, command="train-gan", method="gan=textgan"):
    base = [method, "data=text", f"data.root={root}", "data.tokenizer=char", "data.size=12", "data.long=truncate"]
    base += ["backbone.width=8", "budget.steps=6", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
    base += ["engine.log_every=1"]
    base += ["gan.width=8", "gan.latent=6", "gan.batch_size=8", "eval.every=2"] if command == "train-gan" else []
    return compose(command, [*base, *extra])


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "run"
    train_gan.main(small(root, "export=last"), where)
    return where


def test_the_discriminator_reads_letters_and_knows_where_they_stand(build):
    method = build("textgan").eval()
    ids = torch.tensor([[FIRST + 3, FIRST + 4, FIRST + 5], [FIRST + 4, FIRST + 3, FIRST + 5]])
    rows = method.rows(ids)
    assert rows.shape == (2, 257, 16) and rows.sum(1).eq(1).all()
    assert rows.argmax(1)[0].tolist()[:4] == [4, 5, 6, 0] and method.ids[0] == PAD
    seen = method.discriminator(rows)
    assert seen.logit.shape == (2,) and seen.logit[0] != seen.logit[1]
    moved = method.discriminator(rows.roll(1, 2)).logit
    assert not torch.allclose(moved, seen.logit)
    made = method.sample(torch.randn(2, method.latent))
    torch.testing.assert_close(made.sum(1), torch.ones(2, 16))
    assert method.texts(torch.randn(2, method.latent)).shape == (2, 16)


def test_slopes_are_of_rows_as_they_are(build):
    """Of a critic that is linear with weights w, the penalty is (|w| - 1)²: no factor of the range of images."""
    method, w = build("textgan"), torch.randn(5, 7)
    real, fake = torch.rand(3, 5, 7), torch.rand(3, 5, 7)
    found = gradient_penalty(lambda x: (x * w).sum((1, 2)), real, fake, torch.rand(3), method.unit)
    assert float(found) == pytest.approx((float(w.norm()) - 1) ** 2, rel=1e-4)


@pytest.mark.parametrize("option", ["gan.loss=hinge", "gan.penalty=r1_r2", "gan.loss=relativistic", "gan.lecam=0.1"])
def test_other_losses_go_with_texts(option, build, batch):
    out = build("textgan", option, "gan.n_dis=1").update(batch(4), 0)
    assert math.isfinite(out["loss"]) and math.isfinite(out["g_loss"])


@pytest.mark.parametrize(
    "option", ["gan.augment=diffaugment", "gan.rotation_d=1.0", "gan.start=median", "gan.generator=dcgan",
               "gan.attention=d", "gan.condition=projection", "gan.spectral_norm=d", "gan.norm_g=batch"],
)  # fmt: skip
def test_parts_of_recipes_that_are_about_images_are_refused(option, build):
    with pytest.raises(UsageError, match=f"^{option}: is not for texts; set") as error:
        build("textgan", option)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "words", "text"),
    [
        ("train-gan", ["gan=textgan"], "gan=textgan learns from texts, and data=mnist5k brings image and label"),
        (
            "compare",
            ["data=text", "data.root=/x", "arms=[textgan,random]", "backbone=text_conv"],
            "data.tokenizer=bpe has longer tokens; set",
        ),
        ("train-gan", ["gan=textgan", "data=text", "data.root=/x", "data.tokenizer=char", "backbone=text_small"],
         "its discriminator reads letters; set backbone=text_conv, not text_small"),
        ("pretrain-ssl", ["ssl=clm", "data=text", "data.root=/x", "backbone=text_conv"],
         "ssl=clm: learns by a transformer; set backbone=text_small or text_base, not text_conv"),
        ("compare", ["data=text", "data.root=/x", "arms=[simclr-on-textgan,random]"], "textgan makes texts"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_a_line(command, words, text):
    with pytest.raises(UsageError) as error:
        compose(command, words)
    assert text in str(error.value) and "\n" not in str(error.value)


def test_tokens_of_several_characters_are_a_line(root, tmp_path):
    with pytest.raises(UsageError, match="gan=textgan: .* data.tokenizer=bpe has longer tokens; set data.tokenizer=ch"):
        train_gan.main(small(root, "data.tokenizer=bpe"), tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_texts_without_a_character_leave_no_run_behind(tmp_path):
    (tmp_path / "empty.csv").write_text('text\n" "\n""\n')
    with pytest.raises(UsageError, match="there are no training texts that are not empty"):
        train_gan.main(small(tmp_path / "empty.csv"), tmp_path / "run")
    assert not (tmp_path / "run" / "weights").exists() and not (tmp_path / "run" / "result.json").exists()


def test_lines_that_are_all_longer_are_said(root, tmp_path, capsys):
    train_gan.main(small(root, "data.size=8", "budget.steps=1"), tmp_path / "run")
    assert "no training text is shorter than data.size=8 characters" in capsys.readouterr().err
    assert read_json(tmp_path / "run" / "weights" / "generator.json")["shape"]["letters"][0] >= FIRST  # no end to learn


def test_a_run_is_scored_beside_controls(run):
    result = read_json(run / "result.json")
    rows = result["lines"]["rows"]
    assert list(rows) == ["generated", "real", "unigrams", "places", "chain"]
    for row in rows.values():
        assert all(0 <= row[key]["low"] <= row[key]["value"] <= row[key]["high"] for key in row)
    assert rows["real"]["js"]["high"] < rows["unigrams"]["js"]["low"] < rows["generated"]["js"]["low"]
    assert rows["real"]["copied"]["value"] == rows["real"]["words"]["value"] == 1
    assert result["objective"]["name"] == "val_js" and not result["labels_used"] and result["method"] == "textgan"
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seen = [entry for entry in logged if "val_js" in entry]
    assert [entry["step"] for entry in seen] == [0, 2, 4, 6] and {"val_js4", "distinct", "d_val"} <= set(seen[0])
    assert len((run / "samples" / "step-00000006.txt").read_text().splitlines()) >= 32
    assert not (run / "weights" / "discriminator.json").exists() and (run / "weights" / "tokenizer.json").exists()
    assert read_json(run / "weights" / "backbone.json")["backbone"]["name"] == "text_conv"


def test_lines_come_out_as_a_file_and_nothing_takes_them_for_images(run, tmp_path):
    out = tmp_path / "lines.txt"
    found = sample.sample(run, 5, out, 0, "cpu")
    first = out.read_text()
    assert found["texts"] == 5 and set(first) <= {*"".join(WORDS), " ", "?", "\n", "�"}
    sample.sample(run, 5, out, 0, "cpu", force=True)
    assert out.read_text() == first
    sample.sample(run, 5, out, 1, "cpu", force=True)
    assert out.read_text() != first
    with pytest.raises(UsageError, match="--files, --class, --prompt: .* leave them out"):
        sample.sample(run, 5, out, 0, "cpu", prompt="what", force=True)
    with pytest.raises(UsageError, match="generated.run: .*writes texts and makes no images"):
        generators.find_generator(str(run), torch.device("cpu"))
    (run / "weights" / "tokenizer.json").rename(run / "weights" / "gone.json")
    try:
        with pytest.raises(UsageError, match="tokenizer.json: cannot be read"):
            sample.sample(run, 5, tmp_path / "x.txt", 0, "cpu")
    finally:
        (run / "weights" / "gone.json").rename(run / "weights" / "tokenizer.json")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".txt") == ["lines.txt"]


def test_a_language_model_stands_beside_it(root, run, tmp_path):
    from gssl.commands import pretrain_ssl

    clm = tmp_path / "clm"
    pretrain_ssl.main(small(root, "ssl.batch_size=8", command="pretrain-ssl", method="ssl=clm"), clm)
    text = evaluate.evaluate(run, device="cpu", beside=str(clm))
    assert text["schema"] == "gssl.lines/1" and list(text["rows"])[:3] == ["generated", "language_model", "real"]
    assert text["flops"]["generated"] > 0 < text["flops"]["language_model"] and text["test_openings"] == 0
    lengths = {key: text["rows"][key]["length"]["value"] for key in ("language_model", "real")}
    assert 0 < lengths["language_model"] < lengths["real"]  # untrained, it mostly writes what stands for no character
    assert evaluate.evaluate(run, device="cpu", split="test")["test_openings"] == 1
    with pytest.raises(UsageError, match="does not predict the next token"):
        evaluate.evaluate(run, device="cpu", beside=str(run))
    with pytest.raises(UsageError, match="--beside .*: is for runs of gan=textgan"):
        evaluate.evaluate(clm, device="cpu", beside=str(clm))


@pytest.mark.long
def test_a_run_that_was_stopped_ends_with_the_same_bytes(root, tmp_path, killed):
    cfg = small(root, "resume=auto", "engine.checkpoint_every=2")
    train_gan.main(cfg, tmp_path / "whole")
    killed(train_gan.main, cfg, tmp_path / "broken", step=3)
    train_gan.main(cfg, tmp_path / "broken")
    for file in sorted((tmp_path / "whole" / "weights").glob("*")):
        assert sha256(file) == sha256(tmp_path / "broken" / "weights" / file.name), file.name
    whole, broken = (read_json(tmp_path / name / "result.json") for name in ("whole", "broken"))
    assert whole["lines"] == broken["lines"] and whole["last"] == broken["last"] and whole["best"] == broken["best"]
