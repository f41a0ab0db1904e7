"""Tasks of a Ray cluster, or of a Ray of its own on this machine. What a task has done is read from its part's
directory (`traces`)."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.executors import LOST, STOPPED, Ended
from gssl.comparison.executors.traces import Carried, Trace
from gssl.engine.progress import say
from gssl.engine.signals import CODES
from gssl.engine.worker import Job
from gssl.errors import UsageError

LOOK = 0.5  # seconds between two looks
SAVING = 60  # seconds that running tasks have to save after Ctrl-C
RETRY = 30.0  # until a part that another process works on is tried again
GB = 10**9
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", "RAY_DEDUP_LOGS": "0"}


def carry(carried: Carried) -> None:
    """What Ray calls."""
    carried()


class Ray:
    """A task per part."""

    def __init__(self, cfg: schemas.Ray) -> None:
        self.cfg, self.most, self.retry = cfg, cfg.max_jobs, RETRY
        self.again = {STOPPED: cfg.max_preemptions, LOST: cfg.max_lost}
        self._traces: dict[Path, Trace] = {}
        self._refs: dict[Path, Any] = {}
        self._ray: Any = None
        self._task: Any = None

    def start(self, job: Job) -> None:
        if self._ray is None:
            self._begin()
        trace = Trace(job.run_dir)
        self._refs[job.run_dir] = self._task.remote(Carried(job, trace.token))
        trace.submitted("ray", self._refs[job.run_dir].hex())
        self._traces[job.run_dir] = trace

    def _begin(self) -> None:
        """Connect to the cluster, or start one. Raises UsageError where that fails or no machine has enough."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        before = {number: signal.getsignal(number) for number in CODES}
        try:
            ray.init(address=self.cfg.address or "local", log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UsageError(f"executor.address={self.cfg.address}: no Ray there ({line})") from error
        finally:
            for number, old in before.items():  # Ray takes SIGTERM for itself
                signal.signal(number, old)
        self._ray = ray
        wanted = {"CPU": self.cfg.cpus, "GPU": self.cfg.gpus, "memory": (self.cfg.memory or 0) * GB}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= need for name, need in wanted.items()) for node in nodes):
            have = "; ".join(f"{n.get('CPU', 0):g} cpus, {n.get('GPU', 0):g} gpus" for n in nodes[:4])
            text = f"no machine of this Ray has {self.cfg.cpus} cpus, {self.cfg.gpus:g} gpus and the memory"
            if self.cfg.address is None:
                raise UsageError(f"executor=ray: {text} ({have}); lower executor.cpus, gpus or memory")
            say(f"warning: {text} now ({have}); tasks wait until one has")
        options: Any = {"num_cpus": self.cfg.cpus, "num_gpus": self.cfg.gpus, "max_retries": 0}
        if self.cfg.memory is not None:
            options["memory"] = int(self.cfg.memory * GB)
        self._task = ray.remote(**options)(carry)

    def poll(self) -> list[Ended]:
        if not self._traces:
            return []
        gone, _ = self._ray.wait(list(self._refs.values()), num_returns=len(self._refs), timeout=LOOK)
        if gone:
            time.sleep(LOOK)  # of several, `wait` returns at once
        ended: list[Ended] = []
        for path, trace in list(self._traces.items()):
            if answer := trace.answer(self._refs[path] not in gone, self.cfg.patience):
                state, why = answer
                if state == LOST:
                    why += f" ({self._death(path)})"
                ended.append((path, state, why))
                del self._traces[path], self._refs[path]
        return ended

    def _death(self, path: Path) -> str:
        """How Ray says that a task ended."""
        try:
            self._ray.get(self._refs[path], timeout=1)
        except Exception as error:  # WorkerCrashedError, NodeDiedError, what the task raised …
            return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        return "Ray says that it ended well"

    def interrupt(self) -> None:
        if not self._traces:
            return
        say("note: what waits is cancelled, what runs saves and stops")
        for ref in self._refs.values():
            with contextlib.suppress(Exception):  # of a task that has just ended
                self._ray.cancel(ref, force=False)  # SIGINT in a task that runs
        end = time.monotonic() + SAVING
        left = list(self._refs.values())
        while left and time.monotonic() < end:
            _, left = self._ray.wait(left, num_returns=len(left), timeout=LOOK)

    def close(self) -> None:
        if self._ray is not None:
            for ref in self._refs.values():
                with contextlib.suppress(Exception):
                    self._ray.cancel(ref, force=True)
            self._ray.shutdown()
            self._ray = None
        self._traces.clear()
        self._refs.clear()
