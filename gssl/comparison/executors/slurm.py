"""Slurm jobs, submitted by submitit. What a job has done is read from its part's directory (`traces`).

submitit's own word on a job is not asked: it comes from sacct, which fails without a database, and then a job that was
killed never ends. One `squeue` for all jobs says which of them Slurm still knows.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.executors import LOST, STOPPED, Ended, Refused
from gssl.comparison.executors.traces import Carried, Trace, left_behind
from gssl.engine.progress import say
from gssl.engine.worker import Job

ASK = 10.0  # seconds between two squeue: many users' polling is a load on the controller
LOOK = 1.0  # between two looks at the parts' directories
SAVING = 60  # seconds that running jobs have to save after Ctrl-C
RETRY = 60.0  # until a part that another process works on is tried again
# why a job waits, where time alone does not help
STUCK = "^Partition(Time|Node|Down|Inactive)|MaxWall|^BadConstraints|^ReqNodeNotAvail|^AccountNotAll|^JobHeld|^launch"
FOLDER = "submitit"  # in a part's directory: what submitit writes, the scheduler's log among it


def request(cfg: schemas.Slurm, name: str) -> dict[str, Any]:
    """What is asked of sbatch for a job, as submitit calls it."""
    memory = None if cfg.memory is None else f"{round(cfg.memory * 1024)}MB"
    return {
        "job_name": name,
        "partition": cfg.partition,
        "time": cfg.time,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cfg.cpus,
        "gpus_per_node": cfg.gpus or None,
        "mem": memory,
        "setup": list(cfg.setup) or None,
        "signal_delay_s": cfg.warning,
        "stderr_to_stdout": True,
        "wckey": None,
        # who submitted a job submits it again, a bounded number of times, and nobody else does
        "additional_parameters": {"no-requeue": True, **cfg.options},
    }


def script(cfg: schemas.Slurm, folder: Path) -> str:
    """The script that sbatch gets, the pickled job aside."""
    from submitit.slurm import slurm

    return slurm._make_sbatch_string(command="PYTHON -m submitit.core._submit", folder=folder, **request(cfg, "PART"))


def asked(*words: str) -> str | None:
    """What a command of Slurm's prints; None where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


