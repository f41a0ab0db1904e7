"""The commands that use a finished run: sample, embed, retrieve, predict, inspect, evaluate, export."""

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gssl.cli.options import Device, Folder, Force, Json, Moved, RunArgument, guard, moved
from gssl.cli.output import emit, tell

ModelArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory, or a comparison's model/ folder.", show_default=False)
]
app = typer.Typer()


def _use(command: str, as_json: bool, run: Path, out: Path, **arguments: Any) -> None:
    """Run a command of `gssl.commands`; what it prints goes to stderr, the file it wrote to stdout."""
    with guard():
        from gssl.config import registry

        with contextlib.redirect_stdout(sys.stderr):
            found = registry.load(f"gssl.commands.{command}:{command}")(run=run, out=out, **arguments)
        emit({"schema": f"gssl.{command}/1", "run": str(run), **found}) if as_json else tell(found.get("file", out))


@app.command("sample")
def sample(
    run: RunArgument,
    words: Moved = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of images, sounds, or texts.")] = 64,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The PNG to write, the folder of sounds, or the .txt.")
    ] = Path("grid.png"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other seeds, other images.")] = 0,
    truncation: Annotated[
        float | None, typer.Option("--truncation", help="Keep |z| below this: likelier images, fewer kinds.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Only this class of a conditional GAN; may be given again.")
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="A PNG each, and real ones beside them, in the folder -o: for data=fake.")
    ] = False,
    prompt: Annotated[
        str,
        typer.Option(
            "--prompt",
            help="Of a language model: how texts begin; of ssl=chat what a user says, of ssl=seq2seq the source.",
        ),
    ] = "",
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, help="Of a language model: tokens behind the prompt.")
    ] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="Of a language model: 0 takes the likeliest token.")
    ] = 1.0,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw images from a trained GAN's averaged generator into one PNG; of ssl=clm, gan=textgan texts into samples.txt.

    \b
    Examples:
      gssl sample runs/train_gan/RUN -n 64 -o grid.png
      gssl sample runs/train_gan/RUN -n 2000 --files -o both
      gssl sample runs/train_gan/SPECGAN -n 8 -o sounds
      gssl sample runs/pretrain_ssl/RUN -n 4 --prompt "To be" -o texts.txt
    """
    own = {"n": n, "seed": seed, "truncation": truncation, "classes": classes, "files": files}
    text = {"prompt": prompt, "tokens": tokens, "temperature": temperature}
    _use("sample", as_json, run, out, **own, **text, device=device, force=force, root=moved(words))


@app.command("embed")
def embed(
    run: RunArgument,
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz to write.")] = Path("features.npz"),
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the backbone's features of every image in a folder.

    \b
    Example:
      gssl embed runs/pretrain_ssl/RUN photos -o features.npz
    """
    _use("embed", as_json, run, out, folder=folder, device=device, force=force)


