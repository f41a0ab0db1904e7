"""`gssl doctor`: what it prints about the machine, and exit code 1 where something would break."""

from typing import Any

import typer

from gssl.cli.options import Json, guard
from gssl.cli.output import emit, tell

app = typer.Typer()
MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}


@app.command("doctor")
def doctor(as_json: Json = False) -> None:
    """Check this machine and installation: versions, devices, disks, extras, speed. Exit 1 if something would break.

    \b
    Examples:
      gssl doctor
      gssl doctor --json > machine.json
    """
    with guard():
        from gssl.commands import doctor as command

        found = command.doctor()
    emit(found) if as_json else show(found)
    raise typer.Exit(0 if found["ok"] else 1)


def show(found: dict[str, Any]) -> None:
    """Print the facts, then the checks, what is broken last."""
    cpu, torch = found["processor"], found["torch"]
    versions = ", ".join(f"{name} {v or 'not installed'}" for name, v in found["versions"].items())
    tell(f"gssl {found['gssl']}, Python {found['python']['version']} on {found['python']['platform']}")
    tell(f"packages: {versions}")
    granted = "" if cpu["quota"] is None else f", {cpu['quota']:.3g} granted by the control group"
    memory = "" if cpu["memory"] is None else f", {cpu['memory'] / 1e9:.1f} GB of memory"
    tell(f"processor: {cpu['model']}, {cpu['cores']} cores, {cpu['usable']} usable{granted}{memory}")
    if "error" not in torch:
        gpus = ", ".join(f"{gpu['name']} ({gpu['memory'] / 1e9:.0f} GB)" for gpu in torch["gpus"])
        tell(f"devices: {gpus or ('mps' if torch['mps'] else 'no GPU')}; {torch['threads']} threads on the CPU")
    if (speed := found["speed"]) is not None:
        tell(f"speed: {speed['gflops']:.1f} GFLOP/s (float32 matrices of {speed['rows']} rows, CPU)")
    total = sum(found["cache"]["parts"].values())
    tell(f"cache: {found['cache']['path']}, {total / 1e6:.1f} MB, {_free(found['cache'])}")
    tell(f"runs: {found['runs']['path']}, {_free(found['runs'])}")
    for name, missing in found["extras"].items():
        tell(f"extra {name}: " + (f"{'; '.join(missing)}: pip install 'gssl[{name}]'" if missing else "installed"))
    for check in sorted(found["checks"], key=lambda check: list(MARKS).index(check["state"])):
        tell(f"{MARKS[check['state']]}: {check['text']}")


def _free(disk: dict[str, Any]) -> str:
    return "free space unknown" if disk["free"] is None else f"{disk['free'] / 1e9:.1f} GB free"
