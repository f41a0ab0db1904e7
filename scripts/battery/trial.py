"""What the battery's trials have in common: forked processes with torch in memory, calls of commands, hashes."""

import contextlib
import hashlib
import io
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 120  # seconds of one trial
TRAIN = ["data.size=16", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
FAMILIES = {  # six families of methods, a second or two of training each
    "simclr": ["pretrain-ssl", "ssl=simclr", "backbone.width=8", "ssl.batch_size=32"],
    "byol": ["pretrain-ssl", "ssl=byol", "backbone.width=8", "ssl.batch_size=32"],
    "moco": ["pretrain-ssl", "ssl=moco", "backbone.width=8", "ssl.batch_size=32"],
    "mae": ["pretrain-ssl", "ssl=mae", "backbone.width=24", "ssl.batch_size=32"],
    "vae": ["pretrain-ssl", "ssl=vae", "backbone.width=8", "ssl.batch_size=32"],
    "dcgan": [
        "train-gan",
        "gan=dcgan",
        "backbone.width=8",
        "gan.width=4",
        "gan.latent=8",
        "gan.batch_size=32",
        "evaluator=random",
    ],
}
Found = str | tuple[str, dict[str, Any]]  # what went wrong, or ""; with what the row says beside it
Trial = Callable[[Path], Found]
STEPS = ["budget.steps=12", "engine.checkpoint_every=4", "engine.log_every=2", "eval.every=6", "eval.images=60"]


@dataclass(frozen=True)
class Said:
    """What a call of the command line left."""

    code: int
    out: str
    err: str


def call(*words: str) -> Said:
    """`gssl WORDS` in this process."""
    from gssl import cli

    out, err, code = io.StringIO(), io.StringIO(), 0
    argv, sys.argv = sys.argv, ["gssl", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        err.write(traceback.format_exc())
        code = 99
    finally:
        sys.argv = argv
    return Said(code, out.getvalue(), err.getvalue())


def fork(work: Callable[[], int], log: Path) -> int:
    """The id of a child that does `work`, ends with its value, and writes its streams to `log`."""
    begun, ready = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready)
        os.read(begun, 1)  # ends when the child has closed its side: it has a process group that can be killed
        os.close(begun)
        return pid
    os.setsid()
    os.close(begun)
    os.close(ready)
    for name in ("SIGINT", "SIGHUP"):  # which nohup and a shell's & have ignored, and gssl would go on to ignore
        signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    # not closed with the object: a child's child replaces it
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    code = 99
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def command(*words: str) -> int:
    """`gssl WORDS` on this child's own streams; the exit code."""
    from gssl import cli

    sys.argv = ["gssl", *words]
    try:
        cli.run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def wait(pid: int, limit: float = LIMIT) -> int | None:
    """Exit code, minus the signal's number where one ended it; None where the child was killed after `limit`."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def tensors(path: Path) -> str:
    """A hash of the tensors of a .safetensors file by name, whatever its header says else."""
    from safetensors.numpy import load_file

    state = hashlib.sha256()
    for name, value in sorted(load_file(path).items()):
        state.update(name.encode() + str(value.dtype).encode() + value.tobytes())
    return state.hexdigest()


def outcome(run: Path) -> dict[str, Any]:
    """What must be the same however often a run was killed: every network, optimiser and average, every logged number,
    the result's numbers."""
    found: dict[str, Any] = {}
    newest = sorted(run.glob("checkpoints/step-*"))[-1:]
    for file in sorted([*run.glob("weights/*.safetensors"), *(f for d in newest for f in d.glob("*.safetensors"))]):
        found[str(file.relative_to(run))] = tensors(file)
    if (run / "metrics.jsonl").is_file():
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        found["metrics"] = [
            {key: value for key, value in line.items() if key not in ("seconds", "images_per_second")} for line in lines
        ]
    result = json.loads((run / "result.json").read_text())
    found["objective"], found["scores"] = result.get("objective"), result.get("scores")
    for file in sorted(run.rglob("predictions*.npz")):
        found[str(file.relative_to(run))] = hashlib.sha256(file.read_bytes()).hexdigest()
    for file in run.glob("table.md"):  # of a curve; its last section has seconds
        found[file.name] = file.read_text().partition("## Steps to reach")[0]
    return json.loads(json.dumps(found))


def unlike(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The first thing in which two outcomes differ; "" where there is none."""
    for key in sorted({*a, *b}):
        if a.get(key) != b.get(key):
            return f"{key} differs"
    return ""
