"""What a training writes on its way: lines of metrics.jsonl, and alarms."""

from collections.abc import Callable
from typing import Any

from gssl import schemas
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import JobError


class Log:
    """`add` writes an entry and shows the alarms that it raises. A resumed run continues with those of before.

    Raises JobError where there are some already and `engine.on_collapse` is stop.
    """

    def __init__(self, run: Run, alarms_of: Callable[[dict[str, Any]], list[str]], cfg: schemas.Engine) -> None:
        self.run, self.alarms_of, self.cfg = run, alarms_of, cfg
        before = run.entries()
        self.alarms = [entry for entry in before if "alarm" in entry]
        for entry in before:
            alarms_of(entry)
        self.stop()

    def add(self, entry: dict[str, Any]) -> None:
        """`entry` has "step"."""
        self.run.log(entry)
        for reason in self.alarms_of(entry):
            self.alarms.append({"step": entry["step"], "alarm": reason})
            self.run.log(self.alarms[-1])
            say(f"alarm: {self.run.path}: step {entry['step']}: {reason}")

    @property
    def stopping(self) -> bool:
        """Whether an alarm ends the run."""
        return bool(self.alarms) and self.cfg.on_collapse == "stop"

    def stop(self) -> None:
        """Raises JobError where an alarm ends the run."""
        if self.stopping:
            first = self.alarms[0]
            raise JobError(f"stopped at step {first['step']}: {first['alarm']}; on_collapse=warn ignores alarms")
