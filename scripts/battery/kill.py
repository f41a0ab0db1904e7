"""SIGKILL at instants of training, saving, evaluation and the end: called again, the run gives the same bytes.

Instants are drawn in time, and at the k-th event of a phase (`scripts.battery.instants`). The same comparison of bytes
must fail where one item of the state is dropped from checkpoints (`dropped`), and must hold where none is.
"""

import contextlib
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
from typing import Any

from scripts.battery.instants import watch
from scripts.battery.trial import FAMILIES, STEPS, TRAIN, Trial, command, fork, outcome, unlike, wait

COMPARE = ["compare", "backbone.width=8", "arms=[simclr,scratch,random]", "seeds=1", "budget.steps=4"]
COMPARE += ["labels_per_class=[5]", "jobs=1", "data.limit=400", "probe.finetune.steps=4", "model=false"]
PROBES = ["backbone.width=8", "labels_per_class=[5]", "draws=1", "probe.use=[linear,finetune]"]
PROBES += ["probe.finetune.steps=6", "data.limit=400"]
OTHERS = {
    "transfer": ["transfer", "weights=random", "diagnose.pictures=false", *PROBES],
    "curve": ["curve", "sources=[random,scratch]", "fractions=[]", *PROBES],
}
RUNS = [*FAMILIES, *OTHERS]
ITEMS = {  # what a checkpoint holds, and the methods that have it
    "optimizer": list(FAMILIES),
    "model": list(FAMILIES),
    "step": list(FAMILIES),
    "running_": ["simclr", "byol", "moco"],
    "target.": ["byol", "moco"],
    "target.updates": ["byol"],
    "queue.": ["moco"],
    "queue.pushed": ["moco"],
    "predictor.": ["byol"],
    "ema.": ["dcgan"],
    "discriminator.": ["dcgan"],
    "generator.": ["dcgan"],
}
CONTROLS = {"nothing": list(FAMILIES), "seconds": ["simclr"]}  # seconds are no state of a budget of steps


def words_of(name: str) -> list[str]:
    """The call that is made of a run; `NAME@SEED` has another seed than 0."""
    name, _, seed = name.partition("@")
    own = [*FAMILIES[name], *STEPS, "data.limit=400"] if name in FAMILIES else OTHERS[name]
    return [*own, *TRAIN, *([f"seed={seed}"] if seed else [])]


def called(name: str, folder: Path) -> int:
    return command(*words_of(name), f"hydra.run.dir={folder}", "resume=auto")


def run(name: str, folder: Path) -> int:
    return fork(lambda: called(name, folder), folder.with_suffix(".log"))


