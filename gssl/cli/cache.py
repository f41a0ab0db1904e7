"""`gssl cache list|verify|prune`: what they print. No torch."""

import time
from typing import Annotated, Any

import typer

from gssl.cli.options import Json, guard
from gssl.cli.output import emit, say, table, tell

app = typer.Typer(
    help="The cache of decoded images, features and times: list, verify and prune it.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
ROWS = 100  # of a table
NEWLY = 90.0  # seconds

DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")]
Days = Annotated[
    float | None, typer.Option("--days", help="Delete also what was not used for so many days.", show_default=False)
]
Gigabytes = Annotated[
    float | None,
    typer.Option(
        "--gb", help="Delete also what was not used for the longest time, down to so many GB.", show_default=False
    ),
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """What lies in the cache: its size, when it was used last and, where known, what it is of.

    \b
    Examples:
      gssl cache list
      GSSL_CACHE=/scratch/me gssl cache list --json
    """
    with guard():
        from gssl.commands import cache as command

        found = command.listed()
    emit(found) if as_json else show(found, "what", lambda row: row["useless"] or row["about"] or "")


@app.command("verify")
def verify(as_json: Json = False) -> None:
    """Compare every byte of the cache with its checksum. Exit 1 if anything is damaged.

    \b
    Examples:
      gssl cache verify
    """
    with guard():
        from rich.console import Console
        from rich.progress import Progress

        from gssl.commands import cache as command

        screen = Console(stderr=True)
        with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
            task = bar.add_task("reading", total=None)
            found = command.verify(lambda done, total: bar.update(task, completed=done, total=total))
    bad = [row for row in found["entries"] if row["damage"]]
    if as_json:
        emit(found)
    else:
        shown = found | {"entries": bad, "bytes": sum(row["bytes"] for row in bad)}
        if bad:
            show(shown, "damage", lambda row: row["damage"])
        tell(
            f"{len(found['entries'])} entries, {size(found['bytes'])}: {f'{len(bad)} damaged' if bad else 'all whole'}"
        )
    if bad:
        say("error: the cache is damaged; gssl cache prune deletes what is, and it is made again when it is needed")
    raise typer.Exit(1 if bad else 0)


@app.command("prune")
def prune(days: Days = None, gigabytes: Gigabytes = None, dry_run: DryRunFlag = False, as_json: Json = False) -> None:
    """Delete what nobody needs: leftovers of killed processes and earlier versions, and what is damaged.

    What is deleted is made again when it is needed. Data sets that were fetched and the ledger of openings stay.

    \b
    Examples:
      gssl cache prune --dry-run
      gssl cache prune --days 30 --gb 20
    """
    with guard():
        from gssl.commands import cache as command

        found = command.prune(days, gigabytes, dry_run)
    if as_json:
        emit(found)
        return
    rows = found["entries"]
    if not rows:
        tell(f"{found['path']}: nothing to delete")
        return
    show(found, "why", lambda row: row["why"] if dry_run or row["deleted"] else "left: another process works on it")
    gone = [row for row in rows if dry_run or row["deleted"]]
    tell(f"{'would delete' if dry_run else 'deleted'} {len(gone)}, {size(sum(row['bytes'] for row in gone))}")


def show(found: dict[str, Any], last: str, of: Any) -> None:
    """A table of entries, with a last column, and their sum."""
    rows = found["entries"]
    cells = [
        [
            row["kind"],
            row["name"] if len(row["name"]) <= 40 else f"{row['name'][:12]}…",
            "–" if row["count"] is None else f"{row['count']:,}",
            size(row["bytes"]),
            ago(row["used"]),
            of(row),
        ]
        for row in rows[:ROWS]
    ]
    if cells:
        table(["kind", "name", "images or files", "size", "last used", last], cells)
    if len(rows) > ROWS:
        tell(f"and {len(rows) - ROWS} more; all: --json")
    tell(f"{found['path']}: {len(rows)} entries, {size(found['bytes'])}")


def size(count: int) -> str:
    """Bytes for people."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count} B"


def ago(when: float) -> str:
    """How long ago that was."""
    seconds = max(0.0, time.time() - when)
    for limit, unit in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= limit * 1.5:
            return f"{seconds / limit:.0f} {unit} ago"
    return "now" if seconds < NEWLY else "1 min ago"
