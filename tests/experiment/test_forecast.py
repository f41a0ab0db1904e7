"""The score of predicted frames beside persistence, on clips of which everything is known."""

import numpy as np
import pytest
import torch
from torch import nn

from gssl.data.columns import VideoColumn
from gssl.data.memory import in_memory
from gssl.experiment import forecast

CPU = torch.device("cpu")


class Shifting(nn.Module):
    """Knows that everything moves one pixel to the right, and round."""

    def following(self, before: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return last.roll(1, 3)


class Persisting(nn.Module):
    def following(self, before: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return last


@pytest.fixture
def clips():
    """Five clips of six frames that move so; two belong together."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 255, (5, 12, 12, 3)).astype(np.uint8)
    frames = np.stack([np.roll(first, t, axis=2) for t in range(6)], axis=1)
    images = in_memory(frames.reshape(-1, 12, 12, 3), np.zeros(30, np.int64), ["a"])
    hashes = rng.integers(0, 255, (5, 16)).astype(np.uint8)
    images.store.columns["video"] = VideoColumn(images.store, 6, hashes)
    found = images.subset(np.arange(5) * 6 + 3)
    found.stored, found.groups = ("video",), np.array(["x", "x", "y", "z", "w"])
    return found


def test_who_knows_the_motion_has_no_error_and_who_stands_still_is_persistence(clips, tmp_path):
    assert forecast.serves(Shifting(), clips) and not forecast.serves(nn.Linear(1, 1), clips)
    found = forecast.evaluate(Shifting(), clips, 12, CPU, tmp_path / "samples" / "next_frame.png")
    assert found["clips"] == 5 and found["groups"] == 4 and (tmp_path / "samples" / "next_frame.png").is_file()
    assert [entry["horizon"] for entry in found["horizons"]] == [1, 2, 3, 4]
    for entry in found["horizons"]:
        assert entry["model"]["mse"] == 0 and entry["of_persistence"]["ratio"] == 0 < entry["persistence"]["mse"]
    same = forecast.evaluate(Persisting(), clips, 12, CPU)
    for entry in same["horizons"]:
        assert entry["model"] == entry["persistence"] and entry["of_persistence"]["ratio"] == 1
    frames = clips.fetch(np.arange(5))["video"].float() / 255
    true, last = frames[:, 2:], frames[:, 1:-1]
    first = found["horizons"][0]
    assert first["persistence"]["mse"] == pytest.approx(float((true - last).square().mean()), rel=1e-4)
    moving = ((true - last).abs().amax(-1) > 0.05).float().mean()
    assert first["moving_share"] == pytest.approx(float(moving), rel=1e-4)
