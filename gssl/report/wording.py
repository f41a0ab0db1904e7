"""How the report writes the value of a metric or a cost, and what its words mean.

Scores stand in percent, all else with three digits and a unit. Every word of the report has a sentence or two that need
no statistics. It is explained where it stands first in a section of the page: a link to the glossary at the end, whose
text page.js shows under a pointer, a finger or the focus. Only words that a report uses are in its glossary.
"""

import html
import re
from collections.abc import Collection
from functools import cache

from gssl.report.generation import METRICS as GENERATION
from gssl.report.generation import PERCENT
from gssl.statistics.metric import METRICS
from gssl.words import MEANINGS, Ends, p_text, points

MINUS = "−"


def metric_title(metric: str) -> str:
    """ "balanced_accuracy" → "balanced accuracy"."""
    if metric in METRICS:
        return METRICS[metric].title
    return GENERATION[metric][0] if metric in GENERATION else metric.replace("_", " ")


def in_percent(metric: str) -> bool:
    """Whether a metric is shown in percent and its differences in points."""
    return metric in PERCENT or (metric in METRICS and METRICS[metric].percent)


def shown(metric: str, value: float | None, sign: bool = False) -> str:
    """.8312 accuracy → "83.1", 3.2e12 flops → "3.2 TFLOP", -.0123 kid → "−0.0123", None → "–"."""
    if value is None:
        return "–"
    if in_percent(metric):
        return points(value, sign=sign)
    if metric in COSTS:
        return COSTS[metric](value)
    text = f"{value:+.3g}" if sign else f"{value:.3g}"
    return text.replace("-", MINUS)


def one_decimal(value: float | None) -> str:
    """One decimal with a real minus, "–" for None."""
    return "–" if value is None else f"{value:.1f}".replace("-", MINUS)


def p_cell(value: float | None) -> str:
    """ ".031", "< .001", "–" for None."""
    return p_text(value).removeprefix("= ") if value is not None else "–"


def interval_method(metric: str) -> str:
    """How intervals over seeds and test images are computed: of means over items, and of all other metrics."""
    if metric in METRICS and not METRICS[metric].per_item_mean:
        return "bootstrap over test images, with seeds"
    return "crossed analysis of variance"


def number(metric: str, value: float | None) -> str:
    """The same with all its digits, in the unit of the table, for sorting and CSV; "" for None."""
    if value is None:
        return ""
    if in_percent(metric):
        value *= 100
    if metric in ("memory", "peak_memory_bytes"):
        value /= 2**20
    return f"{value:.8g}"


def unit(metric: str) -> str:
    """The unit of `number`: "%", "FLOP", "s", "MiB" or ""."""
    return "%" if in_percent(metric) else UNITS.get(metric, "")


def reach(metric: str, interval: Ends | None, sign: bool = False) -> str:
    """An interval: "81.0 to 84.2", "3.19 to 3.22 TFLOP", "–" where there is none, "" for spending
    without any spread."""
    if not interval:
        return "–"
    low, high = (shown(metric, end, sign) for end in (interval.low, interval.high))
    if low == high and metric in COSTS:
        return ""
    value, _, of = low.rpartition(" ")
    return f"{value if of and high.endswith(f' {of}') else low} to {high}"


def big(value: float, of: str = "") -> str:
    """3.2e12, "FLOP" → "3.2 TFLOP"."""
    for size, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}{of}".strip()
    return f"{value:.3g} {of}".strip()


def duration(value: float) -> str:
    """Seconds as "61.5 s", "12.4 min" or "2.0 h"."""
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _mebibytes(value: float) -> str:
    return f"{value / 2**20:,.0f} MiB"


COSTS = {
    "flops": lambda v: big(v, "FLOP"),
    "seconds": duration,
    "cpu_seconds": duration,
    "memory": _mebibytes,
    "peak_memory_bytes": _mebibytes,
    "images": _whole,
    "steps": _whole,
    "epochs": lambda v: f"{v:,.1f}",
    "images_per_second": _whole,
}
UNITS = {"flops": "FLOP", "seconds": "s", "cpu_seconds": "s", "memory": "MiB", "peak_memory_bytes": "MiB"}


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


