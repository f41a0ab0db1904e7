"""Draws: pure functions of (seed, purpose, step), the same for any number of ranks, and quick."""

import time

import numpy as np
import pytest
import scipy.stats
import torch

from gssl.data.draws import Draws, digest


def test_pure_function_of_seed_purpose_step() -> None:
    a, b = Draws(3), Draws(3)
    a.uniform("other", 9, (5,))  # history must not matter
    first = a.uniform("crop", 7, (4, 3))
    assert torch.equal(first, b.uniform("crop", 7, (4, 3)))
    assert first.dtype == torch.float32 and first.shape == (4, 3)
    for other in (
        b.uniform("crop", 8, (4, 3)),
        b.uniform("flip", 7, (4, 3)),
        Draws(4).uniform("crop", 7, (4, 3)),
    ):
        assert not torch.equal(first, other)


def test_known_values_never_change() -> None:
    """A release that changes these changes every run that was ever made with a seed."""
    assert Draws(0).generator("shuffle", 1).bit_generator.random_raw() == 16337625710141976865
    assert digest("a", 1, b"x").hex() == "c91fafa6f55ee97134ee881220723a72"


def test_steps_have_streams_of_their_own() -> None:
    """A long draw at step 0 must not run into the numbers of step 1."""
    draws = Draws(0)
    long = draws.uniform("z", 0, (200_000,)).numpy()
    start = draws.uniform("z", 1, (4,)).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(long, 4)
    assert not (windows == start).all(axis=1).any()


def test_rank_slices_make_up_the_global_draw() -> None:
    whole = Draws(1)
    for name, more in {"uniform": (), "normal": (), "truncated": (0.7,)}.items():
        parts = [getattr(Draws(1, rank, 3), name)("p", 5, (4, 2), *more) for rank in range(3)]
        assert torch.equal(torch.cat(parts), getattr(whole, name)("p", 5, (12, 2), *more))
    assert (Draws(1, 2, 3).permutation("p", 0, 50) == whole.permutation("p", 0, 50)).all()


def test_distributions() -> None:
    draws = Draws(0)
    uniform = draws.uniform("u", 0, (20_000,), low=-2.0, high=3.0)
    assert uniform.min() >= -2 and uniform.max() <= 3
    assert abs(uniform.mean() - 0.5) < 0.05
    normal = draws.normal("n", 0, (20_000,))
    assert abs(normal.mean()) < 0.05 and abs(normal.std() - 1) < 0.05
    order = draws.permutation("p", 0, 100)
    assert order.dtype == np.int64 and (np.sort(order) == np.arange(100)).all()


@pytest.mark.parametrize("limit", [0.1, 0.5, 1.0, 2.0, 6.0])
def test_truncated_normal(limit: float) -> None:
    found = Draws(0).truncated("z", 3, (100, 200), limit)
    assert found.dtype == torch.float32 and found.shape == (100, 200)
    assert torch.equal(found, Draws(0).truncated("z", 3, (100, 200), limit))
    assert found.abs().max() <= limit * (1 + 1e-6)
    values = found.double().numpy().ravel()
    assert scipy.stats.kstest(values, scipy.stats.truncnorm(-limit, limit).cdf).pvalue > 0.01


def test_a_wide_truncation_is_no_truncation() -> None:
    values = Draws(0).truncated("z", 0, (20_000,), 30.0).numpy()
    assert np.isfinite(values).all() and scipy.stats.kstest(values, "norm").pvalue > 0.01


def test_reseed_depends_on_step_and_rank() -> None:
    def after(draws: Draws, step: int) -> torch.Tensor:
        draws.reseed(step)
        return torch.rand(4)

    with torch.random.fork_rng():
        first = after(Draws(0), 1)
        assert torch.equal(first, after(Draws(0), 1))
        assert not torch.equal(first, after(Draws(0), 2))
        assert not torch.equal(first, after(Draws(0, 1, 2), 1))


class Device:
    """A device's generator, as torch shows it to the host."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.taken = 0

    def manual_seed(self, seed: int) -> None:
        self.seeds.append(seed)
        self.taken = 0

    def get_offset(self) -> int:
        return self.taken


def test_a_gpus_generator_is_seeded_anew_only_after_what_drew_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "default_generators", (device,))
    with torch.random.fork_rng(devices=[]):
        draws = Draws(0)
        for step in range(5):
            draws.reseed(step)
        assert len(device.seeds) == 1
        for step in range(5, 8):  # a network with dropout
            device.taken = 4
            draws.reseed(step)
        assert len(set(device.seeds)) == 4
        resumed = Device()
        monkeypatch.setattr(torch.cuda, "default_generators", (resumed,))
        Draws(0).reseed(7)
        assert resumed.seeds == device.seeds[-1:]


def test_quick_enough_for_every_step() -> None:
    draws = Draws(0)
    times = []
    for step in range(50):
        start = time.perf_counter()
        draws.uniform("u", step, (256, 20))
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3
