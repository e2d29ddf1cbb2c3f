"""What all figures of the report are made of: plotly's own dictionaries, in the colours of the page.

A colour "var(--x)" is one of the page's style sheet, light or dark; the page's script puts it in. Texts that come from
files are escaped here, since plotly reads some HTML in texts. Bars are 95 % intervals.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.pages.words import label, scaled, titled, told, with_unit
from nas.journal import Trial
from nas.quality import INTERVAL_95, modelled
from nas.results import Results

Point = tuple[float, float]
Trace = dict[str, Any]

LOG_FROM = 30  # an axis whose largest value is more than this many times its smallest is logarithmic
SCALE = "Viridis"  # of trial numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """``plot``: {"data", "layout"}. ``caption`` says what is to be seen. ``targets``: that it is about, if any."""

    id: str
    title: str
    caption: str
    plot: dict[str, Any]
    height: int = 460
    targets: Sequence[str] = ()


def figure(
    *names: str,
    title: str,
    caption: str,
    data: Sequence[Trace],
    layout: dict[str, Any],
    height: int = 460,
    targets: Sequence[str] = (),
) -> Figure:
    """``names`` make its address on the page, in which only letters, digits and "-" occur."""
    address = "-".join("".join(c if c.isalnum() else "-" for c in name) for name in names)
    plot = {"data": list(data), "layout": layout}
    return Figure(id=address, title=title, caption=caption, plot=plot, height=height, targets=targets)


def layout(x: str, y: str) -> dict[str, Any]:
    """Axes with these titles."""
    axis = {
        "gridcolor": "var(--rule)",
        "linecolor": "var(--faint)",
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
    }
    return {
        "xaxis": axis | {"title": {"text": html.escape(x), "standoff": 8}},
        "yaxis": axis | {"title": {"text": html.escape(y), "standoff": 8}},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.16, "x": 0},
        "margin": {"l": 56, "r": 12, "t": 30, "b": 52},
        "hovermode": "closest",
    }


def lines(name: str, x: Sequence[float], y: Sequence[float | None], colour: str, **line: Any) -> Trace:
    """Without hover; ``hover`` adds it."""
    drawn = {"color": colour, "width": 1.5} | line
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "line": drawn, "hoverinfo": "skip"} | named(
        name
    )


def dots(name: str, x: Sequence[float], y: Sequence[float], texts: Sequence[str], **marker: Any) -> Trace:
    drawn = {"size": 7, "color": "var(--accent)"} | marker
    return (
        {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "marker": drawn} | named(name) | hover(texts)
    )


def hover(texts: Sequence[str]) -> Trace:
    """``texts`` are HTML already."""
    return {"text": list(texts), "hovertemplate": "%{text}<extra></extra>", "hoverinfo": "text"}


def named(name: str) -> Trace:
    return {"name": html.escape(name)}


def bars(metric: str, errors: Sequence[float | None]) -> dict[str, Any]:
    """95 % from standard errors; none is drawn where there is none."""
    lengths = [None if error is None else INTERVAL_95 * scaled(metric, error) for error in errors]
    return {
        "type": "data",
        "array": lengths,
        "visible": any(lengths),
        "color": "var(--faint)",
        "thickness": 1,
        "width": 2,
    }


def trial_colours(trials: Sequence[int], last: int) -> dict[str, Any]:
    """For a marker: the colour says the trial's number, from 0 to ``last``; a bar beside the plot is the key."""
    bar = {
        "title": {"text": "trial", "side": "top"},
        "thickness": 10,
        "len": 0.6,
        "outlinewidth": 0,
        "x": 1.01,
        "xpad": 4,
    }
    return {"color": list(trials), "colorscale": SCALE, "cmin": 0, "cmax": max(1, last), "colorbar": bar}


def hover_text(results: Results, trial: Trial) -> str:
    """HTML: the trial, what the study asks for, and the network."""
    rows = [f"<b>trial {trial.index}</b> ({html.escape(trial.source)})"]
    for name in modelled(results):
        if name in trial.metrics:
            rows.append(f"{html.escape(titled(name))}: {told(name, trial.metrics[name], trial.sems.get(name))}")
    chosen = [
        f"{html.escape(key)} {html.escape(f'{value:.4g}' if isinstance(value, float) else str(value))}"
        for key, value in trial.choices.items()
    ]
    rows += [", ".join(chosen[start : start + 3]) for start in range(0, len(chosen), 3)]
    return "<br>".join(rows)


def place(values: Mapping[str, float]) -> str:
    """'validation accuracy 90.00 %, latency on local 0.44 ms'"""
    return ", ".join(f"{label(name)} {with_unit(name, value)}" for name, value in values.items())
