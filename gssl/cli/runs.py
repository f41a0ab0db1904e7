"""`gssl runs list|show`: what the files of run directories say. No torch, no database."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gssl.cli.output import number, objective, table
from gssl.config.paths import held
from gssl.engine.documents import present
from gssl.engine.files import read_json
from gssl.errors import UsageError


def run_directories(root: Path) -> Iterator[Path]:
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
    if state == "running" and not held(run):
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


def list_runs(root: Path) -> list[dict[str, Any]]:
    """Every run below `root`, the oldest first. Raises UsageError where there is no such directory."""
    if not root.is_dir():
        raise UsageError(f"--root: no directory {root}; give the one that holds your runs")
    return sorted((record(run) for run in run_directories(root)), key=lambda r: (r["started"] or "", r["run"]))


def show_run(run: Path) -> dict[str, Any]:
    """Everything `runs show --json` gives: status, result and the last line of metrics.jsonl.

    Raises UsageError where `run` is no run directory.
    """
    if not (run / "status.json").is_file():
        inner = [str(p) for p in run_directories(run)][:3] if run.is_dir() else []
        hint = f"there are runs inside, such as {inner[0]}" if inner else "`gssl runs list` shows what there is"
        raise UsageError(f"{run}: no run directory (it has no status.json); {hint}")
    last = None
    if (run / "metrics.jsonl").is_file():
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            try:
                last = json.loads(line)
            except ValueError:  # the line a running process has half written
                continue
    return {
        "schema": "gssl.run/1",
        **record(run),
        "status": read_json(run / "status.json"),
        "result": read_json(run / "result.json"),
        "last_metrics": last,
        "files": _files(run),
    }


def _files(run: Path) -> list[str]:
    """Every file of the run but the hidden ones, relative to it."""
    inside = (p.relative_to(run) for p in run.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in inside if not p.parts[0].startswith("."))


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
    table(["run", "command", "method", "seed", "state", "objective", "started (UTC)"], rows)


def print_run(run: Path) -> None:
    """`runs show` for people: the state, then what the run ended with."""
    shown = show_run(run)
    print(f"{shown['command']} · {shown['state']} · step {number(shown['step'])} · started {shown['started']}")
    if shown["error"]:
        print(f"error: {shown['error']} ({run / 'log.txt'})")
    if shown["result"]:
        from gssl.cli.result_table import print_result

        print_result(run, present(shown["result"]))
    elif shown["last_metrics"]:
        print(" · ".join(f"{k} {number(v)}" for k, v in shown["last_metrics"].items()))
