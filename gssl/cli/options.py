"""Arguments and options that several commands have, and how errors end them."""

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gssl.cli.output import say
from gssl.engine.signals import received
from gssl.engine.trouble import misnamed, told
from gssl.errors import Interrupted, JobError, UsageError


class Cfg(StrEnum):
    """What --cfg prints."""

    job = "job"
    hydra = "hydra"
    all = "all"
    schema = "schema"


class Info(StrEnum):
    """What --info prints."""

    all = "all"
    config = "config"
    defaults = "defaults"
    tree = "defaults-tree"
    plugins = "plugins"
    searchpath = "searchpath"


class Progress(StrEnum):
    """What is seen on stderr while a run runs."""

    text = "text"
    json = "json"
    none = "none"

    @property
    def overrides(self) -> list[str]:
        if self is Progress.none:
            return ["engine.progress=false"]
        return ["engine.progress=true", f"engine.progress_format={self.value}"]


def _complete(ctx: typer.Context, incomplete: str) -> list[str]:
    from gssl.config.shell_completion import complete

    return complete("compare" if ctx.info_name == "try" else str(ctx.info_name), incomplete)


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FOLDER] KEY=VALUE",
        help="A folder of images, then overrides of the configuration, e.g. seed=1 data=cifar10 backbone.width=64.",
        autocompletion=_complete,
        show_default=False,
    ),
]
Multirun = Annotated[
    bool,
    typer.Option("--multirun", "-m", help="Run each combination of values such as a,b or range(0,3)."),
]
ProgressFlag = Annotated[
    Progress | None,
    typer.Option(
        "--progress",
        help="On stderr: a bar or lines of text, one JSON object a line (gssl.progress/1) for CI, or none.",
        show_default=False,
    ),
]
CfgFlag = Annotated[
    Cfg | None,
    typer.Option(
        "--cfg",
        "-c",
        help="Print the checked configuration and stop; schema: the JSON schema of all keys, for editors.",
    ),
]
Resolve = Annotated[bool, typer.Option("--resolve", help="With --cfg: fill in interpolations.")]
Package = Annotated[str | None, typer.Option("--package", "-p", help="With --cfg: only this part.")]
InfoFlag = Annotated[Info | None, typer.Option("--info", help="Print how the configuration comes about.")]
ConfigDir = Annotated[
    str | None,
    typer.Option("--config-dir", "-cd", metavar="DIR", help="Directory of your own YAML files."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Compose, build, one batch, stop.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
Minutes = Annotated[
    float | None,
    typer.Option("--minutes", min=0.1, help="That all of it may take: chooses seconds of training, and seeds."),
]
Check = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="CLAIM",
        help="Exit 1 unless the claim's 95% interval holds, e.g. 'simclr.linear@10 > random.linear@10 + 5',"
        " 'dcgan.kid < 0.05', 'dcgan.seconds < simclr.seconds * 1.5'; may be given again.",
    ),
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Print what would run, what is done, FLOPs and minutes, measured here; stop.")
]
Explain = Annotated[
    str | None,
    typer.Option(
        "--explain",
        metavar="KEY",
        help="Say how a number of the newest report (or of hydra.run.dir=DIR) was computed, from which files:"
        " simclr.linear@10, dcgan.kid, 'simclr.linear@10 - dcgan.linear@10', verdict, primary or budget.",
    ),
]
RunArgument = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="A folder of images, searched recursively.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]


Moved = Annotated[
    list[str] | None,
    typer.Argument(metavar="[data.root=FOLDER]", help="Where the run's images lie now.", show_default=False),
]


def moved(words: list[str] | None) -> str | None:
    """The folder of `data.root=FOLDER`, the only override that commands on finished runs take."""
    for word in words or []:
        if not word.startswith("data.root=") or not word.partition("=")[2] or len(words or []) > 1:
            raise UsageError(f"{word}: expected data.root=FOLDER alone, where the run's images lie now")
    return words[0].partition("=")[2] if words else None


Force = Annotated[bool, typer.Option("--force", help="Write over a file that gssl did not write.")]


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Errors that are foreseen: one line on stderr and their exit code."""
    try:
        yield
    except (UsageError, JobError) as e:
        if code := received():
            say("interrupted")
            raise typer.Exit(code) from e
        say(f"error: {e}")
        raise typer.Exit(2 if isinstance(e, UsageError) else 1) from e
    except PermissionError as e:  # a file or folder of the user's
        say(f"error: {e.filename}: cannot be read or written ({e.strerror}); choose another place, or its permissions")
        raise typer.Exit(2) from e
    except (MemoryError, OSError, RuntimeError) as e:
        if line := misnamed(e):
            say(f"error: {line}")
            raise typer.Exit(2) from e
        if line := told(e):
            say(f"error: {line}")
            raise typer.Exit(1) from e
        if "home directory" not in str(e):  # Python's words where ~ has no meaning
            raise
        say(f"error: ~ stands for nothing: {' '.join(str(e).split())} Set HOME, or write whole paths")
        raise typer.Exit(2) from e
    except (Interrupted, KeyboardInterrupt) as e:
        say("interrupted")
        raise typer.Exit(e.code if isinstance(e, Interrupted) else received() or 130) from e
