"""The run directory: ordinary files with written schemas, the only thing that commands hand to each other.

status.json · config.yaml · environment.json · metrics.jsonl · checkpoints/ · samples/ · weights/ · result.json
"""

import contextlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from omegaconf import OmegaConf

import gssl
from gssl.data.sources import places
from gssl.engine import checkpoint, dist, locks, recorded
from gssl.engine.device import arithmetic
from gssl.engine.documents import read_yaml
from gssl.engine.files import clean, find_json, read_json, sha256, write_json, write_text
from gssl.engine.lines import entries_of
from gssl.engine.loggers import About, Loggers
from gssl.engine.outputs import check_inside, open_to_append
from gssl.engine.progress import say
from gssl.errors import Interrupted, UsageError
from gssl.schemas import section
from gssl.schemas.determining import config_hash, determining, flat
from gssl.schemas.training import Budget

TRACES = ("checkpoints", "metrics.jsonl", "result.json", "config.yaml", "weights")  # of a run
TRAINS = ("train-gan", "pretrain-ssl")  # commands whose runs can be lengthened
PLANS = ("compare", "curve")  # their parts have loggers, they have no number of their own


def environment() -> dict[str, Any]:
    """Hardware, versions, revision and command: what a reader needs to repeat the run."""
    here = Path(gssl.__file__).parent
    revision = None
    # a wheel in site-packages may lie inside somebody else's repository: ask only a checkout of ours
    if (here.parent / "pyproject.toml").is_file() and (here.parent / ".git").exists():
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=False,
        )
        revision = done.stdout.strip() or None
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "schema": "gssl.environment/1",
        "gssl": gssl.__version__,
        "revision": revision,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": dist.processes(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **arithmetic(),
        "determinism": "same seed and threads, same bytes on a CPU; a GPU's kernels may differ in last digits",
        "command": command_line(),
    }