@app.command("retrieve")
def retrieve(
    run: RunArgument,
    sentence: Annotated[str, typer.Argument(metavar="WORDS", help="What to look for.", show_default=False)],
    words: Moved = None,
    among: Annotated[
        Path | None,
        typer.Option("--among", help="A folder of images; default: the run's own, without test images."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 10,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find images by words, with a run that learned from images with captions: paths, the nearest first.

    \b
    Examples:
      gssl retrieve runs/pretrain_ssl/RUN "a brown dog"
      gssl retrieve runs/pretrain_ssl/RUN "red arrow" --among photos -n 5
    """
    with guard():
        from gssl.commands import retrieve as command

        with contextlib.redirect_stdout(sys.stderr):
            found = command.retrieve(run, sentence, among, n, device, moved(words))
        if as_json:
            emit(found)
            return
        for row in found["found"]:
            tell(f"{row['similarity']:.3f} {row['path']}")


@app.command("predict")
def predict(
    run: ModelArgument,
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The CSV to write.")] = Path("predictions.csv"),
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes per image, the likeliest first.")] = 1,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="A column with the probability of every class.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="A CSV (path,label) to check the answers by: accuracy, and mistakes.csv beside the output. Without it"
            " folders named like classes are used.",
        ),
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Label every image in a folder by the model of a comparison, or by a transfer run: a CSV; of masks also PNGs. By a
    run on pairs of images, make an image of each: enlarged, in colour, or as its pairs were.

    A run of ssl=caption writes captions.

    A run of gan=cyclegan or gan=cut translates them: a PNG each, in predictions_images, and a CSV of their names.

    \b
    Examples:
      gssl predict runs/compare/RUN photos             predictions.csv: file, label, probability, unknown
      gssl predict runs/compare/RUN/model photos --top 3 -o birds.csv
      gssl predict runs/transfer/RUN photos --labels labels.csv
      gssl predict runs/pretrain_ssl/CAPTION photos -o captions.csv
      gssl predict runs/train_gan/RUN small -o large.csv      gan=pix2pix: images in large_images/
    """
    own = {"folder": folder, "top": top, "probabilities": probabilities, "labels": labels}
    _use("predict", as_json, run, out, **own, device=device, force=force)


@app.command("inspect")
def inspect(
    run: RunArgument,
    words: Moved = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder for the pictures; default: RUN/pictures.")
    ] = None,
    images: Annotated[int, typer.Option("-n", min=20, help="Validation images on the map.")] = 1000,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Another run: how similarly the stages of both backbones arrange RUN's images."),
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw which images have similar features: nearest neighbours and a 2-D map of validation images.

    Of a GAN run also generator.png, which explains generator and discriminator: samples, interpolations, the main
    directions of the latent space, nearest training images, what the discriminator looks at. With --against also
    cka.png, the similarity of the stages of two backbones.

    \b
    Examples:
      gssl inspect runs/pretrain_ssl/RUN
      gssl inspect runs/pretrain_ssl/RUN --against runs/train_gan/OTHER
      gssl inspect runs/pretrain_ssl/RUN data.root=/new/photos
    """
    with guard():
        root = moved(words)
    pictures = out or run / "pictures"
    _use(
        "inspect",
        as_json,
        run,
        pictures,
        images=images,
        device=device,
        against=against,
        force=force,
        root=root,
    )


@app.command("evaluate")
def evaluate(
    run: RunArgument,
    words: Moved = None,
    evaluator: Annotated[
        str,
        typer.Option(
            "--evaluator",
            help="auto (classifier where there are labels, else random), classifier, random, inception, dinov2 or"
            " torchvision:NAME.",
        ),
    ] = "auto",
    evaluator_weights: Annotated[
        str | None, typer.Option("--evaluator-weights", help="A file of weights for inception, dinov2, torchvision.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="val, to choose by; test, to quote (counted).")] = "val",
    images: Annotated[
        int | None, typer.Option("-n", min=8, help="Real images and as many generated; default: all, at most 10,000.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the generated images and the bootstrap.")] = 0,
    truncation: Annotated[float | None, typer.Option("--truncation", help="Keep |z| below this.")] = None,
    beside: Annotated[
        str | None,
        typer.Option("--beside", help="Of gan=textgan: a run of ssl=clm whose lines are measured, too."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The JSON file to write; default: in RUN/evaluations.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Evaluate a trained GAN: distances, diversity, memorised images; of conditional ones what a classifier learns.

    \b
    Examples:
      gssl evaluate runs/train_gan/RUN --split test
      gssl evaluate runs/train_gan/TEXTGAN --beside runs/pretrain_ssl/CLM
    """
    with guard():
        from gssl.cli import evaluation_table
        from gssl.commands import evaluate as command

        with contextlib.redirect_stdout(sys.stderr):
            found = command.evaluate(
                run,
                out,
                evaluator=evaluator,
                evaluator_weights=evaluator_weights,
                split=split,
                images=images,
                seed=seed,
                truncation=truncation,
                beside=beside,
                root=moved(words),
                device=device,
                force=force,
            )
        emit(found) if as_json else evaluation_table.show(found)


class Format(StrEnum):
    """What `gssl export` writes."""

    safetensors = "safetensors"
    torchvision = "torchvision"
    timm = "timm"
    onnx = "onnx"
    torch_export = "torch-export"


class Part(StrEnum):
    """What of a run is exported."""

    backbone = "backbone"
    classifier = "classifier"
    segmenter = "segmenter"
    detector = "detector"
    model = "model"


@app.command("export")
def export(
    run: ModelArgument,
    to: Annotated[
        Format,
        typer.Option(
            "--to",
            show_default=False,
            help="torchvision: resnet18, resnet50. timm: these and vit_*; pip install 'gssl[timm]'. onnx: pip install"
            " 'gssl[onnx]'.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file to write: .safetensors, .pth, .onnx or .pt2; default: in RUN/exports."
        ),
    ] = None,
    part: Annotated[
        Part | None,
        typer.Option(
            "--part",
            help="backbone; classifier, segmenter or detector: with the head; model: photographs of any size in,"
            " probabilities out (onnx, torch-export). Default: model of a comparison, with the head of a transfer run.",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a trained network for other tools, read it back and compare; a .json beside it says how to use it.

    \b
    Examples:
      gssl export runs/compare/RUN --to onnx
      gssl export runs/pretrain_ssl/RUN --to onnx
      gssl export runs/transfer/RUN --to torch-export --part classifier -o birds.pt2
    """
    with guard():
        from gssl.commands import export as command

        with contextlib.redirect_stdout(sys.stderr):
            found = command.export(run, out, to.value, part.value if part else None, force)
        emit(found | {"schema": "gssl.export/1"}) if as_json else tell(found["file"])
