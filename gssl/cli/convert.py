"""`gssl convert`: what it takes and prints. No torch."""

from pathlib import Path
from typing import Annotated

import typer

from gssl.cli.options import Json, guard
from gssl.cli.output import emit

app = typer.Typer(rich_markup_mode=None)

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="A file that torch.save or pickle wrote.", show_default=False)
]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Where to write; by default beside it.", show_default=False)
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the pickle: you trust who made it.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file of that name.")]


@app.command()
def convert(file: File, out: Out = None, trust: Trust = False, force: Force = False, as_json: Json = False) -> None:
    """Write the tensors of a checkpoint with Python objects in it as .safetensors, which weights= reads.

    Reading such a file runs what it says. Without --trust it is not read, and what it would import is said. With it,
    a process of its own reads it; only tensors come back.

    \b
    Examples:
      gssl convert checkpoint.pth                      what it would import; nothing runs
      gssl convert checkpoint.pth --trust              writes checkpoint.safetensors
    """
    with guard():
        from gssl.commands.convert import convert as command

        found = command(file, out, trust, force)
    emit(found) if as_json else print(
        f"{found['out']}: {found['tensors']} tensors; gssl transfer weights={found['out']}"
    )
