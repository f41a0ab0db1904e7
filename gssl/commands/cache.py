"""`gssl cache`: what is kept in `$GSSL_CACHE`, whether all of it is whole, and what of it can go. No torch."""

from collections.abc import Callable
from typing import Any

from gssl.data import upkeep
from gssl.data.cache import cache_root
from gssl.data.upkeep import Kept
from gssl.errors import UsageError

SCHEMA = "gssl.cache/1"


def listed() -> dict[str, Any]:
    """Everything in the cache."""
    return _document(upkeep.listed(cache_root()))


def verify(read: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Everything in the cache, every byte compared with its checksum; `ok`: nothing is damaged.

    read: told how many bytes were read, of how many.
    """
    found = upkeep.listed(cache_root())
    done, total, damage = 0, sum(kept.bytes for kept in found), {}
    for kept in found:
        damage[kept] = upkeep.damage(kept)
        done += kept.bytes
        read(done, total)
    document = _document(found)
    for row, kept in zip(document["entries"], found, strict=True):
        row["damage"] = damage[kept] or None
    return document | {"ok": not any(damage.values())}


def prune(days: float | None, gigabytes: float | None, dry_run: bool) -> dict[str, Any]:
    """Delete leftovers and what is damaged, what was not used for `days`, and beyond `gigabytes` what was not used for
    the longest time. `entries`: those that go, with `why` and `deleted`. Raises UsageError."""
    for name, value in (("--days", days), ("--gb", gigabytes)):
        if value is not None and not value >= 0:  # NaN too
            raise UsageError(f"{name} {value:g}: must be at least 0")
    going = list(upkeep.useless(upkeep.listed(cache_root()), days, gigabytes))
    document = _document([kept for kept, _ in going])
    failed: list[str] = []
    for row, (kept, why) in zip(document["entries"], going, strict=True):
        row |= {"why": why, "deleted": False}
        try:
            row["deleted"] = not dry_run and upkeep.delete(kept)
        except OSError as error:  # the others go all the same
            failed.append(f"{kept.path} ({error.strerror})")
    if failed:
        raise UsageError(
            f"GSSL_CACHE: {len(failed)} of {len(going)} entries cannot be deleted, such as {failed[0]}; delete them"
            " by hand, as their owner"
        )
    return document | {"dry_run": dry_run}


def _document(found: list[Kept]) -> dict[str, Any]:
    rows = [
        {
            "kind": kept.kind,
            "name": kept.name,
            "path": str(kept.path),
            "bytes": kept.bytes,
            "used": kept.used,
            "count": kept.count,
            "about": kept.about or None,
            "useless": kept.useless or None,
        }
        for kept in found
    ]
    return {"schema": SCHEMA, "path": str(cache_root()), "bytes": sum(kept.bytes for kept in found), "entries": rows}