TERMS = {
    **{METRICS[name].title: meaning for name, (meaning, _) in MEANINGS.items()},
    "adapted": (
        "Put to use with the labels at hand in the better of the possible ways, a linear probe or fine-tuning, chosen"
        " by trying both on parts of those labels. Every arm has the same choice."
    ),
    "adjusted": (
        "Made stricter because several comparisons are looked at together: among many, some look large by chance alone."
    ),
    "arm": "One of the things that are compared: a way to pretrain, a ready-made network, scratch, or a control.",
    "collapsed": "A training that finished without having learnt: features, or generated images, are nearly all alike.",
    "contestant": "An arm that may win: it was trained without labels, or with the few that all arms are given.",
    "control": (
        "An arm that learnt nothing from these images, such as a random network or the raw pixels. An arm that does not"
        " get beyond it has learnt nothing that counts here."
    ),
    "coverage": "Of a generator: the part of real images that have a generated image near them. High is good.",
    "density": "Of a generator: how closely generated images lie around real ones. Real images have 1.",
    "diverged": "A training whose numbers ran away, so that it had to stop.",
    "draw": "One choice of the images that are labelled. A score is a mean over several, the same for all arms.",
    "effect size": "The mean difference divided by how much it varies from seed to seed.",
    "equivalent": "The difference is shown to be smaller than the smallest difference of interest, either way.",
    "evaluator": "The network whose features say how near generated images are to real ones.",
    "exploratory": (
        "Looked at beside what was fixed in advance. Among many such numbers some are large by luck: a hint, no proof."
    ),
    "fine-tuning": "Training the whole network further on the labelled images.",
    "FLOP": "One arithmetic operation. Their number measures computing independently of the machine.",
    "Fréchet distance": "How far generated images are from real ones, by means and spreads of features. Low is good.",
    "frozen features": "What a network computes of an image while it is left as it is.",
    "GAN": "Two networks trained against each other: one generates images, the other learns to spot them.",
    "interval": (
        "Where the true value lies, as far as can be known: made like this, 95 of 100 intervals hold the value that"
        " endless seeds and test images of the same kind would give."
    ),
    "KID": "How far generated images are from real ones, by a comparison of features. Low is good.",
    "label budget": "How many labels (or labelled images) an arm may learn from.",
    "linear probe": "A linear model trained on what the network computes, while the network is left as it is.",
    "near-copies": "The part of generated images that lie nearer to a training image than other real images do.",
    "point": "One percentage point: a hundredth of the largest possible score.",
    "precision": "Of a generator: the part of generated images that look like some real image. High is good.",
    "pretraining": "Training a network on images without labels, before the labelled ones are used.",
    "primary": (
        "The few comparisons that were fixed before scores were computed. They alone carry the answer at the top."
    ),
    "probe": "A way to find out what a network is worth: a small model is fitted to a few labels and tested.",
    "ready-made": "A network that others trained on other images, brought along as a file of weights.",
    "real-vs-real baseline": "What real images get in place of generated ones: the best that can be expected.",
    "recall": "Of a generator: the part of real images that look like some generated image. High is good.",
    "reference": "An arm that uses the labels of all training images. It shows how far there is to go; never ranked.",
    "scratch": "The same network without any pretraining: only the labelled images train it.",
    "seed": (
        "The number that starts a run's random choices: first weights, order of the images, which images are labelled."
        " Repeating everything with other seeds shows how much of a score is luck."
    ),
    "sign-flip": (
        "A test of luck: if two arms were equal, either could be ahead with each seed. p is the fraction of all such"
        " possibilities that give a difference at least as large as the one found."
    ),
    "smallest difference of interest": "Below this a difference is of no practical use, shown or not.",
    "SSL": "Self-supervised learning: a network learns from tasks that need no labels.",
    "test image": "One that nothing was trained on or chosen by; scores are counted on these alone.",
    "validation image": "One set aside for making choices, so that the test images need not be looked at.",
    "variance": "A measure of how much a result would move with other seeds or other test images.",
}
WRITTEN = {  # further ways in which a word is written
    "label budget": ["labels? per class"],
    "near-copies": ["near-copy"],
    "pretraining": ["pretrained", "pretrain"],
    "real-vs-real baseline": ["real-vs-real"],
    "ready-made": ["ready"],
    "frozen features": ["frozen"],
    "fine-tuning": ["fine-tuned"],
    "SSL": ["self-supervised"],
    "smallest difference of interest": ["smallest effect of interest"],
}
WHOLE = ("script", "style", "svg")
ATOMS = re.compile("(" + "|".join(rf"<{tag}\b.*?</{tag}>" for tag in WHOLE) + r"|<[^>]*>)", re.DOTALL)
SKIPPED = {"a", "summary", "code", "pre", "h1", "h2", "h3", "title", "nav", "dl", "head"}
PLACES = {"p", "li", "figcaption", "button"}  # no cell of a table: it is full of names of arms
VOID = {"meta", "link", "img", "br", "input", "hr"}


