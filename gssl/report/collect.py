"""Reads run directories: files in, `Run` records out. Nothing is concluded here.

A run directory holds status.json, config.yaml, environment.json, metrics.jsonl, samples/*.png and, when it
finished, result.json; those that `compare` made also hold part.json (schema gssl.part/1: arm, seed, stage,
command, depends).
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gssl.config import label_use
from gssl.config.menus import trains
from gssl.engine import recorded, shapes
from gssl.engine.documents import present, read_json, read_yaml
from gssl.engine.files import parse, read_bytes, sha256
from gssl.engine.lines import entries_of
from gssl.engine.progress import say
from gssl.errors import Damaged, UsageError
from gssl.report.consistency import Settings, Trained, kept
from gssl.schemas.commands import COMMANDS
from gssl.schemas.determining import flat
from gssl.schemas.label_budgets import KEYS

if TYPE_CHECKING:
    from gssl.report.scores import Predictions

MARKS = ("result.json", "status.json", "part.json", "config.yaml")  # a directory with none of them is no run
STAGES = {
    "pretrain-ssl": "pretrain",
    "train-gan": "pretrain",
    "transfer": "transfer",
    "milestones": "milestones",
    "evaluate": "evaluate",
}
EVALUATIONS = ("gssl.evaluation/1", "gssl.evaluation/2", "gssl.evaluation/3")  # /1 has no replicates
# Keys of a configuration that cannot tell two arms apart.
ASIDE = ("seed", "weights", "engine", "experiment", "eval")


@dataclass(frozen=True)
class Run:
    """One run directory as it lies on the disk. `state` is "finished" only with a readable result.json."""

    path: Path
    arm: str
    seed: int | None
    stage: str  # pretrain | transfer | milestones | evaluate
    state: str  # finished | failed | interrupted | running | missing | damaged: lost or changed since
    error: str | None
    command: str
    result: dict[str, Any] = field(repr=False)
    environment: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    part: dict[str, Any] = field(repr=False)
    status: dict[str, Any] = field(repr=False)
    depends: tuple[Path, ...] = ()
    metrics: list[dict[str, Any]] = field(default_factory=list, repr=False)
    samples: tuple[Path, ...] = ()
    evaluations: tuple[dict[str, Any], ...] = field(default=(), repr=False)  # of a generator on test images, in order
    predictions: "Predictions | None" = field(default=None, repr=False, compare=False)  # None: in predictions.npz
    copies: tuple[tuple[str, str], ...] = ()  # what was left out for it: (copy | repeat, path) or (name, arm)

    @property
    def finished(self) -> bool:
        return self.state == "finished"


def read_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs at `paths` and the pretraining runs that they were made from, each once, in a stable order.

    Unfinished, failed and damaged runs are returned too, with their error. A transfer run without part.json is named
    after its source (`simclr`, `random`, `pixels`, a file's stem); the fine-tuning scores of a random network
    become the arm `scratch`. A run that is there twice is left out (`consistency.kept`). Where two such runs would
    give one arm and seed two scores, the arms take the configuration keys that tell them apart into their names:
    `simclr[ssl.temperature=0.2]`. Raises UsageError where not one of the paths is a run directory.
    """
    given = [Path(p) for p in paths]
    found: dict[Path, Run] = {}
    queue = sorted(given)
    while queue:
        path = queue.pop(0)
        key = path.resolve()
        if key in found or not any((path / mark).is_file() for mark in MARKS):
            continue
        if (path / "curve.json").is_file():  # several sources or data sets, with tables of its own
            continue
        run = _read(path)
        if run.stage not in STAGES.values() or run.part.get("trial"):  # a comparison, an export, a search's trial
            continue
        found[key] = run
        queue += run.depends
    if not found:
        shown = f"{given[0]}" if given else "no path"
        raise UsageError(
            f"no run directory among {len(given)} path(s) ({shown} …): expected directories that hold "
            "status.json; quote the pattern, e.g. runs='runs/transfer/*'"
        )
    runs = list(found.values())
    trained = Trained(runs)
    return _distinct(_scratch(kept(runs, lambda run: _lineage(run, trained))))


