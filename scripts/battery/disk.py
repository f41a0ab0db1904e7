"""Trouble at writes: full disks, quotas, input/output errors, refused access, too few descriptors, too little memory.

The call ends with one line on stderr, exit code 1 (2 before anything began), or takes no harm. The checkpoint before
it loads, and called again without the trouble it gives the same bytes as the undisturbed run.

`ERROR-once` and `ERROR-lasting` raise at the k-th opening for writing, fsync, rename or unlink of the process. `write`
puts a device in the place of the k-th file opened, so that the kernel refuses what is written: ENOSPC or EIO. `full` is
a tmpfs that is too small (it needs the right to mount). `quota`, `descriptors` and `memory` are limits of the process:
`memory` is RLIMIT_AS beyond what torch has mapped already, for below that nothing can start.
"""

import ctypes
import errno
import json
import os
import random
import resource
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scripts.battery.instants import watch
from scripts.battery.kill import again, called, calm, calm_comparison, compared, compared_again, kept
from scripts.battery.trial import FAMILIES, Found, Trial, command, fork, unlike, wait

ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES]
DEVICES = {"ENOSPC": "/dev/full", "EIO": "/proc/self/mem"}  # writing to the second one's first page is EIO
NAMES = [*FAMILIES, "transfer", "evaluate"]
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_REMOUNT = 0x20000, 0x4000, 0x40000, 0x20


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [None if word is None else word.encode() for word in (source, target, kind, data)]
    if libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def alone() -> None:
    """A mount table of this process and its children alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, "mounting is not allowed here: " + os.strerror(number))
    mount("none", "/", None, MS_REC | MS_PRIVATE)


# ── what is called ───────────────────────────────────────────────────────────────────────────────


def trained() -> Path:
    """A finished run of a GAN, made once, for `evaluate`."""
    folder = Path(os.environ["GSSL_CACHE"]).with_name("disk-dcgan")
    if not (folder / "run" / "result.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        assert wait(fork(lambda: called("dcgan", folder / "run"), folder / "log")) == 0, (folder / "log").read_text()
    return folder / "run"


def evaluating(folder: Path) -> int:
    return command("evaluate", str(folder), "--evaluator", "random", "-n", "60", "--device", "cpu", "--force")


def call_of(name: str, folder: Path) -> Callable[[], int]:
    return partial(evaluating, folder) if name == "evaluate" else partial(called, name, folder)


def prepared(name: str, folder: Path) -> None:
    if name == "evaluate":
        shutil.copytree(trained(), folder, dirs_exist_ok=True)


def openings(name: str) -> dict[str, int]:
    """How many events of each phase the undisturbed call has."""
    if name != "evaluate":
        counts: dict[str, int] = calm(name)["counts"]
        return counts
    return dict(kept("evaluate", _evaluated)["counts"])


def _evaluated() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gssl-battery-") as place:
        folder, counter = Path(place) / "run", Path(place) / "counts"
        prepared("evaluate", folder)

        def counted() -> int:
            counts = watch(lambda phase, k: None)
            code = evaluating(folder)
            counter.write_text(json.dumps(counts))
            return code

        assert wait(fork(counted, Path(place) / "log")) == 0, (Path(place) / "log").read_text()
        return {"counts": json.loads(counter.read_text()), "found": _numbers(folder)}


def _numbers(folder: Path) -> Any:
    from gssl.engine.files import read_json

    files = sorted((folder / "evaluations").glob("*.json"))
    return {
        file.name: {k: v for k, v in (read_json(file) or {}).items() if k in ("figures", "findings")} for file in files
    }


# ── how it must end ──────────────────────────────────────────────────────────────────────────────


def ended(code: int | None, said: str) -> str:
    """What is wrong with how a call in trouble ended, or ""."""
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    if code not in (0, 1, 2):
        return f"{'hung' if code is None else f'exit {code}'}: {said[-300:]}"
    if "Traceback" in said or "please report" in said.lower():
        return f"a traceback or a fault that nobody foresaw: {said[-300:]}"
    if code and len(lines) != 1:
        return f"exit {code} with {len(lines)} lines of error: {said[-300:]}"
    return ""


def judged(name: str, folder: Path, code: int | None, log: Path) -> Found:
    said = log.read_text(errors="replace")
    what = ended(code, said) or older(folder)
    held = {"held": "no harm" if code == 0 else "refused before it began" if code == 2 else "one line"}
    if what:
        return what, held
    log.unlink()  # what is said from now on is the second call's
    if name != "evaluate":
        return again(name, folder), held
    code = wait(fork(partial(evaluating, folder), log))
    if code != 0:
        return f"called again: exit {code}: {log.read_text()[-300:]}", held
    return unlike(kept("evaluate", _evaluated)["found"], _numbers(folder)), held


def older(folder: Path) -> str:
    from gssl.engine import checkpoint

    if any((folder / "checkpoints").glob("step-*")) and checkpoint.newest(folder / "checkpoints")[0] is None:
        return "no whole checkpoint is left"
    return ""


# ── trouble ──────────────────────────────────────────────────────────────────────────────────────


def failing(name: str, number: int, fraction: float, lasting: bool, where: Path) -> Found:
    """The k-th file operation fails, or all from the k-th on."""
    at = 1 + int(fraction * openings(name)["file"])
    folder, log = where / "run", where / "run.log"
    prepared(name, folder)

    def fail(phase: str, k: int) -> None:
        if phase == "file" and (k == at or (lasting and k > at)):
            raise OSError(number, os.strerror(number))

    def work() -> int:
        watch(fail)
        return call_of(name, folder)()

    return judged(name, folder, wait(fork(work, log)), log)


def unwritable(name: str, device: str, fraction: float, where: Path) -> Found:
    """What is written to the k-th file opened goes to a device that refuses it."""
    at = 1 + int(fraction * openings(name)["opened"])
    folder, log = where / "run", where / "run.log"
    prepared(name, folder)

    def put(file: Any, k: int) -> None:
        if k == at:
            handle = os.open(device, os.O_WRONLY)  # to read from it would never end
            os.dup2(handle, file if isinstance(file, int) else file.fileno())
            os.close(handle)

    def work() -> int:
        watch(lambda phase, k: None, put)
        return call_of(name, folder)()

    return judged(name, folder, wait(fork(work, log)), log)


def small(name: str, fraction: float, where: Path) -> Found:
    """A file system that is full after a part of what the run needs, and then larger."""
    openings(name)
    folder, log = where / "place" / "run", where / "first.log"
    folder.parent.mkdir()
    alone()
    size = 16 + int(fraction * 2000)
    mount("tmpfs", str(folder.parent), "tmpfs", 0, f"size={size}k")
    code = wait(fork(partial(called, name, folder), log))
    mount("tmpfs", str(folder.parent), None, MS_REMOUNT, "size=64m")
    return judged(name, folder, code, log)


def limited(name: str, what: int, value: int, where: Path) -> Found:
    """A limit of the process: of the size of files, of descriptors, of memory."""
    openings(name)
    folder, log = where / "run", where / "run.log"
    prepared(name, folder)

    def work() -> int:
        most = value
        if what == resource.RLIMIT_AS:
            most += int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        if what == resource.RLIMIT_NOFILE:
            most += len(os.listdir("/proc/self/fd"))
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
        return call_of(name, folder)()

    return judged(name, folder, wait(fork(work, log)), log)


def comparison(kind: str, fraction: float, where: Path) -> Found:
    """A comparison whose parts, in their workers, meet a full tmpfs or a quota; its main process too."""
    calm_comparison()
    log = where / "log"
    if kind == "full":
        alone()
        (where / "place").mkdir()
        mount("tmpfs", str(where / "place"), "tmpfs", 0, f"size={100 + int(fraction * 3000)}k")
        where = where / "place"

    def work() -> int:
        if kind == "quota":
            most = 4096 + int(fraction * 200_000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return command(*compared(where))

    code = wait(fork(work, log), 300)
    if kind == "full":
        mount("tmpfs", str(where), None, MS_REMOUNT, "size=128m")
    said = log.read_text(errors="replace")
    held = {"held": "no harm" if code == 0 else "refused before it began" if code == 2 else "one line"}
    return ended(code, said) or compared_again(where), held


def trials() -> list[tuple[str, Trial]]:
    rng = random.Random(2)
    found: list[tuple[str, Trial]] = []
    for k in range(32):
        name = NAMES[k % len(NAMES)]
        whole = name if name != "evaluate" else "curve"
        found.append((f"full-{k}-{whole}", partial(small, whole, rng.random())))
        for lasting in (False, True):
            number = ERRORS[(k // 8 + lasting) % len(ERRORS)]
            title = f"{errno.errorcode[number]}-{'lasting' if lasting else 'once'}-{k}-{name}"
            found.append((title, partial(failing, name, number, rng.random(), lasting)))
        device = list(DEVICES)[k % 2 ^ (k // 8 % 2)]
        found.append((f"write-{device}-{k}-{name}", partial(unwritable, name, DEVICES[device], rng.random())))
        limits = [
            ("quota", resource.RLIMIT_FSIZE, rng.randrange(4, 257) * 1024),
            ("descriptors", resource.RLIMIT_NOFILE, rng.randrange(1, 24)),
            ("memory", resource.RLIMIT_AS, rng.randrange(1, 200) * 2**20),
        ]
        title, what, value = limits[k % 3]
        found.append((f"{title}-{k}-{name}", partial(limited, name, what, value)))
        if k % 4 == 0:
            kind = ("full", "quota")[k // 4 % 2]
            found.append((f"compare-{kind}-{k}", partial(comparison, kind, rng.random())))
    return found
