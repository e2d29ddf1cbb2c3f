"""The knee of latency against throughput; the ratio of two profiles. Expectations worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_example import profile_of

from profiles import apart
from profiles.errors import MeasurementError
from profiles.knee import knee
from profiles.records import Profile

# throughput, latency: cheap at first, dear at the end. Scaled: x 0, 0.5, 0.9, 1; y 0, 0.1, 0.2, 1; below the line by
# 0, 0.4, 0.7, 0.
BENT = ([10.0, 60.0, 100.0, 110.0], [1.0, 2.0, 3.0, 11.0])


@pytest.mark.parametrize(
    ("throughput", "latency", "expected"),
    [
        (*BENT, 2),
        (BENT[0][::-1], BENT[1][::-1], 1),  # in any order
        ([*BENT[0], 90.0], [*BENT[1], 9.0], 2),  # one that (100, 3) beats in both
        ([*BENT[0], 100.0], [*BENT[1], 3.0], 2),  # of two equal ones the first
        ([1, 2, 3], [1, 2, 3], None),  # each step as dear as the next
        ([1, 2, 3], [1, 3, 4], None),  # above the line: dear at first
        ([1, 2], [1, 2], None),
        ([1, 2, 3], [3, 2, 1], None),  # one beats all
        ([1], [1], None),
        ([], [], None),
    ],
)
def test_the_knee(throughput: list[float], latency: list[float], expected: int | None) -> None:
    assert knee(throughput, latency) == expected


@given(
    st.lists(st.tuples(st.floats(1, 1e6), st.floats(1e-3, 1e3)), max_size=12),
    st.integers(-8, 8),
    st.integers(-8, 8),
)
def test_the_knee_is_beaten_by_none_whatever_the_units(points: list[tuple[float, float]], a: int, b: int) -> None:
    x, y = np.array(points).reshape(-1, 2).T
    found = knee(x, y)
    if found is not None:
        assert not np.any((x >= x[found]) & (y < y[found])) and not np.any((x > x[found]) & (y <= y[found]))
    assert knee(2.0**a * x, 2.0**b * y) == found


def profiled(latency_ms: float, sem: float, processes: int, device: str) -> Profile:
    found = profile_of("m", latency_ms, np.random.default_rng(0))
    group = found.blocks[:4]
    blocks = tuple(dataclasses.replace(block, process=number) for number in range(processes) for block in group)
    target = dataclasses.replace(found.target, name=device, device=device)
    return dataclasses.replace(found, target=target, latency_ms_sem=sem, blocks=blocks)


def test_the_ratio_of_two_profiles() -> None:
    base, other = profiled(2.0, 0.02, 5, "pi4"), profiled(1.0, 0.02, 9, "pi5")
    found = apart.compare(base, other)
    assert found.verdict.ratio == pytest.approx(0.5)
    # Log scale: 1 % and 2 %, together sqrt(5) %; Welch: 25 / (1 / 4 + 16 / 8) = 11.11 degrees of freedom, t 3.0996.
    half = 3.0996 * math.sqrt(5) / 100
    assert found.verdict.ratio_ci99 == pytest.approx((0.5 * math.exp(-half), 0.5 * math.exp(half)), rel=1e-4)
    assert (found.verdict.verdict, found.method, found.stopped) == ("improved", "profiles", "decided")
    assert found.verdict.processes == 5
    record = found.to_dict()
    assert (record["base_target"], record["target"], record["method"]) == ("pi4", "pi5", "profiles")
    back = apart.judge(other, base)
    assert back.verdict == "regressed"
    assert back.ratio_ci99 == pytest.approx(tuple(1 / end for end in found.verdict.ratio_ci99[::-1]))


def test_profiles_that_say_nothing_are_undecided_and_equal_ones_the_same() -> None:
    base = profiled(1.0, 0.05, 3, "a")
    assert apart.judge(base, profiled(1.02, 0.05, 3, "b")).verdict == "undecided"
    assert apart.judge(profiled(1.0, 0.0, 3, "a"), profiled(1.0, 0.0, 3, "b")).verdict == "same"
    with pytest.raises(MeasurementError, match="given 1 processes; accepted: at least 2"):
        apart.judge(base, profiled(1.0, 0.05, 1, "b"))


def test_processes_that_were_left_out_give_no_degrees_of_freedom() -> None:
    base, whole = profiled(1.0, 0.01, 4, "a"), profiled(1.05, 0.01, 4, "b")
    blocks = tuple(dataclasses.replace(block, disturbed=block.process == 3) for block in whole.blocks)
    other = dataclasses.replace(whole, blocks=blocks)
    found = apart.judge(base, other)
    assert (found.processes, found.groups) == (3, 4 + 3)
    assert found.ratio_ci99[0] < apart.judge(base, whole).ratio_ci99[0]
    # A run that stayed disturbed was computed from all it has.
    assert apart.judge(base, dataclasses.replace(other, flags=("disturbed",))) == apart.judge(base, whole)