def _read(path: Path) -> Run:
    problems: list[str] = []
    result, status, environment, part = (
        _json(path / name, problems) for name in ("result.json", "status.json", "environment.json", "part.json")
    )
    config = _yaml(path / "config.yaml", problems)
    metrics = _metrics(path, status, problems)
    for row, score in enumerate([*(result.get("scores") or []), *(result.get("generated_scores") or [])]):
        score["row"] = row  # of predictions.npz, whoever takes some of the scores away
    result = present(result)
    told = result or _unverified(path / "result.json")
    source = told.get("source") or {}
    command = _command(told, status, config)
    if result and command == "transfer":  # labels that its weights were trained with
        result["labels_used"] = label_use.of_source(source, path)
    elif result and "labels_used" not in result and command in COMMANDS:  # of an older version
        result["labels_used"] = label_use.of_path(path)
    stage = part.get("stage") or STAGES.get(command, command or "pretrain")
    depends = [Path(p) for p in part.get("depends") or []]
    if source.get("kind") == "run" and source.get("path"):
        depends.append(Path(source["path"]))
    if source.get("kind") == "checkpoint" and source.get("path"):
        depends.append(Path(source["path"]).parents[1])
    seeds = (part.get("seed"), told.get("seed"), config.get("seed"))
    state = status.get("state") or "missing"
    error = status.get("error") or ("; ".join(problems) or None)
    if damaged := _damage(path, status, problems):
        state, error = "damaged", damaged
    return Run(
        path=path,
        arm=str(part.get("arm") or _arm(told, status, config)),
        seed=next((int(s) for s in seeds if s is not None), None),
        stage=stage,
        state=state,
        error=error,
        # what only a comparison runs has no command of its own, and its environment is that of the comparison
        command="" if part.get("command") == "" else _shown_command(part, environment, told, status),
        result=result if state == "finished" else {},
        environment=environment,
        config=config,
        part=part,
        status=status,
        depends=tuple(_existing(p, path) for p in depends),
        metrics=metrics,
        samples=tuple(sorted((path / "samples").glob("*.png")) + sorted((path / "pictures").glob("map.png"))),
        evaluations=_evaluations(path),
    )


def _damage(path: Path, status: dict[str, Any], problems: Sequence[str]) -> str | None:
    """What of a run was lost or changed, None where it is as it was left. Weights that are gone take no number away.

    Without its status nobody knows whether a run has finished, nor whether its numbers are those that it wrote.
    """
    if not status.get("state"):
        if (path / "status.json").exists():
            return next((text for text in problems if text.startswith("status.json")), "status.json is damaged")
        left = [name for name in ("result.json", "config.yaml") if (path / name).is_file()]
        return f"status.json is gone, and {left[0]} is there" if left else None
    if status["state"] != "finished":
        return None
    for lost in recorded.damages(path, status):
        if lost.path.parent.name == "weights" and not lost.path.exists():
            say(f"note: {lost.path}: {lost.why}; what was measured with it counts all the same")
        else:
            cannot = " cannot be read:" if lost.path.name == "result.json" and lost.path.exists() else ""
            return f"{lost.path.relative_to(path)}{cannot} {lost.why}"
    return None


def _evaluations(path: Path) -> tuple[dict[str, Any], ...]:
    """What `gssl evaluate RUN --split test` has left in a run, the oldest first."""
    files = sorted((path / "evaluations").glob("test-*.json"), key=lambda file: file.stat().st_mtime_ns)
    found = [present(_json(file, [])) for file in files]
    return tuple(text for text in found if text.get("schema") in EVALUATIONS and text.get("figures"))


def _command(result: dict[str, Any], status: dict[str, Any], config: dict[str, Any]) -> str:
    kept = result.get("command") or status.get("command")
    if kept:
        return str(kept)
    # of a run that has lost both: by what it is configured with
    by_key = {"runs": "compare", "sources": "curve", "to": "transfer", "ssl": "pretrain-ssl", "gan": "train-gan"}
    return next((command for key, command in by_key.items() if key in config), "")


def _arm(result: dict[str, Any], status: dict[str, Any], config: dict[str, Any]) -> str:
    """An arm's name where no part.json gives one."""
    source = result.get("source") or {}
    kind = source.get("kind")
    if kind in ("random", "pixels", "majority", "position", "torchvision"):
        return str(kind)
    if source.get("method") or result.get("method"):
        step = f"[step={source['step']}]" if source.get("step") is not None else ""
        return str(source.get("method") or result.get("method")) + step
    if source.get("path"):
        return Path(source["path"]).stem
    for family in ("ssl", "gan"):
        if isinstance(config.get(family), dict) and config[family].get("name"):
            return str(config[family]["name"])
    weights = config.get("weights")
    return Path(str(weights)).name if weights else str(result.get("command") or status.get("command") or "unknown")


def _shown_command(*sources: dict[str, Any]) -> str:
    """The exact command: from compare's part.json, else the environment, else the bare name."""
    for source in sources:
        command = source.get("command")
        if isinstance(command, list):
            words = [str(word) for word in command]
            return shlex.join([Path(words[0]).name, *words[1:]]) if words else ""
        if command:
            return str(command) if " " in str(command) else f"gssl {command}"
    return ""


def _existing(path: Path, run: Path) -> Path:
    """A recorded path may be relative to where the command ran, or lie beside the run."""
    beside = run.parent / path.name
    return beside if not path.exists() and beside.exists() else path


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    """A document, {} where it is missing or damaged, which is added to `problems`."""
    try:
        found = read_json(path)
    except Damaged as error:
        problems.append(f"{path.name} cannot be read: {error.why}")
        return {}
    return found if isinstance(found, dict) else {}


