"""What an executor needs, asked before anything is submitted; and what it would submit."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.executors.slurm import asked, complaint, script
from gssl.engine.device import cores
from gssl.errors import UsageError
from gssl.names import nearest
from gssl.schemas.executors import on_this_machine

PROGRAMS = ("sbatch", "srun", "squeue", "scancel")
RAY = "/tmp/ray/ray_current_cluster"  # which Ray writes where one runs on this machine


def check(executor: schemas.Section, places: Mapping[str, str | Path | None], data: schemas.Data) -> None:
    """Raises UsageError where jobs could not run. places: key or words → a path that all machines must have."""
    if isinstance(executor, schemas.Local):
        return
    package, name = ("ray", "ray") if isinstance(executor, schemas.Ray) else ("submitit", "slurm")
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"executor={name}: needs {package}, which is not installed; pip install 'gssl[{name}]'")
    check_places(executor, places, data)
    if isinstance(executor, schemas.Slurm) and executor.cluster == "slurm":
        _slurm(executor)
    elif isinstance(executor, schemas.Ray) and executor.address is not None:
        _ray(executor.address)


def check_places(executor: Any, places: Mapping[str, str | Path | None], data: schemas.Data) -> None:
    """Raises UsageError where a path lies where other machines have nothing. places: as of `check`."""
    if on_this_machine(executor):
        return
    everything: dict[str, str | Path | None] = {**places}
    everything |= {f"data.{key}": getattr(data, key) for key in ("root", "pretrain", "train", "labels")}
    everything |= {"the working directory": os.getcwd(), "the Python environment": sys.prefix}
    for words, place in everything.items():
        if place is None:
            continue
        path = Path(os.path.realpath(Path(place).expanduser()))
        if held := next((one for one in executor.unshared if path.is_relative_to(os.path.realpath(one))), None):
            raise UsageError(
                f"executor={executor.name}: {path} ({words}) lies below {held}, which other machines do not have;"
                " choose a folder on the shared disk (executor.unshared=[] where all of them have it)"
            )


def _slurm(executor: schemas.Slurm) -> None:
    """Raises UsageError where Slurm is not here or would refuse such a job."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise UsageError(
                f"executor=slurm: {program} is not on this machine; start gssl where jobs are submitted (Debian:"
                " apt-get install slurm-client), or try executor.cluster=local"
            )
    text = asked("sinfo", "-h", "-o", "%R|%P|%l")
    if text is None:
        raise UsageError("executor=slurm: sinfo has no answer: Slurm's controller cannot be reached from this machine")
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
    names = sorted({row[0] for row in rows})
    chosen = executor.partition.split(",") if executor.partition else [row[0] for row in rows if row[1].endswith("*")]
    if not chosen and not executor.options:
        raise UsageError(f"executor.partition: Slurm has no default here; give one of {', '.join(names) or 'none'}")
    for one in chosen:
        if one not in names:
            near = nearest(one, names)
            hint = f"; did you mean '{near}'?" if near else ""
            raise UsageError(f"executor.partition={one}: Slurm has {', '.join(names) or 'none'}{hint}")
    limits = [minutes(row[2]) for row in rows if row[0] in chosen]
    if limits and executor.time > max(limits):  # sbatch takes such a job, which then waits for ever
        raise UsageError(
            f"executor.time={executor.time}: {executor.partition or chosen[0]} runs jobs for {max(limits):g} minutes at"
            " most; lower it: what is saved by then goes on in the next job"
        )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["sbatch", "--test-only"], input=script(executor, Path(folder)), capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise UsageError(f"executor=slurm: sbatch refuses such a job: {complaint(done.stderr)}; see executor.*")


def minutes(text: str) -> float:
    """A time of Slurm's, such as 1-12:00:00, 30:00 or infinite."""
    days, _, rest = text.strip().rpartition("-")
    try:
        numbers = [int(one) for one in rest.split(":")]
        hours, mins, seconds = [0] * (3 - len(numbers)) + numbers
        return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60
    except ValueError:  # infinite, n/a
        return float("inf")


def _ray(address: str) -> None:
    """Raises UsageError where nothing answers."""
    if address == "auto":
        if not Path(RAY).is_file() and "RAY_ADDRESS" not in os.environ:
            raise UsageError("executor.address=auto: no Ray runs on this machine; `ray start --head`, or HOST:PORT")
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"executor.address={address}: expected HOST:PORT, such as head:6379, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UsageError(
            f"executor.address={address}: no answer ({error.strerror or error}); is Ray running?"
        ) from error


def engine_here(executor: schemas.Section, engine: schemas.Engine) -> schemas.Engine:
    """How this machine does its own part where others run the jobs: it may have no GPU."""
    if isinstance(executor, schemas.Local):
        return engine
    return schemas.replace(engine, device="auto", precision="fp32")


def threads(executor: Any, engine: schemas.Engine, jobs: int) -> int:
    """CPU threads of every part, whatever machine it runs on: a part is named by them."""
    own = cores() // jobs if isinstance(executor, schemas.Local) else executor.cpus
    return engine.threads or max(1, own)


def described(executor: Any, jobs: int, missing: int) -> dict[str, Any]:
    """What would be submitted, for a plan."""
    if isinstance(executor, schemas.Local):
        return {"name": "local", "at_once": jobs, "jobs": missing, "request": []}
    found = {"name": executor.name, "at_once": executor.max_jobs, "jobs": missing}
    if isinstance(executor, schemas.Ray):
        memory = [] if executor.memory is None else [f"memory={executor.memory:g} GB"]
        where = executor.address or "a Ray of its own on this machine"
        return found | {"request": [f"address={where}", f"cpus={executor.cpus}", f"gpus={executor.gpus:g}", *memory]}
    if executor.cluster == "local":
        return found | {"request": [f"submitit's processes here, {executor.time} minutes each"]}
    lines = script(executor, Path("PART/submitit")).splitlines()
    return found | {"request": [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]}
