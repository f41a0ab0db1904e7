"""One training by several processes: of this machine, started by torch's elastic launcher (`engine.processes`), or of
several machines, started by torchrun.

Each gets the command's job and finds out by `gssl.engine.dist` which one it is. Rank 0 alone has the run directory;
the others follow it step by step. What a process of the launcher's has to say comes back as a value, so that none that
ends in order is taken for one that crashed.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gssl.engine import dist, torchrun
from gssl.engine.files import find_json
from gssl.engine.outputs import open_to_append
from gssl.engine.signals import CODES, received
from gssl.engine.trouble import told
from gssl.errors import Interrupted, JobError, UsageError
from gssl.names import load
from gssl.schemas import section

ANSWERED = 3  # seconds in which the launcher takes an answer
STOPPING = 3600  # seconds that processes have to save after a signal
FIRST = 3  # seconds in which rank 0 can say what is wrong
GRACE = 10  # seconds that a process has to end after another has given the training up
LEAST, EACH = 8, 4  # processes that may be started: so many, or so many for each core
OK, USAGE, FAILED, STOPPED = "ok", "usage", "failed", "stopped"


@dataclass(frozen=True)
class Answer:
    """How a process ended."""

    kind: str
    value: Any = None
    text: str = ""
    code: int = 0


def wanted(cfg: Any) -> bool:
    """Whether a command with `cfg.engine` is one of several processes that are not together yet. Raises UsageError."""
    if dist.processes() > 1:
        return False
    place = torchrun.found()
    if place and cfg.engine.processes not in (1, place.count):
        raise UsageError(
            f"engine.processes={cfg.engine.processes}: torchrun has started {place.count} processes (WORLD_SIZE);"
            " leave the key out"
        )
    return place is not None or cfg.engine.processes > 1


def started() -> bool:
    """Whether torchrun has started this process."""
    return torchrun.found() is not None


def check_one_run(key: str) -> None:
    """Raises UsageError where torchrun has started several processes, for what is several runs."""
    if started():
        raise UsageError(
            f"{key}: makes several runs, and torchrun's processes are for one; start gssl without torchrun, with"
            " engine.processes=N"
        )


def several(where: str, cfg: Any, run_dir: Path) -> Any:
    """`where(cfg, run_dir)` by several processes; returns rank 0's value, raises what it raised.

    They are started here, `cfg.engine.processes` of them, or this is rank 0 of those that torchrun has started.
    """
    if place := torchrun.found():
        return _first(place, where, cfg, run_dir)
    dist.silent()  # a wrong one is said before anything starts
    most = max(LEAST, EACH * (os.cpu_count() or 1))
    if cfg.engine.processes > most:
        raise UsageError(
            f"engine.processes={cfg.engine.processes}: this machine has {os.cpu_count()} cores; give at most {most}"
        )
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.distributed.launcher", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        run_id=uuid.uuid4().hex,
        nproc_per_node=cfg.engine.processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="spawn",
        shutdown_timeout=STOPPING,
        # the launcher passes these on and waits; what is ignored (nohup, a shell's &) stays so
        signals_to_handle=",".join(number.name for number in _heard()),
    )
    before = {number: signal.getsignal(number) for number in CODES}
    try:
        answers: dict[int, Answer] = elastic_launch(config, _process)(where, cfg, run_dir)
    except SignalException as error:
        raise Interrupted(CODES[signal.Signals(error.sigval)]) from error
    except KeyboardInterrupt:
        raise Interrupted(received() or 130) from None
    except ChildFailedError as error:
        failed = ", ".join(f"process {own} (exit code {one.exitcode})" for own, one in sorted(error.failures.items()))
        if dist.unanswered() in str((find_json(run_dir / "status.json") or {}).get("error")):
            raise JobError(f"{dist.unanswered()}: {failed}") from error
        raise JobError(
            f"a process of this training died, or did not answer and was ended: {failed}; out of memory is the usual"
            f" reason; {dist.KEPT}"
        ) from error
    finally:
        for number, old in before.items():
            signal.signal(number, old)
    return _told(answers)


def _told(answers: dict[int, Answer]) -> Any:
    """What the answers mean together: rank 0's counts, unless another knows why it failed."""
    first = answers[0]
    if first.text == dist.ENDED and (codes := [other.code for other in answers.values() if other.kind == STOPPED]):
        raise Interrupted(max(codes))  # between two trainings it alone has heard the signal
    for own, other in sorted(answers.items()):
        if first.text == dist.ENDED and other.kind in (FAILED, USAGE) and other.text != dist.ENDED:
            raise JobError(f"process {own}: {other.text}")
    if first.kind == USAGE:
        raise UsageError(first.text)
    if first.kind == FAILED:
        raise JobError(first.text)
    if first.kind == STOPPED:
        raise Interrupted(first.code)
    return first.value


