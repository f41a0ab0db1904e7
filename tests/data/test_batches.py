"""Batches: stateless, every image once an epoch, the same for any number of ranks; images and their hash."""

import pickle

import numpy as np
import pytest
import torch

from gssl.data import cache
from gssl.data.batches import Batches, sequential
from gssl.data.draws import Draws
from gssl.data.images import Images

CPU = torch.device("cpu")


def make(count: int = 10, ragged: bool = False, channels: int = 3) -> Images:
    """Images whose every pixel is their number."""

    def build(writer: cache.Writer) -> None:
        for i in range(count):
            image = np.full((4 + i % 3, 5, channels) if ragged else (4, 5, channels), i, np.uint8)
            writer.add([image], [cache.image_hash(image)])
        writer.finish({}, {})

    store = cache.entry(f"t{count}{ragged}{channels}", lambda: 1, build)
    return Images(store, np.arange(count), np.arange(count) % 2, ["even", "odd"])


def test_fetch() -> None:
    batch = make().fetch(np.array([7, 2]))
    assert batch["image"].shape == (2, 3, 4, 5) and batch["image"].dtype == torch.uint8
    assert (batch["image"][0] == 7).all() and (batch["image"][1] == 2).all()
    assert batch["label"].tolist() == [1, 0] and batch["index"].tolist() == [7, 2]
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    batch["image"].zero_()  # a batch is a copy: the store must not see this
    assert (make().fetch(np.array([7]))["image"] == 7).all()


def test_fetch_ragged_pads_to_the_largest() -> None:
    batch = make(ragged=True).fetch(np.array([0, 2]))
    assert batch["image"].shape == (2, 3, 6, 5) and batch["extent"].tolist() == [[4, 5], [6, 5]]
    assert batch["image"][0, :, 4:].sum() == 0 and (batch["image"][1] == 2).all()
    assert "extent" not in make().fetch(np.array([0]))


def test_subset_and_hash() -> None:
    images = make()
    part = images.subset(np.array([4, 1, 9])).subset(np.array([2, 0]))
    assert part.fetch(np.arange(2))["image"][:, 0, 0, 0].tolist() == [9, 4]
    assert part.labels.tolist() == [1, 0] and len(part) == 2 and part.nbytes == 2 * 60
    assert part.hash == images.subset(np.array([9, 4])).hash
    others = [images.subset(np.array([4, 9])), part.unlabelled(), images.subset(np.array([9, 4, 1]))]
    assert len({part.hash, *(other.hash for other in others)}) == 4
    assert part.unlabelled().labels.tolist() == [-1, -1]


def test_pickle_reopens() -> None:
    images = make(200)
    raw = pickle.dumps(images.subset(np.array([5])))
    assert len(raw) < 2500
    again = pickle.loads(raw)
    assert (again.fetch(np.array([0]))["image"] == 5).all() and again.hash == images.subset(np.array([5])).hash


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10])
def test_every_image_once_an_epoch(batch_size: int) -> None:
    batches = Batches(make(), batch_size, Draws(0), CPU)
    stream = np.concatenate([batches(t)["index"].numpy() for t in range(3 * 10)])
    for epoch in range(batch_size * 3):
        assert sorted(stream[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert batch_size == 10 or (stream[:10] != stream[10:20]).any()
    assert batches.steps_per_epoch == 10 / batch_size


def test_batch_does_not_depend_on_history() -> None:
    straight, jumping = Batches(make(), 4, Draws(5), CPU), Batches(make(), 4, Draws(5), CPU)
    wanted = [straight(t) for t in range(8)]
    for t in (6, 0, 7, 2, 2, 5):
        got = jumping(t)
        assert all(torch.equal(got[name], wanted[t][name]) for name in ("image", "label", "index"))
    assert not torch.equal(wanted[0]["index"], Batches(make(), 4, Draws(6), CPU)(0)["index"])


def test_ranks_make_up_the_global_batch() -> None:
    whole = Batches(make(), 6, Draws(1), CPU)
    ranks = [Batches(make(), 6, Draws(1, rank, 3), CPU) for rank in range(3)]
    for t in (0, 1, 4):
        assert torch.equal(torch.cat([r(t)["index"] for r in ranks]), whole(t)["index"])
    assert all(rank.steps_per_epoch == whole.steps_per_epoch for rank in ranks)


def test_small_data_make_small_batches() -> None:
    assert Batches(make(), 64, Draws(0), CPU).size == 10
    assert Batches(make(), 64, Draws(0, 1, 3), CPU).size == 3


def test_prefetching_changes_nothing() -> None:
    """The CUDA path's threads, run on the CPU."""
    direct, ahead = Batches(make(ragged=True), 4, Draws(2), CPU), Batches(make(ragged=True), 4, Draws(2), CPU)
    ahead._ahead = ahead._prepared()
    for t in (0, 1, 2, 9, 3, 4):
        expected, got = direct(t), ahead(t)
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_resident_set_changes_nothing() -> None:
    """The CUDA path's whole set on the device, run on the CPU."""
    from gssl.data.batches import _on_device

    images = make().subset(np.array([3, 1, 8, 5, 0]))
    direct, resident = Batches(images, 2, Draws(2), CPU), Batches(images, 2, Draws(2), CPU)
    resident._resident = _on_device(images, CPU)
    for t in range(4):
        expected, got = direct(t), resident(t)
        assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_sequential() -> None:
    parts = list(sequential(make(), 4, CPU))
    assert [len(part["label"]) for part in parts] == [4, 4, 2]
    assert torch.cat([part["index"] for part in parts]).tolist() == list(range(10))
