"""The document of a comparison, report.json: what every form of the report and every check reads.

`python -m gssl.report.model` prints its JSON schema, which is made of these classes.
"""

import json
import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, Field

from gssl.config.comparison_rules import MOST_PAIRS
from gssl.data.targets import of_task
from gssl.report.model_records import (
    Alarm,
    ArmName,
    AtLeastOne,
    CostRow,
    Count,
    Curve,
    FailedPart,
    Finding,
    Fraction,
    GenerationQuality,
    GenerationRow,
    Interval,
    MissingPart,
    Openings,
    Part,
    PerSeed,
    Picture,
    Positive,
    Preregistration,
    Progress,
    Provenance,
    Search,
    Spending,
    Stability,
)
from gssl.words import label_budget_text

SCHEMA = "gssl.report/4"


class Verdict(Part):
    """The answer in sentences, generated from the numbers."""

    answer: Literal["yes", "perhaps", "perhaps not", "no", "not shown", "open"]
    """yes, perhaps (ahead, not tested), perhaps not (behind, not tested), no, not shown, or open: there is nothing
    to answer from."""
    headline: str
    """The answer in one sentence; in brackets intervals that hold for all of the family together."""
    cannot: list[str] = Field(description="What these runs cannot show.")
    sentences: list[str] = Field(description="One sentence per pair of the primary family.")
    exploratory: list[str] = Field(description="Sentences about what stands beside it.")
    cautions: list[str] = Field(description="Facts that weaken the comparison: of its data, its plan, its runs.")


class Behind(Part):
    """How far an arm is behind the best one."""

    mean: float = Field(description="Best minus this arm.")
    interval: Interval | None = Field(description="At `level`.")


class KeptArm(Part):
    """An arm that is not shown to be worse than the best."""

    arm: ArmName
    mean: float = Field(description="Its mean.")
    behind: Behind | None = Field(description="How far it is behind the best; null for the best itself.")
    flops: Positive = Field(description="FLOPs of its training.")
    seconds: Positive = Field(description="Seconds of its training.")


class StepUp(Part):
    """What a larger label budget brings."""

    from_: str = Field(alias="from", description="Key of the smaller label budget.")
    to: str = Field(description="Key of the larger one.")
    mean: float = Field(description="What it gains, in the unit of the primary metric.")
    interval: Interval | None = Field(description="Of the gain, paired.")


class AdviceGroup(Part):
    """Sentences of the advice with one aim."""

    title: str = Field(description="To score higher, or to be more certain.")
    sentences: list[str] = Field(description="Its sentences.")


class Advice(Part):
    """What to do, by a written rule."""

    best: str = Field(description="The arm with the highest mean at the primary label budget, references aside.")
    kept: list[KeptArm] = Field(description="Arms not shown to be worse than it.")
    use: str = Field(description="The cheapest of them.")
    adapt: dict[str, AtLeastOne] | None
    """Way of adapting → in how many fits it was chosen for `use`."""
    level: Fraction = Field(description="Of the intervals: they hold for all arms together.")
    more_labels: list[StepUp] = Field(description="What each larger label budget brings `use` over the one before it.")
    sentences: list[str] = Field(description="The advice in words, what to use first.")
    groups: list[AdviceGroup] = Field(description="Which of the sentences say what more would buy, by what it is for.")


class Primary(Part):
    """What may carry the verdict, fixed before any score was read."""

    probe: str = Field(description="The probe, the same for every arm that it can be fitted to.")
    label_budget: str = Field(description="The label budget: 10 (per class), 5i (images), 1% or all.")
    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(
        max_length=MOST_PAIRS, description="Pairs of arms: a − b is tested."
    )
    fixed_by: Literal["plan", "rule", "reader"]
    """plan: the configuration (compare's `primary`) before anything ran; rule: by names only; reader: `primary`
    beside finished runs (`runs=`)."""
    task: str = Field(description="What the probe is fitted to.")
    metric: str
    """Metric of the scores that carry the verdict; where none is given the task's, of unequal classes the balanced
    one."""
    margin: Fraction = Field(description="Smallest difference of interest, in the unit of the metric.")
    alpha: Fraction
    """Level of the family: how often it may err, all pairs together; below .05 after further looks."""


