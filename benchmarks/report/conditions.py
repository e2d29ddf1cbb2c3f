"""The tables about the run itself: the devices and how they were measured, and where the time went."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.pages.cells import Cell, Table, number, text
from benchmarks.pages.words import label, plural, told
from benchmarks.tables import duration
from nas.results import Results
from profiles.records import Profile


def conditions(results: Results, profiles: Mapping[str, Mapping[int, Profile]]) -> list[Table]:
    """One table per target: the device, what ran the models, and how the measurements went."""
    started = results.started
    tables = []
    for name, described in started.data["targets"].items():
        found = list(profiles.get(name, {}).values())
        rows = [*_device(described), *_engine(described, found), *_measurements(started.data, name, found)]
        cells = [[text(head), text(value)] for head, value in rows]
        tables.append(Table(caption=f"Target {name}", heads=[], rows=cells))
    return tables


def account(spent: Mapping[str, float]) -> Table | None:
    """``None`` while no session of the search has ended."""
    wall = spent.get("wall_s", 0.0)
    if not wall:
        return None
    rows = []
    for key, meaning in _ACCOUNT.items():
        if key in spent:
            share = min(1.0, spent[key] / wall) if key in _OF_WALL else None
            percent = "" if share is None else f"{100 * share:.0f} %"
            rows.append([text(meaning), number(duration(spent[key])), Cell(text=percent, share=share, number=True)])
    caption = "Jobs, measurements and the generator run side by side, so the shares do not add up to 100 %"
    return Table(caption=caption, heads=["what", "time", "share of wall time"], rows=rows)


_ACCOUNT = {
    "wall_s": "wall time, over all sessions",
    "training_s": "a training job ran",
    "measuring_s": "a device was measured",
    "generating_s": "a proposal was awaited",
    "evaluating_s": "trained networks were exported and scored",
    "idle_s": "neither a training job nor a measurement",
    "jobs_s": "all training jobs, one after the other",
    "jobs_stopped_s": "of that, standing still for a measurement",
    "training_saved_s": "training saved by gating, estimated from the mean training",
    "stopping_saved_s": "training saved by stopping early, likewise",
    "earlier_saved_s": "training saved by what was trained before, in other runs or precisions",
}
_OF_WALL = {"training_s", "measuring_s", "generating_s", "evaluating_s", "idle_s"}


def _device(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    fingerprint = described["fingerprint"]
    known = {key: value for key, value in fingerprint.items() if value is not None and key != "versions"}
    units = {"memory_gb": ("memory", " GB")}
    rows = [("device", str(described["device"]))]
    rows += [(units.get(key, (key, ""))[0], f"{value}{units.get(key, ('', ''))[1]}") for key, value in known.items()]
    versions = fingerprint.get("versions") or {}
    return [*rows, ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or "-")]


def _engine(described: Mapping[str, Any], found: Sequence[Profile]) -> list[tuple[str, str]]:
    ran = ", ".join(dict.fromkeys(profile.provider for profile in found)) or "nothing yet"
    settings = f"{described['precision']}, {plural(described['threads'], 'thread')}, batch {described['batch']}"
    return [
        ("engine", f"{described['engine']}, provider {described['provider']}"),
        ("provider that ran", ran),
        ("settings", settings),
    ]


def _measurements(started: Mapping[str, Any], name: str, found: Sequence[Profile]) -> list[tuple[str, str]]:
    reference = started.get("references_ms", {}).get(name)
    rows = [("calibration reference", "-" if reference is None else f"{reference:.4g} ms")]
    rows.append(("profiles", str(len(found))))
    if not found:
        return rows
    ratios = [p.calibration.measured_ms / p.calibration.reference_ms for p in found]
    rows.append(("calibration model while measuring", f"{min(ratios):.3f} to {max(ratios):.3f} of its reference"))
    samples = [float(profile.samples) for profile in found]
    median, least = (told("samples", value) for value in (statistics.median(samples), min(samples)))
    rows.append(("inferences per profile", f"{median} (median), at least {least}"))
    errors = [profile.latency_ms_sem / profile.latency_ms_calibrated for profile in found]
    rows.append(
        (
            "standard error of the latency",
            f"{100 * statistics.median(errors):.2g} % (median), at most {100 * max(errors):.2g} %",
        )
    )
    rows.append(("flags", _flags(found)))
    rows.append(("meter", ", ".join(dict.fromkeys(p.meter for p in found if p.meter)) or "none"))
    reasons = dict.fromkeys((field, reason) for profile in found for field, reason in profile.missing.items())
    rows.append(("not measured", "; ".join(f"{label(field)}: {reason}" for field, reason in reasons) or "nothing"))
    fingerprints = {repr(sorted(profile.device.items())) for profile in found}
    if len(fingerprints) > 1:
        rows.append(("fingerprints", f"{len(fingerprints)} different ones: the device changed during the search"))
    return rows


def _flags(found: Iterable[Profile]) -> str:
    profiles = list(found)
    counts: dict[str, int] = {}
    for profile in profiles:
        for flag in profile.flags:
            counts[flag] = counts.get(flag, 0) + 1
    return ", ".join(f"{flag} in {count} of {len(profiles)}" for flag, count in counts.items()) or "none"