def command_line() -> str:
    """The command as it was typed. Inside a job Hydra's own words stand in sys.argv, Python keeps the first ones."""
    for i, word in enumerate(sys.orig_argv):
        if Path(word).name == "gssl":
            return shlex.join(["gssl", *sys.orig_argv[i + 1 :]])
    first, *rest = sys.argv
    words = [*first.split(), *[word for word in rest if word != "--"]] if first.startswith("gssl ") else ["gssl", *rest]
    return shlex.join(words)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Run:
    """One run directory, held by one process at a time.

        with Run(path, "pretrain-ssl", cfg) as run:
            if run.finished: return run.result
            ...
            run.begin()                  # from here on it is on record
            run.log({...}); run.finish(result)

    Leaving the block with an exception writes the state `failed` or `interrupted`, and what `spending` says.
    Raises UsageError where the directory holds another run, or the same one without `engine.resume=auto`.

    With `engine.resume=extend` a finished training goes on with a larger budget: `extension` is then what is said of
    it, to which the loop adds where it goes on.
    """

    def __init__(self, path: Path, command: str, cfg: Any) -> None:
        self.path, self.command, self.cfg = path, command, cfg
        self.hash = config_hash(cfg)
        self.finished = False
        self.spending: Callable[[], dict[str, Any]] | None = None  # what was spent so far, once there is training
        self.extension: dict[str, Any] | None = None
        self._begun = False
        self._loggers: Loggers | None = None
        self._metrics: Any = None
        self._lock: Any = None
        self._status: dict[str, Any] = {}
        self.inputs: dict[str, str | None] = {}  # content hashes of what the run reads

    def __enter__(self) -> "Run":
        if self.cfg.engine.resume == "extend" and not (self.path / "status.json").is_file():
            raise UsageError(f"resume=extend: {self.path} holds no run; hydra.run.dir=RUN names the one to lengthen")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = locks.take(self.path)
        try:
            check_inside(self.path)
            if (self.path / "status.json").is_dir():
                raise UsageError(f"{self.path}/status.json: is a folder; remove it, or choose another hydra.run.dir")
            old = find_json(self.path / "status.json")
            if old and old.get("state") and old.get("config_hash"):
                self._check(old)
            else:
                self._check_traces()
        except UsageError:
            self._lock.close()
            raise
        return self

    @property
    def resumed(self) -> bool:
        """Whether the directory was this run's before: what lies in its folders is its own."""
        return bool(self._status) and not self._begun

    def _check_traces(self) -> None:
        """Without a readable status.json: the directory must hold no run, or this very one, by its checkpoints.

        Raises UsageError: an unreadable status is not an absent one, and a lost one no leave to use what lies there.
        """
        traces = [name for name in TRACES if (self.path / name).exists()]
        if not traces and not (self.path / "status.json").exists():
            return
        what = "is damaged" if (self.path / "status.json").exists() else "is gone"
        begun = checkpoint.begun_as(self.path / "checkpoints")
        if begun is None or self.cfg.engine.resume == "no":
            raise UsageError(
                f"{self.path}: status.json {what}, and a run has left {', '.join(traces) or 'nothing else'} here;"
                " choose another hydra.run.dir" + ("" if begun is None else ", or go on with that run: resume=auto")
            )
        if begun["config_hash"] != self.hash:
            raise UsageError(
                f"{self.path}: status.json {what}, and the checkpoints here are of another configuration"
                f" ({self._difference()}); resume with the same one, or choose another hydra.run.dir"
            )
        say(f"warning: {self.path / 'status.json'} {what}; the checkpoints are this run's, which goes on")
        self._status = {"inputs": begun.get("inputs") or {}}

    def _check(self, old: dict[str, Any]) -> None:
        resume = self.cfg.engine.resume
        if resume == "no":
            raise UsageError(
                f"{self.path}: holds a run already ({old['state']}); engine.resume=auto goes on with it,"
                " or choose another hydra.run.dir"
            )
        if resume == "extend":
            self._extend(old)
        elif old["config_hash"] != self.hash:
            longer = self.command in TRAINS and self._same_but_budget(old)
            hint = "resume=extend lengthens a finished run" if longer else "resume with the same one"
            raise UsageError(
                f"{self.path}: holds a run with another configuration ({self._difference()});"
                f" {hint}, or choose another hydra.run.dir"
            )
        self._status = old
        self.finished = old["state"] == "finished" and self.extension is None
        if self.finished and (lost := recorded.damages(self.path, old)):
            more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
            say(f"warning: {lost[0].path} is gone or not what was written{more}; it is made again")
            self.finished = False

    def _extend(self, old: dict[str, Any]) -> None:
        """Make the run one to be lengthened; one whose lengthening was interrupted goes on as by resume=auto."""
        if self.command not in TRAINS:
            raise UsageError(f"resume=extend: {self.command} has no budget; {' and '.join(TRAINS)} can be lengthened")
        if (self.path / "part.json").is_file():
            raise UsageError(
                f"{self.path}: a part of a comparison is named by its budget and cannot be lengthened; copy the folder"
                " without its part.json, or give the comparison another budget"
            )
        if old["config_hash"] == self.hash:
            if old["state"] == "finished":
                raise UsageError(f"resume=extend: {self.path} is finished with this very budget; give a larger one")
            return
        if not self._same_but_budget(old):
            raise UsageError(
                f"resume=extend: everything but budget.* must be as it was ({self._difference('budget.')});"
                " leave the rest alone, or choose another hydra.run.dir"
            )
        if old["state"] != "finished":
            raise UsageError(
                f"resume=extend: {self.path} is {old['state']}; finish it first, with its own budget and resume=auto"
            )
        before = {key: value for key, value in self._before()["budget"].items() if value is not None}
        given = {key: value for key, value in self.cfg.budget.model_dump().items() if value is not None}
        for budget in (before, given):
            if len(budget) > 1:
                budget.pop("default_epochs", None)  # without effect beside another
        self.extension = {"at": now(), "budget_before": before, "budget": given, "command": command_line()}
        self.extension["config_hash_before"] = old["config_hash"]
        self.extension["objective_before"] = (self.result or {}).get("objective")

    def _same_but_budget(self, old: dict[str, Any]) -> bool:
        """Whether the run in the directory had this configuration, its budget aside."""
        try:
            budget = Budget.model_validate(self._before()["budget"])
        except (KeyError, TypeError, ValueError):
            return False
        same: bool = config_hash(section.replace(self.cfg, budget=budget)) == old["config_hash"]
        return same

    def _before(self) -> dict[str, Any]:
        """The configuration on record; {} where there is none."""
        text = self.path / "config.yaml"
        return read_yaml(text) or {}

    def _difference(self, but: str | None = None) -> str:
        """What differs from the configuration on record, keys that begin with `but` aside."""
        a, b = flat(self._before()), flat(determining(self.cfg))
        keys = [key for key in b if a.get(key) != b[key] and not (but and key.startswith(but))]
        changed = [f"{key}: {a.get(key)} then, {b[key]} now" for key in keys]
        return "; ".join(changed[:3]) or "another command or version"

    def bind(self, **inputs: str | None) -> None:
        """Tie the run to what it reads, by content hashes. Raises UsageError where it began with something else."""
        for name, digest in inputs.items():
            old = self._status.get("inputs", {})
            if name in old and old[name] != digest:
                raise UsageError(
                    f"{self.path}: this run began with other {name} ({str(old[name])[:12]} then, {str(digest)[:12]}"
                    " now); put them back, or choose another hydra.run.dir"
                )
        self.inputs |= inputs

    def check_checkpoint(self, state: dict[str, Any]) -> None:
        """Raises UsageError where a checkpoint, by its `state`, was made by another configuration or from other data.

        What no checkpoint or one of an older version does not say is not asked.
        """
        extensions = [*self._status.get("extensions", []), *([self.extension] if self.extension else [])]
        mine = [self.hash, *(entry.get("config_hash_before") for entry in extensions)]
        made = state.get("config_hash")
        other = [
            name for name, digest in (state.get("inputs") or {}).items() if self.inputs.get(name, digest) != digest
        ]
        if (made and made not in mine and None not in mine) or other:
            what = "from other " + " and ".join(other) if other else "with another configuration"
            raise UsageError(
                f"{self.path / 'checkpoints'}: the newest checkpoint was made {what}; put back this run's own, or"
                " choose another hydra.run.dir"
            )

    def opened(self) -> int:
        """Count an opening of the test set, on disk before it happens; returns how many there were in all."""
        self._status["test_openings"] = self._status.get("test_openings", 0) + 1
        self._write_status()
        count: int = self._status["test_openings"]
        return count

    @property
    def result(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = read_json(self.path / "result.json")
        return found

    @property
    def objective(self) -> float | None:
        """The finished run's objective value."""
        return ((self.result or {}).get("objective") or {}).get("value")

    def begin(self, step: int = 0, ended: bool = False) -> list[str]:
        """Put the run on record; `step` > 0 when it goes on, `ended` where no step is left. Returns warnings."""
        warnings = []
        old = read_json(self.path / "environment.json")
        env = environment()
        if step and old and old["threads"] != env["threads"]:
            warnings.append(
                f"resumed with {env['threads']} threads, begun with {old['threads']}: the weights will not be"
                f" bit-identical to an uninterrupted run's (engine.threads={old['threads']} keeps them so)"
            )
        if step and old and old.get("processes", 1) != env["processes"]:
            count = old.get("processes", 1)
            warnings.append(
                f"begun with {count} process{'' if count == 1 else 'es'} and resumed with {env['processes']}: the same"
                " training, but for last digits"
            )
        if not (step and old):
            write_json(self.path / "environment.json", env)
        started = self._status.get("started", now()) if step else now()
        self._status = {
            "schema": "gssl.status/1",
            "command": self.command,
            "config_hash": self.hash,
            "state": "running",
            "step": step,
            "started": started,
            "ended": None,
            "error": None,
            "pid": os.getpid(),
            "inputs": self.inputs,
            **({"test_openings": opened} if (opened := self._status.get("test_openings")) else {}),
            **self._extensions(),
        }
        self._begun = True  # from here on there is a status to write
        self._write_status()  # first: what lies in a directory without one is nobody's
        written = self.cfg.model_dump()
        if "data" in written:
            written["data"] = places.recorded(written["data"])
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(written)))
        warnings += self._trim(step, ended)
        self._metrics = open_to_append(self.path / "metrics.jsonl")
        about = About(self.path, self.command, flat(self.cfg.model_dump()), started, step)
        names = [] if self.command in PLANS else self.cfg.engine.loggers
        self._loggers = Loggers(names, about)
        return warnings

    def _extensions(self) -> dict[str, Any]:
        """How the run was lengthened, every time."""
        found = [*self._status.get("extensions", []), *([self.extension] if self.extension else [])]
        return {"extensions": found} if found else {}

    def _trim(self, step: int, ended: bool) -> list[str]:
        """Drop the lines that a resumed run will write again. Returns warnings.

        `ended`: all steps are made; the evaluation after the last one, and what it found, will be written again.
        """
        path = self.path / "metrics.jsonl"
        if not os.path.lexists(path):
            return []
        found, damaged = entries_of(path)
        kept = []
        for line, entry in found:
            if step and entry["step"] <= step:
                if ended and entry["step"] == step and not {"lr", "alarm"} & entry.keys():
                    break
                kept.append(line)
        write_text(path, "".join(line + "\n" for line in kept))
        if not (step and damaged):
            return []
        return [f"{path}: line {damaged[0]} is damaged ({len(damaged)} in all); what stood there is lost"]

    def _write_status(self) -> None:
        write_json(self.path / "status.json", self._status)

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl; `entry` has "step"."""
        self._metrics.write(json.dumps(clean(entry), allow_nan=False) + "\n")
        self._metrics.flush()
        self._status["step"] = entry["step"]
        if self._loggers and self.command in TRAINS:
            self._loggers.add(entry["step"], entry)

    def entries(self) -> list[dict[str, Any]]:
        """What was logged so far; after `begin`, whole lines only."""
        return [entry for _, entry in entries_of(self.path / "metrics.jsonl")[0]]

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, then the state: where the state is `finished`, the result is whole."""
        history = {"extensions": self._status["extensions"]} if "extensions" in self._status else {}
        head = {"schema": "gssl.result/2", "command": self.command}
        write_json(self.path / "result.json", {**head, **result, **history})
        self._status["result_sha256"] = sha256(self.path / "result.json")
        if (self.path / "metrics.jsonl").is_file():
            self._status["metrics_sha256"] = sha256(self.path / "metrics.jsonl")
        self._status["files"] = recorded.listed(self.path)
        objective = result.get("objective") or {}
        if self._loggers and self.command not in TRAINS and objective.get("value") is not None:
            self._loggers.add(self._status["step"], {objective["name"]: objective["value"]})
        self._status |= {"state": "finished", "ended": now()}
        self._write_status()
        self.finished = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._metrics:
            with contextlib.suppress(OSError):  # a full disk, which is on its way up already: every line is flushed
                self._metrics.close()
        if error is not None and self._begun and not self.finished:
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            text = None if stopped else f"{type(error).__name__}: {error}"
            self._status |= {"state": "interrupted" if stopped else "failed", "ended": now(), "error": text}
            if self.spending:
                with contextlib.suppress(RuntimeError):  # a GPU that failed answers nothing, not even about its memory
                    self._status["spent"] = self.spending()
            with contextlib.suppress(OSError):  # the error of the run is the one to be told
                self._write_status()
        if self._loggers:
            self._loggers.close(self._status["state"])
        self._lock.close()
        if not self._begun and not self.finished:
            (self.path / ".lock").unlink(missing_ok=True)


class Timer:
    """Seconds of training: runs only between `start` and `stop`, so evaluation is not billed.

    `cpu` counts the process's own seconds since it began, on all cores: on a busy machine it says what the training
    took, where the clock says how long it waited as well. A resumed run's earlier processes are not in it.
    """

    def __init__(self, spent: float = 0.0) -> None:
        self._spent, self._cpu = spent, 0.0
        self._since: tuple[float, float] | None = None
        self.start()

    @property
    def seconds(self) -> float:
        return self._spent + (time.perf_counter() - self._since[0] if self._since is not None else 0.0)

    @property
    def cpu(self) -> float:
        return self._cpu + (time.process_time() - self._since[1] if self._since is not None else 0.0)

    def stop(self) -> None:
        self._spent, self._cpu, self._since = self.seconds, self.cpu, None

    def start(self) -> None:
        self._since = time.perf_counter(), time.process_time()
