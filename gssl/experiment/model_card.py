"""The card of a model: README.md of its folder, generated from predict.json alone."""

from typing import Any

from gssl.data.targets import TARGETS, Target
from gssl.experiment.tasks import NAMED
from gssl.statistics.metric import METRICS
from gssl.words import PROBES, between, count, listed, points, upper

MOST_CLASSES = 20


def card(text: dict[str, Any]) -> str:
    """Markdown. It says no path: a model is moved and given to others."""
    parts = [_head(text), _what(text), _trained(text), _expected(text), _answers(text), _limits(text)]
    return "\n\n".join(part for part in [*parts, _use(text)] if part) + "\n"


def _head(text: dict[str, Any]) -> str:
    kind = _target(text).pipeline
    licence = [f"license: {name.lower()}" for name in text.get("licences", [])[:1]]
    return "\n".join(["---", "library_name: gssl", f"pipeline_tag: {kind}", *licence, "---"])


def _target(text: dict[str, Any]) -> Target:
    return TARGETS[NAMED[text["task"]].column]


def _what(text: dict[str, Any]) -> str:
    data, classes = text["data"]["name"], text["classes"]
    few = len(classes) <= MOST_CLASSES
    shown = listed(classes) if few else f"{', '.join(classes[:MOST_CLASSES])}, …"
    network, probe = _network(text["backbone"]["name"]), PROBES.get(text["probe"], text["probe"])
    how_many = count(len(classes), "class").replace("classs", "classes")
    does = _target(text).does.format(classes=f"{how_many}: {shown}")
    lines = [
        f"# {text['arm']['title']} for {data}",
        f"A network ({network}) that {does}. It is what a comparison by gssl recommends: {text['why']}",
        f"Adapted by: {probe}. The network began with {text['source']['words']}.",
    ]
    return "\n\n".join(lines)


def _network(name: str) -> str:
    """timm:NAME → NAME of timm."""
    library, _, rest = name.partition(":")
    return f"{rest} of {library}" if rest else name


def _trained(text: dict[str, Any]) -> str:
    data, trained = text["data"], text["trained"]
    goal = _target(text)
    said = f"Trained on all {trained['images']:,} labelled images of {data['name']}, those for validation"
    if goal.good_only:
        said += " included, and on no test image, for some of these have defects."
        how = f"Nothing was chosen; {_settings(trained['chosen'])}."
    else:
        said += " and testing included." if data["with_test"] else " included; each had been tested on in a fold."
        said += " So none of these images can tell any more how good it is."
        how = f"Settings chosen on folds of these labels: {_settings(trained['chosen'])}."
    lines = ["## Trained on", goal.said(said), how]
    if text.get("pretraining"):
        lines.append(text["pretraining"])
    lines.append(f"Data: `{data['hash'][:16]}`; images: `{trained['images_hash'][:16]}`.")
    return "\n\n".join(lines)


def _settings(chosen: dict[str, Any]) -> str:
    pairs = [f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in chosen.items()]
    return ", ".join(pairs) or "none"


def _expected(text: dict[str, Any]) -> str:
    found = text.get("expected")
    if not found:
        return "## Expected\n\nThe comparison has no score of this way of adapting; measure it on labelled new images."
    metric = METRICS[found["metric"]].title
    range_ = found["interval"]
    interval = f" ({100 * range_['level']:.0f}% interval {between(range_['low'], range_['high'])})" if range_ else ""
    lines = [
        "## Expected",
        f"**{metric} {points(found['mean'])}%**{interval}, measured in the comparison on"
        f" {count(found['n_test'], _target(text).row)} that its networks had not learnt from,"
        f" {count(found['n_seeds'], 'seed')}.",
        _target(text).said(
            f"Those networks had {found['n_train']:,.0f} labelled images each, {found['labels']}; this one has"
            f" {text['trained']['images']:,}. The figure estimates how the same recipe does on new images of the same"
            " kind; it is no measurement of this very network."
        ),
    ]
    return "\n\n".join([*lines, *text.get("notes", [])])


def _answers(text: dict[str, Any]) -> str:
    if "calibration" not in text:
        return ""
    own, far = text.get("calibration") or {}, text.get("unknown")
    lines = ["## Probabilities"]
    if own.get("ece_after") is None:
        lines.append(f"Temperature {own.get('temperature', 1.0):g} ({own.get('how', 'not fitted')}).")
    else:
        lines.append(
            f"Calibrated by a temperature of {own['temperature']:g}, fitted to {own['n']:,} out-of-fold predictions:"
            f" expected calibration error {points(own['ece_before'])}% before, {points(own['ece_after'])}% after"
            " (cross-fitted)."
        )
    if far:
        lines.append(
            f"`unknown` says how unlike its training images an image is: the {far['method']}, as a quantile of the same"
            f" distance of {far['n']:,} images that were kept apart. {far['threshold']:g} and above: do not trust the"
            " class."
        )
    return "\n\n".join(lines)


def _limits(text: dict[str, Any]) -> str:
    lines = [
        "## Limits",
        f"{_target(text).knows} It was measured on {_target(text).row}s that were collected as its training"
        f" {_target(text).row}s were: other cameras, places or times are not covered by the figure above.",
    ]
    for name in text.get("licences", []):
        lines.append(f"It began with published weights of the licence {name}; see there for what that allows.")
    if not text.get("licences"):
        lines.append("Its licence is yours to give; that of the images that it learnt from is not known here.")
    return "\n\n".join(lines)


def _use(text: dict[str, Any]) -> str:
    lines = [
        "## Use",
        "With this folder as `model`:",
        "```",
        "gssl predict model photos -o predictions.csv",
        "gssl export model --to onnx",
        "```",
    ]
    if "preprocessing" in text:
        steps = text["preprocessing"]
        lines += ["", f"Images: RGB, {steps['resize']}, then {steps['cut']} ({steps['interpolation']}, antialiased)."]
        lines += ["Exports to onnx and torch-export have that inside; docs/models.md of gssl uses one in ten lines."]
    if text.get("values"):
        lines += ["", f"{upper(text['values'])}. `gssl predict` does that by itself; no export has it inside."]
    return "\n".join(lines)
