"""Several runs side by side: in what their configurations differ, the objective of each setting, the best.

`compare` reads run directories (config.yaml, status.json, result.json) and makes one document, `gssl.settings/1`;
`text_csv` and `gssl.report.run_page` write it. No torch.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

import gssl
from gssl.engine.documents import find_yaml, read_result
from gssl.engine.files import find_json
from gssl.schemas.determining import FREE, flat

SCHEMA = "gssl.settings/1"
MISSING = None  # where a run's configuration has no such key
# what says nothing about a setting: seeds are averaged over, the rest changes no number
ASIDE = {"seed", "experiment", *(f"engine.{key}" for key in FREE["engine"]), "engine.device", "data.workers"}
ASIDE |= {"executor"}
ASIDE_SECTIONS = ("diagnose.", "hydra.", "executor.")
MOST_NAMED = 12  # keys without a column, of those in words


@dataclass(frozen=True)
class Run:
    """What the files of one run say."""

    path: Path
    command: str | None
    state: str
    started: str
    seed: Any
    objective: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The objective's, of a finished run."""
        value = self.objective.get("value") if self.state == "finished" else None
        return None if value is None or not isfinite(value) else float(value)


def config_of(run: Path) -> dict[str, Any]:
    """config.yaml with dotted keys; {} where there is none that can be read."""
    return flat(find_yaml(run / "config.yaml"))


def read(path: Path) -> Run:
    """A run; one without files is a failed one without a configuration."""
    status, result = find_json(path / "status.json") or {}, read_result(path) or {}
    config = config_of(path)
    seed = result.get("seed", config.get("seed"))
    objective = result.get("objective") or {}
    state = status.get("state", "failed")
    return Run(path, status.get("command"), state, status.get("started") or "", seed, objective, config)


def read_jobs(jobs: Sequence[tuple[Path, str, Sequence[str]]]) -> list[Run]:
    """The runs of a sweep: directory, state, overrides.

    One that failed before its configuration was written has that of another one with its own overrides.
    """
    runs = [read(path) for path, _, _ in jobs]
    base = next((run.config for run in runs if run.config), {})
    command = next((run.command for run in runs if run.command), None)
    out = []
    for run, (path, state, texts) in zip(runs, jobs, strict=True):
        if run.config:
            out.append(replace(run, state=state))
            continue
        given = _given(texts, base)
        own = {key: value for key, value in given.items() if key != "seed"}
        seed = given.get("seed") if run.seed is None else run.seed
        out.append(Run(path, command, state, run.started, seed, run.objective, base | own))
    return out


