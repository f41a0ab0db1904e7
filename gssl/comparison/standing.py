"""What is known while a comparison runs: validation figures of finished parts, never test ones."""

import math
from collections.abc import Sequence

from gssl.comparison.parts import Part
from gssl.data.targets import of_task
from gssl.engine.files import find_json
from gssl.engine.progress import say
from gssl.schemas.label_budgets import label_budget_of
from gssl.statistics.metric import METRICS
from gssl.words import PROBES, label_budget_text


class Standing:
    """The primary metric on validation folds per arm, from the parts' files."""

    def __init__(self, parts: Sequence[Part], probe: str, label_budget: str, metric: str, show: bool = True) -> None:
        self.probe, self.label_budget, self.metric, self.show = probe, label_budget, metric, show
        self.found: dict[str, dict[str, float]] = {}
        self.task = ""
        self.stage = "fold" if any(part.stage == "fold" for part in parts) else "transfer"
        for part in parts:
            if part.stage == self.stage and part.finished:
                self._read(part)

    def told(self, part: Part) -> None:
        """A part has ended: what is known now, on one line."""
        if part.stage == self.stage and self._read(part) and self.show:
            say(self.line())

    def line(self) -> str:
        """The arms known so far, the best first."""
        means = {arm: math.fsum(values.values()) / len(values) for arm, values in self.found.items()}
        percent = METRICS[self.metric].percent
        texts = [
            (f"{100 * mean:.1f}" if percent else f"{mean:.3g}") + f" {arm} (n {len(self.found[arm])})"
            for arm, mean in sorted(means.items(), key=lambda pair: -pair[1])
        ]
        unit = METRICS[self.metric].title + (" in %" if percent else "")
        labels = of_task(self.task).said(label_budget_text(self.label_budget))
        what = f"{PROBES.get(self.probe, self.probe)}, {labels}"
        return f"so far, on validation folds ({unit}, {what}; n runs): {', '.join(texts)}"

    def _read(self, part: Part) -> bool:
        """Whether the part has a figure of its validation folds."""
        scores = (find_json(part.path / "result.json") or {}).get("scores") or []
        mine = [s for s in scores if s["probe"] == self.probe and label_budget_of(s) == self.label_budget]
        values = [value for s in mine if (value := (s.get("validation") or {}).get(self.metric)) is not None]
        self.task = next((str(s["task"]) for s in mine if "task" in s), self.task)
        if values:
            self.found.setdefault(part.arm, {})[part.name] = math.fsum(values) / len(values)
        return bool(values)
