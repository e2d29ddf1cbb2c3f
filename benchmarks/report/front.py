"""The figures of the front: what is given up in one objective for another."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.pages.plot import (
    LOG_FROM,
    Figure,
    Point,
    Trace,
    bars,
    dots,
    figure,
    hover_text,
    layout,
    lines,
    place,
    trial_colours,
)
from benchmarks.pages.words import bound, comparative, label, scaled, titled, with_unit
from benchmarks.report.choose import targets_of
from nas import pareto
from nas.generators import Limit, Objective
from nas.journal import BASELINE, Trial
from nas.results import Results

_BARS = "Bars: 1.96 standard errors to each side, where a metric has one."

Spans = Mapping[str, Point]  # metric -> smallest and largest value shown


def trade_offs(results: Results) -> list[Figure]:
    """One scatter per pair of objectives that a trained trial has; with one objective, its course over the trials."""
    completed = [trial for trial in results.trials if trial.state == "completed"]
    if len(results.objectives) == 1:
        return [_over_trials(results, completed)] if completed else []
    return [
        _trade_off(results, horizontal, vertical)
        for vertical, horizontal in itertools.combinations(results.objectives, 2)
        if any(pareto.complete(trial.metrics, (horizontal, vertical)) for trial in completed)
    ]


def staircase(points: Sequence[Point], signs: tuple[int, int], corner: Point) -> list[Point]:
    """The edge of what ``points`` dominate: vertices from one end to the other; [] without points.

    ``signs``: per axis +1 where less is better, -1 where more is. ``corner``: where the edge ends, at or beyond the
    worst of the points.
    """
    best: list[Point] = []  # as costs: from left to right, and down
    for x, y in sorted({(signs[0] * x, signs[1] * y) for x, y in points}):
        if not best or y < best[-1][1]:
            best.append((x, y))
    if not best:
        return []
    edge = [(best[0][0], signs[1] * corner[1])]
    for (x, y), next_x in zip(best, [*(x for x, _ in best[1:]), signs[0] * corner[0]], strict=True):
        edge += [(x, y), (next_x, y)]
    return [(signs[0] * x, signs[1] * y) for x, y in edge]


def _trade_off(results: Results, horizontal: Objective, vertical: Objective) -> Figure:
    x, y = horizontal.name, vertical.name
    both = [trial for trial in results.trials if x in trial.metrics and y in trial.metrics and trial.state != "failed"]
    trained = [trial for trial in both if trial.state == "completed"]
    fit = [trial for trial in trained if pareto.keeps(trial.metrics, results.limits)]
    gated = [
        trial for trial in results.trials if trial.state == "gated" and x in trial.metrics and y not in trial.metrics
    ]
    spans = {name: _span(results, trained, name) for name in (x, y)}
    seen = [trial for trial in gated if _inside(trial.metrics[x], spans[x])]

    last = results.trials[-1].index
    members = [trial for trial in fit if trial.index in results.front]
    others = [trial for trial in fit if trial.index not in results.front]
    outside = [trial for trial in both if pareto.breaks(trial.metrics, results.limits)]
    unfinished = [trial for trial in both if trial not in outside and trial not in fit]
    thin, thick = {"color": "var(--faint)", "width": 1}, {"color": "var(--accent)", "width": 2}
    data = [
        *_limit_lines(results.limits, x, y, spans),
        _edge(fit, horizontal, vertical, spans, whole=len(results.objectives) == 2),
        _rug(seen, x),
        _points(results, outside, x, y, "breaks a limit", size=8, symbol="circle-open", color="var(--faint)"),
        _points(results, unfinished, x, y, "not trained to the end", size=8, symbol="x-thin-open", color="var(--soft)"),
        _points(results, others, x, y, "dominated", size=8, line=thin, **_coloured(others, last)),
        _points(
            results, members, x, y, "on the front", size=11, line=thick, showscale=True, **_coloured(members, last)
        ),
        _points(results, [t for t in both if t.source == BASELINE], x, y, "incumbent", **_DIAMOND),
        *_star(results, x, y),
    ]
    drawn = layout(titled(x), titled(y))
    drawn["xaxis"] |= _axis(spans[x], x)
    drawn["yaxis"] |= _axis(spans[y], y)
    drawn["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    caption = (
        f"Better is {comparative(vertical)} {label(y)} and {comparative(horizontal)} {label(x)}; the line bounds "
        f"what is dominated. {_BARS}"
    )
    if any(trial.confirmed for trial in members):
        caption += " Values are those that the search saw; the table has the confirmed ones."
    beyond = [t for t in both if not all(_inside(t.metrics[n], spans[n]) for n in (x, y))]
    far = {"trained": [trial for trial in beyond if trial in trained]}
    far |= {"not trained to the end": [trial for trial in beyond if trial not in trained and trial.state != "gated"]}
    far |= {"gated": [trial for trial in (*beyond, *gated) if trial.state == "gated" and trial not in seen]}
    if any(far.values()):
        told = " and ".join(f"{len(trials)} {kind}" for kind, trials in far.items() if trials)
        caption += f" Far from the front and outside of the picture: {told}; a double click shows the whole."
    title = f"{label(y).capitalize()} against {label(x)}"
    kept = [trace for trace in data if trace["x"]]
    targets = targets_of([x, y])
    return figure("trade-off", y, x, title=title, caption=caption, data=kept, layout=drawn, height=540, targets=targets)


_DIAMOND = {"symbol": "diamond-open", "size": 18, "color": "var(--warm)", "line": {"width": 2}}


def _over_trials(results: Results, trials: Sequence[Trial]) -> Figure:
    (objective,) = results.objectives
    name = objective.name
    shown = [trial for trial in trials if name in trial.metrics]
    indices, values = [trial.index for trial in shown], [scaled(name, trial.metrics[name]) for trial in shown]
    best: list[float | None] = []
    for trial, value in zip(shown, values, strict=True):
        known = [*best[-1:], value if pareto.keeps(trial.metrics, results.limits) else None]
        kept = [each for each in known if each is not None]
        best.append((max if objective.goal == "max" else min)(kept, default=None))
    trained = dots("trained", indices, values, [hover_text(results, trial) for trial in shown], size=8)
    trained["customdata"] = [trial.index for trial in shown]
    trained["error_y"] = bars(name, [trial.sems.get(name) for trial in shown])
    data = [lines("best so far that keeps the limits", indices, best, "var(--warm)", shape="hv"), trained]
    title = f"{label(name).capitalize()} over trials"
    drawn = layout("trial", titled(name))
    return figure("objective", title=title, caption=_BARS, data=data, layout=drawn, targets=targets_of([name]))


def _points(results: Results, trials: Sequence[Trial], x: str, y: str, name: str, **marker: Any) -> Trace:
    across, up = ([scaled(axis, trial.metrics[axis]) for trial in trials] for axis in (x, y))
    trace = dots(name, across, up, [hover_text(results, trial) for trial in trials], **marker)
    errors = {f"error_{key}": bars(axis, [t.sems.get(axis) for t in trials]) for key, axis in (("x", x), ("y", y))}
    return trace | errors | {"customdata": [trial.index for trial in trials]}


def _coloured(trials: Sequence[Trial], last: int) -> dict[str, Any]:
    return trial_colours([trial.index for trial in trials], last)


def _star(results: Results, x: str, y: str) -> list[Trace]:
    if results.reference is None:
        return []
    corner = {name: results.reference[name] for name in (x, y)}
    text = html.escape(f"reference point: {place(corner)}")
    marker = {"symbol": "star", "size": 14, "color": "var(--warm)"}
    return [dots("reference point", [scaled(x, corner[x])], [scaled(y, corner[y])], [text], **marker)]


def _rug(trials: Sequence[Trial], x: str) -> Trace:
    """Trials that have only the horizontal figure: ticks at the bottom."""
    texts = [
        f"trial {t.index}: {with_unit(x, t.metrics[x])}<br>{html.escape(t.reason or 'not trained')}" for t in trials
    ]
    tick = {"symbol": "line-ns-open", "size": 10, "color": "var(--soft)", "line": {"width": 1.4}}
    at = [scaled(x, trial.metrics[x]) for trial in trials]
    drawn = dots("gated: measured, not trained", at, [0.02] * len(at), texts, **tick)
    return drawn | {"yaxis": "y2", "customdata": [trial.index for trial in trials]}


def _limit_lines(limits: Sequence[Limit], x: str, y: str, spans: Spans) -> list[Trace]:
    drawn = []
    for limit in limits:
        if limit.name not in (x, y):
            continue
        at = [scaled(limit.name, limit.bound)] * 2
        other = y if limit.name == x else x
        along = [scaled(other, end) for end in _widened(spans[other])]
        name = f"limit: {bound(limit)}"
        drawn.append(lines(name, *((at, along) if limit.name == x else (along, at)), "var(--warm)", dash="dash"))
    return drawn


def _edge(trials: Sequence[Trial], horizontal: Objective, vertical: Objective, spans: Spans, *, whole: bool) -> Trace:
    """``whole``: there are no further objectives, in which other trials than these may be on the front."""
    signs = tuple(1 if objective.goal == "min" else -1 for objective in (horizontal, vertical))
    x, y = horizontal.name, vertical.name
    corner = tuple(_widened(spans[name])[1 if sign > 0 else 0] for name, sign in zip((x, y), signs, strict=True))
    edge = staircase([(t.metrics[x], t.metrics[y]) for t in trials], (signs[0], signs[1]), (corner[0], corner[1]))
    name = "front" if whole else "front of these two alone"
    return lines(name, [scaled(x, a) for a, _ in edge], [scaled(y, b) for _, b in edge], "var(--accent)")


def _span(results: Results, trials: Sequence[Trial], name: str) -> Point:
    """Of what the search is for, and of what else lies near that.

    That is: the front, the incumbent, the reference point and the trials that beat it; without such, all trials.
    """
    reference = results.reference
    wanted = [t for t in trials if t.index in results.front or _beats(t, reference, results.objectives)]
    wanted += [t for t in trials if wanted and t.source == BASELINE]
    values = [trial.metrics[name] for trial in wanted or trials if name in trial.metrics]
    values += [reference[name]] if reference else []
    low, high = min(values), max(values)
    reach = 0.5 * (high - low)
    others = [trial.metrics[name] for trial in trials if name in trial.metrics]
    others += [limit.bound for limit in results.limits if limit.name == name]
    near = [value for value in others if low - reach <= value <= high + reach]
    return min([low, *near]), max([high, *near])


def _beats(trial: Trial, reference: Mapping[str, float] | None, objectives: Sequence[Objective]) -> bool:
    return reference is not None and pareto.front([reference, trial.metrics], objectives) == [1]


def _inside(value: float, span: Point) -> bool:
    low, high = _widened(span)
    return low <= value <= high


def _widened(span: Point) -> Point:
    low, high = span
    if _logarithmic(span):
        factor = (high / low) ** 0.06
        return low / factor, high * factor
    margin = 0.06 * (high - low or abs(high) or 1)
    return low - margin, high + margin


def _axis(span: Point, name: str) -> dict[str, Any]:
    low, high = (scaled(name, end) for end in _widened(span))
    if _logarithmic(span):
        return {"type": "log", "range": [math.log10(low), math.log10(high)]}
    return {"range": [low, high]}


def _logarithmic(span: Point) -> bool:
    return span[0] > 0 and span[1] / span[0] > LOG_FROM
