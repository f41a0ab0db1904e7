"""What every self-supervised method must do, whichever it is."""

import copy
import json
import math

import pytest
import torch

from gssl.commands import pretrain_ssl
from gssl.config import registry
from gssl.config.composing import compose
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError

METHODS = sorted(registry.SSL)
NO_GREY = {"colorization"}
CLIPS = [name for name in METHODS if registry.SSL[name].column == "video"]
TEXTS = [name for name in METHODS if registry.SSL[name].column == "text"]
PAIRS = [name for name in METHODS if registry.SSL[name].column == "caption"]
OF_IMAGES = [name for name in METHODS if name not in CLIPS + TEXTS + PAIRS]
DATA = dict.fromkeys(CLIPS, ["data=video"]) | dict.fromkeys(TEXTS, ["data=text", "data.tokenizer=byte"])
DATA |= dict.fromkeys(PAIRS, ["data=imagetext"])


def small(name: str, *extra: str):
    data = DATA.get(name, [])
    own = compose("pretrain-ssl", [f"ssl={name}", *data]).backbone.name
    width = 24 if own.startswith("vit") else 8
    base = [
        f"ssl={name}",
        *(data if name in TEXTS + PAIRS else []),
        f"backbone.width={width}",
        "ssl.batch_size=16",
        "budget.steps=4",
        "engine.threads=1",
    ]
    base += ["engine.progress=false", "engine.device=cpu", "engine.log_every=1", "eval.images=64"]
    base += ["ssl.teacher_size=32"] if hasattr(compose("pretrain-ssl", [f"ssl={name}", *data]).ssl, "teacher") else []
    return compose("pretrain-ssl", [*base, *extra])


@pytest.mark.long
@pytest.mark.parametrize("name", OF_IMAGES)
def test_its_name_alone_runs_on_grey_digits_of_28_pixels(name, tmp_path):
    cfg = small(name, "data.limit=200", "data.size=28", "budget.steps=2")
    if name in NO_GREY:
        with pytest.raises(UsageError, match="colour"):
            pretrain_ssl.main(cfg, tmp_path / "run")
        assert not (tmp_path / "run" / "result.json").exists()
        return
    pretrain_ssl.main(cfg, tmp_path)
    result = read_json(tmp_path / "result.json")
    assert result["method"] == name and result["spent"]["steps"] == 2 and result["spent"]["flops"] > 0
    assert math.isfinite(result["objective"]["value"])


@pytest.mark.long
@pytest.mark.parametrize("name", [*CLIPS, "simclr"])
def test_it_learns_from_films_by_its_name_alone(name, tmp_path, films):
    """A method of images has every frame as an image."""
    cfg = small(name, "data=video", f"data.root={films}", "data.size=16", "budget.steps=2")
    pretrain_ssl.main(cfg, tmp_path)
    result = read_json(tmp_path / "result.json")
    assert result["method"] == name and result["spent"]["steps"] == 2 and result["spent"]["flops"] > 0
    assert math.isfinite(result["objective"]["value"])


@pytest.mark.long
@pytest.mark.parametrize("name", TEXTS)
def test_it_learns_from_texts_by_its_name_alone(name, tmp_path, sentences, spoken, paired):
    root = {"chat": spoken, "seq2seq": paired}.get(name, sentences)
    cfg = small(name, f"data.root={root}", "data.size=16", "budget.steps=2")
    pretrain_ssl.main(cfg, tmp_path)
    result = read_json(tmp_path / "result.json")
    assert result["method"] == name and result["spent"]["steps"] == 2 and result["spent"]["flops"] > 0
    assert math.isfinite(result["objective"]["value"]) and ("language" in result) == (name == "clm")
    assert ("dialogues" in result) == (name == "chat") and ("seq2seq" in result) == (name == "seq2seq")


@pytest.mark.long
@pytest.mark.parametrize("name", PAIRS)
def test_it_learns_from_images_with_captions_by_its_name_alone(name, tmp_path, captioned):
    cfg = small(name, f"data.root={captioned}", "data.size=16", "budget.steps=2")
    pretrain_ssl.main(cfg, tmp_path)
    result = read_json(tmp_path / "result.json")
    assert result["method"] == name and result["spent"]["steps"] == 2 and result["spent"]["flops"] > 0
    assert (
        math.isfinite(result["objective"]["value"])
        and result["captioning" if name == "caption" else "captioned"]["part"] == "val"
    )