def _process(where: str, cfg: Any, run_dir: Path) -> Answer:
    """One of the processes that the launcher has started."""
    # a terminal's Ctrl-C and the launcher's signal reach every process; the loop alone listens, and they agree
    heard = _listen()
    own, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    others: list[int] = []
    with contextlib.ExitStack() as stack:
        if own:  # rank 0 speaks for all
            silent = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stderr(silent))

        def work() -> Any:
            dist.join(own, count, "env://", gpus=_on_gpus(cfg))
            others.extend(pid for pid in dist.ids() if pid != os.getpid())
            return load(where)(cfg, run_dir)

        answer = _answer(work, own, cfg, run_dir)
        for number in heard:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher's, to those that wait beside one that crashed
        if answer.text == dist.unanswered():
            _end(others)
        with contextlib.suppress(Exception):  # of a process that has gone
            dist.leave()
    if answer.kind == STOPPED:
        # a launcher that was told to stop waits for our end and takes no answer; one that was not takes it at once
        leaving = threading.Timer(ANSWERED, os._exit, [0])
        leaving.daemon = True
        leaving.start()
    return answer


def _answer(work: Callable[[], Any], own: int, cfg: Any, run_dir: Path) -> Answer:
    """How `work` ended in process `own`."""
    try:
        return Answer(OK, work())
    except UsageError as error:
        return Answer(USAGE, text=str(error))
    except JobError as error:
        return Answer(FAILED, text=str(error))
    except (Interrupted, KeyboardInterrupt) as error:
        return Answer(STOPPED, code=error.code if isinstance(error, Interrupted) else 130)
    except Exception as error:
        if own == 0:
            with open_to_append(run_dir / "log.txt") as log:
                traceback.print_exc(file=log)
        text = dist.lost(error) or told(error, cfg, run_dir) or f"{type(error).__name__}: {error}"
        return Answer(FAILED, text=text)


def _end(others: list[int]) -> None:
    """End processes of this machine that are still there after a while: one that has stopped takes no other signal, and
    the launcher would wait for it."""
    until = time.monotonic() + GRACE
    while (left := [pid for pid in others if Path(f"/proc/{pid}/fd").exists()]) and time.monotonic() < until:
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


# ── started by torchrun ──────────────────────────────────────────────────────────────────────────


def _resumed(place: torchrun.Place, cfg: Any) -> Any:
    """The configuration; after a restart by torchrun the run goes on."""
    if not place.restarted or cfg.engine.resume != "no":
        return cfg
    return section.replace(cfg, engine=section.replace(cfg.engine, resume="auto"))


def _first(place: torchrun.Place, where: str, cfg: Any, run_dir: Path) -> Any:
    """Rank 0: the command itself. Raises what it raises."""
    dist.join(place.rank, place.count, "torchrun://", gpus=_on_gpus(cfg))
    try:
        return load(where)(_resumed(place, cfg), run_dir)
    except (UsageError, JobError, Interrupted):
        raise
    except Exception as error:
        if text := dist.lost(error):
            raise JobError(text) from error
        raise
    finally:
        _leave()


def member(where: str, cfg: Any, run_dir: Path) -> int:
    """Any process but rank 0 of those that torchrun has started; returns the exit code. It says only what rank 0 cannot
    know."""
    place = torchrun.found()
    assert place is not None and place.rank
    wanted(cfg)
    _listen()

    def work() -> None:
        dist.join(place.rank, place.count, "torchrun://", gpus=_on_gpus(cfg))
        load(where)(_resumed(place, cfg), run_dir)

    answer = _answer(work, place.rank, cfg, run_dir)
    if answer.kind in (USAGE, FAILED) and answer.text not in (dist.ENDED, dist.unanswered()) and sys.__stderr__:
        with contextlib.suppress(Interrupted):  # torchrun's signal: rank 0 has found the same, and has said so
            time.sleep(FIRST)
            print(f"error: process {place.rank}: {answer.text}", file=sys.__stderr__, flush=True)
    _leave()
    return {OK: 0, STOPPED: 0, USAGE: 2}.get(answer.kind, 1)


def _leave() -> None:
    """The end of the group; without end where another process has stopped, so it is not waited for long."""

    def end() -> None:
        with contextlib.suppress(Exception):
            dist.leave()

    leaving = threading.Thread(target=end, daemon=True)
    leaving.start()
    leaving.join(GRACE)


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


def _listen() -> list[signal.Signals]:
    """Take signals before the loop does; returns which."""
    heard = _heard()
    for number in heard:
        signal.signal(number, _early)
    return heard


def _heard() -> list[signal.Signals]:
    """The signals that end a training here."""
    return [number for number in CODES if signal.getsignal(number) != signal.SIG_IGN]


def _on_gpus(cfg: Any) -> bool:
    import torch

    return str(cfg.engine.device) in ("auto", "cuda") and torch.cuda.is_available()


def _early(number: int, frame: Any) -> None:
    """A signal before the loop listens."""
    raise Interrupted(CODES[signal.Signals(number)])
