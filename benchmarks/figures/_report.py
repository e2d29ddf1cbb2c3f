"""The page of ``measuring``: each figure with its target, from the units that are there."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import kendalltau

from benchmarks.figures._units import Result, Units
from benchmarks.tables import duration
from profiles import statistics

_NAMES = {"mlp": "an MLP", "half": "0.5 ms", "one": "1 ms", "five": "5 ms", "twenty": "0.1 ms"}


def page(units: Units, counts: Mapping[str, int]) -> list[str]:
    """Markdown."""
    done = {kind: [one for one in units.of(kind) if "error" not in one] for kind in counts}
    missing = sum(counts.values()) - len(units.results)
    failed = [one for one in units.results if "error" in one]
    lines = [
        "# How good the measuring is",
        "",
        "`python -m benchmarks.bench measuring`, explained in [measuring.md](measuring.md). Beside everything but the"
        " overhead runs one process that is busy for 0.5 to 4 s and rests as long.",
        "",
        "| figure | found | wanted | units |",
        "|---|---|---|---|",
    ]
    for name in ("mlp", "half", "one", "five"):
        lines += _overhead(_NAMES[name], done[f"overhead {name}"])
    lines += _same(done["same"])
    for kind, least in (("slower 5 %", 97), ("slower 3 %", 80)):
        lines += _slower(kind, done[kind], least)
    for name in ("twenty", "one", "five"):
        lines += _repeat(_NAMES[name], done[f"repeat {name}"])
    lines += _ratio(done["ratio"])
    lines += _screening(done["screen"], done["long"])
    seconds = sum(one["seconds"] for one in units.results)
    lines += ["", f"{len(units.results)} units in {duration(seconds)}, code version `{units.version}`."]
    if missing:
        lines.append(f"**{missing} units are still missing**: the same command goes on with them.")
    if failed:
        lines.append(f"{len(failed)} units gave no number; the first: {failed[0]['kind']}: {failed[0]['error']}")
    lines.append("Energy: see `results-energy.md`, written by `python -m benchmarks.bench energy`.")
    return lines


def _overhead(name: str, found: list[Result]) -> list[str]:
    groups = [np.array(one["log_ratios"]) for one in found if one["log_ratios"]]
    if len(groups) < 2:
        return []
    estimate = statistics.two_level_bootstrap(groups)
    base_us = float(np.median([one["c_us"] for one in found]))
    extra, low, high = (base_us * math.expm1(value) for value in (estimate.value, *estimate.interval(0.95)))
    what = f"overhead over a C loop, {name} ({base_us:.4g} us)"
    return [
        f"| {what} | {extra:+.2f} us ({low:+.2f} to {high:+.2f}) | at most {0.01 * base_us + 3:.2f} us | {len(found)} |"
    ]


def _same(found: list[Result]) -> list[str]:
    if not found:
        return []
    false = sum(one["verdict"] in ("regressed", "improved") for one in found)
    covers = np.mean([one["ratio_ci95"][0] <= 1 <= one["ratio_ci95"][1] for one in found])
    decided = np.mean([one["verdict"] == "same" for one in found])
    spread = np.std([np.log(one["ratio"]) for one in found])
    return [
        f"| false alarms in comparisons of a model with itself | {false} | at most 4 of 300 | {len(found)} |",
        f"| their 95 % intervals cover 1 | {100 * covers:.1f} % | at least 90 % | {len(found)} |",
        f"| of them decided as the same | {100 * decided:.0f} % | | {len(found)} |",
        f"| standard deviation of their ratios | {100 * spread:.2f} % | | {len(found)} |",
    ]


def _slower(kind: str, found: list[Result], least: int) -> list[str]:
    if not found:
        return []
    hits = sum(one["verdict"] == "regressed" for one in found)
    ratio = np.median([one["ratio"] for one in found])
    what = f"one layer more found, {kind.removeprefix('slower ')} work (ratio {ratio:.4f})"
    return [f"| {what} | {hits} of {len(found)} | {least} of 100 | {len(found)} |"]


def _repeat(name: str, found: list[Result]) -> list[str]:
    if len(found) < 2:
        return []
    times, raw = (np.array([one[key] for one in found]) for key in ("latency_ms", "raw_ms"))
    cv, raw_cv = (100 * float(values.std(ddof=1) / values.mean()) for values in (times, raw))
    rows = [f"| run-to-run CV, {name} (raw p50: {raw_cv:.2f} %) | {cv:.2f} % | at most 2 % | {len(found)} |"]
    sure = [one["latency_ms"] for one in found if one["stopped"] == "within 1 %"]
    if len(sure) > 1:
        apart = 100 * (max(sure) / min(sure) - 1)
        rows.append(f"| farthest apart of those with an interval of ± 1 %, {name} | {apart:.1f} % | | {len(sure)} |")
    return rows


def _ratio(found: list[Result]) -> list[str]:
    if not found:
        return []
    seconds = float(np.median([one["seconds"] for one in found]))
    return [f"| time to ± 1 % of an A/B ratio at 5 ms, parity included | {seconds:.1f} s | 10 s | {len(found)} |"]


def _screening(short: list[Result], long: list[Result]) -> list[str]:
    if not short:
        return []
    seconds = float(np.median([one["seconds"] for one in short]))
    lines = [f"| time to screen a candidate of `convnet` | {seconds:.2f} s | 2 s | {len(short)} |"]
    by_number = {one["number"]: one["latency_ms"] for one in long}
    pairs = [(one["latency_ms"], by_number[one["number"]]) for one in short if one["number"] in by_number]
    if len(pairs) > 2:
        tau = kendalltau(*zip(*pairs, strict=True)).statistic
        lines.append(f"| rank agreement with long runs (Kendall tau) | {tau:.4f} | at least 0.95 | {len(pairs)} |")
    return lines