@pytest.mark.parametrize("name", PAIRS)
def test_who_learns_from_captions_needs_them(name):
    with pytest.raises(UsageError, match=f"ssl={name} learns from images with captions, and data=mnist5k brings image"):
        compose("pretrain-ssl", [f"ssl={name}"])


@pytest.mark.parametrize("name", TEXTS)
def test_who_learns_from_texts_needs_texts(name):
    with pytest.raises(UsageError, match=f"ssl={name} learns from texts, and data=mnist5k brings image and label; use"):
        compose("pretrain-ssl", [f"ssl={name}"])
    with pytest.raises(
        UsageError,
        match="ssl=simclr learns from images, and data=text brings text and label; use ssl=clm or ssl=mlm or ssl=simc",
    ):
        compose("pretrain-ssl", ["data=text"])


@pytest.mark.parametrize("name", CLIPS)
def test_who_learns_from_clips_needs_films(name):
    with pytest.raises(UsageError, match=f"ssl={name} learns from clips, and data=mnist5k brings image and label; use"):
        compose("pretrain-ssl", [f"ssl={name}"])


# one of each kind of state: queues, targets, a centre, prototypes, frequencies, a second optimiser; others are slow,
# and most of these are long
STATES = ("moco", "byol", "dino", "ijepa", "colorization", "simclr")
OPTIONS = [("swav", "ssl.queue=32"), ("moco", "ssl.version=v3"), ("inpainting", "ssl.adversarial=0.1")]
QUICK = ("moco", "colorization")


RESUMED = [
    *(pytest.param(name, "seed=0", marks=pytest.mark.slow) for name in METHODS if name not in STATES),
    *(pytest.param(name, "seed=0", marks=[] if name in QUICK else pytest.mark.long) for name in STATES),
    *(pytest.param(*case, marks=pytest.mark.long) for case in OPTIONS),
]


@pytest.mark.parametrize(("name", "option"), RESUMED)
def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    name, option, tmp_path, killed, pictures, films, sentences, spoken, paired, captioned
):
    """Queues, targets, centres and schedules are in the checkpoint, or functions of the step."""

    data = ["data=video", f"data.root={films}"] if name in CLIPS else ["data=imagefolder", f"data.root={pictures}"]
    texts = {"chat": spoken, "seq2seq": paired}.get(name, sentences)
    data = [f"data.root={texts}"] if name in TEXTS else data
    data = [f"data.root={captioned}"] if name in PAIRS else data
    extra = [*data, "data.size=16", "resume=auto", "engine.checkpoint_every=2"]
    cfg = small(name, *extra, option)
    pretrain_ssl.main(cfg, tmp_path / "whole")
    killed(pretrain_ssl.main, cfg, tmp_path / "broken", step=3)
    pretrain_ssl.main(cfg, tmp_path / "broken")
    files = [tmp_path / run / "weights" / "backbone.safetensors" for run in ("whole", "broken")]
    assert sha256(files[0]) == sha256(files[1])
    lines = [[json.loads(t) for t in (f.parent.parent / "metrics.jsonl").read_text().splitlines()] for f in files]
    assert [entry.get("loss") for entry in lines[0]] == [entry.get("loss") for entry in lines[1]]


@pytest.mark.parametrize("name", METHODS)
def test_the_backbone_learns_and_what_it_logs_is_finite(name, build, batch):
    method = build(name)
    before = copy.deepcopy(method.backbone.state_dict())
    for step in range(3):
        out = method.update(batch(method, 12, seed=step), step)
        assert "loss" in out and all(v.numel() == 1 and torch.isfinite(v) and not v.requires_grad for v in out.values())
    moved = {k for k, v in method.backbone.named_parameters() if not torch.equal(v, before[k])}
    still = set(dict(method.backbone.named_parameters())) - moved
    assert not still, f"never updated: {sorted(still)}"


@pytest.mark.parametrize("name", [n for n in METHODS if registry.SSL[n].labels])
def test_who_reads_labels_says_so(name, build):
    assert "label" in build(name).needs


@pytest.mark.parametrize("name", [n for n in METHODS if not registry.SSL[n].labels])
def test_all_others_never_see_a_label(name, build):
    assert "label" not in build(name).needs
