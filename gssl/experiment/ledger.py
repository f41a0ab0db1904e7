"""How often test images were opened, and with how many settings: whoever looks often finds something by chance.

`$GSSL_CACHE/openings/<hash of the test images>.jsonl` (`gssl.opening/1`) only grows, by one line per opening, written
before it: time, run, command, settings, seed, and the sha256 of the line before (`previous`), so that one that is taken
out shows. It knows what this cache's users did and nothing of other machines. No command rewrites it.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from gssl.data.cache import cache_root
from gssl.engine.documents import read_yaml
from gssl.engine.files import sha256
from gssl.engine.lines import Lines, growing, read_lines
from gssl.engine.progress import say
from gssl.engine.run import now
from gssl.engine.shapes import TEXT, WHOLE, mismatch
from gssl.errors import Damaged
from gssl.schemas.determining import FREE, NAMED_WEIGHTS, determining

ROW = {"time": TEXT, "run": TEXT, "command": TEXT, "settings": TEXT, "seed": WHOLE, "previous": TEXT}
ASIDE = ("seed", "engine", "eval", "experiment", "diagnose")  # of a configuration: what makes no other setting


def path_of(images: str) -> Path:
    """Where the openings of the test images with this hash are listed."""
    return cache_root() / "openings" / f"{images}.jsonl"


def opening(images: str, run: Path, command: str, settings: str, seed: int) -> str:
    """Put one opening on record, on the disk before it happens, and return `sentence` about all of them.

    images: hash of the test images. settings: from `settings_of`. A ledger that cannot be written fails no run: then
    stderr says that the opening is not counted.
    """
    path = path_of(images)
    row = {"schema": "gssl.opening/1", "time": now(), "run": str(Path(run).absolute()), "command": command}
    try:
        with growing(path) as (lines, append):
            append(row | {"settings": settings, "seed": seed, "previous": lines.last})
    except OSError as error:
        say(f"warning: this opening of the test images is not counted: {path}: {error.strerror or error}")
    except Damaged as error:
        say(f"warning: this opening of the test images is not counted: {path}: {error.why}")
    return sentence(summary(images))


def summary(images: str) -> dict[str, Any]:
    """{runs, settings, openings, first, last, damage} of the test images with this hash; the times are None where
    nobody opened them.

    A run that was killed and goes on opens them twice and is one run. settings: differing in more than the seed.
    damage: what is wrong with the ledger, so that there may be more of all; empty where nothing shows.
    """
    path = path_of(images)
    try:
        lines = read_lines(path, _usable)
        damage = lines.damage
    except Damaged as error:
        lines, damage = Lines(path, [], [], [], None), f"{path}: {error.why}"
    rows = [row for _, row in lines.found]
    times = [row["time"] for row in rows]
    return {
        "runs": len({(row["run"], row["settings"], row["seed"]) for row in rows}),
        "settings": len({row["settings"] for row in rows}),
        "openings": len(rows),
        "first": min(times, default=None),
        "last": max(times, default=None),
        "damage": damage,
    }


def _usable(row: dict[str, Any]) -> bool:
    return mismatch(row, ROW) is None and all(row.get(key) is not None for key in ROW if key != "previous")


def sentence(found: dict[str, Any]) -> str:
    """ "These test images have been opened by 41 runs with 7 settings." Beside it, what is wrong with the ledger."""
    if not found["runs"] and found["damage"]:
        return f"{found['damage']}: how often these test images were opened is not known."
    if not found["runs"]:
        return "No opening of these test images is on record."
    runs = f"{found['runs']:,} run{'' if found['runs'] == 1 else 's'}"
    settings = f"{found['settings']:,} setting{'' if found['settings'] == 1 else 's'}"
    openings = f"{found['openings']:,} opening{' is' if found['openings'] == 1 else 's are'}"
    more = f" {found['damage']}: at least {openings} on record." if found["damage"] else ""
    return f"These test images have been opened by {runs} with {settings}.{more}"


# ── settings ─────────────────────────────────────────────────────────────────────────────────────


def settings_of(cfg: Any) -> str:
    """16 hex digits of what determines a run but for the seed: `config_hash` without it.

    Weights and generators from a run count by that run's settings, for their own hashes differ from seed to seed.
    """
    tree = determining(cfg)
    if tree.get("weights") == "file":
        tree["weights"] = cfg.weights
    if "generated" in tree:
        tree["generated"]["run"] = cfg.generated.run
    return _digest(_without_seed(tree))


def settings_of_run(run: Path | str, **asked: Any) -> str:
    """The same of who looks at a finished run otherwise: the run's settings, and how it is asked."""
    return _digest({"run": _origin(str(run)), **asked})


def _without_seed(tree: dict[str, Any]) -> dict[str, Any]:
    tree = {key: value for key, value in tree.items() if key not in ASIDE}
    if isinstance(tree.get("data"), dict):
        aside = (*FREE["data"], "folds", "fold", *(("split_seed",) if tree["data"].get("fold") is not None else ()))
        tree["data"] = {key: value for key, value in tree["data"].items() if key not in aside}
    if isinstance(tree.get("weights"), str):
        tree["weights"] = _origin(tree["weights"])
    generated = tree.get("generated")
    if isinstance(generated, dict):
        tree["generated"] = generated | {"run": _origin(str(generated["run"]))} if generated.get("run") else None
    return tree


def _origin(weights: str) -> str:
    """What a value of `weights` stands for, whatever its seed: a run by its settings, another file by its bytes."""
    if NAMED_WEIGHTS.fullmatch(weights):
        return weights
    path = Path(weights).expanduser()
    try:
        # the run itself, a file in its weights/, or one of its checkpoints, which is another setting
        for folder in (path, path.parent.parent):
            if (folder / "config.yaml").is_file() and (folder / "status.json").is_file():
                written = read_yaml(folder / "config.yaml") or {}
                step = path.name if path.parent.name == "checkpoints" else None
                return _digest([_without_seed(written), step])
        return sha256(path)
    except (OSError, Damaged):
        return weights


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
