"""`gssl runs list|show`: what the files of run directories say. No torch, no database."""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from gssl.cli.output import fitting, number, room, table, tell
from gssl.config.paths import held
from gssl.engine.documents import present
from gssl.engine.files import find_json, read_json
from gssl.engine.lines import read_entries
from gssl.engine.progress import say
from gssl.errors import Damaged, UsageError
from gssl.report.run_table import config_of

STATES = ("running", "finished", "failed", "interrupted", "killed")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
ARROWS = {"max": "↑", "min": "↓"}


def run_directories(root: Path) -> Iterator[Path]:
    """Run directories (those with a status.json) below `root`, sorted by path."""
    for folder, inside, files in os.walk(root):
        inside.sort()
        if "status.json" in files:
            inside.clear()  # no run lies inside another
            yield Path(folder)


def state_of(run: Path, status: dict[str, Any]) -> str:
    """The state on record; `killed` where the process that is said to run has gone."""
    state: str = status.get("state", "unreadable")
    return "killed" if state == "running" and not held(run) else state


def record(run: Path) -> dict[str, Any]:
    """One run as `runs list --json` gives it: its status, what it is about, the figure it was trained for."""
    status = find_json(run / "status.json") or {}
    result = find_json(run / "result.json") or {}
    config = config_of(run)
    size = config.get("data.size")
    return {
        "run": str(run),
        "command": status.get("command"),
        "method": result.get("method") or _method(config) or (result.get("source") or {}).get("method"),
        "weights": config.get("weights"),
        "data": _data(config),
        "size": "x".join(map(str, size)) if isinstance(size, list) else size,
        "seed": result.get("seed", config.get("seed")),
        "state": state_of(run, status),
        "step": status.get("step"),
        "progress": _progress(run, status),
        "objective": result.get("objective"),
        "started": status.get("started"),
        "ended": status.get("ended"),
        "error": status.get("error"),
    }


def _method(config: dict[str, Any]) -> str | None:
    return config.get("ssl.name") or config.get("gan.name")


def _data(config: dict[str, Any]) -> str | None:
    """The data set, with its folder where it has one of the user's."""
    name, root = config.get("data.name"), config.get("data.root") or config.get("data.train")
    return f"{name} {root}" if name and root else name


def _progress(run: Path, status: dict[str, Any]) -> float | None:
    """Of a running one: the fraction done, where its training is the whole run."""
    if status.get("state") != "running":
        return None
    found = find_json(run / "progress.json") or {}
    return found.get("progress") if found.get("whole") else None


# ── which runs ───────────────────────────────────────────────────────────────────────────────────


def list_runs(
    root: Path,
    globs: Sequence[str] = (),
    *,
    command: str | None = None,
    state: str | None = None,
    data: str | None = None,
    since: str | None = None,
    unfold: bool = False,
) -> list[dict[str, Any]]:
    """Runs below `root`, the oldest first. The parts of comparisons are counted in `parts` of their comparison.

    With `unfold` or `globs` every run that fits stands for itself. Raises UsageError where there is no such directory,
    or a filter cannot be understood.
    """
    if not root.is_dir():
        raise UsageError(f"--root: no directory {root}; give the one that holds your runs")
    if state is not None and state not in STATES:
        raise UsageError(f"--state: expected one of {', '.join(STATES)}; got '{state}'")
    oldest = None if since is None else _since(since)
    paths = list(_all_directories(root) if unfold or globs else run_directories(root))
    records = [record(path) for path in paths]
    if not (unfold or globs):
        records = folded(records)
    wanted = [
        r
        for r in records
        if (command is None or r["command"] == command)
        and (state is None or r["state"] == state)
        and (data is None or fnmatch(str(r["data"] or ""), f"*{data}*"))
        and (oldest is None or (_time(r["started"]) or oldest) >= oldest)
        and (not globs or any(_matches(r["run"], glob) for glob in globs))
    ]
    return sorted(wanted, key=lambda r: (r["started"] or "", r["run"]))


