"""The networks themselves: the operators that ran on each target, with their shares of the time.

From the profiles that confirmed the front. What an operator takes is measured with the engine's own profiling on, in a
pass of its own; so the shares count, and the times add up to more than the latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.pages.cells import Cell, Table, code, number, text
from benchmarks.pages.words import plural
from benchmarks.report.ship import Profiles
from benchmarks.report.tables import best_first
from benchmarks.tables import figure
from nas.results import Results
from profiles.records import Profile

_MOST = 20  # networks that are shown
_MOST_ROWS = 40  # operators of one network; beyond, those below ``_LEAST`` are summed up
_LEAST = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """``reasons``: for each target without a table, why there is none."""

    title: str
    tables: Sequence[Table]
    reasons: Sequence[str]


def networks(results: Results, first: int | None, confirmed: Profiles) -> list[Network]:
    """The pick ``first``, then the others of the front and the incumbent; [] where nothing is known of any of them."""
    incumbent = results.baseline.index if results.baseline is not None else None
    order = [index for index in (first, *best_first(results), incumbent) if index is not None]
    found = [_network(results, index, incumbent, confirmed) for index in list(dict.fromkeys(order))[:_MOST]]
    return found if any(network.tables for network in found) or _said(confirmed) else []


def _said(confirmed: Profiles) -> bool:
    """Whether a profile gives a reason: then the operators were asked for."""
    return any("operators" in profile.missing for by_trial in confirmed.values() for profile in by_trial.values())


def _network(results: Results, index: int, incumbent: int | None, confirmed: Profiles) -> Network:
    tables, reasons = [], []
    for target in results.study.targets:
        profile = confirmed.get(target, {}).get(index)
        if profile is not None and profile.operators:
            tables.append(_table(target, profile))
        else:
            missing = {} if profile is None else profile.missing
            reasons.append(f"Not known on {target}: {missing.get('operators', 'it was not measured again there')}")
    title = f"Trial {index}" + (", the incumbent" if index == incumbent else "")
    return Network(title=title, tables=tables, reasons=reasons)


def _table(target: str, profile: Profile) -> Table:
    """In the order in which they ran."""
    least = _LEAST if len(profile.operators) > _MOST_ROWS else 0.0
    shown = [one for one in profile.operators if one["share"] >= least]
    small = [one for one in profile.operators if one["share"] < least]
    several = len({one["provider"] for one in profile.operators}) > 1
    longest = max(one["share"] for one in profile.operators) or 1.0
    rows = [_row(code(one["name"]), text(one["operator"]), one, longest, several) for one in shown]
    if small:
        total = {key: sum(one[key] for one in small) for key in ("time_ms", "share")} | {"provider": ""}
        less = f"{plural(len(small), 'other')}, each below {100 * _LEAST:g} %"
        rows.append(_row(text(less), text(""), total, longest, several))
    heads = ["layer", "operator", *(["ran on"] if several else []), "time, µs", "share of the time"]
    caption = f"On {target}: {plural(len(profile.operators), 'operator')}; {_kinds(profile.operators)}"
    return Table(caption=caption, heads=heads, rows=rows)


def _row(name: Cell, kind: Cell, one: dict[str, Any], longest: float, several: bool) -> list[Cell]:
    """The bar is drawn against the layer with the share ``longest``."""
    share = Cell(text=f"{100 * one['share']:.1f} %", share=min(1.0, one["share"] / longest), number=True)
    return [name, kind, *([text(one["provider"])] if several else []), number(figure(1e3 * one["time_ms"])), share]


def _kinds(operators: Sequence[dict[str, Any]]) -> str:
    """'Conv 71 %, Gemm 12 %, all others 17 %'."""
    shares: dict[str, float] = {}
    for one in operators:
        shares[one["operator"]] = shares.get(one["operator"], 0.0) + one["share"]
    order = sorted(shares, key=lambda kind: -shares[kind])
    words = [f"{kind} {100 * shares[kind]:.0f} %" for kind in order[:3]]
    rest = sum(shares[kind] for kind in order[3:])
    return ", ".join([*words, *([f"all others {100 * rest:.0f} %"] if order[3:] else [])])