class Need(Part):
    """What it would take to see the difference of a pair."""

    a: str = Field(description="First arm.")
    b: str = Field(description="Second arm.")
    half: Positive = Field(description="What is asked for: the family's interval at ± this.")
    now: Positive = Field(description="Half the family's interval as it is.")
    item_share: Fraction = Field(description="Fraction of the variance that comes from the test images.")
    seeds: AtLeastOne | None = Field(description="Seeds that would do with these test images; null: no number.")
    items: AtLeastOne | None = Field(description="Test images that would do with these seeds; null: no number.")
    fixed: bool = Field(description="Whether nothing depends on the seed.")


class Stage(Part):
    """A stage of training."""

    method: str | None = Field(description="Name of the method.")
    command: str | None = Field(description="The command that trains it.")
    fraction: Fraction | None = Field(
        validation_alias=AliasChoices("fraction", "share"), description="Its fraction of the budget."
    )
    seconds: Positive | None = Field(default=None, description="Mean wall time over seeds.")


class Arm(Part):
    """One thing that is compared."""

    name: ArmName
    title: str = Field(description="The name that is shown.")
    role: Literal["contestant", "control", "reference"]
    """contestant, control (learnt nothing from these images) or reference (uses the labels of all training images,
    never ranked)."""
    pretrained: bool = Field(description="Whether its network comes to the labels trained.")
    seeds: list[int] = Field(description="Seeds with test scores.")
    failed_seeds: list[int] = Field(description="Seeds that were tried and have none.")
    backbone: dict[str, Any] | None
    """The network as its training run describes it: name, norm, width, …"""
    family: Literal["gan", "ssl", "classical", "file", "none"]
    """What its last stage is: a GAN, self-supervised (ssl), a classical baseline, a file of weights, or nothing
    trained."""
    stages: list[Stage] = Field(description="What is trained, in order; empty where nothing is.")
    note: str = Field(description="What a reader must know of this arm; may be empty.")
    kind: Literal["ssl", "gan", "ready", "classical", "scratch", ""]
    """What it is in the default family; empty for a control."""


class Budget(Part):
    """What every trained arm was given."""

    unit: Literal["flops", "seconds", "images", "steps", "epochs"] = Field(description="What is equal.")
    value: Positive = Field(description="How much, per arm and seed.")
    text: str = Field(description="The same in words.")


class LabelBudget(Part):
    """A label budget."""

    key: str = Field(description="As claims write it: 10 (per class), 5i (images), 1% or all.")
    label: str = Field(description="In words.")
    n_train: Positive | None = Field(description="Mean number of labelled images.")


class Score(Part):
    """A test score: one arm, task, probe, label budget and metric."""

    arm: ArmName
    role: str = Field(description="The arm's role.")
    task: str = Field(description="What the probe is fitted to: classification, segmentation, …")
    probe: str = Field(description="Name of the probe.")
    label_budget: str = Field(description="Key of the label budget: 10 (per class), 5i (images), 1% or all.")
    metric: str = Field(description="The metric of mean, interval and per_seed: the primary one.")
    mean: float = Field(description="Mean over seeds.")
    interval: Interval | None = Field(description="Of the mean.")
    per_seed: PerSeed = Field(description="Seed → mean over its label draws.")
    n_seeds: AtLeastOne = Field(description="Number of seeds.")
    draws: AtLeastOne = Field(description="Most label draws of a seed.")
    draw_sd: Positive | None = Field(description="S.d. over draws within a seed; null with one draw.")
    n_train: Positive | None = Field(description="Mean number of labelled images.")
    n_test: Count = Field(description="Test images.")
    validation: float | None = Field(description="Mean validation score, by which settings were chosen.")
    metrics: dict[str, float] = Field(description="Metric → mean over seeds and draws, of all that were recorded.")
    components: dict[str, float | None] = Field(
        description="Class → the metric of that class alone, mean over seeds and draws; empty where runs record none."
    )
    chosen: list[Any] = Field(description="Hyperparameters that were chosen on validation images.")
    adapted_by: dict[str, AtLeastOne] | None
    """Of an adapted score: way of adapting → in how many fits it was chosen; null elsewhere."""


