"""What a command prints when it ends: tables for people or one JSON document on stdout, one line of error on stderr.

Only rich, and only where there is a table. No torch. What files, folders and earlier runs call themselves is escaped
(`gssl.names.printable`): nothing that they hold reaches a terminal as a command.
"""

import json
import re
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gssl.names import CONTROL, printable

if TYPE_CHECKING:
    from gssl.config.job import Record


LONGEST = 400  # letters of a word in an error, such as a path


class Escaping:
    """A text stream through which names cannot send commands to a terminal. What rich draws goes around it.

    Line breaks and tabs pass, and a carriage return where a text begins with it: bars of downloads need it.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.rich_proxied_file = stream  # rich writes there: its colours are its own, its cells are escaped before

    def write(self, text: str) -> int:
        start = "\r" if text.startswith("\r") else ""
        return self.rich_proxied_file.write(start + printable(text.removeprefix(start), lines=True))

    def writelines(self, texts: list[str]) -> None:
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def escape_streams() -> None:
    """From now on nothing printed can act on the terminal, and no letter that its encoding lacks is an error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Escaping):  # started without one, or called twice
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Escaping(stream))


def unforeseen(error: BaseException) -> str:
    """The line for an exception that nothing caught: what it is, where the whole of it lies, where to report it."""
    import tempfile
    import traceback

    what = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="gssl-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"gssl {' '.join(sys.argv[1:])}\n{text}")
    except OSError:  # no place for it: its last lines have to do
        return f"{what}; a fault of gssl's: please report it with the command ({' '.join(text.split()[-30:])})"
    return f"{what}; a fault of gssl's: please report it with the command and {file.name}"


def say(text: str) -> None:
    """One line on stderr. Of an error, paths and values of thousands of letters lose their middle."""
    if text.startswith("error:"):
        from gssl.words import shortened

        text = re.sub(rf"\S{{{LONGEST},}}", lambda found: shortened(found[0], LONGEST), text)
    print(printable(text), file=sys.stderr, flush=True)


def tell(text: object) -> None:
    """One line on stdout."""
    print(printable(str(text)))


def emit(document: Any) -> None:
    """The one JSON document of `--json`."""
    print(as_json(document, indent=2))


def as_json(document: Any, indent: int | None = None) -> str:
    """JSON whose strings hold no letter that acts on a terminal, nor one that stdout cannot encode."""
    utf8 = str(getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    text = json.dumps(document, indent=indent, ensure_ascii=not utf8)
    return re.sub(CONTROL, lambda found: f"\\u{ord(found[0]):04x}", text)


# ── how jobs ended ───────────────────────────────────────────────────────────────────────────────


def report(records: list["Record"], multirun: bool, as_json: bool) -> int:
    """Print what the jobs of one call ended with; returns the exit code.

    The document of a finished job is its result.json with the key `run`; of another one what went wrong, also
    where the directory holds an earlier run's result.
    """
    multirun = multirun or any(r.call for r in records)  # a preset may ask for a sweep: hydra.mode=MULTIRUN
    documents = [_document(r) for r in records]
    if not multirun and records[0].state == "usage":  # as for one that is found before anything starts
        pass
    elif multirun:
        from gssl.cli import run_comparison

        compared, folder = run_comparison.end_of_sweep(records) if records else ({}, Path())
        if as_json:
            emit(documents)
        elif compared:
            run_comparison.show(compared, folder)
            page = folder / "sweep.html"
            tell(f"sweep: {folder}" + (f" ({page})" if page.is_file() else ""))
    elif as_json:
        emit(documents[0])
    elif documents[0]["schema"] != "gssl.job/1":
        from gssl.cli.result_table import print_result

        print_result(Path(records[0].dir), documents[0])
    elif records[0].state == "finished":
        tell(f"run: {records[0].dir}")
    return _complain(records, multirun)


def _document(r: "Record") -> dict[str, Any]:
    from gssl.engine.files import read_json

    folder = Path(r.dir)
    # a comparison whose claim does not hold has failed, and has a result all the same
    if r.state == "finished" or (r.state == "failed" and r.has_result):
        result = read_json(folder / "result.json")
        state = (read_json(folder / "status.json") or {}).get("state", r.state)
        if result and state == "finished":
            return {"run": r.dir, **result}
    return {"run": r.dir, "schema": "gssl.job/1", "state": r.state, "error": r.message or None}


def _complain(records: list["Record"], multirun: bool) -> int:
    """One line on stderr where something went wrong; returns the exit code."""
    stopped = [r for r in records if r.state == "interrupted"]
    bad = [r for r in records if r.code and r.state != "interrupted"]
    if stopped:
        r = stopped[-1]
        if not multirun and not Path(r.dir).is_dir():
            say("interrupted before the run began; nothing was kept")
            return r.code
        key = f"resume=auto hydra.run.dir={r.dir}"
        if multirun:
            from gssl.cli.run_comparison import sweep_of

            key = f"hydra.sweep.dir={sweep_of(records)}"
        say(f"interrupted: {r.dir}; call it again with {key} to go on")
        return r.code
    if not bad:
        return 0
    if not multirun:
        r = bad[0]
        log = Path(r.dir) / "log.txt"
        say(f"error: {r.message}" + (f" (log: {log})" if r.code == 1 and log.is_file() else ""))
        return r.code
    logs = [f" (log: {log})" if (log := Path(r.dir) / "log.txt").is_file() else "" for r in bad[:4]]
    named = [f"job {r.job} ({' '.join(r.overrides)}): {r.message}{log}" for r, log in zip(bad[:4], logs, strict=True)]
    more = [f"and {len(bad) - 4} more"] if len(bad) > 4 else []
    say(f"error: {len(bad)} of {len(records)} jobs failed: " + "; ".join([*named, *more]))
    return 1


# ── words and tables ─────────────────────────────────────────────────────────────────────────────


def number(value: Any) -> str:
    """A figure with four significant digits; a dash for None."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def objective(result: dict[str, Any]) -> str:
    """`val_knn 0.81`, or a dash."""
    found = result.get("objective") or {}
    return "–" if found.get("value") is None else f"{found['name']} {number(found['value'])}"


def room() -> int | None:
    """Columns of characters of the terminal; None where stdout is none."""
    from rich.console import Console

    console = Console()
    return console.width if console.is_terminal else None


def fitting(heads: list[str], rows: list[list[str]], rest: list[str], width: int | None) -> list[str]:
    """The heads without as many of `rest`, the first first, as must go for the table to fit into `width`."""
    from rich.cells import cell_len

    wide = {head: max(map(cell_len, [head, *(row[i] for row in rows)])) for i, head in enumerate(heads)}
    kept = list(heads)
    for head in rest:
        if width is None or sum(wide[name] + 3 for name in kept) <= width:
            break
        kept = [name for name in kept if name != head]
    return kept


def table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: columns as wide as they need where stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=400, highlight=False)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    console.print(made)