def _all_directories(root: Path) -> Iterator[Path]:
    """As `run_directories`, with the runs that a command keeps in the `parts` of its own directory."""
    for run in run_directories(root):
        yield run
        if (run / "parts").is_dir():
            yield from run_directories(run / "parts")


def _matches(run: str, glob: str) -> bool:
    """Whether a glob is of this run, of its last parts, or of a directory that holds it."""
    names = [run, *map(str, Path(run).parents)]
    own = os.path.normpath(glob)  # as a name too, for names have brackets
    return own in names or any(fnmatch(name, pattern) for name in names for pattern in (own, f"*/{own}"))


def _since(text: str) -> datetime:
    """A time: so long ago (90m, 2h, 3d, 1w), or a date."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text):
        return datetime.now(UTC) - timedelta(**{UNITS[found[2]]: float(found[1])})
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since: expected 90m, 2h, 3d, 1w or a date such as 2026-11-28; got '{text}'") from None
    return day if day.tzinfo else day.replace(tzinfo=UTC)


def _time(text: str | None) -> datetime | None:
    """None where there is none that can be read."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def folded(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without the parts of comparisons, which are counted in `parts` of every comparison that has them.

    Parts of none that is here are one record per directory, whose command is `parts`.
    """
    parts = {os.path.abspath(r["run"]): r for r in records if (Path(r["run"]) / "part.json").is_file()}
    out, claimed = [], set()
    for r in records:
        if os.path.abspath(r["run"]) in parts:
            continue
        if r["command"] == "compare":
            mine = [path for path in parts_of(Path(r["run"])) if path in parts]
            claimed |= set(mine)
            r = r | {"parts": _counts([parts[path] for path in mine])}
        out.append(r)
    rest: dict[str, list[dict[str, Any]]] = {}
    for path, r in parts.items():
        if path not in claimed:
            rest.setdefault(str(Path(r["run"]).parent), []).append(r)
    for folder, found in rest.items():
        empty = dict.fromkeys(found[0])
        times = {key: max((r[key] or "" for r in found), default="") or None for key in ("started", "ended")}
        counts = _counts(found)
        state = next((state for state in STATES if state in counts), None)
        out.append({**empty, "run": folder, "command": "parts", "state": state, **times, "parts": counts})
    return out


def parts_of(run: Path) -> list[str]:
    """Absolute paths of the parts of a comparison: of its report, or of its plan where it has none yet."""
    report = (find_json(run / "report.json") or {}).get("provenance", {}).get("runs", [])
    plan = (find_json(run / "parts.json") or {}).get("parts", [])
    return [os.path.abspath(part["path"]) for part in (report if (run / "report.json").is_file() else plan)]


def _counts(records: Sequence[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for r in records:
        counts[r["state"]] = counts.get(r["state"], 0) + 1
    return counts


# ── one run and all, in words ─────────────────────────────────────────────────────────────────────


def show_run(run: Path) -> dict[str, Any]:
    """Everything `runs show --json` gives: status, result and the last line of metrics.jsonl.

    Raises UsageError where `run` is no run directory.
    """
    if not (run / "status.json").is_file():
        inner = [str(p) for p in run_directories(run)][:3] if run.is_dir() else []
        hint = f"there are runs inside, such as {inner[0]}" if inner else "`gssl runs list` shows what there is"
        raise UsageError(f"{run}: no run directory (it has no status.json); {hint}")
    entries = _entries(run / "metrics.jsonl")
    return {
        "schema": "gssl.run/1",
        **record(run),
        "status": read_json(run / "status.json"),
        "result": read_json(run / "result.json"),
        "last_metrics": entries[-1] if entries else None,
        "files": _files(run),
    }


def _entries(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl; what is wrong with it is said."""
    try:
        lines = read_entries(path)
    except Damaged as error:
        say(f"warning: {path}: {error.why}")
        return []
    if lines.damage:
        say(f"warning: {lines.damage}")
    return [entry for _, entry in lines.found]


