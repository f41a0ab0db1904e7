"""How well targets are predicted and written from their sources, beside the controls."""

from typing import Any

from gssl.cli.output import table, tell

SYSTEMS = {
    "network": "this network",
    "copy": "a copy of the source",
    "frequent": "the most frequent target",
    "nearest": "the target of the nearest source",
}
SCORES = {"chrf": "chrF", "bleu": "BLEU", "equal": "equal in %"}


def show(text: dict[str, Any]) -> None:
    """Print the figures of `gssl.experiment.seq2seq`."""
    grams = text["controls"]["ngrams"]
    names = {"bits_per_byte": "this network", "other_sources": "with the sources of other pairs"}
    rows = [[name, f"{text[key]['value']:.3f}", _interval(text[key], 3)] for key, name in names.items() if key in text]
    rows.append([f"{len(grams)}-grams of bytes", f"{grams[-1]:.3f}", ""])
    tell(f"{text['pairs']:,} {text['part']} pairs, {text['bytes']:,} bytes of targets; intervals over {text['unit']}s")
    table(["", "bits per byte", "95%"], rows)
    less = {"more_with_other_sources": "other sources less own", "less_than_ngrams": f"network less {len(grams)}-grams"}
    for key, name in less.items():
        if key in text:
            tell(f"{name}: {text[key]['value']:+.3f} ({_interval(text[key], 3)})")
    scores = {key: text["written"]["scores"][key] for key in SCORES if key in text["written"]["scores"]}
    tell(f"targets of {text['written']['pairs']:,} pairs, written by the likeliest tokens")
    heads = [head for key in scores for head in (SCORES[key], "95%")]
    table(
        ["", *heads],
        [
            [name, *(cell for own in scores.values() for cell in (f"{own[key]['value']:.1f}", _interval(own[key], 1)))]
            for key, name in SYSTEMS.items()
        ],
    )


def _interval(figure: dict[str, float], digits: int) -> str:
    sign = "+" if figure["low"] < 0 else ""
    return f"{figure['low']:{sign}.{digits}f} to {figure['high']:{sign}.{digits}f}"
