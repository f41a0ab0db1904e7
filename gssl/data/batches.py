"""Batches for training (an endless, stateless stream) and for evaluation (in order, once)."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from gssl.data.draws import Draws
from gssl.data.images import Images
from gssl.method import to_device

Batch = dict[str, torch.Tensor]


class Batches:
    """Endless stream: batch t is a pure function of (seed, t), so nothing is saved and any step can be first.

    Position p = t * (global batch) + i belongs to epoch p // N; an epoch visits every image exactly once, in
    the order of its own permutation, and a batch may reach into the next epoch. Ranks take consecutive
    slices. On CUDA the whole set stays on the device where it takes less than a quarter of the free memory;
    otherwise a thread prepares the next batch in pinned memory.

    batch_size: of all ranks together. size: images of this rank's, min(batch_size, N) / ranks; whole: of all of them.
    steps_per_epoch: N / whole.
    """

    def __init__(self, images: Images, batch_size: int, draws: Draws, device: torch.device) -> None:
        assert len(images) >= draws.ranks
        self.images, self.draws, self.device = images, draws, device
        self.size = min(batch_size, len(images)) // draws.ranks
        self.whole = self.size * draws.ranks
        self.steps_per_epoch = len(images) / self.whole
        self._orders: dict[int, np.ndarray] = {}
        self._resident = _on_device(images, device) if _fits(images, device) else None
        self._ahead = device.type == "cuda" and self._resident is None
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[Batch]] | None = None

    def indices(self, step: int) -> np.ndarray:
        """int64 (size,): the images of this rank's batch at `step`."""
        n = len(self.images)
        start = step * self.whole + self.draws.rank * self.size
        positions = np.arange(start, start + self.size)
        epochs = positions // n
        first, last = int(epochs[0]), int(epochs[-1])
        self._orders = {e: self._order(e) for e in range(first, last + 1)}
        if first == last:
            return self._orders[first][positions % n]
        return np.concatenate([self._orders[e][positions[epochs == e] % n] for e in range(first, last + 1)])

    def __call__(self, step: int) -> Batch:
        """The batch at `step` on the device: the tensors of `Images.fetch`."""
        if self._resident is not None:
            return self._gather(self.indices(step))
        if not self._ahead:
            return _move(self.images.fetch(self.indices(step)), self.device)
        if self._next is not None and self._next[0] == step:
            batch = self._next[1].result()
        else:
            batch = self._pinned(self.indices(step))
        # indices are made here: the memo of the epoch's order is not for two threads
        upcoming = self.indices(step + 1)
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next = (step + 1, self._pool.submit(self._pinned, upcoming))
        return _move(batch, self.device)

    def _order(self, epoch: int) -> np.ndarray:
        known = self._orders.get(epoch)
        return self.draws.permutation("shuffle", epoch, len(self.images)) if known is None else known

    def _gather(self, indices: np.ndarray) -> Batch:
        assert self._resident is not None
        chosen = to_device(torch.from_numpy(indices), self.device)
        batch = {name: values.index_select(0, chosen) for name, values in self._resident.items()}
        return batch | {"image": batch["image"].permute(0, 3, 1, 2), "index": chosen}

    def _pinned(self, indices: np.ndarray) -> Batch:
        batch = self.images.fetch(indices)
        pin = self.device.type == "cuda"
        return {name: value.pin_memory() if pin else value for name, value in batch.items()}


def sequential(images: Images, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Every image once, in order, on `device`; the last batch may be smaller."""
    for start in range(0, len(images), batch_size):
        yield _move(images.fetch(np.arange(start, min(start + batch_size, len(images)))), device)


def _move(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return {name: to_device(value, device) for name, value in batch.items()}


def _fits(images: Images, device: torch.device) -> bool:
    """Whether the set may stay on a CUDA device. On the CPU the memory map serves as well."""
    if device.type != "cuda" or images.shape is None:
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < free / 4


def _on_device(images: Images, device: torch.device) -> Batch:
    """All images, uint8 (N, H, W, C), their labels and stored columns."""
    pixels = torch.from_numpy(np.take(images.store.pixels, images.rows, axis=0))
    kept = {"image": pixels.to(device), "label": torch.from_numpy(images.labels).to(device)}
    for name in images.stored or ():
        kept[name] = torch.from_numpy(np.array(images.store.columns[name].fetch(images.rows))).to(device)
    return kept
