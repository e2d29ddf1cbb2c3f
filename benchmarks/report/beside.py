"""A second run beside the one that is reported: ``hwnas report RUN OTHER``, such as random search at the same budget,
or the same study on another device.

The two are compared on the objectives that they share. Both are seen as the searches saw them, before their fronts were
confirmed, each under its own limits, up to the reference point of the first; only the picks have confirmed figures.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.pages.cells import Table, code, text
from benchmarks.pages.plot import Figure, Point, Trace, dots, figure, hover, hover_text, layout, lines, place
from benchmarks.pages.words import bound, label, scaled, titled, with_unit
from benchmarks.report.figures import volumes
from benchmarks.report.front import staircase
from nas import pareto
from nas.generators import Objective
from nas.journal import Trial
from nas.results import Results, pick
from profiles.errors import InputError

COLOURS = ("var(--accent)", "var(--warm)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """``differences``: what the two were not told alike; ``None``: nothing."""

    table: Table
    differences: Table | None
    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """``front``: of the shared objectives. ``volumes``: after each trial; empty without a reference point."""

    run: Results
    name: str
    colour: str
    front: list[Trial]
    volumes: list[float]


def beside(results: Results, other: Results) -> Beside:
    """Raises InputError where the two have no objective in common."""
    theirs = {(o.name, o.goal) for o in other.objectives}
    shared = [o for o in results.objectives if (o.name, o.goal) in theirs]
    if not shared:
        accepted = f"a run with an objective of {results.folder.path}: {_told(results.objectives)}"
        raise InputError(f"{other.folder.path}: given {_told(other.objectives)}; accepted: {accepted}")
    whole = results.reference
    reference = None if whole is None else {o.name: whole[o.name] for o in shared}
    runs = (results, other)
    sides = [
        _Side(
            run=run,
            name=name,
            colour=colour,
            front=_front(run, shared),
            volumes=[] if reference is None else volumes(run, shared, reference),
        )
        for run, name, colour in zip(runs, _names(runs), COLOURS, strict=True)
    ]
    return Beside(
        table=_table(sides, shared),
        differences=_differences(sides),
        figures=[*(_fronts(sides, x, y) for y, x in itertools.combinations(shared, 2)), *_course(sides, reference)],
    )


def _names(runs: Sequence[Results]) -> list[str]:
    """What tells the two apart: folder and generator, or the whole path."""
    names = [f"{run.folder.path.resolve().name}: {run.study.search.generator}" for run in runs]
    return names if names[0] != names[1] else [str(run.folder.path) for run in runs]


def _told(objectives: Sequence[Objective]) -> str:
    return ", ".join(f"{o.goal} {o.name}" for o in objectives)


def _front(run: Results, shared: Sequence[Objective]) -> list[Trial]:
    completed = [trial for trial in run.trials if trial.state == "completed"]
    return [completed[place] for place in pareto.front([t.metrics for t in completed], shared, run.limits)]


def _table(sides: Sequence[_Side], shared: Sequence[Objective]) -> Table:
    told = {"trials": [str(len(side.run.trials)) for side in sides]}
    told["on the front of what both are for"] = [str(len(side.front)) for side in sides]
    for objective in shared:
        told[f"best {label(objective.name)}"] = [_best(side, objective) for side in sides]
    told["to ship"] = [_pick(side.run, shared) for side in sides]
    told["hypervolume after half of the trials"] = [
        _volume(side.volumes[: (len(side.volumes) + 1) // 2]) for side in sides
    ]
    told["hypervolume"] = [_volume(side.volumes) for side in sides]
    rows = [[text(head), *map(text, values)] for head, values in told.items()]
    caption = f"Two searches, compared by {' and '.join(label(o.name) for o in shared)}, each under its own limits"
    return Table(caption=caption, heads=["", *(side.name for side in sides)], rows=rows)


def _best(side: _Side, objective: Objective) -> str:
    values = [trial.metrics[objective.name] for trial in side.front]
    return with_unit(objective.name, (max if objective.goal == "max" else min)(values)) if values else "-"


def _pick(run: Results, shared: Sequence[Objective]) -> str:
    index = pick(run, run.limits)
    if index is None:
        return "nothing"
    figures = run.figures(index)
    return f"trial {index}: {place({o.name: figures[o.name] for o in shared})}"


def _volume(volumes: Sequence[float]) -> str:
    return f"{volumes[-1]:.4g}" if volumes else "-"


def _differences(sides: Sequence[_Side]) -> Table | None:
    """Every setting of the study and of its targets, devices included, that is not the same in both."""
    one, other = (_settings(side.run) for side in sides)
    keys = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    if not keys:
        return None
    rows = [[code(key), text(one.get(key, "-")), text(other.get(key, "-"))] for key in keys]
    caption = "What is not the same in the two, to read the comparison with"
    return Table(caption=caption, heads=["key", *(side.name for side in sides)], rows=rows)


def _settings(run: Results) -> dict[str, str]:
    started = run.started
    told = dict(_flat(run.study.model_dump(exclude={"objective", "constraint"}), ""))
    told |= {"objective": _told(run.objectives), "constraint": ", ".join(map(bound, run.limits)) or "none"}
    return told | dict(_flat(started.data["targets"], "targets."))


def _flat(value: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    """What is not given is left out, and a network's choices are one value."""
    for key, inner in value.items():
        if inner in (None, {}, []):
            continue
        if key == "choices":
            yield f"{before}{key}", ", ".join(f"{name} {chosen}" for name, chosen in inner.items())
        elif isinstance(inner, Mapping):
            yield from _flat(inner, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(inner)


def _fronts(sides: Sequence[_Side], horizontal: Objective, vertical: Objective) -> Figure:
    x, y = horizontal.name, vertical.name
    signs = (1 if horizontal.goal == "min" else -1, 1 if vertical.goal == "min" else -1)
    trained = [trial.metrics for side in sides for trial in side.run.trials if trial.state == "completed"]
    points = [(metrics[x], metrics[y]) for metrics in trained if x in metrics and y in metrics]
    data: list[Trace] = []
    for side in sides:
        at = [(trial.metrics[x], trial.metrics[y]) for trial in side.front]
        edge = staircase(at, signs, _corner(points, *signs)) if at else []
        across, up = [scaled(x, a) for a, _ in edge], [scaled(y, b) for _, b in edge]
        texts = [f"{html.escape(side.name)}<br>{hover_text(side.run, trial)}" for trial in side.front]
        data.append(lines(side.name, across, up, side.colour, width=2) | {"showlegend": False})
        across, up = [scaled(x, a) for a, _ in at], [scaled(y, b) for _, b in at]
        data.append(dots(side.name, across, up, texts, color=side.colour))
    title = f"Two fronts: {label(y)} against {label(x)}"
    caption = f"The members of both fronts, as the searches saw them: {', '.join(side.name for side in sides)}."
    return figure("beside", y, x, title=title, caption=caption, data=data, layout=layout(titled(x), titled(y)))


def _corner(points: Sequence[Point], x: int, y: int) -> Point:
    """The worst of all in both directions."""
    return x * max(x * a for a, _ in points), y * max(y * b for _, b in points)


def _course(sides: Sequence[_Side], reference: Mapping[str, float] | None) -> list[Figure]:
    if reference is None or not all(side.volumes for side in sides):
        return []
    data = []
    for side in sides:
        trials = [trial.index for trial in side.run.trials]
        texts = [
            f"{html.escape(side.name)}<br>after trial {index}: {value:.4g}"
            for index, value in zip(trials, side.volumes, strict=True)
        ]
        data.append(lines(side.name, trials, side.volumes, side.colour, shape="hv", width=2) | hover(texts))
    drawn = layout("trial", "hypervolume")
    drawn["yaxis"]["rangemode"] = "tozero"
    caption = f"Hypervolume after each trial, up to {place(reference)}."
    return [figure("beside-hypervolume", title="Two courses", caption=caption, data=data, layout=drawn, height=340)]
