"""How well images and captions find each other, and images their class by its name: rows of networks and controls."""

from typing import Any

from gssl.cli.output import table, tell

WAYS = {"image_to_text": "image to caption", "text_to_image": "caption to image"}
WHICH = {"all": "all captions", "first": "the first caption of each image"}


def show(text: dict[str, Any]) -> None:
    """Print the figures of `gssl.experiment.captioned`, a table for each way."""
    groups = "" if text["groups"] is None else f" of {text['groups']:,} groups"
    shared = f", {text['shared']:,} of them of several images" if text["shared"] else ""
    tell(f"{text['images']:,} {text['part']} images{groups}, {text['captions']:,} captions{shared}")
    for which, found in text["retrieval"].items():
        for way, words in WAYS.items():
            own = found[way]
            tell(f"{words}, {own['queries']:,} queries among {own['pool']:,} ({WHICH[which]})")
            rows = [
                [row["name"], *(_percent(row[f"r{k}"]) for k in (1, 5, 10)), _rank(row["median"]), _gain(row, "r10")]
                for row in own["rows"]
            ]
            table(["", "R@1", "R@5", "R@10", "median rank", "network more at 10"], rows)
    if zero := text.get("zeroshot"):
        of = f"{zero['present']} of {zero['classes']}" if zero["present"] < zero["classes"] else f"{zero['classes']}"
        prompts = f"{len(zero['prompts'])} prompt{'' if len(zero['prompts']) == 1 else 's'}"
        tell(f"zero-shot classification, {of} classes by their names, {prompts}")
        rows = [
            [row["name"], _percent(row["accuracy"]), _percent(row["balanced"]), _gain(row, "accuracy")]
            for row in zero["rows"]
        ]
        table(["", "accuracy", "balanced", "network more"], rows)
        largest = next(row for row in zero["rows"] if row["name"] == "largest class")
        if largest["gain"]["accuracy"]["high"] < 0:
            tell("warning: always answering the largest class is right more often than these names are")


def _percent(figure: dict[str, float]) -> str:
    value = f"{100 * figure['value']:.1f}%"
    return value if "low" not in figure else f"{value} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def _rank(figure: dict[str, float]) -> str:
    value = f"{figure['value']:g}"
    return value if "low" not in figure else f"{value} ({figure['low']:g} to {figure['high']:g})"


def _gain(row: dict[str, Any], key: str) -> str:
    figure = row.get("gain", {}).get(key)
    if figure is None:
        return ""
    return f"{100 * figure['value']:+.1f} ({100 * figure['low']:+.1f} to {100 * figure['high']:+.1f})"
