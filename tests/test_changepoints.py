"""Change points: in the recorded series where they are, and properties that hold for any series."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.changepoints import MIN_POINTS, by_environment, change_points

LAYER = math.log(21 / 20)  # what one more layer of twenty costs, nearly: the rest of a network takes its time too

# series -> (night, layers before, layers after) of each change; a night is the first one after the change
CHANGES = {
    "none": [],
    "step up": [(18, 20, 21)],
    "step down": [(12, 21, 20)],
    "two steps": [(10, 20, 21), (20, 21, 22)],
    "level back to normal": [(10, 20, 21), (20, 21, 20)],
    "noisy step": [(15, 20, 22)],
    "short": [],
    "fingerprint change": [],
    "drift": [],
    "outliers": [],
}


@pytest.fixture(scope="module")
def recorded(root: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    with (root / "benchmarks/tables/series.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["series"], []).append(row)
    return found


def test_ten_series_are_recorded(recorded: dict[str, list[dict[str, str]]]) -> None:
    assert sorted(recorded) == sorted(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_change_points_of_the_recorded_series(recorded: dict[str, list[dict[str, str]]], name: str) -> None:
    rows = recorded[name]
    found = []
    for places in by_environment([row["environment"] for row in rows]):
        series = [float(rows[place]["log_ratio"]) for place in places]
        errors = [float(rows[place]["sem"]) for place in places]
        found += [(places[one.index], one) for one in change_points(series, errors)]
    assert [place for place, _ in found] == [night for night, _, _ in CHANGES[name]]
    for (_, one), (_, before, after) in zip(found, CHANGES[name], strict=True):
        assert one.after - one.before == pytest.approx(math.log(after / before), abs=0.35 * LAYER)
        assert one.p_value <= 0.001


def test_the_fingerprint_change_would_be_a_step_in_one_series(recorded: dict[str, list[dict[str, str]]]) -> None:
    series = [float(row["log_ratio"]) for row in recorded["fingerprint change"]]
    assert [one.index for one in change_points(series)] == [15]


def test_a_step_without_noise_is_where_it_is() -> None:
    (one,) = change_points([0.0] * 12 + [0.05] * 8)
    assert (one.index, one.before, one.after) == (12, pytest.approx(0), pytest.approx(0.05))
    assert one.percent == pytest.approx(5.127, abs=0.001)


def test_a_step_upon_drift_is_found_and_the_drift_is_not() -> None:
    drift = 0.002 * np.arange(40) + 0.001 * np.random.default_rng(0).standard_normal(40)
    (one,) = change_points(drift + 0.1 * (np.arange(40) >= 25))
    assert one.index == 25
    assert one.after - one.before == pytest.approx(0.1, abs=0.01)


def test_four_bad_nights_are_no_change() -> None:
    series = [0.0] * 15 + [0.3] * 4 + [0.0] * 15
    assert change_points(series) == []


def test_a_change_within_the_floor_is_none() -> None:
    series = [0.0] * 20 + [0.02] * 20
    assert len(change_points(series, floor=0.01)) == 1
    assert change_points(series, floor=0.05) == []


def test_large_errors_make_a_step_insignificant() -> None:
    series = [0.0] * 8 + [0.03] * 8
    assert len(change_points(series, [0.001] * 16)) == 1
    assert change_points(series, [0.05] * 16) == []
    assert len(change_points(series, [math.nan] * 16)) == 1


def test_what_is_no_series_is_refused() -> None:
    for wrong in ([[0.0]], [0.0, math.nan]):
        with pytest.raises(ValueError, match="a series is"):
            change_points(wrong)
    with pytest.raises(ValueError, match="a series is"):
        change_points([0.0, 1.0], [0.1])


def test_an_environment_that_comes_back_goes_on_with_its_series() -> None:
    assert by_environment(["a", "a", "b", "a"]) == [[0, 1, 3], [2]]


VALUES = st.lists(st.floats(-1, 1, allow_subnormal=False), max_size=40)


@given(st.floats(-10, 10), st.integers(0, 60))
def test_a_constant_series_has_no_change(level: float, count: int) -> None:
    assert change_points([level] * count) == []


@given(VALUES)
def test_change_points_are_in_order_and_apart(values: list[float]) -> None:
    places = [one.index for one in change_points(values)]
    assert len(values) >= MIN_POINTS or places == []
    borders = [0, *places, len(values)]
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(borders)) or places == []


@given(VALUES, st.integers(-64, 64))
def test_a_shift_of_all_values_changes_nothing(values: list[float], shift: int) -> None:
    """Whole numbers over 64 on values rounded likewise: without rounding errors, which may break a tie."""
    even = [round(64 * value) / 64 for value in values]
    moved = [value + shift / 64 for value in even]
    assert [one.index for one in change_points(moved)] == [one.index for one in change_points(even)]


@given(st.integers(10, 30), st.integers(10, 30), st.floats(0.05, 1), st.integers(0, 99))
def test_a_clear_step_is_found_and_read_backwards_too(before: int, after: int, height: float, seed: int) -> None:
    noise = 0.002 * np.random.default_rng(seed).standard_normal(before + after)
    series = noise + height * (np.arange(before + after) >= before)
    (one,) = change_points(series)
    assert one.index == before
    assert one.after - one.before == pytest.approx(height, abs=0.01)
    (mirrored,) = change_points(series[::-1])
    assert mirrored.index == after
    assert mirrored.percent < 0 < one.percent
