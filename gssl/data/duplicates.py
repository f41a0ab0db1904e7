"""Groups of images of one data set that show the same picture: equal pixels, or near copies as `gssl.data.near` finds.

Each different image is compared with all others once. Pairs become groups by chains: of three frames of a film the
first and the last are in one group where each is like the middle one.
"""

from typing import NamedTuple

import numpy as np
import torch

from gssl.data import cache, decode, near
from gssl.data.draws import digest
from gssl.data.pool import Pool

FORMAT = 1  # part of the key of what is kept: raise it when any rule here changes


class Group(NamedTuple):
    """Images of one picture, ascending; `exact`: all have equal pixels; `mirrored`: one is the other's mirror image."""

    members: list[int]
    exact: bool
    mirrored: bool

    def parts(self, pool: Pool) -> list[str]:
        """Names of the parts that it lies in."""
        return [pool.names[i] for i in sorted(set(pool.part[self.members].tolist()))]

    def conflicting(self, pool: Pool) -> bool:
        """Whether its images have different labels (or, where pixels are equal, masks)."""
        if pool.column and not self.exact:
            return False  # masks of near copies differ at their edges
        return len({t for t in pool.targets[self.members].tolist() if t >= 0}) > 1

    def torn(self, pool: Pool) -> bool:
        """Whether test images have a copy among the others."""
        own = set(self.parts(pool))
        return "test" in own and len(own) > 1


def find_groups(pool: Pool, workers: int = 0, progress: bool = False) -> list[Group]:
    """All groups of two images or more, the largest first. Pairs of near copies are kept in the cache, by content."""
    _, first, code = np.unique(pool.contents, return_index=True, return_inverse=True)
    key = digest("duplicates", FORMAT, near.FORMAT, *(images.hash for images in pool.parts)).hex()
    pairs = cache.remembered("near", key, lambda: near_pairs(pool, np.sort(first), workers, progress))
    parent = np.arange(len(pool))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for i, j in [*enumerate(first[code].tolist()), *pairs[:, :2].tolist()]:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    roots = np.array([root(i) for i in range(len(pool))], dtype=np.int64)
    flipped = {root(i) for i, _, mirrored in pairs.tolist() if mirrored}
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
    known = pool.paths()
    names = None if known is None else np.array(known)
    found = []
    for members in np.split(order, starts[1:]):
        if len(members) > 1:
            if names is not None and len(set(names[members].tolist())) == 1:  # of one file, in several ways
                continue
            exact = len(set(pool.contents[members].tolist())) == 1
            found.append(Group(members.tolist(), exact, int(roots[members[0]]) in flipped))
    return sorted(found, key=lambda group: (-len(group.members), group.members))


def near_pairs(pool: Pool, unique: np.ndarray, workers: int = 0, progress: bool = False) -> np.ndarray:
    """int64 (M, 3): images i < j of `unique` (n,) that look like copies, and 1 where one is mirrored."""
    if len(unique) < 2:
        return np.zeros((0, 3), dtype=np.int64)
    parts = [images.subset(_own(pool, unique, number)) for number, images in enumerate(pool.parts)]
    known = [near.codes(part, workers) for part in parts if len(part)]
    even, odd = (torch.from_numpy(np.concatenate([code[side] for code in known])) for side in (0, 1))
    found: set[tuple[int, int, int]] = set()
    step = max(1, near.BLOCK // len(unique))
    title = f"looking for copies among {len(unique):,} images"
    with decode.bar(title, len(unique), progress and len(unique) ** 2 >= near.BAR) as advance:
        for start in range(0, len(unique), step):
            rows = slice(start, start + step)
            similar = (odd[rows] @ odd.T).abs_().addmm_(even[rows], even.T)
            similar[torch.arange(len(similar)), torch.arange(start, start + len(similar))] = -1.0  # itself
            for row in torch.nonzero(similar.amax(1) >= near.SIMILAR)[:, 0].tolist():
                for other in near.candidates(similar[row]):
                    mirrored = int(odd[start + row] @ odd[other] < 0)
                    i, j = sorted((int(unique[start + row]), int(unique[other])))
                    if (i, j, mirrored) not in found and _same_colours(pool, i, j, mirrored):
                        found.add((i, j, mirrored))
            advance(len(similar))
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 3)


def _own(pool: Pool, unique: np.ndarray, number: int) -> np.ndarray:
    """Positions in part `number` of those of `unique` (ascending) that lie there."""
    inside: np.ndarray = unique[pool.part[unique] == number] - pool.starts[number]
    return inside


def _same_colours(pool: Pool, i: int, j: int, mirrored: int) -> bool:
    (one, at), (other, there) = pool.at(i), pool.at(j)
    return near.same_colours(one, at, other, there, mirrored)
