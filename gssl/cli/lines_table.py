"""What is printed of generated lines of text: each side's divergences beside those of real lines and of controls."""

from typing import Any

from gssl.cli.output import table, tell

COLUMNS = {"js1": "JS-1", "js2": "JS-2", "js3": "JS-3", "js4": "JS-4", "js": "mean"}
SHARES = {"words": "known words", "distinct": "distinct", "repeated": "most frequent", "copied": "copied"}


def show(text: dict[str, Any]) -> None:
    """Rows of `gssl.experiment.text_gan`, each the mean over samples, with the least and the most of the mean."""
    rows = []
    for name, row in text["rows"].items():
        cells = [f"{row[key]['value']:.3f}" for key in COLUMNS]
        cells[-1] += f" ({row['js']['low']:.3f} to {row['js']['high']:.3f})"
        cells += [f"{row[key]['value']:.1%}" for key in SHARES]
        rows.append([name.replace("_", " "), *cells, f"{row['length']['value']:.1f}"])
    table(["lines", *COLUMNS.values(), *SHARES.values(), "characters"], rows)
    tell(
        f"n = {text['n']:,} lines against {text['n']:,} {text['split']} lines of at most {text['size']} characters;"
        f" {text['draws']} samples, in brackets the least and the most; 0 is best, and real lines are the best there is"
    )
    if flops := {name: value for name, value in (text.get("flops") or {}).items() if value}:
        tell("FLOPs: " + ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in flops.items()))
    for line in text.get("verdict") or []:
        tell(line)
    if text["split"] == "test":
        tell(f"the test texts were opened {text['test_openings']} times for this run")
