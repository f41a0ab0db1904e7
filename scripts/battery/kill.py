"""SIGKILL at instants of training, saving, evaluation and the end: called again, the run gives the same bytes.

Half of the instants are drawn in time, half at the k-th operation by which a file is made, renamed or pushed to the
disk. The same battery with one item of the state dropped from checkpoints must fail (`dropped`).
"""

import functools
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.battery.trial import FAMILIES, STEPS, TRAIN, command, fork, outcome, unlike, wait

COMPARE = [
    "compare",
    "backbone.width=8",
    "arms=[simclr,scratch,random]",
    "seeds=1",
    "budget.steps=4",
    "labels_per_class=[5]",
    "jobs=1",
]
COMPARE += ["data.limit=400", "probe.finetune.steps=4", "model=false"]
TRANSFER = [
    "transfer",
    "backbone.width=8",
    "weights=random",
    "labels_per_class=[5]",
    "draws=1",
    "probe.use=[linear,finetune]",
]
TRANSFER += ["probe.finetune.steps=6", "data.limit=400", "diagnose.pictures=false"]
DROPPED = ["optim.safetensors", "step", "seconds", "model"]


def words_of(name: str) -> list[str]:
    return [*FAMILIES[name], *TRAIN, *STEPS, "data.limit=400"] if name in FAMILIES else [*TRANSFER, *TRAIN]


def run(name: str, folder: Path) -> int:
    return fork(lambda: command(*words_of(name), f"hydra.run.dir={folder}", "resume=auto"), folder.with_suffix(".log"))


def calm(name: str) -> tuple[str, float, int]:
    """The undisturbed run's outcome as JSON, its seconds, and how many operations on files it makes; made once."""
    kept = Path(os.environ["GSSL_CACHE"]).with_name(f"calm-{name}.json")
    if not kept.is_file():
        kept.write_text(json.dumps(_calm(name)))
    found = json.loads(kept.read_text())
    return found[0], found[1], found[2]


def _calm(name: str) -> tuple[str, float, int]:
    folder = Path(tempfile.mkdtemp(prefix="gssl-battery-")) / "run"
    first = wait(run(name, folder))  # what is built once: caches, evaluators
    assert first == 0, folder.with_suffix(".log").read_text()
    shutil.rmtree(folder)
    counter = folder.parent / "count"
    start = time.monotonic()
    pid = fork(lambda: _counted(name, folder, counter), folder.with_suffix(".log"))
    assert wait(pid) == 0, folder.with_suffix(".log").read_text()
    return json.dumps(outcome(folder)), time.monotonic() - start, int(counter.read_text())


