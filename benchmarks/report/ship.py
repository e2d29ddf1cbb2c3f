"""What to ship, before anything else on the page: one member of the front, by the rule of ``hwnas pareto``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.pages.cells import Table, text
from benchmarks.pages.plot import place
from benchmarks.pages.words import bound, compared, label, plural, scaled, superlative, test_of, versus, with_unit
from benchmarks.report.answer import why_no_front
from benchmarks.tables import figure
from nas import pareto
from nas.journal import Trial
from nas.quality import INTERVAL_95, modelled
from nas.results import Results, pick
from profiles.records import METERED, Profile

ALWAYS = ("latency_ms", "energy_mj", "power_w")  # told of each target; where not measured, with the reason
_SIZES = ("params", "model_size_mb")
_OF_METERS = ("replayed", "energy_disturbed")  # flags that concern energy and power alone

Profiles = Mapping[str, Mapping[int, Profile]]  # target -> trial -> the latest of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Ship:
    """``href``, ``path``: of its ONNX file, from the run folder and as the run was named; ``None``: not there yet."""

    trial: int
    lead: str
    rule: str
    href: str | None
    path: str | None
    figures: Table
    remarks: Sequence[str]


def ship(results: Results, profiles: Profiles) -> Ship | None:
    """``None`` where no network fits; ``why_nothing`` says why."""
    index = pick(results, results.limits)
    if index is None:
        return None
    trial = next(trial for trial in results.trials if trial.index == index)
    places = (results.onnx(index), results.folder.trial(index).shipped)
    file = next((path for path in places if path.is_file()), None)
    return Ship(
        trial=index,
        lead=_lead(results, trial),
        rule=_rule(results),
        href=None if file is None else file.relative_to(results.folder.path).as_posix(),
        path=None if file is None else str(file),
        figures=_table(results, trial, profiles),
        remarks=_remarks(trial),
    )


def why_nothing(results: Results) -> str:
    if not results.front:
        return why_no_front(results)
    return f"No member of the front keeps every limit with its confirmed figures: {_limits(results)}."


def _lead(results: Results, trial: Trial) -> str:
    figures = trial.figures
    said = f"Trial {trial.index}: {place({o.name: figures[o.name] for o in results.objectives})}."
    if results.baseline is None:
        return said
    if trial.index == results.baseline.index:
        return f"{said} It is the incumbent: what ships today stays."
    parts = compared(results.baseline.figures, figures, results.objectives)
    return f"{said} Against the incumbent: {', '.join(parts)}."


def _rule(results: Results) -> str:
    first = results.objectives[0]
    best = f"the one with the {superlative(first)} {label(first.name)}"
    if not results.limits:
        return f"The study states no limit, so of the {plural(len(results.front), 'member')} of the front it is {best}."
    fitting = sum(pareto.keeps(results.figures(index), results.limits) for index in results.front)
    count = f"{fitting} of {plural(len(results.front), 'member')}"
    return f"Of the front, {count} keep{'s' if fitting == 1 else ''} every limit ({_limits(results)}); it is {best}."


def _limits(results: Results) -> str:
    return ", ".join(map(bound, results.limits))


def _remarks(trial: Trial) -> list[str]:
    if trial.confirmed is None:
        return ["Not confirmed yet: these are the figures that the search saw, and the best of many is partly luck."]
    return [f"It could not be confirmed in full: {trial.unconfirmed}"] if trial.unconfirmed else []


def _table(results: Results, trial: Trial, profiles: Profiles) -> Table:
    """Accuracies and sizes, then what was measured on each target."""
    other = results.baseline if results.baseline is not None and results.baseline.index != trial.index else None
    before = {} if other is None else other.figures
    after = trial.figures
    rows = [
        (_head(results, name), _figure(results, trial, name, profiles), _versus(name, before, after))
        for name in _metrics(results, after)
    ]
    if not any(name.startswith("test_") for name in after) and results.objectives[0].name.startswith("val_"):
        rows.insert(
            0, (label(test_of(results.objectives[0].name)), f"not measured: {_why_no_test(results, trial)}", "")
        )
    heads = ["figure", "this network"] + ([] if other is None else [f"against the incumbent, trial {other.index}"])
    cells = [[text(value) for value in (head, figure, against)[: len(heads)]] for head, figure, against in rows]
    caption = (
        "In brackets: 95 % intervals; 1.96 standard errors to each side of what is no single profile. "
        "±: standard deviation over trainings with other seeds"
    )
    return Table(caption=caption, heads=heads, rows=cells)


def _versus(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    return versus(name, before[name], after[name]) if name in before and name in after else ""


def _metrics(results: Results, figures: Mapping[str, float]) -> list[str]:
    """In the order of the rows. Those of ``ALWAYS`` also where they were not measured."""
    named = modelled(results)
    tests = [test_of(name) for name in named if name.startswith("val_")]
    static = [name for name in named if "@" not in name]
    found = [name for test in tests for name in (test, f"{test}_shipped")] + static + list(_SIZES)
    kept = [name for name in found if name in figures]
    for target in results.study.targets:
        kept += [f"{metric}@{target}" for metric in ALWAYS]
        kept += [name for name in named if name.endswith(f"@{target}") and name in figures]
    return list(dict.fromkeys(kept))


def _head(results: Results, name: str) -> str:
    if name.startswith("test_") and name.endswith("_shipped"):
        return f"{label(name.removesuffix('_shipped'))}, this file"
    if name.startswith("test_"):
        return f"{label(name)}, mean of {plural(results.study.confirm.seeds, 'other seed')}"
    return label(name)


def _figure(results: Results, trial: Trial, name: str, profiles: Profiles) -> str:
    figures = trial.figures
    metric, _, target = name.partition("@")
    profile = profiles.get(target, {}).get(trial.index)
    if name not in figures:
        reason = "there is no profile" if profile is None else profile.missing.get(metric, "no reason is recorded")
        return f"not measured: {reason}"
    spread = figures.get(f"{name}_sd")
    if spread is not None:
        return with_unit(name, figures[name], spread)
    sem = (trial.sems | trial.confirmed_sems).get(name)
    words = [*_interval(name, figures[name], sem, profile), *_flags(metric, profile)]
    return with_unit(name, figures[name]) + (f" ({'; '.join(words)})" if words else "")


def _interval(name: str, value: float, sem: float | None, profile: Profile | None) -> list[str]:
    """The profile's own where the figure is the profile's, since it knows how few its processes were."""
    ends = None if sem is None else (value - INTERVAL_95 * sem, value + INTERVAL_95 * sem)
    if profile is not None and name.startswith("latency_ms@") and value == profile.latency_ms_calibrated:
        ends = profile.latency_ms_ci95 or ends
    return [] if ends is None else [" to ".join(figure(scaled(name, end)) for end in ends)]


def _flags(metric: str, profile: Profile | None) -> list[str]:
    if profile is None or metric not in ALWAYS:
        return []
    return [flag for flag in profile.flags if (flag in _OF_METERS) == (metric in METERED)]


def _why_no_test(results: Results, trial: Trial) -> str:
    if trial.confirmed is None:
        return "the front is not confirmed yet"
    if results.study.train.table is not None:
        return "accuracies come from a table"
    return trial.confirm_reason or "the data has no test split"
