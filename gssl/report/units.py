"""How the value of a metric or a cost is written: scores in percent, else three digits with a unit."""

from gssl.report.generation import METRICS as GENERATION
from gssl.report.generation import PERCENT
from gssl.statistics.metric import METRICS
from gssl.words import Ends, points

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