def _unverified(path: Path) -> dict[str, Any]:
    """What a damaged result.json says, from which a run gets its name and never a number; {} where it is no JSON."""
    try:
        found = parse(path, read_bytes(path))
    except (OSError, Damaged):
        return {}
    return present(found) if isinstance(found, dict) and not shapes.mismatch(found, shapes.RESULT) else {}


def _yaml(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return read_yaml(path) or {}
    except Damaged as error:
        problems.append(f"{path.name} cannot be read: {error.why}")
        return {}


def _metrics(run: Path, status: dict[str, Any], problems: list[str]) -> list[dict[str, Any]]:
    """metrics.jsonl; a last line that was cut off by a crash is left out. Curves of a changed file are not drawn."""
    path, recorded = run / "metrics.jsonl", status.get("metrics_sha256")
    try:
        entries, damaged = entries_of(path)
        if recorded and status.get("state") == "finished" and (not path.exists() or sha256(path) != recorded):
            raise Damaged(path, "is damaged or was changed: its sha256 is not the one that status.json records")
    except Damaged as error:
        problems.append(f"{path.name} cannot be read: {error.why}")
        say(f"warning: {path}: {error.why}; its curves are left out")
        return []
    if damaged:
        problems.append(f"{path.name}: {len(damaged)} damaged line(s), the first: {damaged[0]}")
    return [entry for _, entry in entries]


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def _scratch(runs: list[Run]) -> list[Run]:
    """Fine-tuning a random network is a contestant of its own: its scores become the arm `scratch`."""
    out = []
    for run in runs:
        scores = run.result.get("scores") or []
        tuned = [s for s in scores if trains(str(s.get("probe")))]
        if run.part or run.arm != "random" or not tuned:
            out.append(run)
            continue
        frozen = [s for s in scores if not trains(str(s.get("probe")))]
        if frozen:
            out.append(replace(run, result={**run.result, "scores": frozen}))
        out.append(replace(run, arm="scratch", result={**run.result, "scores": tuned}))
    return out


def _distinct(runs: list[Run]) -> list[Run]:
    """Rename arms that would otherwise give one seed two scores for the same thing."""
    names: dict[Path, str] = {}
    for arm in dict.fromkeys(r.arm for r in runs):
        group = [r for r in runs if r.arm == arm and r.stage == "transfer" and r.finished]
        if not _collide(group):
            continue
        by_path = {r.path.resolve(): r for r in runs}
        configs = [flatten(_decisive(run, by_path)) for run in group]
        keys = sorted({k for t in configs for k in t if any(o.get(k) != t[k] for o in configs)})
        named = [
            replace(run, arm=f"{arm}[{','.join(_setting(k, t) for k in keys)}]" if keys else arm)
            for run, t in zip(group, configs, strict=True)
        ]
        for run in named:
            same = [other for other in named if other.arm == run.arm]
            name = f"{run.arm}[{run.path.name}]" if _collide(same) else run.arm
            names[run.path.resolve()] = name
            for parent in run.depends:
                names.setdefault(parent.resolve(), name)
    for run in runs:  # what else was asked of a network that has a name of its own now
        if run.stage in ("milestones", "evaluate"):
            for parent in run.depends:
                if parent.resolve() in names:
                    names.setdefault(run.path.resolve(), names[parent.resolve()])
    # `random` and `scratch` may lie in one directory: only the arm that collided is renamed.
    return [
        replace(r, arm=names[r.path.resolve()]) if names.get(r.path.resolve(), "").startswith(r.arm + "[") else r
        for r in runs
    ]


def _setting(key: str, config: dict[str, Any]) -> str:
    """No spaces: a claim must be able to name the arm."""
    return f"{key}={config.get(key)}".replace(" ", "")


def _collide(runs: Sequence[Run]) -> bool:
    seen: set[tuple[Any, ...]] = set()
    for run in runs:
        for s in run.result.get("scores") or []:
            key = (run.seed, s.get("probe"), *map(s.get, KEYS), s.get("draw"))
            if key in seen:
                return True
            seen.add(key)
    return False


def _decisive(run: Run, by_path: dict[Path, Run]) -> dict[str, Any]:
    """The configuration that made a transfer run what it is: its pretraining's, else its own."""
    parents = [by_path[p.resolve()] for p in run.depends if p.resolve() in by_path]
    return _own(parents[0] if parents else run)


def _lineage(run: Run, trained: Trained) -> Settings:
    """The configurations of a run and of all that it rests on, without seeds and paths, and the seeds of the latter;
    of what is not among the runs its name."""
    ancestors = trained.ancestors(run)
    configs: list[Any] = [_own(run)]
    configs += [_own(other) if other else str(path) for path, other in ancestors.items()]
    return configs, [other.seed for other in ancestors.values() if other]


def _own(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.config.items() if key not in ASIDE}


def flatten(tree: Any) -> dict[str, Any]:
    """`flat` with lists as text."""
    return {k: v if isinstance(v, str | int | float | bool | None) else str(v) for k, v in flat(tree).items()}
