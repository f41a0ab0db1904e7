"""Claims of a comparison that nothing has run for yet: they must be readable, and about what will be measured."""

from gssl import schemas
from gssl.config import arms, registry
from gssl.config.comparison_rules import budget_keys
from gssl.config.menus import probes_of
from gssl.report.claims import measures_of, parse
from gssl.schemas.label_budgets import label_budget_keys


def check(cfg: schemas.Compare) -> None:
    """Raises UsageError for the first claim that cannot be checked. Of finished runs it is not known what they hold."""
    if cfg.runs or not cfg.check:
        for claim in cfg.check:
            parse(claim)
        return
    found = arms.read(cfg.arms)
    probes = {arm.name: probes_of(arms.kind(arm), cfg.probe.use) for arm in found}
    measured = {arm.name: measures_of(arm, cfg.generation.images > 0) for arm in found}
    budgets = [*budget_keys(cfg), *label_budget_keys(_own_budgets(cfg.probe), [])]
    for claim in cfg.check:
        parse(claim, probes, budgets, measured)


def _own_budgets(probes: schemas.Probes) -> list[int]:
    """Labels per class at which single probes are fitted beside the comparison's; 0: without labels."""
    found = []
    for name in probes.use:
        entry = registry.PROBE[name]
        if entry.own_budgets:
            found += getattr(getattr(probes, name), entry.own_budgets)
        if not entry.labels:
            found.append(0)
    return found