def kept(name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives as JSON, made once for all trials."""
    file = Path(os.environ["GSSL_CACHE"]).with_name(f"calm-{name}.json")
    if not file.is_file():
        temp = file.with_suffix(f".{os.getpid()}")
        temp.write_text(json.dumps(make()))
        temp.replace(file)
    return json.loads(file.read_text())


def calm(name: str) -> dict[str, Any]:
    """Of the undisturbed run: its `outcome`, its `seconds`, and its `counts` of events by phase."""
    found: dict[str, Any] = kept(name, lambda: _calm(name))
    return found


def _calm(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gssl-battery-") as place:
        return _undisturbed(name, Path(place) / "run")


def _undisturbed(name: str, folder: Path) -> dict[str, Any]:
    first = wait(run(name, folder))  # what is built once: caches, evaluators
    assert first == 0, folder.with_suffix(".log").read_text()
    shutil.rmtree(folder)
    start = time.monotonic()
    assert wait(run(name, folder)) == 0, folder.with_suffix(".log").read_text()
    seconds, found = time.monotonic() - start, outcome(folder)
    shutil.rmtree(folder)
    counter = folder.parent / "counts"

    def counted() -> int:
        counts = watch(lambda phase, k: None)
        code = called(name, folder)
        counter.write_text(json.dumps(counts))
        return code

    assert wait(fork(counted, folder.with_suffix(".log"))) == 0, folder.with_suffix(".log").read_text()
    what = unlike(found, outcome(folder))
    assert not what, f"{name}: two undisturbed runs: {what}"
    return {"outcome": found, "seconds": seconds, "counts": json.loads(counter.read_text())}


def again(name: str, folder: Path) -> str:
    """Call a run again: what differs from the undisturbed one, or ""."""
    code = wait(run(name, folder))
    if code != 0:
        return f"called again: exit {code}: {folder.with_suffix('.log').read_text()[-300:]}"
    return unlike(calm(name)["outcome"], outcome(folder))


# ── kills ────────────────────────────────────────────────────────────────────────────────────────


def in_time(name: str, fraction: float, where: Path) -> str:
    seconds = calm(name)["seconds"]
    folder = where / "run"
    pid = run(name, folder)
    time.sleep(fraction * seconds)
    os.killpg(pid, signal.SIGKILL)
    wait(pid)
    return again(name, folder)


def at_event(name: str, phase: str, fraction: float, where: Path) -> str:
    at = 1 + int(fraction * calm(name)["counts"][phase])
    folder = where / "run"

    def work() -> int:
        watch(lambda now, k: os.kill(os.getpid(), signal.SIGKILL) if now == phase and k == at else None)
        return called(name, folder)

    while (code := wait(fork(work, folder.with_suffix(".log")))) == 0 and at > 1:
        shutil.rmtree(folder)  # the cache has what was written in the undisturbed run: fewer events
        at -= 1 + at // 10
    if code != -signal.SIGKILL:
        return f"was not killed at {phase} {at}: exit {code}"
    return again(name, folder)


# ── comparisons ──────────────────────────────────────────────────────────────────────────────────


def compared(where: Path) -> list[str]:
    return [*COMPARE, *TRAIN, f"hydra.run.dir={where / 'run'}", f"parts={where / 'parts'}"]


def table(where: Path) -> dict[str, Any]:
    """What a comparison must have in the end: its table, and all that its parts hold."""
    report = json.loads((where / "run" / "report.json").read_text())
    parts = {path.parent.name: outcome(path.parent) for path in sorted(where.glob("parts/*/result.json"))}
    return {"table": report["table"], **parts}


def calm_comparison() -> dict[str, Any]:
    """Of the undisturbed comparison: its `table`, its `seconds`, and the `counts` of its main process."""
    found: dict[str, Any] = kept("compare", _calm_comparison)
    return found


def _calm_comparison() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gssl-battery-") as place:
        return _undisturbed_comparison(Path(place))


def _undisturbed_comparison(where: Path) -> dict[str, Any]:
    def counted() -> int:
        counts = watch(lambda phase, k: None)
        code = command(*compared(where))
        (where / "counts").write_text(json.dumps(counts))
        return code

    start = time.monotonic()
    assert wait(fork(counted, where / "log"), 300) == 0, (where / "log").read_text()[-1000:]
    seconds = time.monotonic() - start
    return {"table": table(where), "seconds": seconds, "counts": json.loads((where / "counts").read_text())}


def compared_again(where: Path) -> str:
    code = wait(fork(lambda: command(*compared(where), "resume=auto"), where / "log"), 300)
    if code != 0:
        return f"called again: exit {code}: {(where / 'log').read_text()[-300:]}"
    return unlike(calm_comparison()["table"], table(where))


def killed_comparison(fraction: float, in_file: bool, where: Path) -> str:
    """The main process is killed alone: its workers must end by themselves."""
    before = calm_comparison()
    at = 1 + int(fraction * before["counts"]["file"])

    def die(phase: str, k: int) -> None:
        if phase == "file" and k == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> int:
        if in_file:
            watch(die)
        return command(*compared(where))

    pid = fork(work, where / "log")
    if not in_file:
        time.sleep(fraction * before["seconds"])
        os.kill(pid, signal.SIGKILL)
    wait(pid, 300)
    return left_behind(pid) or compared_again(where)


def left_behind(group: int, patience: float = 15.0) -> str:
    """What is wrong where processes of a group live on; they are then ended."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return ""
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    return f"processes live on {patience:.0f} seconds after their main one"


# ── what must be found out ───────────────────────────────────────────────────────────────────────


def dropped(item: str, name: str, where: Path) -> str:
    """Well only if the run that goes on without `item` is found to differ; a control only if it is not."""
    before, folder = calm(name)["outcome"], where / "run"
    wait(fork(lambda: _until_ninth(name, folder), folder.with_suffix(".log")))

    def work() -> int:
        without(item)
        return called(name, folder)

    code = wait(fork(work, folder.with_suffix(".log")))
    if code != 0:
        return f"exit {code}: {folder.with_suffix('.log').read_text()[-300:]}"
    differs = unlike(before, outcome(folder))
    if item in CONTROLS:
        return differs
    return "" if differs else f"a run that goes on without {item} was not found out"


def without(item: str) -> None:
    """From now on in this process `item` is lost when a checkpoint is restored."""
    from gssl.engine import checkpoint

    restore = checkpoint.Checkpoints.restore

    def lossy(self: Any, module: Any, optimizers: Any) -> Any:
        before = {key: value.clone() for key, value in module.state_dict().items()}
        state = restore(self, module, [] if item == "optimizer" else optimizers)
        if not state or item in ("optimizer", "nothing"):
            return state
        if item in ("step", "seconds"):
            return {**state, item: 0}
        lost = {key: value for key, value in before.items() if item == "model" or item in key}
        assert lost, f"no {item} among {sorted(before)}"
        module.load_state_dict({**module.state_dict(), **lost})
        return state

    checkpoint.Checkpoints.restore = lossy  # type: ignore[method-assign]


def _until_ninth(name: str, folder: Path) -> int:
    """The run, killed before its ninth step, after the checkpoint of the eighth."""
    from gssl.engine import flops

    update = flops.CountedUpdate.__call__

    def dying(self: Any, batch: Any, step: int) -> Any:
        if step == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, batch, step)

    flops.CountedUpdate.__call__ = dying  # type: ignore[method-assign]
    return called(name, folder)


def trials() -> list[tuple[str, Trial]]:
    rng = random.Random(0)
    found: list[tuple[str, Trial]] = []
    lost = [(item, name) for item, names in (ITEMS | CONTROLS).items() for name in names]
    for seed in (0, 1):
        for item, name in lost:
            name = f"{name}@{seed}" if seed else name
            found.append((f"dropped-{item}-{name}", functools.partial(dropped, item, name)))
    draws: list[tuple[str, Trial]] = []
    for k in range(100):
        phase, name = ("save", "evaluation", "end")[k % 3], list(FAMILIES)[k // 3 % 6]
        draws.append((f"{phase}-{k}-{name}", functools.partial(at_event, name, phase, rng.random())))
    for k in range(72):
        name = RUNS[k % 8]
        draws.append((f"file-{k}-{name}", functools.partial(at_event, name, "file", rng.random())))
    for k in range(20):
        name = list(OTHERS)[k % 2]
        draws.append((f"forward-{k}-{name}", functools.partial(at_event, name, "forward", rng.random())))
    for k in range(88):
        name = RUNS[k % 8]
        draws.append((f"time-{k}-{name}", functools.partial(in_time, name, rng.random())))
    for k in range(20):
        draws.append((f"compare-{k}", functools.partial(killed_comparison, rng.random(), k % 2 == 1)))
    rng.shuffle(draws)
    return found + draws
