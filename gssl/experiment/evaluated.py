"""An evaluated backbone: what pictures and records of a transfer run are made of."""

from dataclasses import dataclass
from typing import Any

from gssl.config import registry
from gssl.data import Images, targets
from gssl.experiment.probing import Prober
from gssl.experiment.tasks import Fitted
from gssl.words import PROBES, data_name, title, upper


@dataclass(frozen=True)
class Evaluated:
    """Probes fitted on real images only, what each says of the test images (as the task's answers), and these."""

    prober: Prober
    fitted: list[Fitted]
    found: list[Any]
    test: Images

    def most(self) -> dict[str, int]:
        """Of every probe that reads labels the index of its fit with the most of them, draw 0; in the probes' order."""
        best: dict[str, int] = {}
        for i, f in enumerate(self.fitted):
            if registry.PROBE[f.probe].labels and f.draw == 0:
                old = best.get(f.probe)
                # of equal numbers the last, which is all labels where that was asked for
                best[f.probe] = i if old is None or f.n_train >= self.fitted[old].n_train else old
        return best

    def shown(self) -> int | None:
        """The fit that pictures and the confusion are of: a linear head on frozen features, else the first probe that
        reads labels."""
        best = self.most()
        frozen = [name for name in best if registry.PROBE[name].linear_head and registry.PROBE[name].reads == "pooled"]
        return next((best[name] for name in [*frozen, *best]), None)

    def explained(self) -> int | None:
        """A fit whose answers have gradients in the last stage's maps, in the registry's order."""
        best = self.most()
        return next((best[name] for name, entry in registry.PROBE.items() if entry.linear_head and name in best), None)

    def name(self, index: int) -> str:
        """ "linear probe, all labels"."""
        f, goal = self.fitted[index], targets.TARGETS[self.prober.task.column]
        budget = goal.said(f.label_budget.words, [f.label_budget.words], self.test.groups is not None)
        return f"{PROBES.get(f.probe, f.probe)}, {budget}"

    def key(self, index: int) -> dict[str, Any]:
        """Which fit an entry of result.json is of."""
        return {"probe": self.fitted[index].probe, "label_budget": self.fitted[index].label_budget.words}

    @property
    def who(self) -> str:
        """ "SimCLR, NAME" of a run's directory or a file."""
        origin = self.prober.origin
        kind = origin.backbone.name if origin.kind == "timm" and origin.backbone else origin.method or origin.kind
        parts = [upper(title(kind))]
        if origin.path:
            parts += [origin.path.absolute().parts[-3]] if origin.kind == "checkpoint" else []
            parts.append(origin.path.name)
        return ", ".join(parts)

    def of(self, count: int, split: str = "test") -> str:
        """ "10,000 test images of cifar10"."""
        data = self.prober.cfg.data
        return f"{count:,} {split} images of {data_name(data.name, data.root, data.train)}"
