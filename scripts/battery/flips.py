"""Flipped bits, cuts, deletions and swaps in every file of runs, of a comparison and of its parts.

Afterwards the run is finished again (`resume=auto`), listed, shown, and its weights are used. Each call must end with
one line, or leave exactly what it leaves of whole files ("harmless"). `silent` is another result without a word.
"""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from scripts.battery.kill import words_of
from scripts.battery.trial import TRAIN, Said, call, command, fork, wait

NAMES = ["simclr", "dcgan", "transfer"]
USE = ["transfer", "labels_per_class=[5]", "draws=1", "probe.use=[knn]", "data.limit=400", "diagnose.pictures=false"]
KINDS = ["flip"] * 12 + ["cut"] * 5 + ["delete", "swap"]


def whole(name: str) -> Path:
    """A finished run, made once."""
    folder = Path(os.environ["GSSL_CACHE"]).with_name(f"whole-{name}")
    if not (folder / "run" / "result.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        pid = fork(lambda: command(*words_of(name), f"hydra.run.dir={folder / 'run'}"), folder / "log")
        assert wait(pid) == 0, (folder / "log").read_text()
        (folder / "used.json").write_text(json.dumps(used(name, folder / "run", folder / "use")))
    return folder


def used(name: str, run: Path, use: Path) -> list:
    """What the commands that read a run say of it: exit code, lines of errors, and the numbers."""
    said = {
        "resume": call(*words_of(name), f"hydra.run.dir={run}", "resume=auto"),
        "show": call("runs", "show", str(run)),
    }
    if name == "transfer":  # its predictions are what the report reads
        said["report"] = call("compare", f"runs=[{run}]", f"hydra.run.dir={use}")
    else:
        said["use"] = call(*USE, *TRAIN, f"weights={run}", f"hydra.run.dir={use}")
    table = json.loads((use / "report.json").read_text())["table"] if (use / "report.json").is_file() else None
    scores = json.loads((use / "result.json").read_text()).get("scores") if (use / "result.json").is_file() else None
    return [table, scores, {key: [one.code, errors(one)] for key, one in said.items()}]


def errors(said: Said) -> list[str]:
    return [re.sub(r"\S*/", "", line) for line in said.err.splitlines() if line.startswith(("error:", "warning:"))]


def damage(kind: str, file: Path, other: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    if kind == "delete":
        file.unlink()
    elif kind == "swap":
        file.write_bytes(other.read_bytes())
    elif kind == "cut":
        file.write_bytes(data[: rng.randrange(len(data) + 1)])
    elif data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)


def damaged(name: str, kind: str, seed: int, where: Path) -> str:
    rng = random.Random(seed)
    folder = whole(name)
    run = where / "run"
    shutil.copytree(folder / "run", run)
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name not in (".lock", "log.txt"))
    file = rng.choice(files)
    damage(kind, file, rng.choice(files), rng)
    at = f"{kind} {file.relative_to(run)}"
    kept = json.loads((folder / "used.json").read_text())
    found = json.loads(json.dumps(used(name, run, where / "use")))
    for key, (code, lines) in found[2].items():
        if code not in (0, 1, 2) or any("Traceback" in line for line in lines):
            return f"{at}: {key}: exit {code}"
        if code and len([line for line in lines if line.startswith("error:")]) != 1:
            return f"{at}: {key}: {len(lines)} lines"
    said = any(lines != kept[2][key][1] for key, (_, lines) in found[2].items())
    return "" if said or found[:2] == kept[:2] else f"{at}: another result, and no word of it"


def trials() -> list[tuple[str, Callable[[Path], str]]]:
    found: list[tuple[str, Callable[[Path], str]]] = []
    for k in range(850):
        name, kind = NAMES[k % len(NAMES)], KINDS[k % len(KINDS)]
        found.append((f"{k}-{name}-{kind}", lambda where, n=name, d=kind, s=k: damaged(n, d, s, where)))
    return found