def _given(texts: Sequence[str], base: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides as a configuration holds them; a group is its name."""
    found = {}
    for text in texts:
        key, _, value = text.lstrip("+~").partition("=")
        key = f"{key}.name" if f"{key}.name" in base else key
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            found[key] = value
    return found


# ── in what they differ ──────────────────────────────────────────────────────────────────────────


def differing(runs: Sequence[Run]) -> tuple[list[str], dict[str, list[str]]]:
    """Keys whose values differ between runs, and those of them that are left out by what they follow.

    The keys of a section whose `name` differs (`ssl.name`) follow that name where each name goes with one value. Keys
    that some of the commands have not follow the command likewise.
    """
    own = [run for run in runs if run.config]
    configs = [run.config for run in own]
    known = dict.fromkeys(key for config in configs for key in config)
    found = [
        key
        for key in known
        if key not in ASIDE and not key.startswith(ASIDE_SECTIONS) and len({_text(c.get(key)) for c in configs}) > 1
    ]
    follows: dict[str, list[str]] = {}
    commands = {run.command for run in own}
    if len(commands) > 1:
        values = {key: {(run.command, _text(run.config.get(key, MISSING))) for run in own} for key in found}
        partly = [key for key in found if any(value == _text(MISSING) for _, value in values[key])]
        follows["command"] = [key for key in partly if len(values[key]) == len(commands)]
        found = [key for key in found if key not in follows["command"]]
    for name in [key for key in found if key.endswith(".name")]:
        section = name.removesuffix("name")
        for key in [key for key in found if key.startswith(section) and key != name]:
            pairs = {(_text(c.get(name)), _text(c.get(key))) for c in configs}
            if len(pairs) == len({first for first, _ in pairs}):
                follows.setdefault(name, []).append(key)
    out = {key for keys in follows.values() for key in keys}
    return [key for key in found if key not in out], follows


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _sources(runs: Sequence[Run]) -> dict[str, str]:
    """Run directories that are given as weights → the method that was trained there, where that tells them apart.

    Seeds of one setting begin with seeds of one pretraining: they are one setting.
    """
    paths = {str(run.config["weights"]) for run in runs if run.config.get("weights")}
    found: dict[str, tuple[str, Any]] = {}
    for path in sorted(paths):
        result = read_result(Path(path)) if (Path(path) / "status.json").is_file() else None
        if result and result.get("method"):
            found[path] = result["method"], result.get("seed")
    named = list(found.values())
    return {path: f"{method} runs" for path, (method, seed) in found.items() if named.count((method, seed)) == 1}


# ── the document ─────────────────────────────────────────────────────────────────────────────────


def compare(runs: Sequence[Run], title: str) -> dict[str, Any]:
    """The document. Runs of one setting and seed count once, the newest of them; a run without a value counts for n 0.

    `best` marks the setting with the best mean of its objective, where there are several to choose from.
    """
    names = _sources(runs)
    runs = [
        run
        if str(run.config.get("weights")) not in names
        else replace(run, config=run.config | {"weights": names[str(run.config["weights"])]})
        for run in runs
    ]
    keys, follows = differing(runs)
    if len({run.command for run in runs}) > 1:
        keys = ["command", *keys]
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_text([_value(run, key) for key in keys]), []).append(run)
    rows: list[dict[str, Any]] = []
    repeated: list[str] = []
    for found in groups.values():
        kept = _newest(found)
        repeated += [str(run.path) for run in found if run not in kept]
        values = {key: _value(found[0], key) for key in keys}
        rows += _settings(values, kept)
    _mark_best(rows)
    objectives = {(row["objective"], row["direction"]) for row in rows if row["objective"]}
    return {
        "schema": SCHEMA,
        "gssl": gssl.__version__,
        "title": title,
        "keys": keys,
        "follows": follows,
        "objectives": [{"name": name, "direction": way} for name, way in sorted(objectives)],
        "settings": sorted(rows, key=_order),
        "repeated": repeated,
    }


def _value(run: Run, key: str) -> Any:
    return run.command if key == "command" else run.config.get(key, MISSING)


def _newest(runs: Sequence[Run]) -> list[Run]:
    """One run per seed and objective: the newest finished one; of a seed that has none the newest."""
    found: dict[str, Run] = {}
    finished = {_text(run.seed) for run in runs if run.value is not None}
    for run in sorted(runs, key=lambda run: run.started):
        if run.value is not None or _text(run.seed) not in finished:
            found[_text([run.seed, run.objective.get("name") if run.value is not None else None])] = run
    return [run for run in runs if any(run is kept for kept in found.values())]


def _settings(values: dict[str, Any], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each objective of the runs of one setting; those without any go with the first."""
    named = list(
        dict.fromkeys((r.objective.get("name"), r.objective.get("direction")) for r in runs if r.value is not None)
    )
    out = []
    for i, (name, direction) in enumerate(named or [(None, None)]):
        mine = [r for r in runs if r.objective.get("name") == name and r.value is not None]
        found = [r.value for r in mine if r.value is not None]
        rest = [r for r in runs if r.value is None] if i == 0 else []
        states: dict[str, int] = {}
        for run in [*mine, *rest]:
            states[run.state] = states.get(run.state, 0) + 1
        out.append(
            {
                "values": values,
                "objective": name,
                "direction": direction,
                "mean": fmean(found) if found else None,
                "sd": stdev(found) if len(found) > 1 else None,
                "n": len(found),
                "best": False,
                "states": states,
                "runs": [
                    {"run": str(r.path), "seed": r.seed, "state": r.state, "value": r.value} for r in [*mine, *rest]
                ],
            }
        )
    return out


def _mark_best(rows: list[dict[str, Any]]) -> None:
    for name in {row["objective"] for row in rows}:
        mine = [row for row in rows if row["objective"] == name and row["mean"] is not None]
        if name is not None and len(mine) > 1:
            choose = max if mine[0]["direction"] == "max" else min
            best = choose(row["mean"] for row in mine)
            for row in mine:
                row["best"] = row["mean"] == best


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Objectives one after another, the best setting first, settings without a value last."""
    mean = row["mean"]
    sign = -1.0 if row["direction"] == "max" else 1.0
    return mean is None, row["objective"] or "", 0.0 if mean is None else sign * mean


# ── in words and as CSV ──────────────────────────────────────────────────────────────────────────


def short(key: str) -> str:
    """A key as it is typed: `ssl.name` is written ssl=…"""
    return key.removesuffix(".name")


def shown(value: Any) -> str:
    """A value as it is typed; a dash where the configuration has no such key."""
    if value is MISSING:
        return "–"
    if isinstance(value, list):
        return "[" + ",".join(map(shown, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def best_lines(document: Mapping[str, Any]) -> list[str]:
    """One line per objective: which setting is best, and by how many runs."""
    lines = []
    for row in document["settings"]:
        if row["best"]:
            setting = " ".join(
                f"{short(key)}={shown(value)}" for key, value in row["values"].items() if value is not None
            )
            spread = f" ± {row['sd']:.2g}" if row["sd"] is not None else ""
            way = "largest" if row["direction"] == "max" else "smallest"
            count = f"{row['n']} seeds" if row["n"] > 1 else "one run"
            lines.append(f"best (the {way} {row['objective']}): {setting}: {row['mean']:.4g}{spread}, {count}")
    return lines


def notes(document: Mapping[str, Any]) -> list[str]:
    """What the table leaves out."""
    lines = []
    for name, keys in document["follows"].items():
        more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
        lines += [f"left out, for they follow {short(name)}: {', '.join(keys[:MOST_NAMED])}{more}"] if keys else []
    if document["repeated"]:
        count = len(document["repeated"])
        lines.append(f"left out: {count} older {'run' if count == 1 else 'runs'} of the same setting and seed")
    return lines


def text_csv(document: Mapping[str, Any]) -> str:
    """A line per setting."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    keys = document["keys"]
    write.writerow([*keys, "objective", "direction", "mean", "sd", "n", "best", "states", "seeds", "runs"])
    for row in document["settings"]:
        states = " ".join(f"{count} {state}" for state, count in row["states"].items())
        seeds = " ".join(str(run["seed"]) for run in row["runs"])
        paths = " ".join(run["run"] for run in row["runs"])
        numbers = [row[key] for key in ("objective", "direction", "mean", "sd", "n", "best")]
        values = [
            value if isinstance(value, int | float | str | None) else shown(value) for value in row["values"].values()
        ]
        write.writerow([*values, *numbers, states, seeds, paths])
    return out.getvalue()
