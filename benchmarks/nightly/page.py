"""A suite's page: what this night says, and how each pair of model and target went over all nights. One file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from benchmarks.nightly import words
from benchmarks.nightly.judgements import Judgement, counted
from benchmarks.nightly.nights import Night
from benchmarks.nightly.reports import described, differing
from benchmarks.nightly.suite import ACCURACY
from benchmarks.pages import render
from benchmarks.pages.cells import Cell, Table, number, text
from benchmarks.pages.plot import Figure, dots, figure, layout
from benchmarks.pages.words import label, when
from benchmarks.tables import duration

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")  # of the metrics of one pair


def page(suite: str, nights: Sequence[Night]) -> str:
    """``nights``: oldest first, at least one; the last one is this night."""
    night = nights[-1]
    content = {
        "suite": suite,
        "state": f"night {night.name}, {when(night.time)} UTC, {duration(night.seconds)}",
        "summary": words.summary(night.judgements),
        "reasons": night.reasons,
        "judgements": _judgements(night),
        "environments": _environments(night),
        "history": [_history(number, pair, nights) for number, pair in enumerate(_compared(nights))],
        "nights": _nights(nights),
    }
    return render.page("nightly.html.j2", content)


def _judgements(night: Night) -> Table:
    rows = [
        [
            text(one.model),
            text(one.target),
            text(label(one.metric)),
            number(words.value(one, one.base)),
            number(words.value(one, one.other)),
            number(words.change(one)),
            number(words.interval(one)),
            number(words.floor(one)),
            text(words.verdict(one)),
            text(one.reason),
        ]
        for one in night.judgements
    ]
    heads = ["model", "target", "metric", "baseline", "tonight", "change", "interval", "floor", "verdict", "why"]
    return Table(caption=f"All {len(rows)} judgements", heads=heads, rows=rows, sortable=True)


def _environments(night: Night) -> Table:
    rows = []
    for target, device in night.devices.items():
        changed = differing(night, target)
        what = "no baseline yet" if changed is None else "; ".join(changed) or "nothing"
        rows.append([text(target), text(described(device)), text(what)])
    caption = "Where it was measured, and what differs from the baselines' environments"
    return Table(caption=caption, heads=["target", "device and versions", "what differs"], rows=rows)


def _nights(nights: Sequence[Night]) -> Table:
    rows = [
        [
            Cell(text=when(night.time), whole=True),
            text(words.summary(night.judgements)),
            number(duration(night.seconds)),
            number(night.code),
        ]
        for night in reversed(nights)
    ]
    return Table(caption="Latest first", heads=["begun, UTC", "judgements", "time", "exit code"], rows=rows)


def _compared(nights: Sequence[Night]) -> list[tuple[str, str]]:
    """Pairs with a figure of some night, in the order of the last one, then those that are no longer watched."""
    pairs = [(one.model, one.target) for night in reversed(nights) for one in night.judgements if _shown(one)]
    return list(dict.fromkeys(pairs))


def _shown(one: Judgement) -> bool:
    return one in counted([one]) and (one.ratio is not None or one.verdict == "same")


def _history(number: int, pair: tuple[str, str], nights: Sequence[Night]) -> Figure:
    """The change against the baseline of each night; a file that was the baseline itself is a change of nothing.

    ``number`` tells two pairs apart whose names become one address.
    """
    by_metric: dict[str, list[tuple[str, Judgement]]] = {}
    for night in nights:
        for one in night.judgements:
            if (one.model, one.target) == pair and _shown(one):
                by_metric.setdefault(one.metric, []).append((night.time[:19], one))
    data = [
        _dots(metric, points, _SYMBOLS[place % len(_SYMBOLS)])
        for place, (metric, points) in enumerate(sorted(by_metric.items()))
    ]
    drawn = layout("night", "change, %; of the accuracy: pp" if ACCURACY in by_metric else "change, %")
    drawn["xaxis"] |= {"type": "date"}
    drawn["yaxis"] |= {"zeroline": True, "zerolinecolor": "var(--faint)"}
    title = f"{pair[0]} on {pair[1]}"
    caption = "Change against the baseline of that night, with its interval. Orange: a confirmed regression."
    return figure("pair", str(number), *pair, title=title, caption=caption, data=data, layout=drawn, height=300)


def _dots(metric: str, points: Sequence[tuple[str, Judgement]], symbol: str) -> dict[str, Any]:
    changes = [_change(one) for _, one in points]
    texts = [
        f"{when(time)}<br>{html.escape(label(metric))}: {words.change(one)}, {words.verdict(one)}"
        for time, one in points
    ]
    colours = ["var(--warm)" if one.alarm else "var(--accent)" for _, one in points]
    trace = dots(label(metric), [], changes, texts, color=colours, symbol=symbol)
    bounds = [(change, *_bounds(one, change)) for change, (_, one) in zip(changes, points, strict=True)]
    above, below = [high - change for change, _, high in bounds], [change - low for change, low, _ in bounds]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": "var(--faint)"}
    return trace | {"x": [time for time, _ in points], "error_y": bars | {"thickness": 1, "width": 2}}


def _change(one: Judgement) -> float:
    """In percent, of an accuracy in percentage points."""
    if one.metric == ACCURACY and one.base is not None and one.other is not None:
        return 100 * (one.other - one.base)
    return 0.0 if one.ratio is None else 100 * (one.ratio - 1)


def _bounds(one: Judgement, change: float) -> tuple[float, float]:
    """In percent; what is exact is its own interval."""
    if one.interval is None:
        return change, change
    low, high = one.interval
    return 100 * (low - 1), 100 * (high - 1)
