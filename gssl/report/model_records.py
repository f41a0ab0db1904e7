"""The parts of report.json that say what was measured and recorded: intervals, costs, training, runs, findings."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Seed = Annotated[str, Field(pattern=r"^\d+$")]
PerSeed = Annotated[dict[Seed, float], Field(json_schema_extra={"additionalProperties": False})]  # seed → value
ArmName = Annotated[str, Field(description="Name of the arm.")]
AnySeed = Annotated[int | None, Field(description="The seed; null where it is not on record.")]
DID = (
    "What the run did: pretrain (any training), transfer (probing), milestones (checkpoints on validation images),"
    " evaluate (generated images)."
)
StageName = Annotated[str, Field(description=DID)]


def known(part: type["Part"], found: dict[str, Any]) -> dict[str, Any]:
    """The keys of a record of another room that the document has; others do not keep a report from being made."""
    names = {*part.model_fields, "share"}  # "share": what older runs call a fraction
    return {key: value for key, value in found.items() if key in names}


class Part(BaseModel):
    """A part of the document: keys that are not described are refused, texts below fields are their descriptions."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, validate_by_name=True, validate_by_alias=True, strict=False
    )


class Interval(Part):
    """An interval in the unit of the mean beside it; null where nothing shows the spread."""

    kind: Literal["two_way", "t", "log_t", "wilson", "newcombe", "bootstrap"]
    """How it was made: two_way (crossed over seeds and test images; within the metric's range), t (over seeds), log_t
    (t over seeds on the logarithmic scale, of what cannot be negative), wilson, newcombe or bootstrap (one seed, over
    test images)."""
    over: str
    """What varies: seeds and test images, seeds, or test images (one seed, or nothing depends on the seed)."""
    n: AtLeastOne | None = Field(description="Number of seeds; of the older kinds of what varies.")
    level: Positive = Field(description="Nominal coverage.")
    low: float = Field(description="Lower end.")
    high: float = Field(description="Upper end.")
    items: AtLeastOne | None = Field(default=None, description="Number of test images, or of their groups.")
    grouped: bool = Field(default=False, description="Whether items are groups of test images that belong together.")

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def times(self, factor: float) -> "Interval":
        """In another unit, or of the negative value."""
        low, high = sorted((self.low * factor, self.high * factor))
        return self.model_copy(update={"low": low, "high": high})


class GenerationRow(Part):
    """A metric of generated images, of one arm."""

    arm: ArmName
    metric: Literal["kid", "fd", "precision", "recall", "density", "coverage", "copied", "gan_train", "gan_test"]
    """Name of the metric."""
    label: str = Field(description="The name that is shown.")
    better: Literal["low", "high", "one"]
    """Which values are better: low ones, high ones, or those near one."""
    mean: float | None = Field(description="Mean over seeds.")
    interval: Interval | None = Field(description="Of the mean.")
    per_seed: PerSeed = Field(description="Seed → value.")
    n_seeds: Count = Field(description="Number of seeds.")
    baseline: float | None = Field(description="What real training images get in place of generated ones.")
    evaluator: str = Field(description="Name of the network whose features say how near images are.")
    split: Literal["test", "val"] = Field(description="Whose real images.")
    n: int | None = Field(description="Real images, and as many generated ones.")


class GenerationQuality(Part):
    """How good an arm's generated images are, relative to damaged real ones."""

    arm: ArmName
    grade: Literal["good", "fair", "poor", "bad", "useless"]
    """good: as near as real training images; useless: farther than noise."""
    text: str = Field(description="A sentence that begins with the grade.")
    notes: list[str] = Field(description="Further sentences, on metrics that look better than they are.")


class CostRow(Part):
    """What training an arm took, of one kind."""

    arm: ArmName
    metric: Literal["flops", "images", "steps", "seconds", "cpu_seconds", "memory"]
    """flops, images, steps, seconds (wall), cpu_seconds or memory (peak, bytes)."""
    label: str = Field(description="The name that is shown.")
    mean: Positive | None = Field(description="Mean over seeds.")
    interval: Interval | None = Field(description="Of the mean.")
    per_seed: PerSeed = Field(description="Seed → value: the sum over stages, of memory the largest.")
    n_seeds: Count = Field(description="Number of seeds.")


class Checkpoint(Part):
    """The validation score of a checkpoint."""

    step: Count = Field(description="Update steps so far.")
    flops: Positive | None = Field(description="FLOPs so far.")
    images: Positive | None = Field(description="Images read so far.")
    seconds: Positive | None = Field(description="Seconds of training so far.")
    value: float = Field(description="Score on validation images, by the metric of the run.")


