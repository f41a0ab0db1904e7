"""Batches for training (an endless, stateless stream) and for evaluation (in order, once)."""

from collections.abc import Iterator

import numpy as np
import torch

from gssl.data.ahead import Ahead
from gssl.data.draws import Draws
from gssl.data.images import Images
from gssl.method import Batch, to_device

THREADS = 4  # that read batches of images of different sizes, which are put together one by one


class Batches:
    """Endless stream: batch t is a pure function of (seed, t), so nothing is saved and any step can be first.

    Position p = t * (global batch) + i belongs to epoch p // N; an epoch visits every image exactly once, in
    the order of its own permutation, and a batch may reach into the next epoch. Ranks take consecutive
    slices. On CUDA the whole set stays on the device where it takes less than a quarter of the free memory;
    otherwise the next batches are read and sent ahead (`gssl.data.ahead`). JPEG files are decoded ahead on any device.

    batch_size: of all ranks together. purpose: of the draws; two streams side by side need one each.
    size: images of this rank's, min(batch_size, N) / ranks; whole: of all of them.
    steps_per_epoch: N / whole.
    """

    def __init__(
        self, images: Images, batch_size: int, draws: Draws, device: torch.device, purpose: str = "shuffle"
    ) -> None:
        assert len(images) >= draws.ranks
        self.images, self.draws, self.device, self.purpose = images, draws, device, purpose
        self.size = min(batch_size, len(images)) // draws.ranks
        self.whole = self.size * draws.ranks
        self.steps_per_epoch = len(images) / self.whole
        self._orders: dict[int, np.ndarray] = {}
        self._resident = _on_device(images, device) if _fits(images, device) else None
        cuda = device.type == "cuda"
        self._ahead = self._prepared() if self._resident is None and (cuda or images.store.kind == "jpeg") else None

    def _prepared(self) -> Ahead:
        one = self.images.shape or self.images.store.kind == "jpeg"  # which decodes on threads of its own
        return Ahead(self.images.fetch, self.indices, self.device, 1 if one else THREADS, self.device.type != "cpu")

    def indices(self, step: int) -> np.ndarray:
        """int64 (size,): the images of this rank's batch at `step`."""
        n = len(self.images)
        start = step * self.whole + self.draws.rank * self.size
        positions = np.arange(start, start + self.size)
        epochs = positions // n
        first, last = int(epochs[0]), int(epochs[-1])
        orders = self._orders = {e: self._order(e) for e in range(first, last + 1)}  # threads ahead ask, too
        if first == last:
            return orders[first][positions % n]
        return np.concatenate([orders[e][positions[epochs == e] % n] for e in range(first, last + 1)])

    def __call__(self, step: int) -> Batch:
        """The batch at `step` on the device: the tensors of `Images.fetch`."""
        if self._resident is not None:
            return self._gather(self.indices(step))
        if self._ahead is not None:
            return self._ahead(step)
        return _move(self.images.fetch(self.indices(step)), self.device)

    def _order(self, epoch: int) -> np.ndarray:
        known = self._orders.get(epoch)
        return self.draws.permutation(self.purpose, epoch, len(self.images)) if known is None else known

    def _gather(self, indices: np.ndarray) -> Batch:
        assert self._resident is not None
        chosen = to_device(torch.from_numpy(indices), self.device)
        batch = {name: values.index_select(0, chosen) for name, values in self._resident.items()}
        return batch | {"image": batch["image"].permute(0, 3, 1, 2), "index": chosen}


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
    pixels = torch.from_numpy(images.store.stack(images.rows))
    kept = {"image": pixels.to(device), "label": torch.from_numpy(images.labels).to(device)}
    for name in images.stored or ():
        kept[name] = torch.from_numpy(np.array(images.store.columns[name].fetch(images.rows))).to(device)
    return kept
