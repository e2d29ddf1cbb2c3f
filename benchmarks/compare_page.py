"""The page of ``hwnas compare`` and ``hwnas profile`` with ``--html``: models, targets or devices side by side."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import side_by_side as sides_
from benchmarks import tables
from benchmarks.pages import render
from benchmarks.pages.cells import Cell, Table, code, number, text
from benchmarks.pages.plot import LOG_FROM, Figure, Trace, dots, figure, layout
from benchmarks.pages.words import plural, when
from benchmarks.profile_tables import UNSAID
from benchmarks.side_by_side import Side
from benchmarks.sweeps import Curve, per_s, told
from profiles.records import Profile

_OURS = ("agent", "python", "numpy")  # of a record's versions, what is not the engine's
_BAR_PX, _AROUND_PX = 30, 120
_COLOURS = ("var(--accent)", "var(--warm)", "var(--soft)", "var(--faint)", "var(--ink)")
_DASHES = ("solid", "dash", "dot")
_MEANING = (
    "Latency: calibrated, with its 95 % interval. Speed-up: latency of the base / latency, above 1 is faster, with the "
    "99 % interval of the verdict. Throughput: of one caller. Output error: against torch at export, or the fp32 model."
)


def page(
    kind: str, sides: Sequence[Side], curves: Sequence[Curve], remarks: Sequence[str], also: Sequence[Profile] = ()
) -> str:
    """``kind``: the command. ``also``: profiles that are only points of ``curves``."""
    measured = [*(side.profile for side in sides), *also]
    models = list(dict.fromkeys(one.model for one in measured))
    swept = dict.fromkeys(curve.model for curve in curves)
    devices = {one.target.device: one.device for one in measured}
    what = [plural(len({one.target.name for one in measured}), "target"), plural(len(devices), "device")]
    return render.page(
        "compare.html.j2",
        {
            "kind": kind,
            "title": models[0] if len(models) == 1 else plural(len(models), "model"),
            "state": f"{', '.join(what)}; measured {when(max(one.time for one in measured))} UTC",
            "answer": _answer(sides),
            "remarks": remarks,
            "figures": _table(sides),
            "bars": _bars(sides),
            "knees": [told(curve) for curve in curves],
            "curves": [_curve(number, curves, model) for number, model in enumerate(swept)],
            "ran": _ran(measured),
            "devices": _devices(devices),
            "missing": _missing(measured),
        },
    )


def _answer(sides: Sequence[Side]) -> str | None:
    """Which is the fastest, where that is one question: of one base."""
    if sum(side.is_base for side in sides) != 1 or len(sides) < 2:
        return None
    compared = [side for side in sides if side.speed_up]
    names = dict(zip(map(id, sides), sides_.names_of(sides), strict=True))
    base = next(names[id(side)] for side in sides if side.is_base)
    shown = [(side.speed_up, side) for side in compared if side.verdict == "improved" and side.speed_up]
    if not shown:
        return f"Nothing is shown to be faster than {base}."
    (ratio, low, high), best = max(shown, key=lambda one: one[0])
    # Another may be faster still, but undecided.
    fastest = all(side.speed_up[0] <= ratio for side in compared if side.speed_up)
    says = "is the fastest:" if fastest else "is shown to be"
    return f"{names[id(best)]} {says} {ratio:.3g} times as fast as {base} ({low:.3g} to {high:.3g})."


def _table(sides: Sequence[Side]) -> Table:
    heads, rows = sides_.heads_of(sides), sides_.rows_of(sides)
    kept = [place for place in range(len(heads)) if any(row[place] != "-" for row in rows)]
    cells = [[Cell(text=row[place], number=place > 0 and heads[place] != "verdict") for place in kept] for row in rows]
    return Table(caption=_MEANING, heads=[heads[place] for place in kept], rows=cells, sortable=True)


def _bars(sides: Sequence[Side]) -> list[Figure]:
    """Latency and speed-up always, what else was measured after them."""

    def latency(side: Side) -> tuple[float, float, float]:
        value = side.profile.latency_ms_calibrated
        return (value, *(side.profile.latency_ms_ci95 or (value, value)))

    def speed_up(side: Side) -> tuple[float, float, float] | None:
        return side.speed_up

    def energy(side: Side) -> tuple[float, float, float] | None:
        value, sem = side.profile.energy_mj, side.profile.energy_mj_sem or 0.0
        return None if value is None else (value, value - 1.96 * sem, value + 1.96 * sem)

    def memory(side: Side) -> tuple[float, float, float] | None:
        value = side.profile.peak_memory_mb
        return None if value is None else (value, value, value)

    wanted: list[tuple[str, str, str, Callable[[Side], tuple[float, float, float] | None]]] = [
        ("Latency", "ms", "Shorter is faster. Lines: 95 % intervals.", latency),
        ("Speed-up", "times as fast as the base", "Longer is faster. Lines: 99 % intervals.", speed_up),
        ("Energy per inference", "mJ", "Idle removed. Lines: 1.96 standard errors to each side.", energy),
        ("Peak memory", "MB", "Above that of a process with an empty model; taken once.", memory),
    ]
    found = []
    for title, unit, caption, value in wanted:
        known = [(name, side, value(side)) for name, side in zip(sides_.names_of(sides), sides, strict=True)]
        points = [(name, side, figures) for name, side, figures in known if figures]
        if any(not side.is_base for _, side, _ in points) or title == "Latency":
            found.append(_bar_figure(title, unit, caption, points))
    return found


def _bar_figure(
    title: str, unit: str, caption: str, points: Sequence[tuple[str, Side, tuple[float, float, float]]]
) -> Figure:
    # Places, not names: two sides may have the same.
    places = list(range(len(points)))
    values, lows, highs = zip(*(figures for _, _, figures in points), strict=True)
    bar: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": list(values),
        "y": places,
        "hovertext": [
            f"<b>{html.escape(name)}</b><br>{tables.figure(value)} {unit}"
            + (f" ({tables.figure(low)} to {tables.figure(high)})" if high > low else "")
            for name, _, (value, low, high) in points
        ],
        "hoverinfo": "text",
        "marker": {"color": ["var(--faint)" if side.is_base else "var(--accent)" for _, side, _ in points]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for value, high in zip(values, highs, strict=True)],
            "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
            "color": "var(--ink)",
            "thickness": 1.5,
            "width": 4,
        },
        "showlegend": False,
    }
    drawn = layout(unit, "")
    drawn["xaxis"]["rangemode"] = "tozero"
    names = [html.escape(name) for name, _, _ in points]
    drawn["yaxis"] |= {"autorange": "reversed", "tickvals": places, "ticktext": names, "ticks": "", "showgrid": False}
    drawn["bargap"] = 0.35
    if title == "Speed-up":
        line = {"color": "var(--ink)", "width": 1, "dash": "dot"}
        drawn["shapes"] = [{"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": line}]
    height = _AROUND_PX + _BAR_PX * len(points)
    return figure(title, title=title, caption=caption, data=[bar], layout=drawn, height=height)


def _curve(number: int, curves: Sequence[Curve], model: str) -> Figure:
    """A line for each target and number of threads, along batch sizes; or along threads where only those vary.

    ``number`` tells two models apart whose names become one address.
    """
    data: list[Trace] = []
    own = [curve for curve in curves if curve.model == model]
    for place, curve in enumerate(own):
        colour, lines = _COLOURS[place % len(_COLOURS)], _lines(curve)
        for which, (name, points) in enumerate(lines):
            dashed = {"color": colour, "width": 1.5, "dash": _DASHES[which % len(_DASHES)]}
            trace = dots(name, *_at(points), [_hover(one) for one in points], color=colour)
            data.append(trace | {"mode": "lines+markers", "line": dashed})
        if curve.knee is not None:
            at = curve.points[curve.knee]
            ring: dict[str, Any] = {"size": 16, "symbol": "circle-open", "color": "var(--ink)", "line": {"width": 2}}
            data.append(dots("knee", *_at([at]), [_hover(at)], **ring) | {"showlegend": place == 0})
    drawn = layout("throughput, 1/s", "latency, ms")
    for axis, values in (
        ("xaxis", [x for one in data for x in one["x"]]),
        ("yaxis", [y for one in data for y in one["y"]]),
    ):
        wide = max(values) > LOG_FROM * min(values)
        drawn[axis] |= _log_axis(min(values), max(values)) if wide else {"rangemode": "tozero"}
    caption = (
        "Each dot is one setting: further right is more throughput, lower is less latency. The knee is the setting "
        "after which more throughput costs more latency than before."
    )
    title = f"Latency against throughput: {model}"
    return figure("curve", str(number), model, title=title, caption=caption, data=data, layout=drawn, height=420)


def _log_axis(low: float, high: float) -> dict[str, Any]:
    """Marked at 1, 2 and 5 of each decade."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": marks, "ticktext": [f"{mark:.6g}" for mark in marks]}


