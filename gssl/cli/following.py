"""The commands that follow runs: runs list, show and compare; watch."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gssl.cli.options import Force, Json, RunArgument, guard
from gssl.cli.output import emit, tell
from gssl.errors import UsageError

app = typer.Typer()
runs_app = typer.Typer(
    help="What the run directories say: list them, show one, compare several.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
Csv = Annotated[bool, typer.Option("--csv", help="Print a table of comma-separated values on stdout.")]


def _one_format(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other; leave one out")


@runs_app.command("list")
def runs_list(
    globs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[GLOB]...",
            help="Only runs that match, such as 'runs/parts/simclr*', each for itself.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="Where the run directories are.")] = Path("runs"),
    command: Annotated[str | None, typer.Option("--command", help="pretrain-ssl, train-gan, transfer …")] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="running, finished, failed, interrupted or killed.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Only runs whose data set has this in its name.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only runs begun since: 90m, 2h, 3d, 1w or a date.")
    ] = None,
    unfold: Annotated[
        bool, typer.Option("--all", help="The parts of comparisons too, which are counted with theirs otherwise.")
    ] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List runs: command, method, weights, data, state, objective (↑: the larger the better), age.

    \b
    Examples:
      gssl runs list --state running
      gssl runs list --data photos --since 2d
    """
    with guard():
        from gssl.cli import runs

        _one_format(as_json, as_csv)
        filters = {"command": command, "state": state, "data": data, "since": since}
        found = runs.list_runs(root, globs or [], **filters, unfold=unfold)
        if as_json:
            emit({"schema": "gssl.runs/2", "root": str(root), "runs": found})
        elif as_csv:
            sys.stdout.write(runs.text_csv(found))
        else:
            runs.print_list(found, root)


@runs_app.command("show")
def runs_show(run: RunArgument, as_json: Json = False) -> None:
    """Show one run: its state and what it ended with."""
    with guard():
        from gssl.cli import runs

        if as_json:
            emit(runs.show_run(run))
        else:
            runs.print_run(run)


@runs_app.command("compare")
def runs_compare(
    patterns: Annotated[
        list[str], typer.Argument(metavar="GLOB...", help="Run directories, or patterns of them in quotes.")
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", "-o", help="Write it: .html (with a picture), .csv or .json; may be given again."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Compare runs: in which keys they differ, the objective as mean over seeds, the best.

    \b
    Examples:
      gssl runs compare 'runs/pretrain_ssl/*'
      gssl runs compare runs/pretrain_ssl/sweep-X runs/pretrain_ssl/sweep-Y -o both.html
    """
    with guard():
        from gssl.cli import run_comparison
        from gssl.report.run_table import text_csv

        _one_format(as_json, as_csv)
        for path in out or []:
            run_comparison.check(path, force)
        found = run_comparison.compare(patterns)
        for path in out or []:
            run_comparison.save(found, path)
        if as_json:
            emit(found)
        elif as_csv:
            sys.stdout.write(text_csv(found))
        elif out:
            for path in out:
                tell(path)
        else:
            run_comparison.show(found)


@app.command("watch")
def watch(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run directory; default: the newest that runs, else the newest.", show_default=False),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="Where the run directories are.")] = Path("runs"),
    once: Annotated[bool, typer.Option("--once", help="Print one frame and stop.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between frames.")] = 2.0,
) -> None:
    """Watch a run in the terminal: progress, curves, alarms, the newest samples; of a comparison its parts.

    \b
    Examples:
      gssl watch                                       the newest run
      gssl watch runs/compare/RUN --once               one frame, for scripts
    """
    with guard():
        from gssl.cli import watch as watching

        watching.watch(run or watching.newest(root), once, every)
