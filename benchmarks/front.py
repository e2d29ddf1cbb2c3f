"""``hwnas pareto``, and the table that ends a search."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pages.words import tests_of
from benchmarks.tables import figure, folded
from nas.generators import Limit
from nas.journal import Trial
from nas.results import Results, pick, read_results
from profiles.errors import InputError, NothingFits
from profiles.records import METRICS, SCHEMA


def show(run: Path, *, maxima: Mapping[str, float], minima: Mapping[str, float], json: bool) -> None:
    results = read_results(run)
    limits = [Limit(name=name, op="<=", bound=bound) for name, bound in maxima.items()]
    limits += [Limit(name=name, op=">=", bound=bound) for name, bound in minima.items()]
    if not results.front:
        raise NothingFits(f"{run}: the front is empty: no trial was trained and keeps the study's limits")
    known = {name for index in results.front for name in results.figures(index)}
    for limit in limits:
        if limit.name not in known:
            raise InputError.of(str(run), "metric", limit.name, ", ".join(sorted(known)))
    if not limits:
        print(as_json(results)) if json else print_front(results)
        return
    limits = [*results.limits, *limits]  # confirmed figures may break the study's own
    chosen = pick(results, limits)
    if chosen is None:
        told = ", ".join(f"{limit.name} {limit.op} {limit.bound:g}" for limit in limits)
        raise NothingFits(f"{run}: none of the {len(results.front)} members of the front keeps {told}")
    print(as_json(results, [chosen])) if json else print_front(results, [chosen])


def as_json(results: Results, members: list[int] | None = None) -> str:
    by_index = {trial.index: trial for trial in results.trials}
    front = [_member(results, by_index[index]) for index in (results.front if members is None else members)]
    return json_module.dumps({"schema": SCHEMA, "front": front}, allow_nan=False, indent=1)


def print_front(results: Results, members: list[int] | None = None) -> None:
    """Best in the first objective first. Standard errors stand beside the figures that have one. ``members``: what was
    picked by limits; ``None``: the whole front.
    """
    chosen = results.front if members is None else members
    first = results.objectives[0]
    chosen = sorted(chosen, key=lambda i: results.figures(i)[first.name], reverse=first.goal == "max")
    names = [objective.name for objective in results.objectives]
    names += [limit.name for limit in results.limits if limit.name not in names]
    tests = [test for name in names for test in tests_of(name) if any(test in results.figures(i) for i in chosen)]
    rows = []
    by_index = {trial.index: trial for trial in results.trials}
    for index in chosen:
        trial = by_index[index]
        figures = trial.figures
        sems = trial.sems | trial.confirmed_sems
        row = [str(index), *(figure(figures.get(name), sems.get(name)) for name in names)]
        row += [figure(figures.get(name), figures.get(f"{name}_sd")) for name in tests]
        if results.baseline is not None:
            row.append("itself" if index == results.baseline.index else _better(results, index))
        rows.append(row)
    heads = [
        "trial",
        *names,
        *tests,
        *(["against the baseline"] if results.baseline is not None else []),
    ]
    what = f"the front, {len(rows)} of {len(results.trials)} trials"
    if members is not None:
        what = f"the best that keeps the limits, of {len(results.front)} on the front"
    folded(heads, rows, title=f"{results.study.name}: {what}")
    if rows:
        spread = "; of figures of the test split the standard deviation over trainings" if tests else ""
        print(f"±: one standard error{spread}", file=sys.stderr)
    for target, meter in _replayed(results):
        print(f"energy and power of {target} are replayed ({meter}), not measured", file=sys.stderr)


def _replayed(results: Results) -> list[tuple[str, str]]:
    """(target, meter) where the readings were not taken here."""
    meters = {name: described.get("meter") for name, described in results.started.data["targets"].items()}
    return [(name, meter["name"]) for name, meter in meters.items() if meter and "replayed" in meter["flags"]]


def _better(results: Results, index: int) -> str:
    """ "+0.8 pp, 2.12x": above zero and above one are better, in the order of the objectives."""
    found = results.against_baseline(index)
    return ", ".join(f"{value:+.1f} pp" if "points" in name else f"{value:.2f}x" for name, value in found.items())


def _member(results: Results, trial: Trial) -> dict[str, Any]:
    metrics = dict(sorted(trial.figures.items(), key=lambda item: _order(item[0])))
    return {
        "trial": trial.index,
        "digest": trial.digest,
        "choices": trial.choices,
        "metrics": metrics,
        "sems": trial.sems | trial.confirmed_sems,
        "onnx": str(results.onnx(trial.index)),
    }


def _order(metric: str) -> tuple[int, str]:
    name = metric.partition("@")[0]
    return (METRICS.index(name) + 1 if name in METRICS else 0, metric)
