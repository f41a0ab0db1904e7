"""`gssl watch`: a run as it runs, from its files: progress, curves, alarms, the newest picture. No torch, no server.

A frame is a list of rich's renderables, so that tests and scripts can print one without a terminal.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gssl.cli import braille
from gssl.cli.output import number
from gssl.cli.runs import ARROWS, age, parts_of, run_directories, state_of
from gssl.engine.files import find_json
from gssl.engine.lines import find_entries
from gssl.errors import UsageError
from gssl.report.run_table import config_of

# never drawn: the axis, and what grows or stays by itself
ASIDE = {"step", "images", "seconds", "feature_n", "feature_d", "progress", "lr", "images_per_second"}
BOUNDS = ("_low", "_high")  # of intervals
FIRST = ("loss", "val_", "d_loss", "g_loss")  # curves that come first, in this order
MOST_CURVES, HEIGHT, LEAST_WIDTH = 8, 4, 24
PICTURE = 64  # characters of a picture's width, at most
MOST_PARTS = 12  # finished parts of a comparison that are listed


def newest(root: Path) -> Path:
    """The newest running run below `root`, else the newest of all; a comparison before its parts. Raises UsageError."""
    if not root.is_dir():
        raise UsageError(f"no directory {root}; name a run, or give --root the directory that holds your runs")
    found = []
    for run in run_directories(root):
        status = find_json(run / "status.json") or {}
        running, part = state_of(run, status) == "running", (run / "part.json").is_file()
        found.append((running, not part, status.get("started") or "", run))
    if not found:
        raise UsageError(f"no run below {root}; start one, or give --root the directory that holds your runs")
    return max(found)[-1]


def over(run: Path) -> bool:
    """Whether nothing will change any more."""
    return state_of(run, find_json(run / "status.json") or {}) != "running"


def watch(run: Path, once: bool, every: float) -> None:
    """Show frames until the run ends or Ctrl-C; `once`: one, also where stdout is no terminal. Raises UsageError."""
    if not (run / "status.json").is_file():
        inside = next(run_directories(run), None) if run.is_dir() else None
        hint = f"gssl watch --root {run} takes the newest inside" if inside else "`gssl runs list` shows what there is"
        raise UsageError(f"{run}: no run directory (it has no status.json); {hint}")
    console = Console(highlight=False)
    if once or not console.is_terminal:
        plain = console if console.is_terminal else Console(width=100, highlight=False)
        plain.print(frame(run, plain.width, plain.is_terminal))
        return
    from rich.live import Live

    # Ctrl-C is how one stops watching, not an error
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            ended = over(run)
            live.update(frame(run, console.width, True, console.height), refresh=True)
            if ended:
                break
            time.sleep(every)
    console.print(frame(run, console.width, True))


# ── a frame ──────────────────────────────────────────────────────────────────────────────────────


def frame(run: Path, width: int, pictures: bool, height: int | None = None) -> Group:
    """What a run looks like now. `pictures`: draw the newest one, in colours. `height`: lines there is room for."""
    status = find_json(run / "status.json") or {}
    state = state_of(run, status)
    said: list[RenderableType] = [_head(run, status, state)]
    if line := _progress(run, state, width):
        said.append(line)
    if error := status.get("error"):
        said.append(Text(f"error: {error} ({run / 'log.txt'})", style="red"))
    if status.get("command") == "compare":
        said += _parts(run)
        return Group(*said)
    entries = entries_of(run)
    alarms = [f"alarm at step {number(e.get('step'))}: {e['alarm']}" for e in entries if "alarm" in e]
    said += [Text(text, style="yellow") for text in alarms[-3:]]
    drawn, found = None, latest_picture(run)
    if found and pictures:
        drawn = picture(found, min(PICTURE, width - 2), height and max(2, height // 2 - 4))
    if height is not None:  # what is below the last line is never seen: fewer curves
        height -= 8 + (drawn.plain.count("\n") + 1 if drawn else 0)
    said.append(_curves(entries, width, height))
    if found:
        said.append(Text(f"newest picture: {found}"))
    if drawn:
        said.append(drawn)
    objective = (find_json(run / "result.json") or {}).get("objective") or {}
    if state == "finished" and objective.get("value") is not None:
        arrow = ARROWS.get(str(objective.get("direction")), "")
        said.append(Text(f"{objective['name']} {number(objective['value'])} {arrow}"))
    return Group(*said)


def _head(run: Path, status: dict[str, Any], state: str) -> Text:
    config = config_of(run)
    names = [config.get("ssl.name") or config.get("gan.name"), config.get("data.name")]
    seed = config.get("seed")
    words = [str(status.get("command") or "–"), *(str(n) for n in names if n)]
    words += [] if seed is None else [f"seed {seed}"]
    since = age(status.get("started"))
    words += [state, *([] if since == "–" else [f"started {since} ago"])]
    return Text(f"{run} · {' · '.join(words)}", style="bold")


def _progress(run: Path, state: str, width: int) -> Text | None:
    """A bar with steps, rate and time left, of a running one; how far one came that has stopped."""
    found = find_json(run / "progress.json")
    if not found or state == "finished":
        return None
    words = [
        f"{found['progress']:.0%}" + ("" if found.get("whole") else " of this training"),
        f"step {number(found['step'])} of {number(found['total'])}",
    ]
    if found.get("images_per_second"):
        words.append(f"{found['images_per_second']:,.0f} img/s")
    if state == "running":
        words.append(f"{_duration(found['eta'])} left")
    if found.get("loss") is not None:
        words.append(f"loss {found['loss']:.4g}")
    text = " · ".join(words)
    line = f"{braille.bar(found['progress'], max(10, min(40, width - len(text) - 3)))} {text}"
    return Text(line if found.get("title") is None else f"{found['title']}\n{line}")


def _duration(seconds: float | None) -> str:
    minutes, rest = divmod(round(seconds or 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def entries_of(run: Path) -> list[dict[str, Any]]:
    """Whole lines of metrics.jsonl, as far as they are written."""
    return find_entries(run / "metrics.jsonl")


def curves_of(entries: list[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of every number that was logged at two steps or more; losses and val_… first."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for entry in entries:
        for key, value in entry.items():
            if (
                key not in ASIDE
                and not key.endswith(BOUNDS)
                and isinstance(value, int | float)
                and not isinstance(value, bool)
                and "step" in entry
            ):
                xs, ys = found.setdefault(key, ([], []))
                xs.append(entry["step"])
                ys.append(value)
    order = {key: next((i for i, head in enumerate(FIRST) if key.startswith(head)), len(FIRST)) for key in found}
    names = sorted((key for key in found if len(found[key][0]) > 1), key=lambda key: order[key])
    return {key: found[key] for key in names}


def _curves(entries: list[dict[str, Any]], width: int, height: int | None = None) -> RenderableType:
    """Curves in two columns, where there is room; as many as `height` lines hold, one row at least."""
    columns = 2 if width >= 2 * (LEAST_WIDTH + 12) else 1
    most = MOST_CURVES if height is None else min(MOST_CURVES, columns * max(1, height // (HEIGHT + 1)))
    curves = dict(list(curves_of(entries).items())[:most])
    if not curves:
        return Text("no curve yet: nothing has been logged twice")
    each = max(LEAST_WIDTH, min(56, width // columns - 12))
    grid = Table.grid(padding=(0, 2))
    drawn = [_curve(name, x, y, each) for name, (x, y) in curves.items()]
    for at in range(0, len(drawn), columns):
        grid.add_row(*drawn[at : at + columns])
    return grid


def _curve(name: str, x: list[float], y: list[float], width: int) -> Text:
    low, high = number(float(min(y))), number(float(max(y)))
    label = max(len(low), len(high))
    marks = [high, *[""] * (HEIGHT - 2), low]
    lines = [f"{mark:>{label}} {line}" for mark, line in zip(marks, braille.plot(x, y, width, HEIGHT), strict=True)]
    return Text("\n".join([f"{name}: {number(float(y[-1]))} at step {number(int(x[-1]))}", *lines]))


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────


def latest_picture(run: Path) -> Path | None:
    """The newest PNG that a run has drawn on its way."""
    found = [*(run / "samples").glob("*.png"), *(run / "reconstructions").glob("*.png")]
    return max(found, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def picture(path: Path, width: int, height: int | None = None) -> Text | None:
    """A picture as text: an upper half block with two colours is two pixels. None where it cannot be read.

    width, height: characters at most.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except OSError:
        return None
    wide = min(width, small.width)
    if height is not None:
        wide = max(1, min(wide, 2 * height * small.width // small.height))
    high = max(2, round(small.height * wide / small.width) // 2 * 2)
    small = small.resize((wide, high), Image.Resampling.BOX)
    data = small.load()
    assert data is not None
    out = Text()
    for row in range(0, high, 2):
        for column in range(wide):
            upper, lower = data[column, row], data[column, row + 1]
            out.append("▀", style=f"rgb{_rgb(upper)} on rgb{_rgb(lower)}")
        out.append("\n")
    out.rstrip()
    return out


def _rgb(colour: Any) -> str:
    return "({},{},{})".format(*colour)


# ── comparisons ──────────────────────────────────────────────────────────────────────────────────


def _parts(run: Path) -> list[RenderableType]:
    """The parts of a comparison: those that run with their progress, those that failed, the last that finished."""
    rows, waiting = [], 0
    paths = [Path(path) for path in parts_of(run)]
    for path in paths:
        status = find_json(path / "status.json")
        if not status:
            waiting += 1
            continue
        rows.append((path, status, state_of(path, status)))
    finished = [row for row in rows if row[2] == "finished"]
    finished.sort(key=lambda row: row[1].get("ended") or "")
    table = Table(box=None, pad_edge=False)
    for name in ("part", "state", "objective", "loss"):
        table.add_column(name)
    for path, _, state in [*[row for row in rows if row[2] != "finished"], *finished[-MOST_PARTS:]]:
        progress = find_json(path / "progress.json") or {}
        objective = (find_json(path / "result.json") or {}).get("objective") or {}
        value = "–" if objective.get("value") is None else f"{objective['name']} {number(objective['value'])}"
        words = f"{state} {progress['progress']:.0%}" if state == "running" and progress else state
        loss = progress.get("loss") if state == "running" else None
        table.add_row(path.name, words, value, number(loss) if loss is not None else _loss(path))
    counts = f"{len(finished)} of {len(paths)} parts finished, {waiting} not begun"
    done = len(finished) / len(paths) if paths else 0.0
    return [Text(f"{braille.bar(done, 40)} {counts}" if paths else "no part is on record yet"), table]


def _loss(run: Path) -> str:
    """The losses so far as one line of braille."""
    found = curves_of(entries_of(run)).get("loss")
    return braille.plot(*found, 16, 1)[0] if found else ""
