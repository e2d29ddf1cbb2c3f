"""Profiles as tables: one profile in full, several side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.measuring import label
from benchmarks.side_by_side import Side, half_width, slower_when_narrower
from benchmarks.sweeps import Curve, told
from benchmarks.tables import duration, figure, table
from profiles.records import Profile

_OPERATORS = 20
UNSAID = ("device_latency_ms", "build_ms")  # that a CPU has no events to time by, and builds no engine


def show(profiles: Sequence[Profile], curves: Sequence[Curve] = ()) -> None:
    """To stdout; what belongs to no single figure to stderr."""
    if len(profiles) == 1:
        _one(profiles[0])
    else:
        _several(profiles, curves)
    for profile in profiles:
        if profile.operators:
            _operators(profile)
    harness = max((one.harness_us for one in profiles if one.harness_us is not None), default=None)
    if harness is not None:
        print(
            f"a call of an empty model takes up to {harness:.1f} us here: included above, not subtracted",
            file=sys.stderr,
        )
    for profile in profiles:
        _remarks(profile)
    remarks = slower_when_narrower([Side(profile=one) for one in profiles])
    for line in (*remarks, *map(told, curves)):
        print(line, file=sys.stderr)
    tell_missing(profiles)


def _one(one: Profile) -> None:
    low, high = one.latency_ms_ci95 or (None, None)
    raw = one.latency_ms
    rows = [
        ("latency, calibrated", figure(one.latency_ms_calibrated), "ms"),
        ("  its 95 % interval", f"{_precise(low)} to {_precise(high)}", "ms"),
        ("latency p10, p50", f"{figure(raw.p10)}, {figure(raw.p50)}", "ms"),
        ("latency p90, p99", f"{figure(raw.p90)}, {figure(raw.p99)}", "ms"),
        ("throughput, one caller", figure(one.throughput_per_s), "1/s"),
    ]
    if one.concurrent:
        found = one.concurrent
        value = figure(found["throughput_per_s"], found["throughput_per_s_sd"])
        rows.append((f"throughput, {found['callers']} callers", value, "1/s"))
    rows += [
        ("load", figure(one.load_ms), "ms"),
        *([("  of that, building the engine", figure(one.build_ms), "ms")] if one.build_ms is not None else []),
        ("first run", figure(one.first_run_ms), "ms"),
        ("peak memory", figure(one.peak_memory_mb), "MB"),
        ("model size", figure(one.model_size_mb), "MB"),
        ("energy", figure(one.energy_mj, one.energy_mj_sem), "mJ"),
        ("power", figure(one.power_w), "W"),
        ("output error", figure(one.output_error), ""),
    ]
    if one.sustained:
        found = one.sustained
        when = "not reached" if found["steady_from_s"] is None else f"from {found['steady_from_s']:.0f} s"
        rows.append((f"steady state, {when}", figure(found["steady_ms"]), "ms"))
        rows.append(("  against the start", f"{found['slowdown']:.3f}", "x"))
    nodes = ", ".join(f"{count} nodes on {provider}" for provider, count in one.node_providers.items())
    rows.append(("ran as", nodes, ""))
    if one.fallen_back:
        rows.append(("fallen back, of all nodes", figure(one.fallback_percent), "%"))
        rows.append(("  of their time", figure(one.fallback_time_percent), "%"))
    table([f"{one.model} on {label(one.target)}", "value", "unit"], rows)


def _several(profiles: Sequence[Profile], curves: Sequence[Curve]) -> None:
    knees = {id(curve.points[curve.knee]) for curve in curves if curve.knee is not None}
    rows = [
        (
            one.model,
            label(one.target) + (" (knee)" if id(one) in knees else ""),
            figure(one.latency_ms_calibrated),
            f"{100 * half_width(one):.2f}",
            figure(one.latency_ms.p90),
            figure(one.concurrent.get("throughput_per_s", one.throughput_per_s)),
            figure(one.peak_memory_mb),
        )
        for one in profiles
    ]
    table(["model", "target", "latency ms", "± %", "p90 ms", "per s", "MB"], rows)


def _operators(one: Profile) -> None:
    slowest = sorted(one.operators, key=lambda row: -row["time_ms"])
    rows = [
        (row["name"], row["operator"], row["provider"], figure(row["time_ms"]), f"{100 * row['share']:.1f} %")
        for row in slowest[:_OPERATORS]
    ]
    table([f"node of {one.model}", "operator", "on", "ms", "share"], rows)
    if len(slowest) > _OPERATORS:
        rest = sum(row["share"] for row in slowest[_OPERATORS:])
        print(f"and {len(slowest) - _OPERATORS} more with {100 * rest:.1f} % of the time", file=sys.stderr)


def _remarks(one: Profile) -> None:
    processes = len({block.process for block in one.blocks})
    who = f"{one.model} on {label(one.target)}"
    ended = "the budget was over" if one.stopped == "budget" else f"{one.stopped} reached"
    flags = f"; {', '.join(one.flags)}" if one.flags else ""
    print(f"{who}: {ended} after {processes} processes, {one.samples} samples{flags}", file=sys.stderr)
    found = one.conditions
    if found and found["disturbed_blocks"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in found["reasons"].items())
        what = f"{found['disturbed_blocks']} of {found['blocks']} blocks were disturbed ({reasons})"
        kept = "all are used: it stayed so" if "disturbed" in one.flags else "left out and replaced"
        print(f"{who}: {what}; {kept}", file=sys.stderr)
    if one.sustained:
        print(f"{who}: under load for {duration(one.sustained['seconds'])}", file=sys.stderr)


def tell_missing(found: Sequence[Profile]) -> None:
    """Each reason once, but for those of ``UNSAID``."""
    fields: dict[str, dict[str, None]] = {}
    for one in found:
        for field, reason in one.missing.items():
            if field not in UNSAID:
                fields.setdefault(reason, {})[field] = None
    for reason, names in fields.items():
        print(f"not measured: {', '.join(names)}: {reason}", file=sys.stderr)


def _precise(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"
