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
        "| figure | found | wanted | reached | units |",
        "|---|---|---|---|---|",
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
    most = 0.01 * base_us + 3
    return [
        _row(what, f"{extra:+.2f} us ({low:+.2f} to {high:+.2f})", len(found), f"± {most:.2f} us", abs(extra) <= most)
    ]


def _same(found: list[Result]) -> list[str]:
    if not found:
        return []
    false = sum(one["verdict"] in ("regressed", "improved") for one in found)
    covers = np.mean([one["ratio_ci95"][0] <= 1 <= one["ratio_ci95"][1] for one in found])
    decided = np.mean([one["verdict"] == "same" for one in found])
    spread = np.std([np.log(one["ratio"]) for one in found])
    count = len(found)
    return [
        _row("false alarms in comparisons of a model with itself", f"{false}", count, "at most 4 of 300", false <= 4),
        _row("their 95 % intervals cover 1", f"{100 * covers:.1f} %", count, "at least 90 %", bool(covers >= 0.9)),
        _row("of them decided as the same", f"{100 * decided:.0f} %", count),
        _row("standard deviation of their ratios", f"{100 * spread:.2f} %", count),
    ]


def _slower(kind: str, found: list[Result], least: int) -> list[str]:
    if not found:
        return []
    hits = sum(one["verdict"] == "regressed" for one in found)
    ratio = np.median([one["ratio"] for one in found])
    what = f"one layer more found, {kind.removeprefix('slower ')} work (ratio {ratio:.4f})"
    reached = 100 * hits >= least * len(found)
    return [_row(what, f"{hits} of {len(found)}", len(found), f"{least} of 100", reached)]


def _repeat(name: str, found: list[Result]) -> list[str]:
    if len(found) < 2:
        return []
    times, raw = (np.array([one[key] for one in found]) for key in ("latency_ms", "raw_ms"))
    cv, raw_cv = (100 * float(values.std(ddof=1) / values.mean()) for values in (times, raw))
    what = f"run-to-run CV, {name} (raw p50: {raw_cv:.2f} %)"
    rows = [_row(what, f"{cv:.2f} %", len(found), "at most 2 %", cv <= 2)]
    sure = [one["latency_ms"] for one in found if one["stopped"] == "within 1 %"]
    if len(sure) > 1:
        apart = 100 * (max(sure) / min(sure) - 1)
        rows.append(_row(f"farthest apart of those with an interval of ± 1 %, {name}", f"{apart:.1f} %", len(sure)))
    return rows


def _ratio(found: list[Result]) -> list[str]:
    if not found:
        return []
    seconds = float(np.median([one["seconds"] for one in found]))
    what = "time to ± 1 % of an A/B ratio at 5 ms, parity included"
    return [_row(what, f"{seconds:.1f} s", len(found), "at most 10 s", seconds <= 10)]


def _screening(short: list[Result], long: list[Result]) -> list[str]:
    if not short:
        return []
    seconds = float(np.median([one["seconds"] for one in short]))
    lines = [
        _row("time to screen a candidate of `convnet`", f"{seconds:.2f} s", len(short), "at most 2 s", seconds <= 2)
    ]
    by_number = {one["number"]: one["latency_ms"] for one in long}
    pairs = [(one["latency_ms"], by_number[one["number"]]) for one in short if one["number"] in by_number]
    if len(pairs) > 2:
        tau = kendalltau(*zip(*pairs, strict=True)).statistic
        what = "rank agreement with long runs (Kendall tau)"
        lines.append(_row(what, f"{tau:.4f}", len(pairs), "at least 0.95", bool(tau >= 0.95)))
    return lines


def _row(what: str, found: str, units: int, wanted: str = "", reached: bool | None = None) -> str:
    answer = "" if reached is None else "yes" if reached else "**no**"
    return f"| {what} | {found} | {wanted} | {answer} | {units} |"
