"""The GAN of clips: what its networks read and make, and a whole run with what it is compared with."""

import json
import math

import pytest
import torch

from gssl.commands import train_gan
from gssl.config.composing import compose
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError
from gssl.experiment import generators
from gssl.gan.video import Motion
from tests.data.films import set_of_films

CPU = torch.device("cpu")


def test_content_stays_and_motion_changes_from_frame_to_frame(build):
    method = build("videogan")
    assert method.clip_latent == 4 + 4 * 2
    z = torch.randn(3, method.clip_latent)
    clips = method.clips(z)
    assert clips.shape == (3, 4, 3, 16, 16) and clips.min() >= 0 and clips.max() <= 1
    other = z.clone()
    other[:, -2:] += 1  # the noise of the last frame
    assert torch.equal(method.clips(other)[:, :3], clips[:, :3]) and not torch.equal(
        method.clips(other)[:, 3], clips[:, 3]
    )
    assert method.sample(torch.randn(5, method.latent)).shape == (5, 3, 16, 16)


def test_codes_of_motion_are_as_large_as_noise_and_depend_on_the_past():
    torch.manual_seed(0)
    motion, noise = Motion(8), torch.randn(50, 6, 8)
    codes = motion(noise)
    torch.testing.assert_close(codes.mean(2), torch.zeros(50, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes.var(2, unbiased=False), torch.ones(50, 6), atol=1e-2, rtol=0)
    other = noise.clone()
    other[:, 0] += 1
    assert not torch.allclose(motion(other)[:, 5], codes[:, 5])


def test_the_discriminator_knows_still_clips_and_the_direction_of_time(build):
    method = build("videogan").eval()
    clips = torch.rand(2, 4, 3, 16, 16)
    logits = method.discriminator(clips).logit
    assert logits.shape == (16,)
    backwards = method.discriminator(clips.flip(1)).logit
    frames, moving = logits[:8].view(2, 4), logits[8:]
    torch.testing.assert_close(backwards[:8].view(2, 4).flip(1), frames)
    assert not torch.allclose(backwards[8:], moving)
    torch.testing.assert_close(method.discriminate(clips[:, 1]), frames[:, 1])


@pytest.mark.parametrize("option", ["gan.penalty=gp", "gan.rotation_d=1.0", "gan.consistency=1.0", "gan.motion=6"])
def test_parts_of_recipes_that_are_about_single_images_are_refused(option, build):
    with pytest.raises(UsageError, match=option.partition("=")[0].replace(".", r"\.")):
        build("videogan", option)


@pytest.mark.parametrize("option", ["gan.penalty=r1_r2", "gan.augment=diffaugment", "gan.loss=relativistic"])
def test_other_parts_go_with_clips(option, build, batch):
    method = build("videogan", option)
    out = method.update(batch(4), 0)
    assert math.isfinite(out["loss"]) and math.isfinite(out["g_loss"])


def small(root, *extra):
    base = ["gan=videogan", "data=video", f"data.root={root}", "data.size=16", "backbone.width=8", "gan.width=4"]
    base += ["gan.latent=8", "gan.motion=3", "gan.frames=4", "gan.batch_size=8", "budget.steps=4", "evaluator=random"]
    base += ["engine.threads=1", "engine.progress=false", "engine.device=cpu", "engine.log_every=1", "eval.images=64"]
    return compose("train-gan", [*base, *extra])


@pytest.mark.long
def test_a_run_is_scored_beside_still_and_shuffled_clips_and_resumes(tmp_path, killed):
    root = set_of_films(tmp_path / "films", 12)
    cfg = small(root, "export=last", "resume=auto", "engine.checkpoint_every=2")
    train_gan.main(cfg, tmp_path / "whole")
    killed(train_gan.main, cfg, tmp_path / "broken", step=3)
    train_gan.main(cfg, tmp_path / "broken")
    for file in sorted((tmp_path / "whole" / "weights").glob("*.safetensors")):
        assert sha256(file) == sha256(tmp_path / "broken" / "weights" / file.name), file.name
    result = read_json(tmp_path / "whole" / "result.json")
    clips = result["clips"]
    assert clips["frames"] == 4 and clips["pixels"]["d"] == 3 * 192
    for kind in ("features", "pixels"):
        found = clips[kind]["kid"]
        assert list(found) == ["generated", "real", "still", "shuffled"] and clips[kind]["n"] > 1
        assert all(own["low"] <= own["kid"] <= own["high"] for own in found.values())
    assert clips["pixels"]["kid"]["real"]["kid"] < clips["pixels"]["kid"]["still"]["kid"]
    text = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert all(math.isfinite(v) for line in text for v in json.loads(line).values() if isinstance(v, float))
    sampler = generators.load_generator(tmp_path / "whole", CPU)  # which makes frames
    (images,) = sampler.batches(sampler.labels(5), seed=1)
    assert images.shape == (5, 3, 16, 16)
