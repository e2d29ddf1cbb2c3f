"""The page of ``hwnas history --html``: each series as a figure, with its changes and environments as tables."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from benchmarks import history as words
from benchmarks import tables
from benchmarks.pages import render
from benchmarks.pages.cells import Table, number, text
from benchmarks.pages.plot import Figure, dots, figure, layout
from benchmarks.pages.words import label, plural, titled, told, unit, when
from profiles.history import History, Point


def page(*found: History) -> str:
    """The whole file, for one series or several."""
    title = " / ".join(dict.fromkeys(one.model for one in found))
    sections = [_section(index, one) for index, one in enumerate(found)]
    return render.page("history.html.j2", {"title": title, "histories": sections})


def plot(one: History, name: str) -> Figure:
    """The values over time with their 95 % intervals. Lines: a change (full), another environment (dotted)."""
    shown = [point for point in one.points if point.value is not None]
    data = []
    for environment in one.environments:
        points = [point for point in shown if point.environment == environment.number]
        data.append(_trace(one, points, f"environment {environment.number}", environment.number - 1))
    drawn = layout("time, UTC", titled(one.metric)) | {"showlegend": len(one.environments) > 1}
    drawn["xaxis"]["type"] = "date"
    marks = [(change.time, f"{change.percent:+.1f} %", "solid", "var(--warm)") for change in one.changes]
    marks += [(later.since, f"environment {later.number}", "dot", "var(--faint)") for later in one.environments[1:]]
    drawn["shapes"] = [_line(time, dash, colour) for time, _, dash, colour in marks]
    drawn["annotations"] = [_note(time, said, colour) for time, said, _, colour in marks]
    caption = "Bars: 95 % intervals. Full lines: change points. Dotted: another environment, and a series of its own."
    title = f"{label(one.metric).capitalize()} of {one.model} on {one.target}"
    return figure("history", name, title=title, caption=caption, data=data, layout=drawn, height=380)


def _section(index: int, one: History) -> dict[str, Any]:
    return {
        "id": f"series-{index}",
        "title": f"{one.model} on {one.target}: {label(one.metric)}",
        "answer": "; ".join(words.told(change) for change in one.changes) or words.none_found(one),
        "figure": plot(one, str(index)),
        "changes": _changes(one) if one.changes else None,
        "environments": _environments(one) if len(one.environments) > 1 else None,
        "profiles": _profiles(one),
    }


def _trace(one: History, points: Sequence[Point], name: str, symbol: int) -> dict[str, Any]:
    values = [point.value for point in points if point.value is not None]
    texts = [
        f"{when(point.time)}<br>{told(one.metric, point.value)} {unit(one.metric)}<br>{html.escape(point.model)}"
        for point in points
    ]
    trace = dots(name, [], values, texts, symbol=symbol) | {"x": [point.time for point in points]}
    ends = [point.ci95 or (value, value) for point, value in zip(points, values, strict=True)]
    trace["error_y"] = {
        "type": "data",
        "symmetric": False,
        "array": [high - value for (_, high), value in zip(ends, values, strict=True)],
        "arrayminus": [value - low for (low, _), value in zip(ends, values, strict=True)],
        "color": "var(--faint)",
        "thickness": 1,
        "width": 2,
    }
    return trace


def _line(time: str, dash: str, colour: str) -> dict[str, Any]:
    place = {"type": "line", "xref": "x", "yref": "paper", "x0": time, "x1": time, "y0": 0, "y1": 1, "layer": "below"}
    return place | {"line": {"color": colour, "width": 1.5, "dash": dash}}


def _note(time: str, said: str, colour: str) -> dict[str, Any]:
    place = {"x": time, "xref": "x", "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    return place | {"text": html.escape(said), "font": {"color": colour}}


def _changes(one: History) -> Table:
    rows = [
        [
            text(when(change.time)),
            number(f"{change.percent:+.1f} %"),
            number(tables.figure(change.before)),
            number(tables.figure(change.after)),
            number(f"{change.p_value:.0e}"),
            number(change.environment),
        ]
        for change in one.changes
    ]
    what = "times the calibration model" if one.metric == "latency_ms" else unit(one.metric)
    heads = ["from, UTC", "change", f"before, {what}", f"after, {what}", "p", "environment"]
    return Table(caption="Change points", heads=heads, rows=rows)


def _environments(one: History) -> Table:
    rows = [
        [text(each.number), text(when(each.since)), text(words.altered(each) or "the first")]
        for each in one.environments
    ]
    caption = f"{plural(len(rows), 'environment')}, each a series of its own"
    return Table(caption=caption, heads=["number", "first seen, UTC", "against the one before"], rows=rows)


def _profiles(one: History) -> Table:
    rows = [
        [
            text(when(point.time)),
            number(told(one.metric, point.value)),
            number("-" if point.ci95 is None else " to ".join(map(tables.figure, point.ci95))),
            number(tables.figure(point.level) if one.metric == "latency_ms" else "-"),
            number(point.environment),
            text(point.digest[:12]),
            text(", ".join(point.flags)),
        ]
        for point in one.points
    ]
    heads = ["time, UTC", titled(one.metric), "95 % interval", "x calibration", "environment", "file", "flags"]
    return Table(caption=f"{plural(len(rows), 'profile')}, oldest first", heads=heads, rows=rows, sortable=True)
