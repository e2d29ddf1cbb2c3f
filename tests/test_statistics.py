"""Statistics: hand-written expectations, then properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.records import Block
from profiles.statistics import group_log_ratios, minimum_count, percentiles, two_level_bootstrap


def block(process: int, group: int, arm: str, ns: int, disturbed: bool = False) -> Block:
    return Block(process=process, group=group, arm=arm, latencies_ns=(ns, ns, ns), disturbed=disturbed)  # type: ignore[arg-type]


def abba(process: int, group: int, model: tuple[int, int], calibration: tuple[int, int]) -> list[Block]:
    return [
        block(process, group, "model", model[0]),
        block(process, group, "calibration", calibration[0]),
        block(process, group, "calibration", calibration[1]),
        block(process, group, "model", model[1]),
    ]


@pytest.mark.parametrize(
    ("percent", "count"), [(50, 11), (90, 64), (10, 64), (95, 130), (97, 219), (99, 662), (99.9, 6636)]
)
def test_minimum_counts_are_those_of_loadgen(percent: float, count: int) -> None:
    assert minimum_count(percent) == count


def test_a_percentile_without_enough_samples_is_none() -> None:
    assert percentiles(range(1, 11)) == {10: None, 50: None, 90: None, 99: None}
    assert percentiles(range(1, 12)) == {10: None, 50: 6.0, 90: None, 99: None}
    assert percentiles(range(101))[90] == 90.0


def test_ratio_of_a_group_pairs_the_arms() -> None:
    (ratios,) = group_log_ratios(abba(0, 0, (200, 200), (100, 100)), "model", "calibration")
    assert ratios == pytest.approx([math.log(2)])


def test_a_drift_within_the_group_cancels() -> None:
    """The machine slows by 10 % a block; model and calibration model take the same."""
    blocks = abba(0, 0, (1000, 1331), (1100, 1210))
    (ratios,) = group_log_ratios(blocks, "model", "calibration")
    assert ratios == pytest.approx([0.0])


def test_a_disturbed_block_takes_its_group_along() -> None:
    blocks = abba(0, 0, (200, 200), (100, 100)) + abba(0, 1, (900, 200), (100, 100))
    blocks[4] = block(0, 1, "model", 900, disturbed=True)
    (ratios,) = group_log_ratios(blocks, "model", "calibration")
    assert len(ratios) == 1


def test_a_process_without_a_whole_group_is_left_out() -> None:
    blocks = abba(0, 0, (200, 200), (100, 100)) + abba(1, 0, (200, 200), (100, 100))[:3]
    assert len(group_log_ratios(blocks, "model", "calibration")) == 1


def test_the_spread_between_processes_counts_however_quiet_each_is() -> None:
    """Two processes, each perfectly steady, 5 % apart: the mean is not known to better than 2 %."""
    estimate = two_level_bootstrap([np.full(50, 0.0), np.full(50, math.log(1.05))])
    assert estimate.sem > 0.02


def test_processes_that_agree_by_chance_leave_the_noise_within_them() -> None:
    """A hundred groups say how noisy they are: that part of the interval is the normal's, not three processes'."""
    groups = np.random.default_rng(0).normal(0, 0.02, 101)
    estimate = two_level_bootstrap(3 * [groups])
    assert estimate.between == 0
    assert estimate.sem == estimate.within == pytest.approx(1.2533 * 0.02 / math.sqrt(3 * 101), rel=0.3)
    low, high = estimate.interval(0.95)
    assert (high - low) / 2 == pytest.approx(1.96 * estimate.within, rel=0.2)
    low, high = estimate.interval(0.9975)
    assert high - estimate.value >= 3.02 * estimate.within <= estimate.value - low
    assert (high - low) / 2 == pytest.approx(3.023 * estimate.within, rel=0.2)


def test_processes_that_differ_widen_the_interval_as_few_do() -> None:
    """Three steady processes, 4 % apart: Student's t for two degrees of freedom."""
    estimate = two_level_bootstrap([np.full(9, level) for level in (-0.04, 0.0, 0.04)])
    assert estimate.between == pytest.approx(0.04 / math.sqrt(3))
    assert estimate.within == pytest.approx(0, abs=1e-12)
    low, high = estimate.interval(0.9975)
    assert high == -low == pytest.approx(19.96 * estimate.between, rel=0.001)


def test_one_process_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        two_level_bootstrap([np.zeros(100)])


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Five processes that differ by 1 %, eight groups of 2 % noise each: the 95 % interval, 300 times."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        levels = rng.normal(0, 0.01, 5)
        low, high = two_level_bootstrap([rng.normal(level, 0.02, 8) for level in levels], resamples=400).interval(0.95)
        inside += low <= 0 <= high
    assert 0.90 <= inside / 300 <= 0.99


values = st.lists(st.floats(-1, 1), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=2, max_size=5), st.floats(-2, 2))
def test_a_common_factor_moves_the_estimate_and_nothing_else(processes: list[list[float]], shift: float) -> None:
    here = two_level_bootstrap([np.array(p) for p in processes], resamples=50)
    there = two_level_bootstrap([np.array(p) + shift for p in processes], resamples=50)
    assert there.value == pytest.approx(here.value + shift, abs=1e-9)
    assert there.sem == pytest.approx(here.sem, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, min_size=2, max_size=5))
def test_swapping_the_arms_changes_the_sign(processes: list[list[float]]) -> None:
    here = two_level_bootstrap([np.array(p) for p in processes], resamples=50)
    there = two_level_bootstrap([-np.array(p) for p in processes], resamples=50)
    assert there.value == pytest.approx(-here.value, abs=1e-9)
    assert there.sem == pytest.approx(here.sem, abs=1e-9)
