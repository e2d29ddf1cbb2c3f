"""The figure of ``nas.notebook``: two metrics of a search's trials as a plotly figure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nas import pareto
from nas.journal import Trial
from nas.quality import INTERVAL_95
from nas.results import Results
from profiles.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

TRIAL = "trial"  # as an axis: the trial's number


def trade_off(results: Results, x: str | None = None, y: str | None = None) -> go.Figure:
    """``x`` and ``y``: metrics; by default the second and the first objective, or trial and the only one."""
    import plotly.graph_objects as go

    names = [objective.name for objective in results.objectives]
    x, y = x or (names[1] if len(names) > 1 else TRIAL), y or names[0]
    known = {TRIAL, *names, *(metric for trial in results.trials for metric in trial.metrics)}
    for name in (x, y):
        if name not in known:
            raise InputError.of("plot", "metric", name, ", ".join(sorted(known)))
    shown = [trial for trial in results.trials if x in _values(trial) and y in _values(trial)]
    members = [trial for trial in shown if trial.index in results.front]
    outside = [trial for trial in shown if pareto.breaks(trial.metrics, results.limits)]
    rest = [trial for trial in shown if trial not in members and trial not in outside]
    others = [trial for trial in rest if trial.state == "completed"]
    unfinished = [trial for trial in rest if trial.state != "completed"]
    figure = go.Figure(
        [
            _points(outside, x, y, "breaks a limit", symbol="circle-open", color="gray"),
            _points(unfinished, x, y, "not trained to the end", symbol="x-thin-open", color="gray"),
            _points(others, x, y, "dominated", color="steelblue"),
            _points(members, x, y, "on the front", color="darkorange", size=11),
        ]
    )
    if len(names) == 2 and [x, y] == names[::-1]:  # of other axes the front is no line
        figure.add_trace(_line(results, members, x, y))
    for limit in results.limits:
        if limit.name == x:
            figure.add_vline(x=limit.bound, line_dash="dash", annotation_text=html.escape(f"{x} {limit.op}"))
        if limit.name == y:
            figure.add_hline(y=limit.bound, line_dash="dash", annotation_text=html.escape(f"{y} {limit.op}"))
    title = html.escape(f"{results.study.name}: {y} against {x}")
    figure.update_layout(title=title, xaxis_title=html.escape(x), yaxis_title=html.escape(y), hovermode="closest")
    return figure


def _values(trial: Trial) -> dict[str, float]:
    return {TRIAL: trial.index, **trial.metrics}


def _points(trials: Sequence[Trial], x: str, y: str, name: str, **marker: Any) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[_values(trial)[x] for trial in trials],
        y=[_values(trial)[y] for trial in trials],
        error_x=_bars(trials, x),
        error_y=_bars(trials, y),
        mode="markers",
        name=name,
        marker={"size": 8, **marker},
        text=[_told(trial) for trial in trials],
        hovertemplate="%{text}<extra></extra>",
    )


def _line(results: Results, members: Sequence[Trial], x: str, y: str) -> Any:
    """The edge of what the front dominates: first along, then up or down, where less of ``x`` is better."""
    import plotly.graph_objects as go

    goal = next(objective.goal for objective in results.objectives if objective.name == x)
    ordered = sorted(members, key=lambda trial: trial.metrics[x])
    return go.Scatter(
        x=[trial.metrics[x] for trial in ordered],
        y=[trial.metrics[y] for trial in ordered],
        mode="lines",
        line={"color": "darkorange", "width": 1, "shape": "hv" if goal == "min" else "vh"},
        hoverinfo="skip",
        showlegend=False,
    )


def _bars(trials: Sequence[Trial], name: str) -> dict[str, Any]:
    lengths = [INTERVAL_95 * trial.sems.get(name, 0.0) for trial in trials]
    return {"type": "data", "array": lengths, "visible": any(lengths), "thickness": 1, "color": "lightgray"}


def _told(trial: Trial) -> str:
    """HTML: trial, state, metrics and choices."""
    rows = [f"<b>trial {trial.index}</b> ({trial.state})"]
    rows += [f"{html.escape(name)} = {value:.4g}" for name, value in trial.metrics.items()]
    rows += [html.escape(f"{name}: {value}") for name, value in trial.choices.items()]
    return "<br>".join(rows)
