"""Fine-tuning by the engine: precision, accumulation, clipping, signals, and restarts that are equal to the bit."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from gssl.engine import device
from gssl.errors import Interrupted, JobError
from gssl.nets import build_backbone
from gssl.probe.classification import Classifier
from gssl.probe.finetune import Finetune
from gssl.probe.fixmatch import FixMatch
from gssl.probe.training import FineTuning
from gssl.schemas import Backbone
from tests.probe.conftest import fits
from tests.probe.test_finetune import backbone, config, same, setting
from tests.probe.test_fixmatch import config as fixmatch_config
from tests.probe.test_fixmatch import digits as digits
from tests.probe.test_fixmatch import setting as fixmatch_setting


class Killed(BaseException):
    """Ends a fit without any clean-up of its own."""


def die_at(monkeypatch, count: int, action) -> list[int]:
    """Call `action` before the update number `count` of all fits, from 1; returns the steps that were made."""
    made: list[int] = []
    update = FineTuning.update

    def dying(self, batch, step):
        if len(made) + 1 == count:
            action()
        made.append(step)
        return update(self, batch, step)

    monkeypatch.setattr(FineTuning, "update", dying)
    return made


def kill() -> None:
    raise Killed


def without_norm() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(Backbone(name="convnet", norm="none", width=4, patch=1), 8)


def tuned(images, cfg=None, build=None, **engine):
    given = setting(build=build) if build else setting()
    return Finetune(cfg or config(steps=8)).fit(images, replace(given, fits=fits(**engine)))


def test_bf16_takes_effect_and_gives_finite_results(quarters, monkeypatch):
    monkeypatch.setattr(device, "native_bf16_cpu", lambda: True)
    kinds = []
    forward = Classifier.forward

    def noting(self, x):
        out = forward(self, x)
        kinds.append((self.training, out.dtype))
        return out

    monkeypatch.setattr(Classifier, "forward", noting)
    images = quarters(6)
    low, full = (tuned(images, build=backbone("convnet"), precision=name) for name in ("bf16", "fp32"))
    assert {kind for kind in kinds[: len(kinds) // 2] if kind[0]} == {(True, torch.bfloat16)}
    assert {kind for kind in kinds[len(kinds) // 2 :] if kind[0]} == {(True, torch.float32)}
    assert all(kind == torch.float32 for training, kind in kinds if not training)  # predictions are in fp32
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in low.network.parameters())
    assert not same(low.network, full.network)


@pytest.mark.parametrize("parts", [2, 4, 3])
def test_accumulation_equals_the_larger_batch(quarters, parts):
    """Without batch norm, whose statistics are of the part."""
    images = quarters(6)
    cfg = config(steps=6, lrs=[1e-3])
    whole, cut = (tuned(images, cfg, without_norm, accumulate=n) for n in (1, parts))
    for p, q in zip(whole.network.parameters(), cut.network.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=2e-5)
    assert not same(whole.network, cut.network)


def test_accumulation_leaves_two_images_in_each_part(quarters):
    fitted = tuned(quarters(1), config(steps=2), build=backbone("convnet"), accumulate=64)  # 4 images, batch norm
    assert all(p.isfinite().all() for p in fitted.network.parameters())


def test_clipping_bounds_the_gradient(quarters, monkeypatch):
    norms = []
    clip = nn.utils.clip_grad_norm_
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda params, most: norms.append(most) or clip(params, most))
    free, clipped = (tuned(quarters(1), config(steps=3, clip=most)) for most in (None, 1e-3))
    assert norms == [1e-3] * 3 and not same(free.network, clipped.network)


@pytest.mark.parametrize("count", [3, 11, 22, 25])
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(quarters, tmp_path, monkeypatch, count):
    """Eight steps on the first fold, eight on the second, eight on all images; a checkpoint every two."""
    images, cfg = quarters(6), config(steps=8, points=3, folds=2)
    engine = {"checkpoint_every": 2}
    whole = tuned(images, cfg, **engine)
    with monkeypatch.context() as patch:
        die_at(patch, count, kill)
        if count <= 24:
            with pytest.raises(Killed):
                tuned(images, cfg, folder=tmp_path, **engine)
        else:
            tuned(images, cfg, folder=tmp_path, **engine)
    torch.manual_seed(5)
    with monkeypatch.context() as patch:
        made = die_at(patch, 0, kill)
        again = tuned(images, cfg, folder=tmp_path, **engine)
    assert len(made) == 24 - (count - 1) // 2 * 2  # no finished step is made again, but those since the checkpoint
    assert same(whole.network, again.network)
    assert (whole.chosen, whole.val_accuracy) == (again.chosen, again.val_accuracy)
    assert all((a == b).all() for a, b in zip(whole.unselected, again.unselected, strict=True))
    points = [[(entry["step"], entry["val_accuracy"]) for entry in fitted.curve] for fitted in (whole, again)]
    assert points[0] == points[1] and len(points[0]) == 3


def test_what_fixmatch_records_survives_a_kill(digits, quarters, tmp_path, monkeypatch):
    images, given = quarters(1), fixmatch_setting(digits, quarters(3, 1))
    cfg = fixmatch_config(steps=20, threshold=0.3)  # the last two steps are recorded
    whole = FixMatch(cfg).fit(images, given)
    kept = replace(given, fits=fits(tmp_path, checkpoint_every=19))
    with monkeypatch.context() as patch:
        die_at(patch, 20, kill)
        with pytest.raises(Killed):
            FixMatch(cfg).fit(images, kept)
    again = FixMatch(cfg).fit(images, kept)
    assert same(whole.network, again.network) and whole.chosen == again.chosen


def test_another_point_image_or_seed_is_another_fit(quarters, tmp_path):
    """What is kept belongs to everything that determines it."""
    kept = {"folder": tmp_path}
    fitted = [
        tuned(quarters(2), config(steps=3), **kept),
        tuned(quarters(2), config(steps=3, lrs=[0.02]), **kept),
        tuned(quarters(2), config(steps=3, layer_decay=0.5), **kept),
        tuned(quarters(2, 1), config(steps=3), **kept),
        Finetune(config(steps=3)).fit(quarters(2), replace(setting(1), fits=fits(tmp_path))),
    ]
    assert not any(same(fitted[0].network, other.network) for other in fitted[1:])


def test_a_signal_saves_and_the_fit_goes_on(quarters, tmp_path, monkeypatch):
    images, cfg = quarters(1), config(steps=8)
    whole = tuned(images, cfg)
    with monkeypatch.context() as patch:
        die_at(patch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted) as stopped:
            tuned(images, cfg, folder=tmp_path)
    assert stopped.value.code == 75
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == ["step-00000005"]
    assert same(whole.network, tuned(images, cfg, folder=tmp_path).network)
    assert [path.name for path in folder.iterdir()] == ["finished"]


def test_a_signal_in_the_last_step_is_not_lost(quarters, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        die_at(patch, 8, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            tuned(quarters(1), folder=tmp_path)
    assert [path.name for path in next(tmp_path.iterdir()).iterdir()] == ["finished"]


def test_a_loss_that_is_not_finite_names_the_probe(quarters, capsys):
    """A trial raises an alarm and scores worst; the training that counts is an error."""
    fitted = tuned(quarters(6), config(steps=25, lrs=[1e30, 0.02]))
    alarms = [line for line in capsys.readouterr().err.splitlines() if line.startswith("alarm:")]
    assert len(alarms) == 1 and "probe.finetune with lr 1e+30" in alarms[0] and "diverged at step" in alarms[0]
    assert fitted.chosen["lr"] == 0.02
    with pytest.raises(JobError, match=r"^probe\.finetune with lr 1e\+30.* diverged .*probe\.finetune\.lrs"):
        tuned(quarters(1), config(steps=5, lrs=[1e30]))


def test_progress_is_shown(quarters, capsys, monkeypatch):
    monkeypatch.setattr("gssl.engine.progress.LINE_EVERY", 0.0)
    tuned(quarters(1), config(steps=4), progress=True, log_every=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("finetune on 4 images, lr 0.01") for line in lines)
    assert "100%" in lines[-1] and "loss" in lines[-1]
