"""How well what the assistant says is predicted: before and after fine-tuning, beside the controls."""

from typing import Any

from gssl.cli.output import table, tell


def show(text: dict[str, Any]) -> None:
    """Print the figures of `gssl.experiment.dialogues`, a row each."""
    names = {
        "before": "before fine-tuning",
        "bits_per_byte": "this network",
        "other_questions": "with the questions of other dialogues",
    }
    rows = [
        [name, f"{text[key]['value']:.3f}", f"{text[key]['low']:.3f} to {text[key]['high']:.3f}"]
        for key, name in names.items()
        if key in text
    ]
    grams = text["controls"]["ngrams"]
    rows.append([f"{len(grams)}-grams of bytes", f"{grams[-1]:.3f}", ""])
    tell(f"{text['dialogues']:,} {text['part']} dialogues, {text['bytes']:,} bytes of what the assistant says")
    table(["", "bits per byte", "95%"], rows)
    less = {
        "less_than_before": "after less before",
        "more_with_other_questions": "other questions less own",
        "less_than_ngrams": f"network less {len(grams)}-grams",
    }
    for key, name in less.items():
        if key in text:
            tell(f"{name}: {text[key]['value']:+.3f} ({text[key]['low']:+.3f} to {text[key]['high']:+.3f})")
