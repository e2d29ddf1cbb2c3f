"""What ``hwnas compare`` answers with: models or targets side by side, in columns that table, CSV and page share."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.measuring import label
from benchmarks.tables import figure
from profiles.comparisons import Comparison
from profiles.errors import InputError
from profiles.files import write_text
from profiles.records import Profile, Target

_PRECISIONS = ("fp32", "fp16", "int8")  # each narrower than the one before
_TARGET = ("device", "engine", "provider", "precision", "threads", "batch", "transfers", "python")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model on one target. ``comparison``: against the base; ``None`` where it could not be compared, or is the
    base itself.
    """

    profile: Profile
    comparison: Comparison | None = None
    is_base: bool = False

    @property
    def speed_up(self) -> tuple[float, float, float] | None:
        """base / other, above 1 is faster, and the interval of the verdict."""
        if self.comparison is None:
            return (1.0, 1.0, 1.0) if self.is_base else None
        verdict = self.comparison.verdict
        return 1 / verdict.ratio, 1 / verdict.ratio_ci99[1], 1 / verdict.ratio_ci99[0]

    @property
    def verdict(self) -> str:
        return self.comparison.verdict.verdict if self.comparison else "base" if self.is_base else "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """``name``: what ``--sort`` takes, and the head in CSV. ``cell``: what a table says; ``None``: four digits."""

    name: str
    head: str
    value: Callable[[Side], float | None]
    cell: Callable[[Side], str] | None = None
    best: Literal["lowest", "highest"] = "lowest"

    def text(self, side: Side) -> str:
        return self.cell(side) if self.cell else figure(self.value(side))


def half_width(profile: Profile) -> float:
    """Of the 95 % interval of the calibrated latency, as a share of it; 0 where there is none."""
    value = profile.latency_ms_calibrated
    low, high = profile.latency_ms_ci95 or (value, value)
    return (high - low) / value / 2


def _latency(side: Side) -> str:
    return f"{figure(side.profile.latency_ms_calibrated)} ± {100 * half_width(side.profile):.2g} %"


def _fallback(side: Side) -> str:
    one = side.profile
    if not one.fallback_percent:
        return "0"
    of_time = one.fallback_time_percent
    return f"{one.fallback_percent:.3g}" + ("" if of_time is None else f" ({of_time:.3g} of time)")


COLUMNS = (
    Column(
        name="latency_ms",
        head="latency ms",
        value=lambda side: side.profile.latency_ms_calibrated,
        cell=_latency,
    ),
    Column(
        name="speed_up",
        head="speed-up",
        value=lambda side: side.speed_up[0] if side.speed_up else None,
        best="highest",
    ),
    Column(name="throughput_per_s", head="per s", value=lambda side: side.profile.throughput_per_s, best="highest"),
    Column(name="load_ms", head="load ms", value=lambda side: side.profile.load_ms),
    Column(name="build_ms", head="build ms", value=lambda side: side.profile.build_ms),
    Column(name="first_run_ms", head="first run ms", value=lambda side: side.profile.first_run_ms),
    Column(name="peak_memory_mb", head="memory MB", value=lambda side: side.profile.peak_memory_mb),
    Column(name="model_size_mb", head="file MB", value=lambda side: side.profile.model_size_mb),
    Column(
        name="power_w",
        head="power W",
        value=lambda side: side.profile.power_w,
        cell=lambda side: figure(side.profile.power_w, side.profile.power_w_sem),
    ),
    Column(
        name="energy_mj",
        head="energy mJ",
        value=lambda side: side.profile.energy_mj,
        cell=lambda side: figure(side.profile.energy_mj, side.profile.energy_mj_sem),
    ),
    Column(
        name="output_error",
        head="output error",
        value=lambda side: side.profile.output_error,
        cell=lambda side: _short(side.profile.output_error),
    ),
    Column(
        name="fallback_percent",
        head="fell back %",
        value=lambda side: side.profile.fallback_percent,
        cell=_fallback,
    ),
)


def check_sort(name: str | None) -> None:
    """Raises InputError."""
    names = [column.name for column in COLUMNS]
    if name is not None and name not in names:
        raise InputError.of("compare", "--sort", name, ", ".join(names))


def ordered(sides: Sequence[Side], sort: str | None) -> list[Side]:
    """Best first in the column ``sort``, what was not measured last; without ``sort`` as given."""
    column = next((each for each in COLUMNS if each.name == sort), None)
    if column is None:
        return list(sides)
    sign = 1 if column.best == "lowest" else -1

    def place(side: Side) -> tuple[bool, float]:
        value = column.value(side)
        return value is None, math.inf if value is None else sign * value

    return sorted(sides, key=place)


def names_of(sides: Sequence[Side]) -> list[str]:
    """What tells them apart: their models, their targets, or both."""
    models = {side.profile.model for side in sides}
    targets = {label(side.profile.target) for side in sides}
    if len(models) == 1:
        return [label(side.profile.target) for side in sides]
    if len(targets) == 1:
        return [side.profile.model for side in sides]
    return [f"{side.profile.model} on {label(side.profile.target)}" for side in sides]


def heads_of(sides: Sequence[Side]) -> list[str]:
    what = "target" if len({side.profile.model for side in sides}) == 1 else "model"
    latency, speed_up, *others = [column.head for column in COLUMNS]
    return [what, latency, speed_up, "99 % interval", "verdict", *others]


def rows_of(sides: Sequence[Side]) -> list[list[str]]:
    rows = []
    for name, side in zip(names_of(sides), sides, strict=True):
        latency, speed_up, *others = [column.text(side) for column in COLUMNS]
        rows.append([name, latency, speed_up, _interval(side), side.verdict, *others])
    return rows


def slower_when_narrower(sides: Sequence[Side]) -> list[str]:
    """A sentence for each model that a precision of fewer bits makes slower on a target that is the same in all else.

    Said where the intervals of the two, against their common base or else of their latencies, are apart.
    """
    found = []
    for wide in sides:
        for narrow in sides:
            one, other = wide.profile, narrow.profile
            alike = one.model == other.model and _setting(one) == _setting(other)
            if not alike or _PRECISIONS.index(other.target.precision) <= _PRECISIONS.index(one.target.precision):
                continue
            if wide.speed_up and narrow.speed_up and _base_of(wide) == _base_of(narrow):
                apart, ratio = narrow.speed_up[2] < wide.speed_up[1], wide.speed_up[0] / narrow.speed_up[0]
            else:
                known = one.latency_ms_ci95 is not None and other.latency_ms_ci95 is not None
                apart = known and other.latency_ms_ci95[0] > one.latency_ms_ci95[1]  # type: ignore[index]
                ratio = other.latency_ms_calibrated / one.latency_ms_calibrated
            if apart:
                how = f"{other.target.precision} is slower than {one.target.precision}"
                where = f"{label(other.target)} takes {ratio:.3g} times as long as {label(one.target)}"
                found.append(f"{one.model}: {how}: {where}")
    return found


def _base_of(side: Side) -> tuple[str, Target]:
    """The file and the target that its speed-up is against."""
    one = side.comparison
    if one is None:
        return side.profile.digest, side.profile.target
    return one.base_digest, one.base_target or one.target


def write_csv(sides: Sequence[Side], path: Path) -> None:
    """One row each, figures in full; what was not measured is an empty cell."""
    heads = ["model", "target", *_TARGET, "base", "verdict", "method"]
    heads += ["latency_ms_low", "latency_ms_high", "speed_up_low", "speed_up_high", "fallback_time_percent"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*heads, *(column.name for column in COLUMNS)])
    for side in sides:
        one, against = side.profile, side.comparison
        base = f"{against.base} on {label(against.base_target or against.target)}" if against else ""
        row = [one.model, one.target.name, *(getattr(one.target, key) for key in _TARGET)]
        row += [base, side.verdict if side.verdict != "-" else "", against.method if against else ""]
        row += [*(one.latency_ms_ci95 or ("", "")), *(side.speed_up or ("", "", ""))[1:]]
        row += [one.fallback_time_percent, *(column.value(side) for column in COLUMNS)]
        writer.writerow(row)
    write_text(path, buffer.getvalue())


def _setting(one: Profile) -> list[object]:
    return [getattr(one.target, key) for key in _TARGET if key != "precision"]


def _interval(side: Side) -> str:
    if side.speed_up is None or side.is_base:
        return "-"
    return " to ".join(_digits(value, side.speed_up[2] - side.speed_up[1]) for value in side.speed_up[1:])


def _digits(value: float, width: float) -> str:
    """As many as tell the ends of an interval of that width apart, and one more."""
    places = 3 if not width > 0 else max(0, 1 - math.floor(math.log10(width)))
    return f"{value:.{places}f}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
