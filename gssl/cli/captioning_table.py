"""How well captions are predicted and written from their images, beside the controls."""

from typing import Any

from gssl.cli.output import table, tell

BITS = {"own": "with their own image", "other": "with another image", "none": "without an image"}
SYSTEMS = {
    "network": "this network",
    "frequent": "the most frequent training caption",
    "nearest_pixels": "that of the nearest image by pixels",
    "nearest_features": "that of the nearest image by features",
    "other": "this network, of another image",
    "human": "another true caption",
}
SCORES = {"chrf": "chrF", "bleu": "BLEU", "equal": "equal in %"}


def show(text: dict[str, Any]) -> None:
    """Print the figures of `gssl.experiment.caption_evaluation`."""
    names = BITS | {"ngrams": f"{len(text['ngrams']['by_order'])}-grams of bytes"}
    tell(
        f"{text['images']:,} {text['part']} images with {text['captions']:,} captions of {text['bytes']:,} bytes;"
        f" intervals over {text['unit']}s"
    )
    bits, more = text["bits_per_byte"], text["more_than_own"]
    rows = [[name, _figure(bits[key], 3), _figure(more.get(key), 3)] for key, name in names.items() if key in bits]
    table(["captions", "bits per byte", "more than with its own"], rows)
    _scores(text["written"], "captions as written, beside all true ones")
    if found := text.get("others_captions"):
        _scores(found, "the same beside all true ones but the first, which is the last row")
    if found := text.get("found"):
        tell(f"the image by its caption, among {found['pool']:,}, by ridge regression from pixels to words")
        rows = [
            [SYSTEMS.get(row["name"], row["name"]), _figure(row["r1"], 1, 100), _figure(row["r10"], 1, 100)]
            for row in found["rows"]
        ]
        table(["", "R@1 in %", "R@10 in %"], rows)


def _scores(found: dict[str, Any], title: str) -> None:
    scores = {key: found["scores"][key] for key in SCORES if key in found["scores"]}
    tell(f"{title}; {found['images']:,} images")
    systems = [key for key in SYSTEMS if key in next(iter(scores.values()))]
    rows = [[SYSTEMS[key], *(_figure(own[key], 1) for own in scores.values())] for key in systems]
    table(["", *(SCORES[key] for key in scores)], rows)


def _figure(figure: dict[str, float] | None, digits: int, factor: float = 1) -> str:
    if figure is None:
        return ""
    value = f"{factor * figure['value']:.{digits}f}"
    if "low" not in figure:
        return value
    return f"{value} ({factor * figure['low']:.{digits}f} to {factor * figure['high']:.{digits}f})"