@cache
def _pattern() -> re.Pattern[str]:
    """Every way to write a word, the longest first; names of the field keep their capitals."""
    ways: list[tuple[int, str]] = []
    for term in TERMS:
        for way in [re.escape(html.escape(term)), *WRITTEN.get(term, [])]:
            loose = way if term in ("KID", "FLOP", "GAN", "SSL") and way.isupper() else f"(?i:{way})"
            ways.append((len(way), f"(?P<{_group(term)}_{len(ways)}>{loose}{'s?' if way[-1] != 's' else ''})"))
    joined = "|".join(way for _, way in sorted(ways, key=lambda found: -found[0]))
    return re.compile(rf"(?<![\w.=@\[-])(?:{joined})(?![\w=@\[-]|\.\w)")


def _group(term: str) -> str:
    return f"t{list(TERMS).index(term)}"


def _term(found: re.Match[str]) -> str:
    return list(TERMS)[int(str(found.lastgroup).split("_")[0][1:])]


def slug(term: str) -> str:
    """The id of a word's entry in the glossary."""
    return "term-" + re.sub(r"\W+", "-", term.lower())


def _others(metrics: Collection[str] | None) -> set[str]:
    """Titles of metrics that are not among `metrics`; none where that is None."""
    return set() if metrics is None else {METRICS[name].title for name in MEANINGS if name not in metrics}


def used(text: str, metrics: Collection[str] | None = None) -> list[str]:
    """The words of TERMS that `text` uses, in the order of the alphabet; of metrics only `metrics`, where given."""
    found = {_term(match) for match in _pattern().finditer(text)} - _others(metrics)
    return sorted(found, key=str.lower)


def mark(page: str, metrics: Collection[str] | None = None) -> tuple[str, list[str]]:
    """The page with links at the first place of each word in each <section>, and the words that were found.

    metrics: the only ones that are explained, where given.
    Only text is touched: no attribute, script, figure, heading or name of a run. In a column's head the word is marked
    and no link, for the head is a button.
    """
    out: list[str] = []
    open_: list[str] = []
    found: set[str] = set()
    known: set[str] = set()
    others = _others(metrics)
    for piece in ATOMS.split(page):
        if piece.startswith("<"):
            if piece.startswith("<section"):
                known = set()
            _nest(open_, piece)
            out.append(piece)
        elif piece.strip() and PLACES & set(open_) and not SKIPPED & set(open_):
            out.append(_linked(piece, "button" in open_, known, found, others))
        else:
            out.append(piece)
    return "".join(out), sorted(found, key=str.lower)


def _nest(open_: list[str], tag: str) -> None:
    """Follow which elements are open; what is skipped whole opens nothing."""
    name = re.match(r"</?([a-zA-Z0-9]*)", tag)
    kind = name.group(1).lower() if name else ""
    if tag.startswith("</"):
        while open_ and open_.pop() != kind:
            pass
    elif kind and kind not in (*VOID, *WHOLE) and not tag.endswith("/>"):
        open_.append(kind)


def _linked(text: str, button: bool, known: set[str], found: set[str], others: set[str]) -> str:
    def link(match: re.Match[str]) -> str:
        term = _term(match)
        if term in others:
            return match.group()
        found.add(term)
        where = f"{button} {term}"
        if where in known:
            return match.group()
        known.add(where)
        if button:
            return f'<span class="term" data-term="{slug(term)}">{match.group()}</span>'
        return f'<a class="term" href="#{slug(term)}">{match.group()}</a>'

    return _pattern().sub(link, text)
