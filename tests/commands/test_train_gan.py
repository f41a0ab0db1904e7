"""What `gssl train-gan` reports of its generators: useless ones raise alarms, the best and the last are on record."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from gssl.commands import train_gan
from gssl.config.composing import compose
from gssl.data import centre, load_data, sequential
from gssl.engine import checkpoint
from gssl.engine.files import read_json
from gssl.errors import JobError
from gssl.experiment.gan_evaluation import above
from gssl.gan.adversarial import GAN
from gssl.nets.weights import read_weights

CPU = torch.device("cpu")
BASE = ["evaluator=random", "gan.width=2", "gan.latent=4", "gan.batch_size=16", "backbone.width=4", "eval.images=200"]
BASE += ["engine.threads=1", "engine.progress=false", "engine.device=cpu", "engine.log_every=1"]


def config(*words: str):
    return compose("train-gan", [*BASE, "budget.steps=4", "eval.every=1", *words])


def lines(run: Path) -> list[dict]:
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def digits():
    """Training and test digits, (n, 3, 28, 28) in [0, 1]."""
    splits = load_data(config().data, progress=False)

    def pixels(part):
        return torch.cat([centre(b["image"], 28, b.get("extent")) for b in sequential(part, 256, CPU)])

    return pixels(splits.pretrain), pixels(splits.open_test())


@pytest.fixture
def faking(monkeypatch):
    """`faking(images)`: every generator makes these, the i-th for the i-th z of an evaluation."""

    def install(images: torch.Tensor) -> None:
        def sample(self, z, label=None):
            # which z is which: a number of its own that is a function of z
            index = (z[:, 0].double() * 1e6).long() % len(images)
            return images[index]

        monkeypatch.setattr(GAN, "sample", sample)

    return install


def alarms(run: Path) -> str:
    return " ".join(entry["alarm"] for entry in lines(run) if "alarm" in entry)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "says", "poor"),
    [
        ("constant", "samples are alike", ("recall", "coverage", "pairwise", "nearest")),
        ("ten images", "samples repeat", ("coverage", "nearest")),
        ("memorising", "copies of training images", ()),
    ],
)
def test_a_useless_generator_is_caught(kind, says, poor, digits, faking, tmp_path):
    train, _ = digits
    images = {"constant": train[:1], "ten images": train[::360][:10], "memorising": train}[kind]
    faking(images)
    train_gan.main(config(), tmp_path)
    assert says in alarms(tmp_path)
    result = read_json(tmp_path / "result.json")
    assert any(says in entry["alarm"] for entry in result["alarms"])
    last = lines(tmp_path)[-1]
    for key in poor:
        assert last[key] < 0.3, (key, last[key])
    if kind == "memorising":  # no other figure gives it away
        assert last["copied"] > 0.9 and last["coverage"] > 0.8 and last["nearest"] > 0.8
    else:
        assert last["val_kid_low"] > result["kid_baseline"]["train_real"]["kid_high"]


def test_a_dead_generator_is_said_so_by_the_only_evaluation(faking, tmp_path):
    faking(torch.rand(200, 3, 28, 28, generator=torch.Generator().manual_seed(0)))
    train_gan.main(config("budget.steps=12", "eval.every=null", "data.limit=600"), tmp_path)
    measured = [entry for entry in lines(tmp_path) if "val_kid" in entry]
    assert [entry["step"] for entry in measured] == [0, 12] and measured[-1]["progress"] >= 0.9
    assert "the generator is dead" in alarms(tmp_path) and "coverage 0" in alarms(tmp_path)


def test_the_first_samples_have_the_colour_of_the_images(tmp_path):
    """Digits are white on black."""
    from PIL import Image

    light = {}
    for start in ("median", "grey"):
        train_gan.main(config("budget.steps=1", "data.limit=200", f"gan.start={start}"), tmp_path / start)
        with Image.open(tmp_path / start / "samples" / "step-00000000.png") as grid:
            light[start] = np.asarray(grid.convert("L"))[:28, :28].mean() / 255
    assert light["median"] < 0.1 and 0.3 < light["grey"] < 0.7


@pytest.mark.long
def test_alarms_are_silent_where_samples_are_as_good_as_images_can_be(digits, faking, tmp_path):
    faking(digits[1])
    train_gan.main(config(), tmp_path)
    assert "samples" not in alarms(tmp_path)
    last = lines(tmp_path)[-1]
    assert last["copied"] < 0.15 and last["coverage"] > 0.8 and 0.9 < last["pairwise"] < 1.1


@pytest.mark.long
def test_on_collapse_stop_ends_the_run(digits, faking, tmp_path):
    faking(digits[0][:1])
    with pytest.raises(JobError, match="samples are alike"):
        train_gan.main(config("engine.on_collapse=stop"), tmp_path)
    assert read_json(tmp_path / "status.json")["state"] == "failed"


@pytest.mark.long
def test_the_best_is_kept_beside_the_last_and_which_is_exported_is_told(digits, faking, tmp_path, monkeypatch):
    """Samples are good at step 2 and bad afterwards."""
    good, bad = digits[1], torch.rand(200, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    seen = {"step": 0}
    original = GAN.update

    def update(self, batch, step):
        seen["step"] = step + 1
        return original(self, batch, step)

    def sample(self, z, label=None):
        images = good if seen["step"] == 2 else bad
        return images[(z[:, 0].double() * 1e6).long() % len(images)]

    monkeypatch.setattr(GAN, "update", update)
    monkeypatch.setattr(GAN, "sample", sample)
    weights = {}
    for export in ("best", "last"):
        seen["step"] = 0
        run = tmp_path / export
        train_gan.main(config(f"export={export}"), run)
        result = read_json(run / "result.json")
        assert result["best"]["step"] == 2 and result["last"]["step"] == 4
        assert result["best"]["val_kid"] < result["last"]["val_kid"]
        # the random feature extractor knows no labels
        assert result["exported"] == {"which": export, "step": result[export]["step"], "chosen_with_labels": False}
        assert result["objective"]["value"] == result[export]["val_kid"]
        weights[export] = read_weights(run / "weights" / "generator.safetensors")
        model, state = checkpoint.read_best(run / "checkpoints", CPU)
        assert state["step"] == 2
        same = all(torch.equal(model[f"ema.module.{key}"], value) for key, value in weights[export].items())
        assert same == (export == "best")


@pytest.mark.long
@pytest.mark.parametrize("who", ["generator", "discriminator"])
def test_nan_stops_within_a_step_and_keeps_what_was_finite(who, tmp_path, monkeypatch):
    original = GAN.update

    def update(self, batch, step):
        if step == 2:
            with torch.no_grad():
                next(getattr(self, who).parameters()).fill_(float("nan"))
        return original(self, batch, step)

    monkeypatch.setattr(GAN, "update", update)
    with pytest.raises(JobError, match="diverged at step 3"):
        train_gan.main(config("eval.every=null", "engine.checkpoint_every=1"), tmp_path)
    path, damaged = checkpoint.newest(tmp_path / "checkpoints")
    assert path.name == "step-00000002" and not damaged
    model, _, _ = checkpoint.read(path, CPU)
    assert all(bool(torch.isfinite(value).all()) for value in model.values() if value.is_floating_point())


@pytest.mark.long
def test_a_run_that_diverges_at_once_has_a_finite_checkpoint_too(tmp_path, monkeypatch):
    monkeypatch.setattr(GAN, "update", lambda self, batch, step: {"loss": torch.tensor(float("nan"))})
    with pytest.raises(JobError, match="diverged at step 1"):
        train_gan.main(config(), tmp_path)
    assert checkpoint.newest(tmp_path / "checkpoints")[0].name == "step-00000000"


@pytest.mark.long
def test_figures_do_not_depend_on_how_a_run_is_cut(tmp_path):
    """The same z, the same images: the untrained generator's figures are equal in two runs of different budgets."""
    first = []
    for name, words in (("a", ["budget.steps=1"]), ("b", ["budget.steps=2", "gan.batch_size=8"])):
        train_gan.main(config(*words), tmp_path / name)
        first.append(lines(tmp_path / name)[0])
    assert first[0] == first[1]


