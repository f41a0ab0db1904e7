"""One training by several processes on this machine, started by torch's elastic launcher (`engine.processes`).

Each gets the command's job and finds out by `gssl.engine.dist` which one it is. Rank 0 alone has the run directory;
the others follow it step by step. What a process has to say comes back as a value, so that none that ends in order is
taken for one that crashed.
"""

import contextlib
import logging
import os
import signal
import threading
import traceback
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gssl.engine import dist
from gssl.engine.outputs import open_to_append
from gssl.engine.trouble import told
from gssl.errors import Interrupted, JobError, UsageError
from gssl.names import load

ANSWERED = 3  # seconds in which the launcher takes an answer
STOPPING = 3600  # seconds that processes have to save after a signal
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GONE = ("Connection closed by peer", "Connection reset", "Broken pipe", "Timed out waiting", "NCCL")
OK, USAGE, FAILED, STOPPED = "ok", "usage", "failed", "stopped"


@dataclass(frozen=True)
class Answer:
    """How a process ended."""

    kind: str
    value: Any = None
    text: str = ""
    code: int = 0


def several(where: str, cfg: Any, run_dir: Path) -> Any:
    """`where(cfg, run_dir)` by `cfg.engine.processes` processes; returns rank 0's value, raises what it raised."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.distributed.launcher")):
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
    )
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        answers: dict[int, Answer] = elastic_launch(config, _process)(where, cfg, run_dir)
    except SignalException as error:
        raise Interrupted(130 if error.sigval == signal.SIGINT else 75) from error
    except KeyboardInterrupt:
        raise Interrupted(130) from None
    except ChildFailedError as error:
        failed = ", ".join(f"process {own} (exit code {one.exitcode})" for own, one in sorted(error.failures.items()))
        raise JobError(
            f"a process of this training died: {failed}; out of memory is the usual reason; the last checkpoint is"
            " kept, and resume=auto goes on from there"
        ) from error
    finally:
        for number, old in before.items():
            signal.signal(number, old)
    return _told(answers)


def _told(answers: dict[int, Answer]) -> Any:
    """What the answers mean together: rank 0's counts, unless another knows why it failed."""
    first = answers[0]
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
    """One of the processes."""
    # a terminal's Ctrl-C and the launcher's signal reach every process; the loop alone listens, and they agree
    for number in SIGNALS:
        signal.signal(number, _early)
    own, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with contextlib.ExitStack() as stack:
        if own:  # rank 0 speaks for all
            silent = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stderr(silent))
        try:
            dist.join(own, count, "env://", gpus=_on_gpus(cfg))
            answer = Answer(OK, load(where)(cfg, run_dir))
        except UsageError as error:
            answer = Answer(USAGE, text=str(error))
        except JobError as error:
            answer = Answer(FAILED, text=str(error))
        except (Interrupted, KeyboardInterrupt) as error:
            answer = Answer(STOPPED, code=error.code if isinstance(error, Interrupted) else 130)
        except Exception as error:
            if own == 0:
                with open_to_append(run_dir / "log.txt") as log:
                    traceback.print_exc(file=log)
            gone = any(word in str(error) for word in GONE)
            answer = Answer(FAILED, text=dist.ENDED if gone else told(error, cfg) or f"{type(error).__name__}: {error}")
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the launcher's, to those that wait beside one that crashed
        with contextlib.suppress(Exception):  # of a process that has gone
            dist.leave()
    if answer.kind == STOPPED:
        # a launcher that was told to stop waits for our end and takes no answer; one that was not takes it at once
        leaving = threading.Timer(ANSWERED, os._exit, [0])
        leaving.daemon = True
        leaving.start()
    return answer


def _on_gpus(cfg: Any) -> bool:
    import torch

    return str(cfg.engine.device) in ("auto", "cuda") and torch.cuda.is_available()


def _early(number: int, frame: Any) -> None:
    """A signal before the loop listens."""
    raise Interrupted(130 if number == signal.SIGINT else 75)
