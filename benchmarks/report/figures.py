"""The other figures of the report: the course of the search, the models, the machine."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.pages.plot import (
    LOG_FROM,
    SCALE,
    Figure,
    Point,
    bars,
    dots,
    figure,
    hover,
    layout,
    lines,
    place,
    trial_colours,
)
from benchmarks.pages.words import label, scaled, titled, told, with_unit
from nas import pareto
from nas.generators import Objective
from nas.quality import INTERVAL_95, Fit, rank_correlation
from nas.results import Results
from profiles.records import Profile


def hypervolume(results: Results) -> Figure | None:
    """After each trial, in the order of their numbers; ``None`` where there is no trial or no reference point yet."""
    if results.reference is None or not results.trials:
        return None
    reached = volumes(results, results.objectives, results.reference)
    trials = [trial.index for trial in results.trials]
    texts = [f"after trial {index}: {volume:.4g}" for index, volume in zip(trials, reached, strict=True)]
    curve = lines("hypervolume", trials, reached, "var(--accent)", shape="hv", width=2) | hover(texts)
    drawn = layout("trial", "hypervolume") | {"showlegend": False}
    end = min(results.study.search.initial_trials, len(trials)) - 0.5
    area = {"type": "rect", "xref": "x", "yref": "paper", "x0": -0.5, "x1": end, "y0": 0, "y1": 1, "layer": "below"}
    drawn["shapes"] = [area | {"fillcolor": "var(--shade)", "line": {"width": 0}}]
    drawn["yaxis"]["rangemode"] = "tozero"
    unit = " \N{MULTIPLICATION SIGN} ".join(objective.name for objective in results.objectives)
    caption = (
        f"How much the trials so far dominate, up to the reference point ({place(results.reference)}), "
        f"in units of {unit}. Shaded: the random phase, before any model."
    )
    marked = curve | {"mode": "lines+markers", "marker": {"size": 5}}
    title = "Hypervolume over trials"
    return figure("hypervolume", title=title, caption=caption, data=[marked], layout=drawn, height=320)


def volumes(results: Results, objectives: Sequence[Objective], reference: Mapping[str, float]) -> list[float]:
    """What the trials so far dominate, after each of them."""
    front: list[dict[str, float]] = []
    found, volume = [], 0.0
    for trial in results.trials:
        if trial.state == "completed":
            rows = [*front, trial.metrics]
            members = [rows[index] for index in pareto.front(rows, objectives, results.limits)]
            if members != front:
                front = members
                volume = pareto.hypervolume(front, objectives, reference, results.limits)
        found.append(volume)
    return found


def cross_validation(fits: Sequence[Fit]) -> list[Figure]:
    """One per metric that could be cross-validated."""
    return [_cross_validation(number, fit) for number, fit in enumerate(fits) if fit.reason is None]


def curves(by_tag: Mapping[str, Mapping[int, Sequence[Point]]]) -> list[Figure]:
    """``by_tag``: what was logged -> trial -> (step, value) in the order of steps."""
    return [_curves(tag, by_trial) for tag, by_trial in by_tag.items()]


def clock(profiles: Mapping[str, Mapping[int, Profile]]) -> Figure | None:
    """How fast each device was while each trial was measured: the calibration model's time over its reference."""
    data = []
    for number, (target, by_trial) in enumerate(profiles.items()):
        ratios = [p.calibration.measured_ms / p.calibration.reference_ms for p in by_trial.values()]
        texts = [
            f"trial {trial} on {html.escape(target)}: {ratio:.3f}"
            for trial, ratio in zip(by_trial, ratios, strict=True)
        ]
        data.append(dots(target, list(by_trial), ratios, texts, symbol=number))
    if not any(trace["x"] for trace in data):
        return None
    drawn = layout("trial", "time / reference") | {"showlegend": len(data) > 1}
    one = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1}
    drawn["shapes"] = [one | {"line": {"color": "var(--faint)", "width": 1}}]
    caption = (
        "The calibration model's time beside each trial, relative to its reference. Latencies are divided by this "
        "ratio, so that a machine that is slow for a while does not make a network slow."
    )
    return figure("clock", title="How steady the machine was", caption=caption, data=data, layout=drawn, height=280)


