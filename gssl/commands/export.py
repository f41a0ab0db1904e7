"""`gssl export RUN --to FORMAT`: a trained network as other tools read it.

The file is read back as its user would read it, and must give the same output; else nothing is left behind.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gssl.engine import outputs
from gssl.engine.files import fsync, read_json, sha256, write_json
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.export_checks import check, images_to_compare
from gssl.experiment.export_formats import TARGETS, describe, read_subject
from gssl.experiment.model_files import DESCRIPTION, FOLDER


def export(run: Path, out: Path | None, to: str, part: str | None = None, force: bool = False) -> dict[str, Any]:
    """Write a network of `run` (a run or a model folder) as `to` (a key of TARGETS), with a description beside it.

    `part`: backbone, classifier, segmenter, detector or model; None: the backbone of a training run, the model of a
    comparison, what has a head of a transfer run. `out`: None for a name in RUN/exports. `force`: over files that gssl
    did not write. Returns the description. Raises UsageError, and JobError where what was written does not give the
    same output; then nothing is left behind.
    """
    target = TARGETS[to]
    if missing := [name for name in target.packages if find_spec(name) is None]:
        raise UsageError(f"--to {to}: needs {', '.join(missing)}; pip install 'gssl[{target.extra}]'")
    subject = read_subject(run, part, to)
    out = out or run / "exports" / f"{subject.part}{target.mark}{target.suffix}"
    # a file of weights is described where `weights=FILE` looks for it
    sidecar = out.with_suffix(".json") if to == "safetensors" else out.with_name(f"{out.name}.json")
    _check_place(run, out, sidecar, target.suffix, force)
    with _beside(out) as folder:
        file, description = folder / out.name, folder / sidecar.name
        facts = target.write(subject, file)
        text = describe(subject, run, to, target) | facts | {"sha256": sha256(file)}
        write_json(description, text)
        images, real = images_to_compare(run, subject)
        text["check"] = check(subject, to, file, images, real)
        write_json(description, text)
        fsync(file)
        file.replace(out)
        description.replace(sidecar)
    for note in text.get("notes", []):
        say(f"note: {note}")
    found = text["check"]
    say(f"{subject.output} equal within {found['relative']:.1e} on {found['images']} images")
    for what, name in (("predictions", "images as gssl stores them"), ("files", "images in their files")):
        if what in found:
            one = found[what]
            say(f"probabilities within {one['difference']:.1e} of gssl's own on {one['images']} {name}")
    return {**text, "file": str(out), "description": str(sidecar), "to": to}


def _check_place(run: Path, out: Path, sidecar: Path, suffix: str, force: bool) -> None:
    if out.suffix != suffix:
        raise UsageError(f"-o {out}: expected a file name that ends in {suffix}")
    for path in (out, sidecar):
        if path.is_dir():
            raise UsageError(f"-o {out}: {path} is a folder; choose another name")
    own = [run / "weights", run / FOLDER, *([run] if (run / DESCRIPTION).exists() else [])]
    if out.parent.resolve() in [folder.resolve() for folder in own]:
        raise UsageError(f"-o {out}: {out.parent} holds the run's own files; choose another place")
    held = read_json(sidecar)
    if not force and sidecar.exists() and not (isinstance(held, dict) and str(held.get("schema")).startswith("gssl.")):
        raise UsageError(
            f"-o {out}: {sidecar}, where its description goes, is no description of gssl's; choose another name"
        )
    outputs.check(out, None, force)


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder beside `out` for as long as it takes; folders made for it are kept only where all went well."""
    made = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UsageError(f"-o {out}: cannot be written ({error.strerror})") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        if not out.exists():
            for empty in made:
                with contextlib.suppress(OSError):
                    empty.rmdir()