def _files(run: Path) -> list[str]:
    """Every file of the run but the hidden ones, relative to it."""
    inside = (p.relative_to(run) for p in run.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in inside if not p.parts[0].startswith("."))


def text_csv(runs: Sequence[dict[str, Any]]) -> str:
    """`runs list --csv`: a line per run, the objective in three columns."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    keys = ["run", "command", "method", "weights", "data", "size", "seed", "state", "step", "started", "ended", "error"]
    objective = ("name", "value", "direction")
    write.writerow([*keys, *(f"objective_{key}" for key in objective), "parts"])
    for r in runs:
        parts = " ".join(f"{count} {state}" for state, count in (r.get("parts") or {}).items())
        write.writerow([*(r[key] for key in keys), *((r["objective"] or {}).get(key) for key in objective), parts])
    return out.getvalue()


def print_list(runs: list[dict[str, Any]], root: Path) -> None:
    """`runs list` for people."""
    if not runs:
        inside = next(run_directories(root), None)
        tell(f"no run below {root}" + (" fits; gssl runs list without filters shows all" if inside else ""))
        return
    rows = [
        [
            r["run"],
            r["command"] or "–",
            r["method"] or "–",
            str(r["weights"] or "–"),
            r["data"] or "–",
            number(r["size"]),
            number(r["seed"]),
            _state_words(r),
            _objective_words(r),
            age(r["started"]),
        ]
        for r in runs
    ]
    heads = ["run", "command", "method", "weights", "data", "size", "seed", "state", "objective", "age"]
    used = [i for i in range(len(heads)) if any(row[i] != "–" for row in rows)]
    heads, rows = [heads[i] for i in used], [[row[i] for i in used] for row in rows]
    shown = fitting(heads, rows, ["size", "seed", "age", "data", "weights", "method", "command"], room())
    kept = [heads.index(head) for head in shown]
    table(shown, [[row[i] for i in kept] for row in rows])
    if len(shown) < len(heads):
        tell(f"no room for {', '.join(head for head in heads if head not in shown)}: a wider terminal, or --csv")
    folded_parts = sum(sum((r.get("parts") or {}).values()) for r in runs)
    if folded_parts:
        tell(f"{folded_parts} parts of comparisons are counted with theirs; --all lists them")


def _state_words(r: dict[str, Any]) -> str:
    """finished · running 45% · finished (24 parts) · running (3 of 24 parts)."""
    state = r["state"] or "–"
    if r["progress"] is not None and state == "running":
        state += f" {r['progress']:.0%}"
    parts: dict[str, int] = r.get("parts") or {}
    if not parts:
        return state
    total, done = sum(parts.values()), parts.get("finished", 0)
    bad = "".join(f", {parts[key]} {key}" for key in ("failed", "killed", "interrupted") if key in parts)
    return f"{state} ({f'{total}' if done == total else f'{done} of {total}'} parts{bad})"


def _objective_words(r: dict[str, Any]) -> str:
    """`val_knn 0.81 ↑`: the larger the better."""
    found = r["objective"] or {}
    if found.get("value") is None:
        return "–"
    return f"{found['name']} {number(found['value'])} {ARROWS.get(str(found.get('direction')), '')}".rstrip()


def age(started: str | None) -> str:
    """How long ago: '5 min', '3 h', '2 d'."""
    then = _time(started)
    if then is None:
        return "–"
    seconds = max(0.0, (datetime.now(UTC) - then).total_seconds())
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def print_run(run: Path) -> None:
    """`runs show` for people: the state, then what the run ended with."""
    shown = show_run(run)
    tell(f"{shown['command']} · {shown['state']} · step {number(shown['step'])} · started {shown['started']}")
    if shown["error"]:
        tell(f"error: {shown['error']} ({run / 'log.txt'})")
    if shown["result"]:
        from gssl.cli.result_table import print_result

        print_result(run, present(shown["result"]))
    elif shown["last_metrics"]:
        tell(" · ".join(f"{k} {number(v)}" for k, v in shown["last_metrics"].items()))
