"""How often change points are found where there is none, and where there is one, in simulated series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from profiles.changepoints import Array, change_points

SERIES = 400
NOISE = 0.01  # standard deviation, as large as the floor
LENGTHS = (20, 60, 200)

Noise = Callable[[np.random.Generator, int], Array]


def take() -> list[str]:
    lines = [
        "# Change points: false alarms and power",
        "",
        f"Share of {SERIES} simulated series of so many points with any change point, where there is none. The noise",
        f"is {100 * NOISE:g} % of the level, as large as the floor, the worst case: steadier series alarm less.",
        "",
        f"| series | {' | '.join(f'{length} points' for length in LENGTHS)} |",
        f"|---|{'---|' * len(LENGTHS)}",
    ]
    for name, noise in _UNCHANGED.items():
        lines.append(f"| {name} | {' | '.join(_percent(_alarms(noise, length)) for length in LENGTHS)} |")
    lines += [
        "",
        "Share of series with heavy tails (Student's t, 3 degrees of freedom) whose step, at two thirds of the series,",
        "was found, at most one point off.",
        "",
        f"| step, in sd of the noise | {' | '.join(f'{length} points' for length in LENGTHS)} |",
        f"|---|{'---|' * len(LENGTHS)}",
    ]
    for height in (2, 3, 5, 8):
        lines.append(f"| {height} | {' | '.join(_percent(_found(height, length)) for length in LENGTHS)} |")
    return lines


def _alarms(noise: Noise, length: int) -> float:
    generator = np.random.default_rng(length)
    return sum(bool(change_points(NOISE * noise(generator, length))) for _ in range(SERIES)) / SERIES


def _found(height: float, length: int) -> float:
    generator = np.random.default_rng(length)
    place = 2 * length // 3
    hits = 0
    for _ in range(SERIES):
        series = NOISE * _heavy(generator, length)
        series[place:] += NOISE * height
        hits += any(abs(one.index - place) <= 1 for one in change_points(series))
    return hits / SERIES


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _normal(generator: np.random.Generator, length: int) -> Array:
    return generator.standard_normal(length)


def _heavy(generator: np.random.Generator, length: int) -> Array:
    return generator.standard_t(3, length)


def _outliers(generator: np.random.Generator, length: int) -> Array:
    spoilt = generator.random(length) < 0.1
    return _normal(generator, length) + spoilt * generator.exponential(10, length)


def _correlated(generator: np.random.Generator, length: int) -> Array:
    """First-order, 0.3: a night is somewhat like the night before."""
    series = _normal(generator, length)
    for index in range(1, length):
        series[index] = 0.3 * series[index - 1] + np.sqrt(1 - 0.3**2) * series[index]
    return series


def _drift(generator: np.random.Generator, length: int) -> Array:
    return _normal(generator, length) + np.linspace(0, 10, length)


def _drift_that_ends(generator: np.random.Generator, length: int) -> Array:
    return _normal(generator, length) + np.minimum(np.linspace(0, 16, length), 8)


_UNCHANGED: dict[str, Noise] = {
    "normal noise": _normal,
    "heavy tails (Student's t, 3 degrees of freedom)": _heavy,
    "a tenth of the points far too high": _outliers,
    "each point like the one before (correlation 0.3)": _correlated,
    "drift of 10 sd over the series": _drift,
    "drift of 8 sd in its first half": _drift_that_ends,
}
