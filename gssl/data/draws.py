"""Every random number is a function of (seed, purpose, step): no generator is ever saved or resumed."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

BLOCK = 1 << 16  # texts that are framed at a time


def digest(*parts: object, size: int = 16) -> bytes:
    """blake2b of the parts, each framed by its length, so that ("ab", "c") and ("a", "bc") differ.

    An array of bytes, dtype S, counts as its elements one by one.
    """
    state = hashlib.blake2b(digest_size=size)
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind == "S":
            for start in range(0, len(part), BLOCK):
                state.update(_framed(part[start : start + BLOCK]))
            continue
        raw = part if isinstance(part, bytes) else str(part).encode(errors="surrogateescape")
        state.update(len(raw).to_bytes(8, "little") + raw)
    return state.digest()


def _framed(texts: np.ndarray) -> bytes:
    """Each with its length before it. One by one a million would take a second."""
    width = texts.dtype.itemsize
    if len(texts) and (np.char.str_len(texts) == width).all():
        lines = np.empty((len(texts), 8 + width), np.uint8)
        lines[:, :8] = np.frombuffer(width.to_bytes(8, "little"), np.uint8)
        lines[:, 8:] = np.ascontiguousarray(texts).view(np.uint8).reshape(-1, width)
        return lines.tobytes()
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts.tolist())


class Draws:
    """Counter-based randomness (Philox): drawn on the CPU for the whole global batch and sliced by rank.

    The key (128 bits) is made from `seed` and `purpose`; `step` is the highest of the counter's four 64-bit
    words, so streams of different steps are 2^192 blocks apart and never overlap.
    `purpose` is any string; two uses that must be independent need different purposes.
    """

    def __init__(self, seed: int, rank: int = 0, ranks: int = 1) -> None:
        assert 0 <= rank < ranks
        self.seed, self.rank, self.ranks = seed, rank, ranks
        self._keys: dict[str, np.ndarray] = {}
        self._seeded = False  # the generators of CUDA devices

    def generator(self, purpose: str, step: int = 0) -> np.random.Generator:
        """A fresh generator at the beginning of the stream (seed, purpose, step); the same on every rank."""
        key = self._keys.get(purpose)
        if key is None:
            key = np.frombuffer(digest("draws", self.seed, purpose), dtype="<u8")
            self._keys[purpose] = key
        counter = np.array([0, 0, 0, step], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(counter=counter, key=key))

    @property
    def shared(self) -> "Draws":
        """The same numbers for all ranks: of what is no sample, such as directions or a queue's start."""
        return self if self.ranks == 1 else Draws(self.seed)

    def uniform(
        self, purpose: str, step: int, shape: Sequence[int], low: float = 0.0, high: float = 1.0
    ) -> torch.Tensor:
        """float32 in [low, high]; shape[0] counts local rows, ranks · shape[0] rows are drawn."""
        values = self.generator(purpose, step).random(self._whole(shape), dtype=np.float32)
        if (low, high) != (0.0, 1.0):
            values *= np.float32(high - low)
            values += np.float32(low)
        return self._local(values, shape)

    def normal(self, purpose: str, step: int, shape: Sequence[int]) -> torch.Tensor:
        """float32, standard normal; rows as in `uniform`."""
        values = self.generator(purpose, step).standard_normal(self._whole(shape), dtype=np.float32)
        return self._local(values, shape)

    def truncated(self, purpose: str, step: int, shape: Sequence[int], limit: float) -> torch.Tensor:
        """float32, standard normal given that no value passes ±`limit` (the truncation trick, arXiv:1809.11096)."""
        from scipy.special import ndtr, ndtri  # takes a while to import

        low = ndtr(-limit)
        values = ndtri(low + (1 - 2 * low) * self.generator(purpose, step).random(self._whole(shape)))
        return self._local(values.astype(np.float32), shape)

    def integers(self, purpose: str, step: int, shape: Sequence[int], high: int) -> torch.Tensor:
        """int64 in [0, high), each equally likely; rows as in `uniform`."""
        return self._local(self.generator(purpose, step).integers(0, high, self._whole(shape)), shape)

    def permutation(self, purpose: str, step: int, n: int) -> np.ndarray:
        """int64 (n,): a permutation of range(n), the same on every rank."""
        return self.generator(purpose, step).permutation(n)

    def reseed(self, step: int) -> None:
        """Seed torch's global generators (dropout) from (seed, rank, step).

        32 bits, because torch's CPU generator keeps no more of its seed. A CUDA device's generator is seeded at the
        first call and after whatever drew from it: seeding breaks captured graphs, and no network of ours draws there.
        """
        seed = int.from_bytes(digest(self.seed, "torch", self.rank, step, size=4), "little")
        if torch.backends.mps.is_available():
            torch.manual_seed(seed)
            return
        torch.default_generator.manual_seed(seed)  # torch.manual_seed notes a traceback for a GPU that may come
        if torch.cuda.is_initialized():
            for generator in torch.cuda.default_generators:
                if not self._seeded or generator.get_offset():  # numbers that were taken; known to the host
                    generator.manual_seed(seed)
            self._seeded = True

    def _whole(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (self.ranks * shape[0], *shape[1:])

    def _local(self, values: np.ndarray, shape: Sequence[int]) -> torch.Tensor:
        return torch.from_numpy(values[self.rank * shape[0] : (self.rank + 1) * shape[0]])
