"""What is mended of a part before it is run: nobody can choose another directory for it, its name is its hash."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gssl.comparison.parts import Part
from gssl.engine import locks, recorded
from gssl.engine.files import find_json
from gssl.engine.progress import say
from gssl.errors import Busy

# of whoever starts the part, and what grows over all its starts
STAYS = {locks.NAME, "part.json", "submitted.json", "job.json", "log.txt"}


def made_ready(part: Part) -> None:
    """Say what a finished part has lost, for which it is made again; move aside what nothing can go on from."""
    status = find_json(part.path / "status.json") or {}
    if status.get("state") == "finished" and (lost := recorded.damages(part.path, status)):
        more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
        say(f"note: {part.name}: {lost[0].path} {lost[0].why}{more}; the part is made again")
    make_room(part.name, part.path, lambda: _of(part))


def _of(part: Part) -> bool:
    """Whether what lies in the part's directory is this part's."""
    known = find_json(part.path / "part.json")
    return known.get("hash") == part.hash if isinstance(known, dict) else part.path.name.endswith(part.hash)


def make_room(name: str, path: Path, mine: Callable[[], bool] = lambda: True) -> None:
    """Move aside what nothing can go on from in a part's directory, and say so.

    mine: whether what lies there is this part's; anything else is left, for the part's run to refuse.
    """
    if not ends_here(path) or not mine():
        return
    try:
        lock = locks.take(path)
    except Busy:  # a living process has it, and what lies here is in its hands
        return
    with lock:
        if (what := ends_here(path)) and mine():
            aside = _moved_aside(path)
            say(
                f"note: {name}: {path / 'status.json'} {what}; what the part left is now in {aside}, and it is made"
                " again"
            )


def ends_here(path: Path) -> str | None:
    """What is wrong with status.json where a part's run would be refused for it; None where it would go on."""
    from gssl.engine.checkpoint import begun_as
    from gssl.engine.run import TRACES

    file = path / "status.json"
    status = find_json(file) or {}
    if status.get("state") and status.get("config_hash"):
        return None
    if not file.is_symlink() and not any((path / name).exists() for name in (*TRACES, file.name)):
        return None
    if begun_as(path / "checkpoints") is not None:
        return None
    return "is damaged" if file.is_symlink() or file.exists() else "is gone"


def _moved_aside(run: Path) -> Path:
    """Move what a run left into a folder of its own within `run`, which no pattern of runs matches; that folder."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    names = (run / f".damaged-{stamp}{f'-{n}' if n else ''}" for n in range(1000))
    aside = next(path for path in names if not path.exists())
    aside.mkdir()
    for path in sorted(run.iterdir()):
        if path.name not in STAYS and not path.name.startswith(".damaged-"):
            path.rename(aside / path.name)
    return aside
