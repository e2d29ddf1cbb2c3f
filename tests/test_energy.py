"""Energy from readings: by hand, by property, from made-up sensors whose truth is known, and when it is refused."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import energy as made_up
from devices import energy
from devices.energy import Stretches
from profiles.errors import MeasurementError

# Idle for 0..10 s, five windows of 10 s from 20 s on, idle for 80..90 s.
STRETCHES = Stretches(
    windows_s=np.array([[20.0 + 10 * k, 30.0 + 10 * k] for k in range(5)]),
    runs=np.array([100.0, 100, 100, 100, 100]),
    idle_s=np.array([[0.0, 10.0], [80.0, 90.0]]),
)
TIME_S = np.arange(0, 90.01, 0.05)


def watts(idle: float = 2.0, after: float | None = None, windows: tuple[float, ...] = (6.0,) * 5) -> np.ndarray:
    """A value for each of TIME_S: between stretches as in the windows."""
    number = np.clip((TIME_S - 20) // 10, 0, 4).astype(int)
    power_w = np.array(windows)[number]
    power_w[TIME_S <= 15] = idle
    power_w[TIME_S >= 75] = idle if after is None else after
    return power_w


def test_by_hand() -> None:
    found = energy.of_readings(TIME_S, watts(), "power_w", STRETCHES, 0.1)
    assert (found.power_w, found.idle_power_w) == (pytest.approx(6.0), pytest.approx(2.0))
    assert found.energy_total_mj == pytest.approx(600.0)  # 6 W x 10 s / 100
    assert found.energy_mj == pytest.approx(400.0)  # (60 J - 2 W x 10 s) / 100
    assert found.energy_mj_sd == pytest.approx(0.0, abs=1e-9)


def test_the_spread_is_that_of_the_windows_and_idle_leaves_doubt_too() -> None:
    joules = np.concatenate([[20.0, 20.8], [58.0, 59.0, 60.0, 61.0, 62.0]])  # idle at 2.00 and 2.08 W
    starts = STRETCHES.all_s[:, 0]
    order = np.argsort(starts)
    time_s = STRETCHES.all_s[order].ravel()
    steps = np.zeros(len(time_s))
    steps[1::2] = joules[order]
    found = energy.of_readings(time_s, np.cumsum(steps), "energy_j", STRETCHES, 1e-6)
    spread = np.std([580, 590, 600, 610, 620], ddof=1)
    assert found.energy_windows_mj == pytest.approx((376, 386, 396, 406, 416))
    assert found.energy_mj_sd == pytest.approx(spread)
    assert found.energy_mj_sem == pytest.approx(np.hypot(spread / np.sqrt(5), 0.04 * 100))  # +-0.04 W for 0.1 s
    assert found.power_w_sem == pytest.approx(spread / 100 / np.sqrt(5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"after": 2.2}, r"idle power moved by 9\.5 %, from 2 W before to 2\.2 W after; accepted: 5 %"),
        ({"idle": 6.0}, "the meter is stuck: all of its 1401 readings under load and after it are 6 W"),
        ({"idle": 6.1, "after": 6.0}, "the meter is stuck"),  # since some moment at rest
    ],
)
def test_power_that_tells_nothing(changes: dict[str, float], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        energy.of_readings(TIME_S, watts(**changes), "power_w", STRETCHES, 0.1)


def test_a_window_shorter_than_100_periods() -> None:
    with pytest.raises(MeasurementError, match=r"window of 10 s is too short: .* every 0\.2 s, .* 100 .* \(20 s\)"):
        energy.of_readings(TIME_S, watts(), "power_w", STRETCHES, 0.2)


def test_a_sensor_that_is_slower_than_it_says() -> None:
    noisy = np.repeat(watts()[::20] + 0.01 * np.random.default_rng(0).standard_normal(91), 20)[: len(TIME_S)]
    assert energy.observed_period_s(TIME_S, noisy) == pytest.approx(1.0)
    with pytest.raises(MeasurementError, match="change every 1 s"):
        energy.of_readings(TIME_S, noisy, "power_w", STRETCHES, 0.05)


def test_readings_that_stop_or_are_not_there() -> None:
    kept = (TIME_S < 40.99) | (TIME_S > 44)
    with pytest.raises(MeasurementError, match=r"no reading for 3\.1 s of a window of 10 s"):
        energy.of_readings(TIME_S[kept], watts()[kept], "power_w", STRETCHES, 0.1)
    with pytest.raises(MeasurementError, match="no reading for 10 s"):
        energy.of_readings(np.array([]), np.array([]), "power_w", STRETCHES, 0.1)
    still = np.where(TIME_S < 40, TIME_S, 40.0)
    with pytest.raises(MeasurementError, match="counter stood still"):
        energy.of_readings(TIME_S, still, "energy_j", STRETCHES, 0.1)


def test_the_steps_of_a_counter_around_each_edge() -> None:
    steps_s = np.arange(-0.05, 91.0, 0.1)
    energy.check_steps(steps_s, STRETCHES, 0.1)
    energy.check_steps(steps_s[(steps_s < 24) | (steps_s > 26)], STRETCHES, 0.1)  # within a window
    with pytest.raises(MeasurementError, match=r"stepped 1\.1 s apart; its pace is 0\.1 s"):
        energy.check_steps(steps_s[(steps_s < 29.5) | (steps_s > 30.5)], STRETCHES, 0.1)
    for missing in (steps_s[steps_s > 0], steps_s[steps_s < 90]):
        with pytest.raises(MeasurementError, match="not seen to step before and after each stretch"):
            energy.check_steps(missing, STRETCHES, 0.1)


def test_too_few_windows() -> None:
    few = dataclasses.replace(STRETCHES, windows_s=STRETCHES.windows_s[:4], runs=STRETCHES.runs[:4])
    with pytest.raises(MeasurementError, match="4 windows; at least 5"):
        energy.of_readings(TIME_S, watts(), "power_w", few, 0.1)


@given(
    st.integers(2, 10**12).flatmap(
        lambda size: st.tuples(st.just(size), st.integers(0, size - 1), st.lists(st.integers(0, size - 1), max_size=20))
    )
)
def test_a_counter_that_begins_again_loses_nothing(given_: tuple[int, int, list[int]]) -> None:
    size, start, steps = given_
    raw = [value % size for value in itertools.accumulate([start, *steps])]
    assert [energy.rise(before, after, size) for before, after in itertools.pairwise(raw)] == steps


def test_a_counter_that_falls_otherwise() -> None:
    with pytest.raises(MeasurementError, match="fell from 10 to 9"):
        energy.rise(10, 9, None)
    with pytest.raises(MeasurementError, match="fell from 10 to 9"):
        energy.rise(10, 9, 5)


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 100)), min_size=3, max_size=50),
    st.floats(0, 1),
    st.sampled_from(["power_w", "energy_j"]),
)
def test_energy_adds_up_over_neighbouring_spans(steps: list[tuple[float, float]], share: float, quantity: str) -> None:
    time_s = np.cumsum([step for step, _ in steps])
    value = np.array([value for _, value in steps])
    start_s, end_s = float(time_s[0]), float(time_s[-1])
    middle_s = start_s + share * (end_s - start_s)
    first, second, whole = energy.energy_between(
        time_s, value, quantity, np.array([[start_s, middle_s], [middle_s, end_s], [start_s, end_s]])
    )
    assert first + second == pytest.approx(whole, abs=1e-9)
    if quantity == "power_w":
        assert value.min() * (end_s - start_s) - 1e-9 <= whole <= value.max() * (end_s - start_s) + 1e-9


@pytest.mark.parametrize("name", [name for name, (_, inference_s) in made_up.SENSORS.items() if inference_s is None])
def test_the_truth_is_found_again_within_2_percent(name: str) -> None:
    look, _ = made_up.SENSORS[name]
    generator = np.random.default_rng(1)
    for _ in range(6):
        found, truth_mj = made_up.recovered(look, generator)
        assert found.energy_mj == pytest.approx(truth_mj, rel=made_up.ACCEPTED)


def test_a_sensor_in_step_with_the_inferences_shows_it_in_its_spread() -> None:
    look, inference_s = made_up.SENSORS["power, looks 25 % of the time, in step with the inferences"]
    found, truth_mj = made_up.recovered(look, np.random.default_rng(0), inference_s)
    assert found.energy_mj_sem > made_up.ACCEPTED * truth_mj
