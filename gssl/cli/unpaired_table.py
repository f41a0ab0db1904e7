"""Images translated without pairs: how near to the wanted domain, how much is kept, and whether the way back holds."""

from typing import Any

from gssl.cli.output import table, tell

COLUMNS = {
    "kid": "KID",
    "structure": "structure kept",
    "input_read": "input read back",
    "cycle": "there and back, L1",
    "cycle_jpeg": "… after JPEG 90",
}


def show(text: dict[str, Any]) -> None:
    """Rows of `gssl.experiment.unpaired`: each figure with its interval."""
    evaluator = text["evaluator"]
    tell(
        f"{text['method']}: {text['n']:,} {text['split']} images, {text['n_made']:,} of the wanted domain; KID by"
        f" {evaluator['name']}@{evaluator['hash'][:8]}"
    )
    rows = []
    for name, row in text["rows"].items():
        own = [row.get(key) for key in COLUMNS]
        cells = ["–" if x is None else f"{x['value']:.3g} ({x['low']:.3g} to {x['high']:.3g})" for x in own]
        rows.append([name.replace("_", " "), *cells])
    table(["image", *COLUMNS.values()], rows)
    tell("none of these is enough alone: a photo of the wanted domain has the best KID, the input keeps all of itself;")
    tell("a way back that JPEG destroys was read from invisible noise. Intervals: 95%, over images")
    if text["split"] == "test":
        tell(f"the test images were opened {text['test_openings']} times for this run")
