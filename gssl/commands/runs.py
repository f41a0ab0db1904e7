"""`gssl runs list|show`: what the run directories' plain files say. No torch, no database.

What a run ends with on stdout is written here too.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from gssl.errors import UsageError


def read_json(path: Path) -> Any:
    """The JSON document at `path`, or None where there is no readable one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def find(root: Path) -> Iterator[Path]:
    """Run directories (those with a status.json) below `root`, sorted by path."""
    for folder, inside, files in os.walk(root):
        inside.sort()
        if "status.json" in files:
            inside.clear()  # no run lies inside another
            yield Path(folder)


def record(run: Path) -> dict[str, Any]:
    """One run as `runs list --json` gives it: its status and the figure it was trained for."""
    status = read_json(run / "status.json") or {}
    result = read_json(run / "result.json") or {}
    state = status.get("state", "unreadable")
    if state == "running" and not _held(run):
        state = "killed"
    return {
        "run": str(run),
        "command": status.get("command"),
        "method": result.get("method") or (result.get("source") or {}).get("method"),
        "seed": result.get("seed"),
        "state": state,
        "step": status.get("step"),
        "objective": result.get("objective"),
        "started": status.get("started"),
        "ended": status.get("ended"),
        "error": status.get("error"),
    }


def _held(run: Path) -> bool:
    """Whether a living process holds the run's lock."""
    try:
        with (run / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def list_runs(root: Path) -> list[dict[str, Any]]:
    """Every run below `root`, the oldest first. Raises UsageError where there is no such directory."""
    if not root.is_dir():
        raise UsageError(f"--root: no directory {root}; give the one that holds your runs")
    return sorted((record(run) for run in find(root)), key=lambda r: (r["started"] or "", r["run"]))


def show_run(run: Path) -> dict[str, Any]:
    """Everything `runs show --json` gives: status, result and the last line of metrics.jsonl.

    Raises UsageError where `run` is no run directory.
    """
    if not (run / "status.json").is_file():
        inner = [str(p) for p in find(run)][:3] if run.is_dir() else []
        hint = (
            f"there are runs inside, such as {inner[0]}" if inner else "`gssl runs list` shows what there is"
        )
        raise UsageError(f"{run}: no run directory (it has no status.json); {hint}")
    last = None
    if (run / "metrics.jsonl").is_file():
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            try:
                last = json.loads(line)
            except ValueError:  # the line a running process has half written
                continue
    files = sorted(
        p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file() and ".hydra" not in p.parts
    )
    return {
        "schema": "gssl.run/1",
        **record(run),
        "status": read_json(run / "status.json"),
        "result": read_json(run / "result.json"),
        "last_metrics": last,
        "files": files,
    }


# ── for people ───────────────────────────────────────────────────────────────────────────────────


def number(value: Any) -> str:
    """A figure with four significant digits; a dash for None."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value).lower()
    return (
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def objective(result: dict[str, Any]) -> str:
    """`val_knn 0.81`, or a dash."""
    found = result.get("objective") or {}
    return "–" if found.get("value") is None else f"{found['name']} {number(found['value'])}"


def table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: columns as wide as they need where stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=400, highlight=False)
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    console.print(made)


def print_list(runs: list[dict[str, Any]]) -> None:
    """`runs list` for people."""
    rows = [
        [
            r["run"],
            r["command"] or "–",
            r["method"] or "–",
            number(r["seed"]),
            r["state"],
            objective(r),
            (r["started"] or "–").replace("T", " ").split("+")[0],
        ]
        for r in runs
    ]
    table(None, ["run", "command", "method", "seed", "state", "objective", "started (UTC)"], rows)


def print_run(run: Path) -> None:
    """`runs show` for people: the state, then what the run ended with."""
    shown = show_run(run)
    print(
        f"{shown['command']} · {shown['state']} · step {number(shown['step'])} · started {shown['started']}"
    )
    if shown["error"]:
        print(f"error: {shown['error']} ({run / 'log.txt'})")
    if shown["result"]:
        print_result(run, shown["result"])
    elif shown["last_metrics"]:
        print(" · ".join(f"{k} {number(v)}" for k, v in shown["last_metrics"].items()))


def print_result(run: Path, result: dict[str, Any]) -> None:
    """What a finished run tells on stdout: verdict or figure, compute spent, where the files are."""
    for line in _lines(result.get("verdict")):
        print(line)
    if objective(result) != "–":
        print(objective(result))
    scores = result.get("scores") or []
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for score in scores:
        groups.setdefault((score["probe"], _amount(score)), []).append(score)
    if groups:
        rows = [
            [
                probe,
                amount,
                f"{mean(s['accuracy'] for s in found):.1%}",
                f"{mean(s['balanced_accuracy'] for s in found):.1%}",
                str(len(found)),
            ]
            for (probe, amount), found in groups.items()
        ]
        table(None, ["probe", "labels", "test accuracy", "balanced", "draws"], rows)
    spent = {k: v for k, v in (result.get("spent") or {}).items() if isinstance(v, int | float)}
    words = [f"{number(spent[k])} {k}" for k in ("steps", "images", "epochs", "seconds") if k in spent]
    if "flops" in spent:
        words.append(f"{spent['flops']:.3g} FLOPs")
    if words:
        print("spent: " + ", ".join(words))
    if result.get("report"):
        print(f"report: {result['report']}")
    print(f"run: {run}")


def _lines(verdict: Any) -> list[str]:
    if isinstance(verdict, dict):
        verdict = verdict.get("sentences") or verdict.get("text") or []
    return [verdict] if isinstance(verdict, str) else [str(v) for v in verdict or []]


def _amount(score: dict[str, Any]) -> str:
    if score.get("labels_per_class") is not None:
        return f"{score['labels_per_class']} per class"
    return "all" if score.get("fraction") == 1 else f"{100 * score['fraction']:g}%"
