"""Flipped bits, cuts, deletions and swaps in files of runs, of a comparison's parts, of exported models and of caches.

Afterwards the run is finished again (`resume=auto`) and shown, its weights or predictions are used; a comparison is
made of the parts, a run uses the cache or the model. Where a call ends with an error or a warning, the damage is
`detected`. Where every call says and gives what it does for whole files, it is `harmless`. Anything else fails:
another result without a word, a traceback, more than one line of error.
"""

import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scripts.battery.kill import COMPARE, words_of
from scripts.battery.malformed import folder as pictures
from scripts.battery.trial import TRAIN, Found, Said, Trial, call, command, fork, wait

TRAINED = ["simclr", "dcgan", "transfer"]  # runs
NAMES = ["simclr", "dcgan", "transfer", "images", "parts", "features", "simclr", "model"]
IGNORED = (".lock", "log.txt", "log")  # what nothing reads
USE = ["transfer", "labels_per_class=[5]", "draws=1", "probe.use=[knn]", "data.limit=400", "diagnose.pictures=false"]
KINDS = ["flip"] * 12 + ["cut"] * 5 + ["delete", "swap"]


def whole(name: str) -> Path:
    """What is damaged in copies, made once: `folder`/run, beside what calls say of a whole copy (used.json)."""
    folder = Path(os.environ["GSSL_CACHE"]).with_name(f"whole-{name}")
    if not (folder / "used.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        code = wait(fork(lambda: _made(name, folder), folder / "log"), 400)
        assert code == 0, (folder / "log").read_text()
    return folder


def _made(name: str, folder: Path) -> int:
    run = folder / "run"
    if name in TRAINED:
        code = command(*words_of(name), f"hydra.run.dir={run}")
    elif name == "model":
        run.mkdir()
        code = command(*words_of("simclr"), f"hydra.run.dir={folder / 'first'}")
        code = code or command("export", str(folder / "first"), "--to", "safetensors", "-o", str(run / "m.safetensors"))
    else:
        if name == "images":
            pictures(random.Random(3), folder / "p", each=40)
        run.mkdir()
        code = command(*_reading(name, folder, run, folder / "first"))
    if code:
        return code
    with tempfile.TemporaryDirectory(prefix="gssl-battery-") as place:  # at another place, as in the trials
        shutil.copytree(run, Path(place) / "run", symlinks=True)
        found = used(name, folder, Path(place) / "run", Path(place) / "use")
    if any(code for code, _ in found[2].values()):
        print(found)
        return 1
    temp = folder / "used.tmp"
    temp.write_text(json.dumps(found))
    temp.replace(folder / "used.json")
    return 0


def _reading(name: str, folder: Path, run: Path, use: Path) -> list[str]:
    """A call that reads `run`: parts of a comparison, a cache, or an exported model."""
    words = [*USE, *TRAIN, "backbone.width=8", f"hydra.run.dir={use}"]
    if name == "parts":
        return [*COMPARE, *TRAIN, f"parts={run}", f"hydra.run.dir={use}"]
    if name == "model":
        return [*words, f"weights={run / 'm.safetensors'}"]
    os.environ["GSSL_CACHE"] = str(run)
    if name == "images":
        return [*words, "weights=random", "data=imagefolder", f"data.root={folder / 'p'}"]
    return [*words[:-2], words[-1], "weights=efficientnet_lite0", "data.limit=60"]


def used(name: str, folder: Path, run: Path, use: Path) -> list[Any]:
    """What the calls that read `run` give: the numbers, and of each its exit code and its lines of errors."""
    said = {}
    if name in TRAINED:
        said["resume"] = call(*words_of(name), f"hydra.run.dir={run}", "resume=auto")
        said["show"] = call("runs", "show", str(run))
    if name == "transfer":  # its predictions are what the report reads
        said["report"] = call("compare", f"runs=[{run}]", f"hydra.run.dir={use}")
    elif name in TRAINED:
        said["use"] = call(*USE, *TRAIN, f"weights={run}", f"hydra.run.dir={use}")
    else:
        said["use"] = call(*_reading(name, folder, run, use))
    table = json.loads((use / "report.json").read_text())["table"] if (use / "report.json").is_file() else None
    scores = json.loads((use / "result.json").read_text()).get("scores") if (use / "result.json").is_file() else None
    found: list[Any] = json.loads(json.dumps([table, scores, {k: [one.code, errors(one)] for k, one in said.items()}]))
    return found


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


def verdict(kept: list[Any], found: list[Any], at: str) -> Found:
    """kept, found: what `used` gave of the whole and of the damaged copy."""
    for key, (code, lines) in found[2].items():
        if code not in (0, 1, 2) or any("Traceback" in line or "please report" in line for line in lines):
            return f"{at}: {key}: exit {code}: {lines[-1:]}"
        if code and len([line for line in lines if line.startswith("error:")]) != 1:
            return f"{at}: {key}: {len(lines)} lines"
    if any(lines != kept[2][key][1] for key, (_, lines) in found[2].items()):
        return "", {"held": "detected"}
    return ("", {"held": "harmless"}) if found[:2] == kept[:2] else f"{at}: another result, and no word of it"


def damaged(name: str, kind: str, seed: int, where: Path) -> Found:
    rng = random.Random(seed)
    folder, run = whole(name), where / "run"
    shutil.copytree(folder / "run", run, symlinks=True)
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name not in IGNORED and p.suffix != ".lock")
    file = rng.choice(files)
    damage(kind, file, rng.choice(files), rng)
    kept = json.loads((folder / "used.json").read_text())
    return verdict(kept, used(name, folder, run, where / "use"), f"{kind} {file.relative_to(run)}")


def trials() -> list[tuple[str, Trial]]:
    found: list[tuple[str, Callable[[Path], Found]]] = []
    for k in range(950):  # 600 flips, 250 cuts, 50 deletions, 50 swaps
        name, kind = NAMES[k % len(NAMES)], KINDS[k % len(KINDS)]  # 8 and 19: every kind with every name
        found.append((f"{k}-{name}-{kind}", partial(damaged, name, kind, k)))
    return found
