"""Batches that are read, copied and sent to a GPU before they are asked for, so that it does not wait for the disk.

A thread reads a batch into page-locked memory and starts its copy on a stream of its own, beside the training's. The
page-locked buffers are few and used in turn: one is free again once its copy has ended, which the next reader waits
for and nobody else.
"""

import math
import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch

from gssl.data.ragged import Ragged
from gssl.method import Batch

DEPTH = 3  # batches ahead
LARGE = 1 << 16  # bytes: what is smaller is sent as it is


class Buffers:
    """Memory for one batch on its way to a device: a buffer per name, which grows and is never given back."""

    def __init__(self, pinned: bool) -> None:
        self.pinned = pinned
        self.sent: Any = None  # torch's event after the copy to the device
        self._flat: dict[str, torch.Tensor] = {}

    def fill(self, batch: Batch) -> Batch:
        """`batch` with its large tensors in this memory, strides as they were; waits until the last copy has ended."""
        if self.sent is not None:
            self.sent.synchronize()
        return {name: value if value.nbytes < LARGE else self._into(name, value) for name, value in batch.items()}

    def _into(self, name: str, value: torch.Tensor) -> torch.Tensor:
        flat = self._flat.get(name)
        if flat is None or flat.numel() < value.nbytes:
            size = math.ceil(value.nbytes / LARGE) * LARGE
            flat = self._flat[name] = torch.empty(size, dtype=torch.uint8, pin_memory=self.pinned)
        place = flat[: value.nbytes].view(value.dtype).as_strided(value.shape, value.stride())
        return value.padded(place) if isinstance(value, Ragged) else place.copy_(value)


@cache
def _stream(device: torch.device) -> Any:
    """The stream that batches are copied on."""
    return torch.cuda.Stream(device)


class Ahead:
    """`ahead(step)` is the batch of a step on the device, and those of the next `DEPTH` steps are under way."""

    def __init__(
        self,
        fetch: Callable[[np.ndarray], Batch],
        indices: Callable[[int], np.ndarray],
        device: torch.device,
        threads: int = 1,
        sends: bool = True,
    ) -> None:
        """indices: of the images of a step, asked for in this thread; fetch: their batch on the CPU, in others.

        sends: else batches stay where and as they are, and nothing is copied.
        """
        self.fetch, self.indices, self.device, self.sends = fetch, indices, device, sends
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
        self._made: dict[int, Future[tuple[Batch, Any]]] = {}
        self._free: queue.SimpleQueue[Buffers] = queue.SimpleQueue()
        for _ in range(threads + 1):
            self._free.put(Buffers(device.type == "cuda"))

    def __call__(self, step: int) -> Batch:
        wanted = range(step, step + DEPTH + 1)
        for other in [known for known in self._made if known not in wanted]:
            self._made.pop(other).cancel()
        for other in wanted:
            if other not in self._made:
                self._made[other] = self._pool.submit(self._send, self.indices(other))
        batch, sent = self._made.pop(step).result()
        if sent is not None:
            training = torch.cuda.current_stream(self.device)
            training.wait_event(sent)  # the device waits, not the host
            for value in batch.values():
                value.record_stream(training)  # or its memory might serve the next copy
        return batch

    def _send(self, indices: np.ndarray) -> tuple[Batch, Any]:
        """The batch on the device, and the event after its copy; None on a CPU."""
        batch = self.fetch(indices)
        if not self.sends:
            return batch, None
        buffers = self._free.get()
        try:
            placed = buffers.fill(batch)
            if self.device.type != "cuda":
                return {name: value.clone() for name, value in placed.items()}, None
            stream = _stream(self.device)
            with torch.cuda.stream(stream):
                found = {name: value.to(self.device, non_blocking=True) for name, value in placed.items()}
            buffers.sent = stream.record_event()
            return found, buffers.sent
        finally:
            self._free.put(buffers)
