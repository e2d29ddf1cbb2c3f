"""The front and its hypervolume: written out by hand, then against BoTorch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.generators import Limit, Objective
from nas.pareto import front, hypervolume, reference_point

ACCURACY = Objective(name="acc", goal="max", threshold=0.5)
LATENCY = Objective(name="ms", goal="min", threshold=10.0)
BOTH = (ACCURACY, LATENCY)


def rows(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"acc": acc, "ms": ms} for acc, ms in points]


def test_the_front_of_nine_points_with_ties_and_duplicates() -> None:
    points = rows((0.9, 5), (0.8, 2), (0.8, 3), (0.95, 9), (0.9, 5), (0.7, 2), (0.6, 1), (0.6, 1.5), (0.95, 9.5))
    assert front(points, BOTH) == [0, 1, 3, 4, 6]


def test_a_row_that_breaks_a_limit_or_lacks_a_metric_is_not_on_the_front() -> None:
    points = [*rows((0.9, 5), (0.99, 20)), {"ms": 1.0}, {"acc": 0.95, "ms": 4.0, "mb": 3.0}]
    assert front(points, BOTH, [Limit(name="ms", op="<=", bound=10)]) == [3]
    assert front(points, BOTH, [Limit(name="mb", op="<=", bound=4)]) == [3]
    assert front(points, BOTH, [Limit(name="acc", op=">=", bound=0.96)]) == [1]


def test_no_rows_no_front() -> None:
    assert front([], BOTH) == []
    assert hypervolume([], BOTH, {"acc": 0.5, "ms": 10}) == 0.0


def test_hypervolume_by_hand() -> None:
    """(0.9, 5) and (0.8, 2) against (0.5, 10): 0.4 x 5 + 0.3 x 3 in accuracy x ms."""
    assert hypervolume(rows((0.9, 5), (0.8, 2)), BOTH, {"acc": 0.5, "ms": 10}) == pytest.approx(2.9)


def test_points_beyond_the_reference_add_nothing() -> None:
    assert hypervolume(rows((0.4, 1), (0.9, 11)), BOTH, {"acc": 0.5, "ms": 10}) == 0.0


def test_reference_point_from_threshold_then_limit_then_the_worst_row() -> None:
    free = (Objective(name="acc", goal="max"), Objective(name="ms", goal="min"))
    assert reference_point(rows((0.9, 5), (0.8, 2)), free) == {"acc": 0.8, "ms": 5}
    assert reference_point(rows((0.9, 5)), free, [Limit(name="ms", op="<=", bound=7)]) == {"acc": 0.9, "ms": 7}
    assert reference_point([], free) is None
    assert reference_point([], BOTH) == {"acc": 0.5, "ms": 10.0}


def test_only_a_limit_on_how_bad_it_may_be_is_a_reference_point() -> None:
    free = (Objective(name="acc", goal="max"), Objective(name="ms", goal="min"))
    most, least = Limit(name="ms", op="<=", bound=10), Limit(name="ms", op=">=", bound=1)
    for limits in ([most, least], [least, most], [Limit(name="ms", op="<=", bound=20), most]):
        assert reference_point(rows((0.9, 5)), free, limits) == {"acc": 0.9, "ms": 10}
    assert reference_point(rows((0.9, 5), (0.8, 2)), free, [least]) == {"acc": 0.8, "ms": 5}
    ceiling, floor = Limit(name="acc", op="<=", bound=1), Limit(name="acc", op=">=", bound=0.7)
    assert reference_point(rows((0.9, 5)), free, [floor, ceiling]) == {"acc": 0.7, "ms": 5}


points = st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 12)), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None)
@given(points)
def test_no_member_dominates_another_and_all_others_are_dominated(found: list[tuple[float, float]]) -> None:
    chosen = front(rows(*found), BOTH)

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    for index, point in enumerate(found):
        dominated = any(dominates(found[other], point) for other in range(len(found)))
        assert (index in chosen) != dominated


@settings(max_examples=40, deadline=None)
@given(points)
def test_hypervolume_agrees_with_botorch(found: list[tuple[float, float]]) -> None:
    import torch
    from botorch.utils.multi_objective.hypervolume import Hypervolume
    from botorch.utils.multi_objective.pareto import is_non_dominated

    y = torch.tensor([[acc, -ms] for acc, ms in found], dtype=torch.double)
    theirs = Hypervolume(ref_point=torch.tensor([0.5, -10.0], dtype=torch.double)).compute(y[is_non_dominated(y)])
    assert hypervolume(rows(*found), BOTH, {"acc": 0.5, "ms": 10}) == pytest.approx(theirs, abs=1e-9)
