"""What lies in the cache, whether it is whole, and what of it nobody needs. No torch here.

Everything below `$GSSL_CACHE` is made again when it is needed, but for the ledger of openings, data sets that were
fetched, and what is none of gssl's: those are listed and never deleted.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gssl.data import cache, checksums, unpacked

SEALED = ("near", "maps", "ranges", "index", "tars", "evaluators")  # kinds with one file per thing that is kept
KINDS = ("images", "features", *SEALED, "unpacked")  # what is made again when it is needed
SUFFIXES = {"near": ".npy", "maps": ".npy", "index": ".json", "evaluators": ".safetensors"}  # of earlier versions
NAME = re.compile(r"[0-9a-f]{16,64}|classifier\d+-[0-9a-f]+-\d+-\d+")
TEMPORARY = re.compile(r"\.[\w.-]+\.\d+\.\d+\.part|tmp[a-z0-9_]{8}")
UNREAD = "cannot be read: "
EARLY, EARLIER = "of a process that ended early", "an earlier version wrote it"
ABANDONED = 86_400.0  # seconds: the temporary file of a process is no longer written to


@dataclass(frozen=True)
class Kept:
    """One thing in the cache. count: images, or files; used: seconds since 1970; useless: why nobody needs it."""

    kind: str
    name: str
    path: Path
    bytes: int
    used: float
    count: int | None = None
    about: str = ""
    useless: str = ""

    @property
    def lock(self) -> Path:
        """What a process holds while it makes it."""
        return self.path.parent / f"{self.path.name.removesuffix('.part').removesuffix('.sealed')}.lock"


def listed(root: Path) -> list[Kept]:
    """All that lies below `root`, by kind, what was used last first."""
    found = []
    for kind in sorted(root.iterdir()) if root.is_dir() else []:
        if kind.name not in KINDS or not kind.is_dir():
            found.append(_whole(kind.name if kind.is_dir() else "files", kind))
            continue
        for path in sorted(kind.iterdir()):
            found += _one(kind.name, path)
    order = {name: i for i, name in enumerate(KINDS)}
    return sorted(found, key=lambda kept: (order.get(kept.kind, len(order)), kept.kind, -kept.used))


def damage(kept: Kept, whole: bool = True) -> str:
    """What is wrong with it, empty where nothing is. whole: every byte is compared, else as it would be for a use."""
    try:
        _compare(kept, whole)
    except cache.BROKEN as error:
        gone = not os.path.lexists(kept.path)  # deleted meanwhile by another process
        barred = isinstance(error, OSError) and error.errno not in checksums.GONE  # it says nothing of what is there
        return "" if gone else f"{UNREAD if barred else ''}{checksums.reason(error)}"
    return ""


def _compare(kept: Kept, whole: bool) -> None:
    """Raises one of `cache.BROKEN` where something is wrong."""
    if kept.useless:
        return
    if kept.kind == "images":
        checksums.compare(kept.path, whole)
        cache.open_store(kept.path)
    elif kept.kind == "features":
        for path in sorted(kept.path.glob("*.npz")):
            checksums.read_named(path)
    elif kept.kind in SEALED:
        checksums.read(kept.path)
    elif kept.kind == "unpacked":
        unpacked.compare(kept.path, whole)
    elif kept.name == "timings.json":
        checksums.read_summed(kept.path, "timings")


def useless(found: list[Kept], days: float | None = None, gigabytes: float | None = None) -> Iterator[tuple[Kept, str]]:
    """What can go, and why: leftovers and what is damaged; what was not used for `days`; beyond `gigabytes` what was
    not used for the longest time."""
    good = []
    for kept in found:
        if kept.kind not in KINDS:
            continue
        text = damage(kept, whole=False)
        why = kept.useless or ("" if not text or text.startswith(UNREAD) else f"damaged: {text}")
        if not why and days is not None and time.time() - kept.used > days * 86_400:
            why = f"not used for {(time.time() - kept.used) / 86_400:.0f} days"
        if why:
            yield kept, why
        else:
            good.append(kept)
    total = sum(kept.bytes for kept in good)
    for kept in sorted(good, key=lambda kept: kept.used):
        if gigabytes is None or total <= gigabytes * 1e9:
            return
        total -= kept.bytes
        yield kept, f"more than {gigabytes:g} GB"


def delete(kept: Kept) -> bool:
    """Delete it, as one step for whoever reads it; False where another process is making it. Raises OSError."""
    with _locked(kept.lock) as ours:
        if not ours:
            return False
        if kept.path.is_dir() and not kept.path.is_symlink() and kept.path.suffix != ".part":
            part = kept.path.with_name(f"{kept.path.name}.part")
            cache.remove(part)
            kept.path.rename(part)
            cache.remove(part)
        elif kept.path != kept.lock:
            cache.remove(kept.path)
    return not os.path.lexists(kept.path)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process has the lock now; it is deleted with what it is of."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(handle), os.lstat(path))
        except (BlockingIOError, FileNotFoundError):
            ours = False
        yield ours
        if ours:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _free(lock: Path) -> bool:
    """Whether no process holds a lock, which need not be there."""
    try:
        with checksums.opened(lock, follow=False) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        return True
    except OSError:
        return False


# ── what there is ────────────────────────────────────────────────────────────────────────────────


def _one(kind: str, path: Path) -> list[Kept]:
    """What a path in the folder of its kind is; nothing for the lock of something that is there.

    What has no name that gssl gives is of somebody else, and no `Kept` of a kind that is deleted.
    """
    kept = _whole(kind, path)
    if _temporary(path):
        return [replace(kept, useless=EARLY)]
    if path.is_symlink() or not NAME.fullmatch(path.name.split(".")[0]):
        return [replace(kept, kind="other")]
    if path.suffix == ".lock":
        there = any(os.path.lexists(path.with_suffix(suffix)) for suffix in ("", ".part", ".sealed"))
        return [] if there or not _free(path) else [replace(kept, useless="the lock of nothing")]
    if path.suffix == ".part":
        return [replace(kept, useless=EARLY)] if _free(kept.lock) else []
    if kind in SEALED:
        if path.suffix == ".sealed":
            return [kept]
        return [replace(kept, useless=EARLIER) if path.suffix == SUFFIXES.get(kind) else replace(kept, kind="other")]
    if not path.is_dir() or path.suffix:
        return [replace(kept, kind="other")]
    return {"images": _images, "features": _features, "unpacked": _unpacked}[kind](kept)


def _unpacked(kept: Kept) -> list[Kept]:
    rows = kept.path / unpacked.ROWS
    if not rows.is_file():
        early = any((kept.path / name).is_file() for name in unpacked.EARLIER)
        return [replace(kept, useless=EARLIER) if early else replace(kept, kind="other")]
    return [replace(kept, used=os.lstat(rows).st_mtime, count=sum(1 for _ in kept.path.iterdir()) - 1)]


def _images(kept: Kept) -> list[Kept]:
    there = any((kept.path / name).exists() for name in ("pixels.bin", "bytes.bin"))
    if not there and not checksums.has_checksums(kept.path):
        return [replace(kept, kind="other")]
    used, count, about = kept.used, None, ""
    with suppress(*cache.BROKEN):
        meta = json.loads(checksums.start_of(kept.path / "meta.json"))
        about = str(meta.get("about", "")) if isinstance(meta, dict) else ""
        count = (checksums.stat_of(kept.path / "hashes.npy").st_size - 128) // 16
        used = checksums.stat_of(kept.path / checksums.VERIFIED).st_mtime
    why = "" if checksums.has_checksums(kept.path) else EARLIER
    return [replace(kept, used=used, count=count, about=about, useless=why)]


def _features(kept: Kept) -> list[Kept]:
    found, files = [], []
    for path in sorted(kept.path.iterdir()):
        if _temporary(path):
            found.append(replace(_whole(kept.kind, path), useless=EARLY))
        elif path.suffix == ".npz":
            files.append(path)
    if not files:
        return found or [replace(kept, kind="other")]
    stats = [os.lstat(path) for path in files]
    used = max(stat.st_mtime for stat in stats)
    return [*found, replace(kept, bytes=sum(stat.st_size for stat in stats), used=used, count=len(files))]


def _whole(kind: str, path: Path) -> Kept:
    size, used = 0, 0.0
    with suppress(OSError):
        used = os.lstat(path).st_mtime
        size = os.lstat(path).st_size if not path.is_dir() or path.is_symlink() else 0
    if path.is_dir() and not path.is_symlink():
        for where, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):
                    size += os.lstat(os.path.join(where, name)).st_size
    return Kept(kind, path.name, path, size, used)


def _temporary(path: Path) -> bool:
    """Whether a process began to write it and nobody will go on."""
    with suppress(OSError):
        return (
            bool(TEMPORARY.fullmatch(path.name))
            and path.is_file()
            and time.time() - os.lstat(path).st_mtime > ABANDONED
        )
    return False
