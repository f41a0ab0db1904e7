"""What `gssl evaluate` prints: by which evaluator, on how many images, and each figure beside its baseline."""

from typing import Any

from gssl.cli import captioned_table, captioning_table, dialogue_table, lines_table, seq2seq_table, unpaired_table
from gssl.cli.output import table, tell

TABLES = {
    "gssl.captioned/1": captioned_table.show,
    "gssl.captioning/1": captioning_table.show,
    "gssl.dialogues/1": dialogue_table.show,
    "gssl.lines/1": lines_table.show,
    "gssl.seq2seq/1": seq2seq_table.show,
    "gssl.unpaired/1": unpaired_table.show,
}
# key, name, whether more is better; what a reader should know of each is in docs/metrics.md
SHOWN = [
    ("fd", "FD", "0 is best"),
    ("kid", "KID", "0 is best"),
    ("precision", "precision", "generated near real"),
    ("recall", "recall", "real near generated"),
    ("density", "density", "1 for real images"),
    ("coverage", "coverage", "real with one near"),
    ("pairwise", "distance ÷ real", "1 for real images"),
    ("nearest", "nearest ÷ real", "0: repeats"),
    ("copied", "copies", "chance 0.05"),
    ("train_nearest", "nearest is train", "chance 0.5"),
    ("inception_score", "inception score", "up to the classes"),
]
# figures of images that were made from others (docs/tasks.md)
TRANSLATION = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "kid": "KID",
    "chroma": "colourfulness",
    "input_read": "input read back",
    "input_miou": "mIoU of the input",
    "input_l1": "L1 of the input, made again",
}


def show(text: dict[str, Any]) -> None:
    """Print an evaluation: by which evaluator, then each figure beside its baseline."""
    if text["schema"] == "gssl.language/1":
        _language(text)
        return
    if show_it := TABLES.get(text["schema"]):
        show_it(text)
        tell(text["file"])
        return
    if text["schema"] == "gssl.translation/1":
        _translation(text)
        return
    evaluator, figures = text["evaluator"], text["figures"]
    known = evaluator.get("accuracy")
    held = f" ({known['correct'] / known['n']:.1%} right on {known['n']:,} held-out images)" if known else ""
    tell(f"{text['method']}: {text['n']:,} generated against {text['n']:,} real {text['split']} images")
    tell(f"evaluator: {evaluator['name']}@{evaluator['hash'][:8]}, d = {evaluator['dim']}{held}; seed {text['seed']}")
    for note in text["notes"]:
        tell(f"note: {note}")
    if text["alarm"]:
        tell(f"alarm: {text['alarm']}")
    halves, other = text["baseline"]["train_train"], text["baseline"]["train_real"]
    rows = []
    for key, name, meaning in SHOWN:
        if figures.get(key) is None and not (key == "fd" and figures.get("fd_refused")):
            continue
        name = "FID" if key == "fd" and evaluator["fid"] else name
        rows.append([name, *(_cell(which, key) for which in (figures, halves, other)), meaning])
    table(["figure", "generated", "train vs train", f"train vs {text['split']}", ""], rows)
    n = [f"{which['n_fake']:,}" for which in (figures, halves, other)]
    tell(f"n = {n[0]} on either side, in the baselines {n[1]} and {n[2]}; intervals: 95%")
    if quality := text.get("quality"):
        for line in (quality["text"], *quality["notes"]):
            tell(line)
    if refused := figures.get("fd_refused"):
        tell(f"no Fréchet distance: {refused}")
    if found := text.get("conditional"):
        _show_conditional(found)
    if text["split"] == "test":
        tell(f"the test images were opened {text['test_openings']} times for this run")
    tell(f"evaluation: {text['file']}")


def _translation(text: dict[str, Any]) -> None:
    """Rows of `gssl.experiment.translation`: each figure with its interval."""
    evaluator = text["evaluator"]
    tell(f"{text['method']}: {text['n']:,} {text['split']} pairs; KID by {evaluator['name']}@{evaluator['hash'][:8]}")
    found = {key for row in text["rows"].values() for key in row}
    keys = [key for key in TRANSLATION if key in found]
    rows = []
    for name, row in text["rows"].items():
        own = [row.get(key) for key in keys]
        cells = ["–" if x is None else f"{x['value']:.3g} ({x['low']:.3g} to {x['high']:.3g})" for x in own]
        rows.append([name.replace("_", " "), *cells])
    table(["image", *(TRANSLATION[key] for key in keys)], rows)
    tell("none of these is enough alone: a mean has a high PSNR, any photo a low KID; intervals: 95%, over pairs")
    if text["split"] == "test":
        tell(f"the test images were opened {text['test_openings']} times for this run")
    tell(f"evaluation: {text['file']}")


def _cell(figures: dict[str, Any], key: str) -> str:
    value = figures.get(key)
    if value is None:
        return "–"
    word = f"{value:.3g}"
    low, high = (figures.get(f"{key.removesuffix('_score')}_{end}") for end in ("low", "high"))
    return word if low is None or high is None else f"{word} ({low:.2g} to {high:.2g})"


def _show_conditional(found: dict[str, Any]) -> None:
    learned, real, tested, ratio = (found[key] for key in ("gan_train", "real", "gan_test", "ratio"))
    sides = (learned, real, tested)
    rows = [["all", *(f"{s['accuracy']:.1%} ({s['low']:.1%} to {s['high']:.1%})" for s in sides)]]
    for name in learned["per_class"]:
        values = [s["per_class"][name] for s in sides]
        rows.append([name, *("–" if value is None else f"{value:.1%}" for value in values)])
    table(
        ["class", "GAN-train: learned from generated", "learned from real images", "GAN-test: generated, recognised"],
        rows,
    )
    tell(f"GAN-train ÷ real: {ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})")


def _language(text: dict[str, Any]) -> None:
    """Bits per byte beside those of the controls."""
    own, controls, less = text["bits_per_byte"], text["controls"], text["less_than_ngrams"]
    tell(
        f"{text['bytes']:,} bytes of {text['split']} texts in {text['tokens']:,} tokens; controls have read"
        f" {controls['bytes']:,} bytes of training texts"
    )
    rows = [["this network", f"{own['value']:.3f}", f"{own['low']:.3f} to {own['high']:.3f}"]]
    rows += [[f"{n}-grams of bytes", f"{value:.3f}", ""] for n, value in enumerate(controls["ngrams"], 1)]
    rows += [[name, f"{value:.3f}", ""] for name, value in controls["compressors"].items()]
    table(["", "bits per byte", "95%"], rows)
    said = f"{less['value']:+.3f} ({less['low']:+.3f} to {less['high']:+.3f})"
    tell(f"network less {len(controls['ngrams'])}-grams: {said}")
    tell(text["file"])