def _curves(tag: str, by_trial: Mapping[int, Sequence[Point]]) -> Figure:
    from plotly.colors import sample_colorscale

    last = max(1, *by_trial)
    data = []
    for trial, points in by_trial.items():
        (colour,) = sample_colorscale(SCALE, [trial / last])
        texts = [f"trial {trial}, epoch {step:g}: {with_unit(tag, value)}" for step, value in points]
        values = [scaled(tag, value) for _, value in points]
        line = lines(f"trial {trial}", [step for step, _ in points], values, colour) | hover(texts)
        data.append(line if len(points) > 1 else line | {"mode": "markers", "marker": {"color": colour, "size": 5}})
    # A point that is not there, for the sake of the colour bar beside the plot.
    data.append({"type": "scatter", "mode": "markers", "x": [None], "y": [None], "hoverinfo": "skip"})
    data[-1]["marker"] = trial_colours([0], last) | {"showscale": True}
    drawn = layout("epoch", titled(tag)) | {"showlegend": False}
    shown = [value for points in by_trial.values() for _, value in points]
    if "loss" in tag and min(shown) > 0 and max(shown) > LOG_FROM * min(shown):
        drawn["yaxis"] |= {"type": "log", "dtick": 1}
    else:
        drawn["yaxis"] |= _typical([scaled(tag, value) for value in shown])
    epochs = max(step for points in by_trial.values() for step, _ in points)
    drawn["xaxis"] |= {"tick0": 0, "dtick": max(1, round(epochs / 8))}
    name = label(tag).capitalize()
    cut = " A double click shows the whole." if "range" in drawn["yaxis"] else ""
    caption = f"{name} during training, one line per trial.{cut}"
    return figure("curve", tag, title=name, caption=caption, data=data, layout=drawn, height=340)


def _typical(values: Sequence[float]) -> dict[str, Any]:
    """An axis for the middle nine tenths of ``values`` and what lies near those; {} where that is nearly everything."""
    low, high = np.percentile(values, [5, 95])
    near = [value for value in values if low - (high - low) / 2 <= value <= high + (high - low) / 2]
    span = max(near) - min(near)
    if span == 0 or max(values) - min(values) < 2.5 * span:
        return {}
    return {"range": [min(near) - 0.05 * span, max(near) + 0.05 * span]}


def _cross_validation(number: int, fit: Fit) -> Figure:
    name = fit.metric
    observed, predicted = ([scaled(name, value) for value in values] for values in (fit.observed, fit.predicted))
    texts = [
        f"trial {trial}<br>observed {told(name, seen)}, "
        f"predicted {told(name, said)} ± {scaled(name, INTERVAL_95 * sd):.2g}"
        for trial, seen, said, sd in zip(fit.trials, fit.observed, fit.predicted, fit.predicted_sds, strict=True)
    ]
    points = dots(label(name), observed, predicted, texts)
    points |= {"error_x": bars(name, fit.observed_sems), "error_y": bars(name, fit.predicted_sds)}
    low, high = min(*observed, *predicted), max(*observed, *predicted)
    margin = 0.05 * (high - low or 1)
    ends = [low - margin, high + margin]
    equal = lines("equal", ends, ends, "var(--faint)", width=1, dash="dot")
    drawn = layout(f"observed {titled(name)}", f"predicted {titled(name)}") | {"showlegend": False}
    cut = _typical([*observed, *predicted])
    drawn["xaxis"] |= cut or {"range": ends}
    drawn["yaxis"] |= cut
    r2 = "R² not defined" if fit.r2 is None else f"R² = {fit.r2:.2f}"
    ranks = rank_correlation(fit.observed, fit.predicted)
    caption = f"{fit.inside} of {len(fit.trials)} observed values lie within their 95 % interval. "
    caption += "" if ranks is None else f"Rank correlation {ranks:.2f}. "
    caption += "Dotted: equal." + (" Some values are outside of the picture; a double click shows all." if cut else "")
    if fit.r2 is None:
        caption += " All observed values are the same, so there is nothing to explain."
    title = f"{label(name).capitalize()}: {r2}"
    return figure("fit", str(number), title=title, caption=caption, data=[equal, points], layout=drawn, height=360)
