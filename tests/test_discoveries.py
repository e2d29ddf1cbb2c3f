"""From verdicts to alarms: the p-value says what the verdict says, and few of the discoveries are false."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.discoveries import discoveries, p_value
from profiles.verdicts import judge

# Log-ratios that a ratio still tells apart from 0.
groups = st.lists(st.floats(-0.2, 0.2).map(lambda log: round(log, 6)), min_size=1, max_size=6).map(np.array)
duets = st.lists(groups, min_size=3, max_size=8)


@given(duets, st.floats(0, 0.1), st.integers(1, 4))
def test_a_verdict_of_regressed_is_a_small_p_value(per_process: list[np.ndarray], floor: float, look: int) -> None:
    verdict = judge(per_process, floor=floor, look=look)
    p = p_value(verdict)
    assert 0 <= p <= 1
    if abs(p - verdict.false_alarm_rate) > 1e-6:
        assert (p < verdict.false_alarm_rate) == (verdict.verdict == "regressed")


def test_one_by_hand() -> None:
    """Four processes at 0, 2, 4 and 6 %, floor 0: mean 3 %, standard error 1.29 %, t = 2.32 with 3 degrees of freedom,
    whose upper tail is 0.0514; both tails and four looks make 0.411.
    """
    logs = [np.array([log]) for log in (0.0, 0.02, 0.04, 0.06)]
    assert p_value(judge(logs, floor=0.0)) == pytest.approx(0.411, abs=0.001)
    assert p_value(judge([-log for log in logs], floor=0.0)) == 1.0


def test_processes_that_agree_exactly() -> None:
    assert p_value(judge([np.array([0.05])] * 4, floor=0.02)) == 0.0
    assert p_value(judge([np.array([0.01])] * 4, floor=0.02)) == 1.0


def test_benjamini_and_hochberg_by_hand() -> None:
    """Of four at a rate of 1 %: the smallest may be 0.25 %, the second 0.5 %, the third 0.75 %, the fourth 1 %."""
    assert discoveries([0.0049, 0.5, 0.0024, 0.02]) == [True, False, True, False]
    assert discoveries([0.0026, 0.5, 0.9, 0.02]) == [False] * 4
    assert discoveries([]) == []


def test_how_many_discoveries_are_false() -> None:
    """40 nights of 6 pairs whose processes differ by 0.7 %: none is worse but, in every other night, one by 6 %."""
    rng = np.random.default_rng(0)
    false = found = 0
    for night in range(40):
        truths = [math.log(1.06) if night % 2 and pair == 0 else 0.0 for pair in range(6)]
        verdicts = [judge([rng.normal(truth, 0.007, 4) for _ in range(8)], floor=0.02) for truth in truths]
        alarms = discoveries([p_value(verdict) for verdict in verdicts])
        false += sum(alarm for alarm, truth in zip(alarms, truths, strict=True) if not truth)
        found += alarms[0] and bool(truths[0])
    assert false == 0
    assert found >= 19