def test_above_is_the_fraction_of_pairs():
    rng = np.random.default_rng(0)
    real, fake = rng.integers(0, 6, 40) / 5, rng.integers(0, 6, 30) / 5
    pairs = (real[:, None] > fake).mean() + 0.5 * (real[:, None] == fake).mean()
    assert above(torch.tensor(real), torch.tensor(fake)) == pytest.approx(pairs)


@pytest.mark.long
def test_a_best_of_a_step_that_was_lost_to_a_kill_stays_the_best(tmp_path, faking, digits, monkeypatch):
    """The checkpoint is of step 2, the best of step 3: who goes on from 2 and ends there keeps it."""
    run = tmp_path / "run"
    train_gan.main(config("budget.steps=2", "engine.checkpoint_every=1"), run)
    model, state = checkpoint.read_best(run / "checkpoints", CPU)
    checkpoint.write_best(run / "checkpoints", 3, model, {"val_kid": -1.0, "figures": state["figures"]})
    shutil.rmtree(run / "checkpoints" / "step-00000002")
    (run / "result.json").unlink()
    status = read_json(run / "status.json") | {"state": "failed"}
    (run / "status.json").write_text(json.dumps(status))
    train_gan.main(config("budget.steps=2", "engine.checkpoint_every=1", "resume=auto"), run)
    assert checkpoint.best_state(run / "checkpoints")["step"] == 3


@pytest.mark.parametrize("name", ["projection", "acgan"])
def test_unlabelled_images_beside_labelled_ones(name, pictures, tmp_path):
    """A conditional GAN is trained and evaluated on labelled images only."""
    root = tmp_path / "photos"
    shutil.copytree(pictures / "train", root / "labelled")
    shutil.copytree(pictures / "test", root / "more" / "deep")
    words = ["data=imagefolder", f"data.train={root / 'labelled'}", f"data.pretrain={root / 'more'}", "data.size=16"]
    words = [f"gan={name}", *words, f"data.test={pictures / 'test'}", "budget.steps=2"]
    train_gan.main(config(*words), tmp_path / "run")
    assert read_json(tmp_path / "run" / "result.json")["labels_used"]


def test_a_grid_has_a_column_for_every_class(tmp_path):
    train_gan.main(config("gan=acgan", "budget.steps=1", "data.limit=200"), tmp_path)
    from PIL import Image

    with Image.open(tmp_path / "samples" / "step-00000001.png") as grid:
        assert grid.size == (10 * 30 - 2, 8 * 30 - 2)


def test_a_dry_run_trains_no_evaluator(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path / "cache"))
    cfg = config("evaluator=auto", "data.limit=200")
    assert "one batch went through" in train_gan.main(cfg, tmp_path / "run", dry_run=True)
    assert not (tmp_path / "cache" / "evaluators").exists()
    assert "a run trains it first" in capsys.readouterr().err
