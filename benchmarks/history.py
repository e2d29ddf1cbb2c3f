"""``hwnas history``: the series of one model on one target, from the store; as a table, as JSON, as a page."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measuring import check_folders, open_store, share
from benchmarks.pages.words import plural, titled, when
from benchmarks.tables import figure, table
from devices import onnxfile
from profiles.errors import InputError, UnavailableError
from profiles.files import write_text
from profiles.history import Change, Environment, History, history
from profiles.records import Profile
from profiles.store import Store

_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_WIDTH = 78
_LEAST_DIGEST = 8


def run(
    model: str,
    *,
    target: str,
    metric: str,
    floor: str,
    fleet: Path | None,
    store: str | None,
    json: bool,
    html: Path | None,
) -> None:
    """Raises InputError where the store does not hold that model on that target, UnavailableError where no profile has
    the metric.
    """
    check_folders(html=html)
    with open_store(store, fleet) as opened:
        profiles = find(opened, model, target)
    found = history(profiles, model=model, target=target, metric=metric, floor=share("--floor", floor))
    if all(point.value is None for point in found.points):
        reason = profiles[-1].missing.get(metric, "not measured")
        raise UnavailableError(f"history: no profile of {model} on {target} has {metric}: {reason}")
    if html is not None:
        from benchmarks.history_page import page

        write_text(html, page(found))
    if json:
        print(json_.dumps(found.to_dict(), indent=1, allow_nan=False))
        return
    _show(found)
    if html is not None:
        print(f"written: {html}", file=sys.stderr)


def find(store: Store, model: str, target: str) -> list[Profile]:
    """The profiles of ``model`` on ``target``, raw times left out: by its name as it was profiled; else, for an ONNX
    file, by what is in it, or by its name without folders, which is said; else by a file's digest or its first digits.

    Raises InputError, which lists what there is.
    """
    known = store.models()
    if any(name == model for name, _, _ in known):
        found = store.profiles(model=model, target=target, raw=False)
    elif Path(model).is_file():
        found = store.profiles(digest=onnxfile.digest(Path(model)), target=target, raw=False)
        name = Path(model).name
        if not found and (found := store.profiles(model=name, target=target, raw=False)):
            # As where the target runs a converted file, whose digest is another one.
            print(f"no profile of this very file on {target}; those named {name} are shown", file=sys.stderr)
    else:
        digests = {digest for _, digest, _ in known if len(model) >= _LEAST_DIGEST and digest.startswith(model.lower())}
        if len(digests) > 1:
            raise InputError.of("history", "MODEL", model, f"more digits: {plural(len(digests), 'file')} begin so")
        found = store.profiles(digest=digests.pop(), target=target, raw=False) if digests else []
    if not found:
        here = sorted({name for name, _, where in known if where == target})
        elsewhere = sorted({where for name, _, where in known if name == model})
        what = f"; it is on {', '.join(elsewhere)}" if elsewhere else f"; there are: {', '.join(here) or 'none'}"
        raise InputError(f"history: no profiles of {model} on target {target}{what}")
    return found


def spark(values: Sequence[float], width: int = _WIDTH) -> str:
    """One bar for each value, from the least to the largest; medians of neighbours where there are more than places."""
    groups = np.array_split(np.asarray(values, dtype=np.float64), min(len(values), width))
    heights = np.array([np.median(group) for group in groups])
    span = float(heights.max() - heights.min())
    steps = (heights - heights.min()) / span * (len(_BARS) - 1) if span > 0 else np.zeros(len(heights))
    return "".join(_BARS[round(step)] for step in steps)


def told(change: Change) -> str:
    """'+5.1 % from 2026-11-12 03:00 on (p = 2e-07)'"""
    return f"{change.percent:+.1f} % from {when(change.time)} on (p = {change.p_value:.0e})"


def altered(environment: Environment) -> str:
    """'onnxruntime 1.31.0 -> 1.32.0, threads 1 -> 2'"""
    return ", ".join(f"{name} {before} -> {now}" for name, (before, now) in environment.changes.items())


def _show(found: History) -> None:
    changes = {change.index: change for change in found.changes}
    rows = []
    for index, point in enumerate(found.points):
        low, high = point.ci95 or (None, None)
        rows.append(
            (
                when(point.time),
                figure(point.value),
                "-" if low is None or high is None else f"{figure(low)} to {figure(high)}",
                figure(point.level) if found.metric == "latency_ms" else "-",
                str(point.environment),
                f"{changes[index].percent:+.1f} %" if index in changes else "",
            )
        )
    table(["time, UTC", titled(found.metric), "95 % interval", "x calibration", "env", "change"], rows)
    _remark(found)


def _remark(found: History) -> None:
    """On stderr: the course in one line, environments, changes."""
    levels = [point.level for point in found.points if point.level is not None]
    lines = [spark(levels), f"{plural(len(found.points), 'profile')} of {found.model} on {found.target}"]
    files = len({point.digest for point in found.points})
    lines[-1] += f", {plural(files, 'file')}" if files > 1 else ""
    for environment in found.environments[1:]:
        lines.append(f"environment {environment.number} from {when(environment.since)}: {altered(environment)}")
    lines += [told(change) for change in found.changes] or [none_found(found)]
    print("\n".join(lines), file=sys.stderr)


def none_found(found: History) -> str:
    """Why there are no change points, in words."""
    from profiles.changepoints import MIN_POINTS

    numbers = [point.environment for point in found.points if point.usable]
    if max(map(numbers.count, numbers), default=0) < MIN_POINTS:
        return f"no change points before {MIN_POINTS} figures in one environment"
    return f"no change point above {100 * found.floor:g} %"
