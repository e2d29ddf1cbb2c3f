"""How the page says a metric: a label in plain words, a unit, a figure in that unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.tables import figure
from nas.generators import Limit, Objective

_LABELS = {
    "latency_ms": "latency",
    "latency_ms.p90": "latency, 90th percentile",
    "throughput_per_s": "throughput",
    "energy_mj": "energy per inference",
    "power_w": "power",
    "peak_memory_mb": "peak memory",
    "load_ms": "load time",
    "model_size_mb": "model size",
    "params": "parameters",
    "macs": "multiply-accumulates",
}
_COUNTED = ("params", "macs")
_UNITS = {"throughput_per_s": "1/s", "latency_ms.p90": "ms"}
_SUFFIXES = {"_ms": "ms", "_mj": "mJ", "_w": "W", "_mb": "MB"}
# "times" and then one of these, where the metric is lower or higher than that of the incumbent.
_COMPARED = {
    "latency_ms": ("faster", "slower"),
    "latency_ms.p90": ("faster", "slower"),
    "load_ms": ("faster to load", "slower to load"),
    "throughput_per_s": ("less throughput", "more throughput"),
    "energy_mj": ("less energy", "more energy"),
    "power_w": ("less power", "more power"),
    "peak_memory_mb": ("less memory", "more memory"),
}
_SIGNS = {"<=": "≤", ">=": "≥"}
_PER_CENT = re.compile(r"(\d) %")
_SPLITS = {"val": "validation", "train": "training", "test": "test"}


def when(time: str) -> str:
    """'2026-11-26T23:05:59' -> '2026-11-26 23:05'"""
    return time[:16].replace("T", " ")


def label(metric: str) -> str:
    """'latency_ms@pi5' -> 'latency on pi5', 'val_accuracy' -> 'validation accuracy'."""
    name, _, target = metric.partition("@")
    first, _, rest = name.partition("_")
    words = _LABELS.get(name) or " ".join([_SPLITS[first], rest.replace("_", " ")] if first in _SPLITS else [name])
    return f"{words} on {target}" if target else words


def unit(metric: str) -> str:
    """'' where the metric has none, or none that its name tells."""
    name = metric.partition("@")[0]
    if _is_share(name):
        return "%"
    return _UNITS.get(name) or next((u for suffix, u in _SUFFIXES.items() if name.endswith(suffix)), "")


def titled(metric: str) -> str:
    """'latency on pi5, ms'."""
    return ", ".join(part for part in (label(metric), unit(metric)) if part)


def scaled(metric: str, value: float) -> float:
    """In the unit that ``unit`` names: accuracies are shares in the files and per cent on the page."""
    return 100 * value if _is_share(metric) else value


def told(metric: str, value: float | None, error: float | None = None) -> str:
    """The figure without its unit; ``error`` gives the number of digits. "-": not measured."""
    if value is None:
        return "-"
    if error is None and _is_share(metric):
        return f"{100 * value:.2f}"
    if error is None and abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return figure(scaled(metric, value), None if error is None else scaled(metric, error))


def shown(metric: str, value: float, error: float | None = None) -> float:
    """As it is read from ``told``."""
    return float(told(metric, value, error).split(" ±")[0].replace("\N{NARROW NO-BREAK SPACE}", ""))


def with_unit(metric: str, value: float, error: float | None = None) -> str:
    return " ".join(part for part in (told(metric, value, error), unit(metric)) if part)


def test_of(metric: str) -> str:
    """'val_accuracy' -> 'test_accuracy': the same score on the other split."""
    return f"test_{metric.removeprefix('val_')}"


def tests_of(metric: str) -> list[str]:
    """Of the file that ships, and the mean over trainings with other seeds; [] of what is no validation score."""
    return [f"{test_of(metric)}_shipped", test_of(metric)] if metric.startswith("val_") else []


def bound(limit: Limit) -> str:
    """'latency on local ≤ 0.44 ms'."""
    return f"{label(limit.name)} {_SIGNS[limit.op]} {with_unit(limit.name, limit.bound)}"


def compared(before: Mapping[str, float], after: Mapping[str, float], objectives: Sequence[Objective]) -> list[str]:
    """['1.8 times faster', '0.4 points better']: ``after`` against ``before``, for each objective that both have."""
    shared = [objective for objective in objectives if objective.name in before and objective.name in after]
    return [versus(one.name, before[one.name], after[one.name], one.goal) for one in shared]


def versus(metric: str, old: float, new: float, goal: str = "max") -> str:
    """One of ``compared``. ``goal``: asked for of scores alone."""
    if _is_share(metric):
        points = 100 * abs(new - old)
        better = (new > old) == (goal == "max")
        return "as good" if points < 0.05 else f"{points:.1f} points {'better' if better else 'worse'}"
    if old > 0 and new > 0:
        lower, higher = _COMPARED.get(metric.partition("@")[0], ("smaller", "larger"))
        ratio = max(old / new, new / old)
        return f"{ratio:.2f} times {lower if new < old else higher}" if ratio >= 1.005 else f"equal {label(metric)}"
    return f"{label(metric)} {scaled(metric, new - old):+.3g} {unit(metric)}".rstrip()


def comparative(objective: Objective) -> str:
    """'higher', 'lower' or, of what is counted, 'fewer': what is wanted."""
    return "higher" if objective.goal == "max" else "fewer" if objective.name in _COUNTED else "lower"


def superlative(objective: Objective) -> str:
    return {"higher": "highest", "lower": "lowest", "fewer": "fewest"}[comparative(objective)]


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def glued(value: object) -> object:
    """Of a text: no line ends between a number and its "%". Anything else, markup too, is given back as it is."""
    return _PER_CENT.sub("\\1\N{NO-BREAK SPACE}%", value) if type(value) is str else value


def _is_share(metric: str) -> bool:
    return "accuracy" in metric