def _lines(curve: Curve) -> list[tuple[str, list[Profile]]]:
    threads = sorted({one.target.threads for one in curve.points})
    if len({one.target.batch for one in curve.points}) == 1 or len(threads) == 1:
        return [(curve.target, list(curve.points))]
    return [
        (f"{curve.target}, {plural(count, 'thread')}", [one for one in curve.points if one.target.threads == count])
        for count in threads
    ]


def _at(points: Sequence[Profile]) -> tuple[list[float], list[float]]:
    return [per_s(one) for one in points], [one.latency_ms_calibrated for one in points]


def _hover(one: Profile) -> str:
    setting = f"{plural(one.target.threads, 'thread')}, batch {one.target.batch}"
    low, high = one.latency_ms_ci95 or (None, None)
    interval = "" if low is None or high is None else f" ({tables.figure(low)} to {tables.figure(high)})"
    figures = f"{tables.figure(one.latency_ms_calibrated)} ms{interval}<br>{tables.figure(per_s(one))} per s"
    return f"<b>{html.escape(one.target.name)}</b>: {setting}<br>{figures}"


def _ran(measured: Sequence[Profile]) -> Table:
    rows = []
    for one in measured:
        target = one.target
        nodes = ", ".join(f"{count} on {provider}" for provider, count in one.node_providers.items())
        settings = [target.engine, target.provider, target.precision, str(target.threads), str(target.batch)]
        processes = len({block.process for block in one.blocks})
        counts = [number(processes), number(one.samples)]
        versions = ", ".join(f"{name} {found}" for name, found in one.versions.items() if name not in _OURS)
        cells = [text(one.model), text(target.name), text(target.device), *map(text, settings)]
        cells += [text(nodes), text(versions)]
        rows.append([*cells, *counts, text(", ".join(one.flags) or "-")])
    heads = ["model", "target", "device", "engine", "provider", "precision", "threads", "batch", "nodes", "versions"]
    heads += ["processes", "times", "flags"]
    return Table(caption="What ran where", heads=heads, rows=rows, sortable=True)


def _devices(devices: dict[str, dict[str, Any]]) -> Table:
    rows = [[code(name), text(_described(device))] for name, device in devices.items()]
    return Table(caption="Devices", heads=["device", "what it is"], rows=rows)


def _described(device: dict[str, Any]) -> str:
    """What it says of itself: not all devices say all of it."""
    cores = plural(device["cores"], "core") if device.get("cores") else None
    return ", ".join(filter(None, [device.get("cpu") or device.get("machine"), cores, device.get("kernel")]))


def _missing(measured: Sequence[Profile]) -> Table | None:
    """Each reason once, but for those of ``UNSAID``."""
    reasons: dict[tuple[str, str], None] = {}
    for one in measured:
        reasons |= {(field, why): None for field, why in one.missing.items() if field not in UNSAID}
    rows = [[code(field), text(reason)] for field, reason in reasons]
    return Table(caption="Not measured", heads=["figure", "why"], rows=rows) if rows else None
