"""Where the level of a series changed for good: a night's figure after night's figure, noisy, with outliers and drift.

A series is cut into pieces, each a level or a straight line, so that residuals and the number of pieces are least
together: optimal partitioning (Jackson et al. 2005, arXiv math/0309285), exact, with a penalty of the form of the
modified BIC (Zhang and Siegmund 2007). Lines are there so that drift is not cut into stairs; asv and Hunter, which
know levels only, do that. Outliers are first pulled in to three sigma of the median of their neighbours (a Hampel
filter), which leaves steps as they are. A cut is a change point where the two sides differ, beside it, by more than
the floor, and by more than chance and the search for the place explain.

Not covered: a change that lasted fewer than ``MIN_PIECE`` points, one that came gradually, and one of the spread alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiles.verdicts import FLOOR

Array = npt.NDArray[np.float64]

MIN_PIECE = 5  # points; a burst of up to four bad nights is no change
MIN_POINTS = 2 * MIN_PIECE
ALPHA = 0.001
_REACH = MIN_PIECE - 1  # neighbours on each side whose median an outlier is told by
_OUTLIER = 3.0  # sigma
_PENALTY = 3.0  # times log(n) for a further piece
_SLOPE = 2.0  # times log(n) for a slope in it
_LEAST_NOISE = 0.1  # of the floor: exact figures, such as sizes, have no noise of their own
_ROUNDING = 1e-6  # of the logarithm: with a floor of 0 %, exact figures have this much
_LONG = 8 * MIN_PIECE  # points from which a step spoils few enough of the differences between means
_NEIGHBOURS = 20  # points on each side that must differ by themselves,
_NEAR = 2.5  # by so many standard errors
_GAUSS = 1.4826  # sd / median absolute deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    """``before`` and ``after``: the fitted levels beside the change, in the unit of the series (log-ratios: e^x)."""

    index: int  # of the first point after the change
    before: float
    after: float
    p_value: float  # of a difference this large somewhere in a series without a change

    @property
    def percent(self) -> float:
        """For a series of logarithms."""
        return 100 * math.expm1(self.after - self.before)


def by_environment(keys: Sequence[Hashable]) -> list[list[int]]:
    """Indices of the points of each key, in the order in which the keys come first.

    Figures of two environments are never one series. An environment that comes back goes on with its own.
    """
    found: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    return list(found.values())


def change_points(
    values: npt.ArrayLike, sems: npt.ArrayLike | None = None, *, floor: float = FLOOR, alpha: float = ALPHA
) -> list[ChangePoint]:
    """The change points of one series, in order; none below ``MIN_POINTS`` points.

    ``values`` (n,): logarithms, so that ``floor`` is relative; finite, evenly spaced as far as drift is concerned.
    ``sems`` (n,): standard errors of the same, NaN where not known; the noise is taken to be at least their median.
    ``alpha``: the largest p-value of a change point. Raises ValueError on other shapes and on values that are not
    finite. Time grows as n^2.
    """
    series = np.asarray(values, dtype=np.float64)
    errors = np.full(series.shape, np.nan) if sems is None else np.asarray(sems, dtype=np.float64)
    if series.ndim != 1 or errors.shape != series.shape or not np.isfinite(series).all():
        raise ValueError(f"a series is finite values (n,) and errors (n,), given {series.shape} and {errors.shape}")
    if len(series) < MIN_POINTS:
        return []
    known = errors[np.isfinite(errors)]
    least = max(_LEAST_NOISE * math.log1p(floor), _ROUNDING, float(np.median(known)) if len(known) else 0.0)
    sigma = max(_noise(series), least)
    tamed = _tamed(series, sigma)
    pieces = _pieces(tamed / sigma)
    found = []
    for one, other in itertools.pairwise(pieces):
        change = _judged(tamed, sigma, one, other, places=len(series) - 2 * MIN_PIECE + 1)
        large = abs(change.after - change.before) > math.log1p(floor) and change.p_value <= alpha
        if large and _sudden(tamed, sigma, one, other, change):
            found.append(change)
    return found


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int  # not part of it
    sloped: bool


def _noise(series: Array) -> float:
    """Standard deviation from the differences of neighbours, which drift, a few steps and outliers do not change.

    Where there are enough points also from those of means of neighbouring runs of ``MIN_PIECE`` points, which are wider
    than chance where a night is like the night before: the larger of the two.
    """
    found = _spread(np.diff(series)) / math.sqrt(2)
    if len(series) < _LONG:
        return found
    means = np.convolve(series, np.full(MIN_PIECE, 1 / MIN_PIECE), mode="valid")
    return max(found, _spread(means[MIN_PIECE:] - means[:-MIN_PIECE]) * math.sqrt(MIN_PIECE / 2))


def _spread(differences: Array) -> float:
    return _GAUSS * float(np.median(np.abs(differences - np.median(differences))))


def _sudden(series: Array, sigma: float, one: _Piece, other: _Piece, change: ChangePoint) -> bool:
    """Whether the nearest points on each side differ, by half of the change or more, and rather by a step than a line.

    What a curve does far from the cut says nothing about it, and a curve fits no level and no line.
    """
    size = min(_NEIGHBOURS, one.end - one.start, other.end - other.start)
    near = series[change.index - size : change.index + size]
    step = float(near[size:].mean() - near[:size].mean())
    if abs(step) < _NEAR * sigma * math.sqrt(2 / size) or step / (change.after - change.before) < 0.5:
        return False
    place = np.arange(len(near)) - (len(near) - 1) / 2
    return step**2 * size / 2 >= float(place @ near) ** 2 / float(place @ place)


def _tamed(series: Array, sigma: float) -> Array:
    """Within three sigma of the median of itself and its neighbours; beyond the ends the series is mirrored."""
    padded = np.pad(series, _REACH, mode="reflect")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _REACH + 1), axis=1)
    return np.clip(series, middle - _OUTLIER * sigma, middle + _OUTLIER * sigma)


def _pieces(series: Array) -> list[_Piece]:
    """The cheapest way to cut a series (n,) of unit noise: squared residuals, and a price for each piece and slope."""
    count = len(series)
    centred = series - series.mean()
    place = np.arange(count, dtype=np.float64)
    sums = [np.concatenate([[0.0], np.cumsum(each)]) for each in (centred, centred**2, place * centred)]
    price = _PENALTY * math.log(count)
    best = np.full(count + 1, np.inf)  # cost of the first points, of which the last piece is closed
    best[0] = -price
    last: list[_Piece | None] = [None] * (count + 1)
    for end in range(MIN_PIECE, count + 1):
        starts = np.arange(end - MIN_PIECE + 1)
        size = end - starts
        total, square, moment = (each[end] - each[starts] for each in sums)
        level = np.maximum(0.0, square - total**2 / size)
        # Least squares: the slope explains covariance^2 / spread of what the level leaves.
        covariance = moment - total * (starts + end - 1) / 2
        spread = size * (size**2 - 1.0) / 12
        line = np.maximum(0.0, level - covariance**2 / spread) + _SLOPE * math.log(count)
        costs = best[starts] + price + np.minimum(level, line)
        start = int(np.argmin(costs))
        best[end] = costs[start]
        last[end] = _Piece(start, end, bool(line[start] < level[start]))
    found = []
    piece = last[count]
    while piece is not None:
        found.append(piece)
        piece = last[piece.start]
    return found[::-1]


def _judged(series: Array, sigma: float, one: _Piece, other: _Piece, places: int) -> ChangePoint:
    """Student's t of the difference beside the cut, times the number of places where the cut could have been."""
    from scipy.stats import t

    border = other.start - 0.5
    before, leverage_before = _beside(series, one, border)
    after, leverage_after = _beside(series, other, border)
    wide = sigma * math.sqrt(leverage_before + leverage_after)
    freedom = max(1, len(series) - 2)
    p_value = min(1.0, places * 2 * float(t.sf(abs(after - before) / wide, freedom)))
    return ChangePoint(index=other.start, before=before, after=after, p_value=p_value)


def _beside(series: Array, piece: _Piece, border: float) -> tuple[float, float]:
    """What a piece says at its border, and the variance of that in units of the noise's."""
    part = series[piece.start : piece.end]
    size = len(part)
    if not piece.sloped:
        return float(part.mean()), 1 / size
    place = np.arange(piece.start, piece.end) - (piece.start + piece.end - 1) / 2
    spread = float(place @ place)
    slope = float(place @ part) / spread
    away = border - (piece.start + piece.end - 1) / 2
    return float(part.mean()) + slope * away, 1 / size + away**2 / spread
