"""Batches ahead of their step: the same in any order, a few buffers, errors where they are asked for."""

import threading
import time

import numpy as np
import pytest
import torch

from gssl.data.ahead import DEPTH, LARGE, Ahead, Buffers

CPU = torch.device("cpu")


def image(seed: int, count: int = 8, side: int = 64) -> torch.Tensor:
    """uint8 (B, 3, H, W), channels last, as batches are."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def test_a_buffer_is_used_again_and_what_is_small_has_none() -> None:
    buffers = Buffers(pinned=False)
    places = set()
    for seed, count in enumerate((8, 3, 8, 5)):
        batch = {"image": image(seed, count), "label": torch.arange(count)}
        assert batch["label"].nbytes < LARGE
        found = buffers.fill(batch)
        assert found["label"] is batch["label"]
        if batch["image"].nbytes >= LARGE:
            assert torch.equal(found["image"], batch["image"]) and found["image"] is not batch["image"]
            assert found["image"].stride() == batch["image"].stride()
            places.add(found["image"].data_ptr())
    assert len(places) == 1
    more = buffers.fill({"image": image(9, 32), "mask": image(8)[:, 0].contiguous().repeat(4, 1, 1)})
    assert torch.equal(more["image"], image(9, 32)) and more["mask"].data_ptr() != more["image"].data_ptr()


def test_a_buffer_waits_for_the_end_of_its_last_copy() -> None:
    class Copy:
        waited = 0

        def synchronize(self) -> None:
            self.waited += 1

    buffers = Buffers(pinned=False)
    buffers.sent = copy = Copy()
    buffers.fill({"image": image(0)})
    assert copy.waited == 1


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_are_those_of_their_steps_whatever_is_asked_for(threads: int) -> None:
    asked, where = [], set()

    def indices(step: int) -> np.ndarray:
        asked.append(step)
        assert threading.current_thread() is threading.main_thread()
        return np.array([step])

    def fetch(rows: np.ndarray) -> dict[str, torch.Tensor]:
        where.add(threading.current_thread())
        time.sleep(0.001 * (rows[0] % 3))  # out of order, where there are several threads
        return {"image": image(int(rows[0])), "index": torch.from_numpy(rows)}

    ahead = Ahead(fetch, indices, CPU, threads)
    kept = []
    for step in (*range(12), 40, 41, 7, 8):
        batch = ahead(step)
        assert batch["index"].tolist() == [step] and torch.equal(batch["image"], image(step))
        kept.append((step, batch["image"]))
    assert asked[: 12 + DEPTH] == list(range(12 + DEPTH))  # each once
    assert threading.main_thread() not in where and len(where) <= threads
    assert all(torch.equal(found, image(step)) for step, found in kept)  # no buffer was handed out


def test_an_error_is_raised_in_the_step_that_has_it_and_the_next_ones_go_on() -> None:
    def fetch(rows: np.ndarray) -> dict[str, torch.Tensor]:
        if rows[0] == 2:
            raise OSError("the disk is gone")
        return {"index": torch.from_numpy(rows)}

    ahead = Ahead(fetch, lambda step: np.array([step]), CPU)
    for step in range(6):
        if step == 2:
            with pytest.raises(OSError, match="the disk is gone"):
                ahead(step)
        else:
            assert ahead(step)["index"].tolist() == [step]
