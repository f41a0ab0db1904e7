"""`gssl evaluate RUN`: how good a trained generator's images are, by which evaluator, on how many images; of a causal
language model bits per byte, of one for chat those of what the assistant says, of one of pairs those of targets; of
images with captions how well they find each other; of a generator of texts how near its lines are to held-out ones.

Every figure stands beside its baseline: what real training images get in the place of generated ones.
"""

from pathlib import Path
from typing import Any

from gssl.engine import outputs
from gssl.engine.device import pick_device
from gssl.engine.files import write_json
from gssl.errors import UsageError
from gssl.experiment import captioned, captioner, language, text_gan, translated, unpaired_runs
from gssl.experiment.generation import Asked, evaluate_generator
from gssl.experiment.generators import translates, writes


def evaluate(
    run: Path, out: Path | None = None, device: str = "auto", force: bool = False, **asked: Any
) -> dict[str, Any]:
    """Evaluate the generator that `run` exported; writes and returns `gssl.evaluation/3`, of pairs of images
    `gssl.translation/1`, of two domains `gssl.unpaired/1`, of texts `gssl.language/1`, `gssl.dialogues/1` or
    `gssl.seq2seq/1`, of images with captions `gssl.captioned/1`, of a run that writes captions `gssl.captioning/1`, of
    a generator of texts `gssl.lines/1`.

    asked: fields of `Asked`. out: the file to write; None: one in RUN/evaluations whose name says what was asked for.
    Raises UsageError.
    """
    wanted = Asked(**asked)
    if wanted.split not in ("val", "test"):
        raise UsageError(f"--split {wanted.split}: expected val (to choose by) or test (to quote)")
    if wanted.truncation is not None and wanted.truncation <= 0:
        raise UsageError(f"--truncation {wanted.truncation}: expected a number above 0")
    if out:
        outputs.check(out, ".json", force)
    if wanted.beside is not None and not writes(run):
        raise UsageError(f"--beside {wanted.beside}: is for runs of gan=textgan, and {run} is none; leave it out")
    if writes(run):
        text = text_gan.evaluate_run(run, wanted, pick_device(device))
        name = f"lines-{wanted.split}.json"
    elif language.is_run(run):
        text = language.evaluate_run(run, wanted, pick_device(device))
        kind = text["schema"].removeprefix("gssl.").partition("/")[0]  # language, dialogues, seq2seq
        name = f"{kind}-{wanted.split}.json"
    elif captioned.is_run(run):
        text = captioned.evaluate_run(run, wanted, pick_device(device))
        name = f"captioned-{wanted.split}.json"
    elif captioner.is_run(run):
        text = captioner.evaluate_run(run, wanted, pick_device(device))
        name = f"captioning-{wanted.split}.json"
    elif unpaired_runs.is_run(run):
        text = unpaired_runs.evaluate_run(run, wanted, pick_device(device))
        name = default_name(text, wanted)
    elif translates(run):
        text = translated.evaluate_run(run, wanted, pick_device(device))
        name = default_name(text, wanted)
    else:
        text = evaluate_generator(run, wanted, pick_device(device))
        name = default_name(text, wanted)
    file = out or run / "evaluations" / name
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, text)
    except OSError as error:
        raise UsageError(f"-o {file}: cannot be written ({error.strerror})") from error
    return text | {"file": str(file)}


def default_name(text: dict[str, Any], asked: Asked) -> str:
    """`test-classifier-0a1b2c3d-1000-0.json`: split, evaluator, images, seed, and the truncation where one is given."""
    evaluator = text["evaluator"]
    truncation = "" if asked.truncation is None else f"-{asked.truncation:g}"
    name = f"{asked.split}-{evaluator['name']}-{evaluator['hash'][:8]}-{text['n']}-{asked.seed}{truncation}.json"
    return name.replace(":", "-").replace("/", "-")