class Difference(Part):
    """A paired difference a − b."""

    a: str = Field(description="First arm.")
    b: str = Field(description="Second arm.")
    probe: str | None = Field(description="The probe; null for generation.")
    probes: list[str | None] = Field(description="a's and b's probe; empty for generation.")
    label_budget: str = Field(description="Key of the label budget; empty for generation.")
    metric: str = Field(description="The primary metric, or a metric of generation; mean and interval are in its unit.")
    mean: float | None = Field(description="Mean of a − b over the seeds that both have; null where there is none.")
    interval: Interval | None = Field(description="Of the mean, paired.")
    p: Fraction | None = Field(description="Exact two-sided sign-flip test.")
    p_adjusted: Fraction | None = Field(description="max-T over the primary family; null elsewhere.")
    simultaneous: Interval | None
    """The interval at 1 − alpha/pairs, so that those of the primary family hold together: it decides. Pairs below
    six seeds beside pairs that are tested divide among them what the tests leave of alpha. Null elsewhere."""
    effect_size: float | None = Field(description="Mean over s.d. of the paired differences (d_z).")
    n_seeds: Count = Field(description="Seeds that both have.")
    per_seed: PerSeed = Field(description="Seed → a − b.")
    family: Literal["primary", "exploratory"] = Field(description="Whether it may carry the verdict.")
    fixed: bool = Field(description="Whether nothing depends on the seed, so that test images alone decide.")
    item_share: Fraction | None = Field(description="Fraction of the variance that comes from the test images.")
    over_seeds: Interval | None = None
    """The t interval over seeds alone: below six seeds it must exclude 0 as well."""

    @property
    def gap(self) -> float:
        """The mean; 0 where no seed finished in both arms."""
        return self.mean or 0.0

    def swapped(self) -> "Difference":
        """b − a in place of a − b."""
        ends = {key: getattr(self, key) for key in ("interval", "simultaneous", "over_seeds")}
        other = {key: i and i.times(-1) for key, i in ends.items()}
        mean = None if self.mean is None else -self.mean
        return self.model_copy(update={"a": self.b, "b": self.a, "mean": mean, "probes": self.probes[::-1], **other})

    def over(self, arm: str) -> "Difference":
        """With `arm`, one of the two, as the one that is subtracted."""
        return self if self.b == arm else self.swapped()