class Slurm:
    """A job per part."""

    def __init__(self, cfg: schemas.Slurm) -> None:
        self.cfg, self.most, self.retry = cfg, cfg.max_jobs, RETRY
        self.again = {STOPPED: cfg.max_preemptions, LOST: cfg.max_lost}
        self._traces: dict[Path, Trace] = {}
        self._processes: dict[Path, Any] = {}  # submitit's local ones
        self._leaving: list[Any] = []  # those whose job has ended
        self._known: dict[str, tuple[str, str]] | None = None  # id → (state, name)
        self._asked = float("-inf")
        self._silent = False
        self._reasons: set[str] = set()  # that were said

    def start(self, job: Job) -> None:
        by = self.cfg.cluster
        if by == "slurm" and (old := left_behind(job.run_dir, by)):
            self._ask(0.0)
            if self._known and self._known.get(old.id, ("", ""))[1].endswith(old.token):
                self._traces[job.run_dir] = old  # of an earlier call that was killed
                return
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.local.local import LocalExecutor
        from submitit.slurm.slurm import SlurmExecutor

        trace = Trace(job.run_dir)
        folder = (job.run_dir / FOLDER).absolute()
        own: Any = LocalExecutor(folder) if by == "local" else SlurmExecutor(folder)
        wanted = request(self.cfg, f"{job.run_dir.name}.{trace.token}")
        if by == "local":
            wanted = {
                "timeout_min": self.cfg.time,
                "gpus_per_node": self.cfg.gpus,
                "tasks_per_node": 1,
                "signal_delay_s": self.cfg.warning,
                "stderr_to_stdout": True,
                **({"setup": list(self.cfg.setup)} if self.cfg.setup else {}),
            }
        own.update_parameters(**wanted)
        own._throttling = 0.0
        try:
            submitted = own.submit(Carried(job, trace.token))
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise Refused(f"executor=slurm: sbatch refuses a job: {complaint(str(error))}") from error
        if by == "local":
            self._processes[job.run_dir] = submitted
        trace.submitted(by, str(submitted.job_id))
        self._traces[job.run_dir] = trace
        self._asked = float("-inf")  # what is known is older than this job

    def poll(self) -> list[Ended]:
        if not self._traces:
            return []
        time.sleep(LOOK)
        self._ask(ASK)
        ended: list[Ended] = []
        for path, trace in list(self._traces.items()):
            if answer := trace.answer(self._alive(path, trace), self.cfg.patience):
                state, why = answer
                if state == LOST:
                    why += f"; see {path / FOLDER / f'{trace.id}_0_log.out'}, and whether its machine has this folder"
                ended.append((path, state, why))
                del self._traces[path]
                if path in self._processes:
                    self._leaving.append(self._processes.pop(path)._process)
        return ended

    def _alive(self, path: Path, trace: Trace) -> bool | None:
        if path in self._processes:
            return not self._processes[path].done()
        return None if self._known is None else trace.id in self._known

    def _ask(self, every: float) -> None:
        """Ask Slurm which of the user's jobs it knows, where the last answer is older than `every` seconds."""
        if self.cfg.cluster == "local" or time.monotonic() - self._asked < every:
            return
        self._asked = time.monotonic()
        text = asked("squeue", "-h", "-u", str(os.getuid()), "-o", "%A|%T|%j|%r")
        if text is None and not self._silent:
            say("warning: squeue does not answer; jobs are taken to go on, and their directories say when they end")
        self._silent = text is None
        rows = [line.strip().split("|") for line in (text or "").splitlines() if line.count("|") == 3]
        self._known = None if text is None else {id: (state, name) for id, state, name, _ in rows}
        mine = {trace.id for trace in self._traces.values()}
        for reason in {reason for id, state, _, reason in rows if id in mine and state == "PENDING"} - self._reasons:
            self._reasons.add(reason)
            if re.search(STUCK, reason):
                say(f"warning: jobs wait, and Slurm says {reason}: they may never start; Ctrl-C cancels them")

    def interrupt(self) -> None:
        if not self._traces:
            return
        say("note: what waits in the queue is cancelled, what runs saves and stops")
        self._tell()
        end = time.monotonic() + SAVING
        while self._traces and time.monotonic() < end:
            time.sleep(LOOK)
            self._ask(2 * LOOK)
            for path, trace in list(self._traces.items()):
                if self._alive(path, trace) is False or trace.answer(None, 0):
                    del self._traces[path]
                    if path in self._processes:
                        self._leaving.append(self._processes.pop(path)._process)

    def _tell(self) -> None:
        """What has not begun goes, what runs is told to save."""
        if self.cfg.cluster == "slurm":
            ids = [trace.id for trace in self._traces.values()]
            asked("scancel", "--state=PENDING", *ids)
            asked("scancel", "--signal=USR2", *ids)  # to the jobs' steps, and Slurm kills nothing after it
            return
        for path in self._traces:
            if (process := self._processes[path]._process) is not None:
                process.send_signal(signal.SIGTERM)  # which submitit's controller passes on

    def close(self) -> None:
        if self.cfg.cluster == "slurm" and self._traces:
            asked("scancel", *(trace.id for trace in self._traces.values()))
        for path in list(self._traces):
            if process := getattr(self._processes.get(path), "_process", None):
                with contextlib.suppress(OSError, KeyError, TypeError):
                    os.kill(self._traces[path].pid(), signal.SIGKILL)
                process.kill()
                self._leaving.append(process)
        for process in self._leaving:
            try:
                process.wait(SAVING)  # its job has said how it ended, and Python takes its time to leave
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._traces.clear()
        self._processes.clear()


def complaint(text: str) -> str:
    """What sbatch says in an error, on one line."""
    said = [line.partition("error:")[2].strip() for line in text.splitlines() if "error:" in line]
    return "; ".join(dict.fromkeys(said)) or (text.strip().splitlines() or ["no word why"])[-1]