class Progress(Part):
    """Validation scores of one training run."""

    arm: ArmName
    seed: AnySeed
    probe: str = Field(description="The probe.")
    label_budget: str = Field(description="Key of the label budget.")
    metric: str = Field(description="Metric of its points.")
    split: Literal["val"] = Field(description="Whose images.")
    points: list[Checkpoint] = Field(description="From early to late.")


class Stability(Part):
    """What became of the training runs of an arm."""

    arm: ArmName
    runs: Count = Field(description="Training runs planned or there.")
    finished: Count = Field(description="Finished runs.")
    diverged: Count = Field(description="Runs whose loss was not finite.")
    collapsed: Count = Field(description="Finished, with an alarm of collapse.")
    failed: Count = Field(description="Failed otherwise.")
    alarms: Count = Field(description="Runs with an alarm.")


class Trial(Part):
    """A trial of a search."""

    overrides: list[str] = Field(description="Its overrides.")
    value: float | None = Field(description="Its score; null where it failed.")
    state: str = Field(description="finished, failed, …")


class Search(Part):
    """The search of one arm."""

    arm: ArmName
    trials: Count = Field(description="Number of trials.")
    chosen: list[str] = Field(description="Overrides of the best trial.")
    objective: str = Field(description="What the trials were ranked by.")
    flops: Positive | None = Field(description="FLOPs of all trials, failed ones too.")
    seconds: Positive | None = Field(description="Seconds of all trials, failed ones too.")
    uncounted: Count = Field(description="Trials that died without a record of what they spent.")
    rows: list[Trial] = Field(description="Every trial.")


class Curve(Part):
    """A quantity over the steps of one training run."""

    arm: ArmName
    seed: AnySeed
    metric: str = Field(description="Key in metrics.jsonl.")
    kind: Literal["loss", "validation"] = Field(description="What it is.")
    step: list[int | float] = Field(description="Update steps.")
    images: list[int | float | None] = Field(description="Images read.")
    value: list[int | float | None] = Field(description="Values.")


class Alarm(Part):
    """What a run or an evaluation warned of."""

    arm: ArmName
    seed: AnySeed
    step: int | None = Field(description="When; null for a finding on test images after training.")
    alarm: str = Field(description="What.")


class Picture(Part):
    """A picture that a run made."""

    arm: ArmName
    seed: AnySeed
    kind: Literal["samples", "reconstructions", "neighbours", "map", "attention"]
    """samples (generated), reconstructions, neighbours (left a generated image, then its nearest training images),
    map (of test images) or attention."""
    file: str = Field(description="Its file's name.")
    step: int | None = Field(description="Of the training.")
    width: Count = Field(description="Pixels.")
    height: Count = Field(description="Pixels.")
    png: str | None = Field(description="The PNG in base64; null where it is too large.")
    caption: str = Field(description="What it shows; may be empty.")
    alt: str = Field(description="The same in words.")


class Spending(Part):
    """What a finished run spent."""

    arm: ArmName
    seed: AnySeed
    stage: StageName
    seconds: Positive | None = Field(description="Wall time.")
    flops: Positive | None = Field(description="FLOPs of training.")
    images: Positive | None = Field(description="Training images read.")
    steps: Positive | None = Field(description="Update steps.")
    epochs: Positive | None = Field(description="Passes.")
    peak_memory_bytes: Positive | None = Field(description="Peak memory.")
    images_per_second: Positive | None = Field(description="Speed.")


class Environment(Part):
    """Hardware and versions of some runs."""

    values: dict[str, Any] = Field(description="Hardware and versions.")
    runs: Count = Field(description="Runs made in it.")


class DataSummary(Part):
    """The data that some runs read."""

    summary: dict[str, Any] = Field(description="Counts, classes, hash.")
    runs: Count = Field(description="Runs that saw it.")


class Subset(Part):
    """Which images were labelled."""

    label_budget: str = Field(description="Key of the label budget.")
    seed: AnySeed
    draws: Count = Field(description="Label draws.")
    hash: str = Field(description="One hash over all draws.")
    same: bool = Field(description="Whether all arms had the same images.")