class Report(Part):
    """report.json of gssl compare. Scores, differences and intervals are in the unit of their metric; what was not
    measured is null."""

    schema_: Literal["gssl.report/4"] = Field(alias="schema")
    """Name and version of this form; a change that breaks readers raises the number."""
    created: str = Field(description="When the report was made: ISO 8601, UTC.")
    gssl: str = Field(description="Version of gssl that made the report.")
    data: str = Field(description="Name of the data set; empty where the runs name several.")
    question: str = Field(description="The question that the report answers.")
    verdict: Verdict = Field(description="The answer in sentences, generated from the numbers.")
    advice: Advice | None
    """What to do, by a written rule; null where fewer than two arms have scores."""
    primary: Primary = Field(description="What may carry the verdict, fixed before any score was read.")
    needs: list[Need] = Field(description="Per pair of the primary family what it would take to see its difference.")
    arms: list[Arm] = Field(description="Contestants (pretrained ones first), controls, reference lines.")
    budget: Budget | None
    """What every trained arm was given; null where finished runs were only read."""
    seeds: list[int] = Field(description="Seeds of the runs.")
    planned_seeds: list[int] | None = Field(description="Seeds of the plan; null without one.")
    label_budgets: list[LabelBudget] = Field(description="Label budgets, from few to all.")
    probes: list[str] = Field(description="Names of the probes.")
    table: list[Score] = Field(description="Test scores: one row per arm, task, probe, label budget and metric.")
    differences: list[Difference]
    """Paired differences a − b: the primary family first, then exploratory ones."""
    generation: list[GenerationRow]
    """Generated images, evaluated: one row per arm with a generator and metric; may be empty."""
    generation_quality: list[GenerationQuality] = Field(default_factory=list)
    """How good each arm's generated images are, in a sentence; empty where no evaluation measured controls."""
    cost: list[CostRow]
    """What training took, over all stages of an arm, without evaluation: one row per arm and metric."""
    progress: list[Progress]
    """Validation scores against compute, from checkpoints at log-spaced points; the last point is the end."""
    stability: list[Stability] = Field(description="What became of the training runs; nothing is dropped.")
    searches: list[Search]
    """Settings that were chosen on validation images before the comparison; may be empty."""
    curves: list[Curve] = Field(description="Losses and validation scores of training, at most 200 points each.")
    alarms: list[Alarm]
    """What the runs' own monitors found, such as collapsed features, and generators that are dead on test images."""
    samples: list[Picture] = Field(description="Pictures that the runs made.")
    compute: list[Spending] = Field(description="What each finished run spent.")
    provenance: Provenance = Field(description="Where every number comes from.")
    failed: list[FailedPart] = Field(description="Every part that did not finish or was damaged since.")
    missing: list[MissingPart] = Field(description="Planned, without a finished evaluation, and not in `failed`.")
    allow_norm_diff: bool = Field(description="Whether backbones with different normalisation were allowed.")
    notes: list[str] = Field(description="Sentences that the plan brought.")
    limitations: list[str] = Field(description="What a reader must not conclude.")
    findings: list[Finding]
    """What was found in the data and in which runs differ that can make a verdict wrong; every text is a caution."""
    preregistration: Preregistration | None
    """What the record shows of the plan; null where there is none."""
    openings: Openings | None
    """The ledger of these test images; null where they are not one set or not on record."""

    @property
    def titles(self) -> dict[str, str]:
        """Arm → the name that is shown."""
        return {a.name: a.title for a in self.arms}

    @property
    def family(self) -> list[Difference]:
        """The pairs that carry the verdict, in so far as a seed finished in both arms."""
        return [d for d in self.differences if d.family == "primary" and d.mean is not None]

    @property
    def metric_names(self) -> set[str]:
        """The metrics by which anything was scored."""
        return {self.primary.metric, *(name for row in self.table for name in (row.metric, *row.metrics))}

    def said(self, text: str) -> str:
        """A text of the report in the words of what is predicted (`gssl.data.targets.Target.said`)."""
        groups = any(found.summary.get("test_groups") for found in self.provenance.data)
        budgets = [label_budget_text(budget.key) for budget in self.label_budgets if budget.key.endswith("i")]
        return of_task(self.primary.task).said(text, budgets, groups)

    def row(self, arm: str, probe: str | None = None, label_budget: str | None = None) -> Score | None:
        """A score by name; of the primary probe and label budget, where none is given."""
        wanted = (arm, probe or self.primary.probe, label_budget or self.primary.label_budget)
        return next((r for r in self.table if (r.arm, r.probe, r.label_budget) == wanted), None)

    def text(self) -> str:
        """As it stands in report.json."""
        return json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def as_json(self) -> dict[str, Any]:
        """As JSON holds it: what was never set is left out."""
        found: dict[str, Any] = clean(self.model_dump(mode="json", by_alias=True, exclude_unset=True))
        return found


def clean(value: Any) -> Any:
    """`value` as JSON can hold it: non-finite numbers become None, numbers of NumPy and paths as Python has them."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [clean(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | BaseModel | None) else str(value)


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of report.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Report.model_json_schema(by_alias=True)


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1, ensure_ascii=False))