def _hooked(act: Callable[[int], None]) -> None:
    """Calls `act(k)` before the k-th operation of this process that makes, renames or pushes a file."""
    done = 0

    def before(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def inner(*args: object, **kwargs: object) -> object:
            nonlocal done
            done += 1
            act(done)
            return function(*args, **kwargs)

        return inner

    for name in ("fsync", "rename", "replace", "unlink"):
        setattr(os, name, before(getattr(os, name)))


def _counted(name: str, folder: Path, counter: Path) -> int:
    count = 0

    def note(k: int) -> None:
        nonlocal count
        count = k

    _hooked(note)
    code = command(*words_of(name), f"hydra.run.dir={folder}", "resume=auto")
    counter.write_text(str(count))
    return code


def killed_in_time(name: str, where: Path, fraction: float) -> str:
    _, seconds, _ = calm(name)
    folder = where / "run"
    pid = run(name, folder)
    time.sleep(fraction * seconds)
    os.killpg(pid, signal.SIGKILL)
    wait(pid)
    return _again(name, folder)


def killed_at_operation(name: str, where: Path, fraction: float) -> str:
    _, _, count = calm(name)
    at = 1 + int(fraction * count)
    folder = where / "run"

    def die(k: int) -> None:
        if k == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> int:
        _hooked(die)
        return command(*words_of(name), f"hydra.run.dir={folder}", "resume=auto")

    wait(fork(work, folder.with_suffix(".log")))
    return _again(name, folder)


def _again(name: str, folder: Path) -> str:
    code = wait(run(name, folder))
    if code != 0:
        return f"called again: exit {code}: {folder.with_suffix('.log').read_text()[-300:]}"
    return unlike(json.loads(calm(name)[0]), outcome(folder))


def dropped(item: str, where: Path) -> str:
    """Fails (returns "") only if the run that goes on without `item` is found to differ, or is refused."""
    from gssl.engine import checkpoint
    from gssl.engine.loop import Trainer

    name, folder = "moco", where / "run"
    restore = checkpoint.Checkpoints.restore

    def without(self: object, module: object, optimizers: list) -> object:
        before = {key: value.clone() for key, value in module.state_dict().items()}
        state = restore(self, module if item != "none" else module, [] if item == "optim.safetensors" else optimizers)
        if state and item == "model":
            module.load_state_dict(before)
        return {**state, item: 0} if state and item in ("step", "seconds") else state

    def work() -> int:
        checkpoint.Checkpoints.restore = without
        assert Trainer
        return command(*words_of(name), f"hydra.run.dir={folder}", "resume=auto")

    pid = fork(lambda: _until(name, folder), folder.with_suffix(".log"))
    wait(pid)
    code = wait(fork(work, folder.with_suffix(".log")))
    if item == "seconds":  # of a budget of steps it is no state: the control that the comparison can also pass
        return unlike(json.loads(calm(name)[0]), outcome(folder)) if code == 0 else f"exit {code}"
    differs = code != 0 or unlike(json.loads(calm(name)[0]), outcome(folder))
    return "" if differs else f"a run that goes on without {item} was not found out"


def _until(name: str, folder: Path) -> int:
    """The run, killed before its ninth step."""
    from gssl.engine import loop

    update = loop.CountedUpdate.__call__

    def dying(self: object, batch: object, step: int) -> object:
        if step == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, batch, step)

    loop.CountedUpdate.__call__ = dying
    return command(*words_of(name), f"hydra.run.dir={folder}", "resume=auto")


def compared(where: Path, fraction: float) -> str:
    """A comparison, killed with its workers; called again it has the same table."""
    words = [*COMPARE, *TRAIN, f"hydra.run.dir={where / 'run'}", f"parts={where / 'parts'}"]
    table, seconds = _calm_comparison()
    pid = fork(lambda: command(*words), where / "log")
    time.sleep(fraction * seconds)
    os.killpg(pid, signal.SIGKILL)
    wait(pid)
    code = wait(fork(lambda: command(*words, "resume=auto"), where / "log"), 300)
    if code != 0:
        return f"called again: exit {code}: {(where / 'log').read_text()[-300:]}"
    return "" if _table(where / "run") == table else "the table differs"


def _calm_comparison() -> tuple[str, float]:
    kept = Path(os.environ["GSSL_CACHE"]).with_name("calm-compare.json")
    if not kept.is_file():
        kept.write_text(json.dumps(_comparison()))
    table, seconds = json.loads(kept.read_text())
    return table, seconds


def _comparison() -> tuple[str, float]:
    where = Path(tempfile.mkdtemp(prefix="gssl-battery-"))
    words = [*COMPARE, *TRAIN, f"hydra.run.dir={where / 'run'}", f"parts={where / 'parts'}"]
    start = time.monotonic()
    code = wait(fork(lambda: command(*words), where / "log"), 300)
    assert code == 0, (where / "log").read_text()[-1000:]
    return _table(where / "run"), time.monotonic() - start


def _table(run: Path) -> str:
    report = json.loads((run / "report.json").read_text())
    return json.dumps(report["table"], sort_keys=True)


def trials() -> list[tuple[str, Callable[[Path], str]]]:
    rng = random.Random(0)
    names = [*FAMILIES, "transfer"]
    found: list[tuple[str, Callable[[Path], str]]] = []
    for item in DROPPED:
        found.append((f"dropped-{item}", functools.partial(dropped, item)))
    for k in range(140):
        name, fraction = names[k % len(names)], rng.random()
        found.append((f"time-{k}-{name}", lambda where, n=name, f=fraction: killed_in_time(n, where, f)))
        found.append((f"operation-{k}-{name}", lambda where, n=name, f=fraction: killed_at_operation(n, where, f)))
        if k % 7 == 6:
            found.append((f"compare-{k}", lambda where, f=fraction: compared(where, f)))
    return found