class RunRecord(Part):
    """A run directory."""

    arm: ArmName
    seed: AnySeed
    stage: StageName
    state: str = Field(description="finished, failed, interrupted, running, damaged or missing.")
    path: str = Field(description="Its directory.")
    command: str = Field(description="The command that repeats it; may be empty.")
    config_hash: str | None = Field(description="Hash of what determines it.")
    started: str | None = Field(description="ISO 8601.")
    ended: str | None = Field(description="ISO 8601.")
    weights: dict[str, str | None]
    """Name → SHA-256 of what it wrote, or of the source that it evaluated."""
    source: dict[str, Any] | None = Field(description="Whose weights were evaluated.")
    load_report: dict[str, Any] | None = Field(description="Keys loaded, missing, unexpected.")
    objective: dict[str, Any] | None = Field(description="What it optimised or reports: name, value, direction.")
    test_openings: int | None = Field(description="How often it opened the test images.")
    data_hash: str | None = Field(description="Hash of its images.")
    config: dict[str, Any] = Field(description="Dotted key → value, only what differs between the runs of one stage.")
    git: str | None = Field(description="Git revision of gssl.")
    wall: Positive | None = Field(description="Seconds from start to end.")


class Provenance(Part):
    """Where every number comes from."""

    command: str | None = Field(description="The command that made the report.")
    environments: list[Environment] = Field(description="Each environment that runs were made in.")
    data: list[DataSummary] = Field(description="Each summary of data that runs saw.")
    subsets: list[Subset] = Field(description="Which labelled images each label budget and seed had.")
    runs: list[RunRecord] = Field(description="Every run directory.")


class FailedPart(Part):
    """A part that did not finish, or was damaged since."""

    arm: ArmName
    seed: AnySeed
    stage: StageName
    state: str = Field(description="failed, interrupted, running, damaged or missing (never started).")
    error: str | None = Field(description="Why.")
    path: str | None = Field(description="Its directory.")


class MissingPart(Part):
    """A part that was planned and is not there."""

    arm: ArmName
    seed: AnySeed


class Finding(Part):
    """What can make a verdict wrong: of the data, or in which runs differ."""

    kind: str
    """Of the data (test_in_training, near_duplicates, conflicting_labels, torn_groups, missing_classes,
    few_test_images, few_per_class, imbalance) or of the runs (copy, repeat, name, network_shared, budget_within,
    budget, network, data, subset, draws, version, labels)."""
    text: str = Field(description="The finding in a sentence.")
    part: str | None = Field(default=None, description="Which part of the data.")
    images: Count | None = Field(default=None, description="How many images.")
    fraction: Fraction | None = Field(
        default=None,
        validation_alias=AliasChoices("fraction", "share"),
        description="Their fraction of the test images.",
    )
    mirrored: Count | None = Field(default=None, description="How many of them are mirrored.")
    groups: Count | None = Field(default=None, description="How many groups.")
    pictures: Count | None = Field(default=None, description="How many pictures.")
    within_training: Count | None = Field(default=None, description="How many of them among the training images.")
    test_images: Count | None = Field(default=None, description="How many test images.")
    classes: list[Any] | dict[str, Any] | None = Field(
        default=None, description="Names of classes, or class → test images."
    )
    parts: list[Any] | dict[str, Any] | None = Field(default=None, description="Names of parts, or part → its figures.")
    examples: list[str] | None = Field(default=None, description="Some of them.")
    arms: list[str] | None = Field(default=None, description="Arms that it concerns.")


class Change(Part):
    """A change of the plan."""

    kind: str = Field(description="What kind of change.")
    text: str = Field(description="The change in a sentence.")


class Preregistration(Part):
    """What the record shows of the plan."""

    state: Literal["planned", "changed", "unknown"]
    """planned, changed (after scores were there) or unknown."""
    text: str = Field(description="The state in a sentence.")
    changes: list[Change] = Field(description="What was changed.")
    looks: Count = Field(description="How often scores could be seen at growing numbers of seeds.")
    seeds_at_look: list[int] | None = Field(default=None, description="Numbers of seeds at these looks.")
    level: Fraction = Field(description="Level of the test at this look.")
    attainable: Fraction | None = Field(default=None, description="The largest attainable p at or below it.")
    exploratory: bool | None = Field(default=None, description="Whether no p can reach the level.")
    first: str | None = Field(default=None, description="When the plan that counts was put on record.")
    recorded: str | None = Field(default=None, description="When this one was.")
    when_scored: str | None = Field(default=None, description="When the first score was there.")
    record: str | None = Field(default=None, description="The file.")
    hash: str | None = Field(default=None, description="Hash of its line.")
    alpha: Fraction | None = Field(default=None, description="The level that the report uses.")


class Openings(Part):
    """How often these test images were opened, by the ledger."""

    runs: Count = Field(description="Runs that opened them.")
    settings: Count = Field(description="Settings of these runs, but for the seed.")
    openings: Count = Field(description="Openings in all.")
    first: str | None = Field(description="When the first was.")
    last: str | None = Field(description="When the last was.")
    damage: str = Field(default="", description="What is wrong with the ledger: there may be more. Empty: nothing.")
    text: str = Field(description="The same in a sentence.")
