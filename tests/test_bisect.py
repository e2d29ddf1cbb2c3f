"""``hwnas bisect``: the search on written verdicts, and versions of wheels. On real files: tests/systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import bisect as command
from benchmarks import wheels
from benchmarks.bisection import first_bad
from devices.duet import DuetPlan
from profiles.comparisons import Comparison
from profiles.errors import InputError, MeasurementError, NothingFits, UnavailableError
from profiles.records import Target
from profiles.verdicts import Answer, Verdict

GOOD, BAD, OPEN = "same", "regressed", "undecided"


def asked(answers: Sequence[Answer]) -> tuple[tuple[int, int], list[int]]:
    order: list[int] = []

    def judge(index: int) -> Answer:
        order.append(index)
        return answers[index]

    return first_bad(len(answers), judge), order


def test_halves() -> None:
    assert asked([GOOD, GOOD, GOOD, GOOD, GOOD, BAD, BAD, BAD, BAD]) == ((4, 5), [4, 6, 5])
    assert asked([GOOD, BAD]) == ((0, 1), [])
    assert asked([GOOD, "improved", BAD]) == ((1, 2), [1])


def test_what_is_undecided_is_gone_around() -> None:
    assert asked([GOOD, GOOD, OPEN, BAD, BAD]) == ((1, 3), [2, 1, 3])
    assert asked([GOOD, OPEN, OPEN, OPEN, BAD]) == ((0, 4), [2, 1, 3])
    assert asked([GOOD, GOOD, OPEN, GOOD, BAD]) == ((3, 4), [2, 1, 3])


@given(st.integers(2, 300), st.data())
def test_found_in_few_questions(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, count - 1))
    found, order = asked([GOOD] * first + [BAD] * (count - first))
    assert found == (first - 1, first)
    assert len(order) <= (count - 1).bit_length()


@given(st.lists(st.sampled_from([GOOD, BAD, OPEN]), max_size=30))
def test_the_borders_are_decided_and_all_between_is_not(middle: list[Answer]) -> None:
    answers: list[Answer] = [GOOD, *middle, BAD]
    (good, bad), order = asked(answers)
    assert answers[good] == GOOD
    assert answers[bad] == BAD
    assert set(answers[good + 1 : bad]) <= {OPEN}
    assert len(order) == len(set(order))


# The command's logic on written comparisons


def comparison(answer: Answer, ratio: float = 1.0) -> Comparison:
    verdict = Verdict(
        verdict=answer,
        ratio=ratio,
        ratio_ci99=(ratio - 0.01, ratio + 0.01),
        ratio_ci95=(ratio - 0.005, ratio + 0.005),
        floor=0.01,
        false_alarm_rate=0.01,
        look=1,
        looks=4,
        processes=5,
        groups=10,
    )
    target = Target(name="local", device="local")
    return Comparison(
        base="a", other="b", base_digest="0", other_digest="1", target=target, device={}, verdict=verdict, base_ms=1.0,
        other_ms=ratio, stopped="decided",
    )  # fmt: skip


def test_an_undecided_pair_is_measured_longer_once() -> None:
    budgets = []

    def measure(index: int, plan: DuetPlan) -> Comparison:
        budgets.append((index, plan.budget_s))
        return comparison("undecided" if plan.budget_s < 20 and index == 1 else "regressed", 1.1)

    found = command.bisect(["a", "b", "c"], measure, DuetPlan(budget_s=10), lambda line: None)
    assert budgets == [(2, 10), (1, 10), (1, 40)]
    assert (found.last_good, found.first_bad, found.found) == (0, 1, True)


def test_what_cannot_be_measured_is_skipped_and_the_range_said(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(index: int, plan: DuetPlan) -> Comparison:
        if index == 2:
            raise UnavailableError("v2 cannot be installed")
        return comparison("regressed" if index == 4 else "undecided" if index == 3 else "same", 1.1)

    found = command.bisect([f"v{n}" for n in range(5)], measure, DuetPlan(), lambda line: None)
    assert command.to_dict(found) | {"comparisons": {}} == {
        "schema": 1,
        "first_bad": None,
        "last_good": "v1",
        "candidates": ["v2", "v3", "v4"],
        "skipped": {"v2": "v2 cannot be installed"},
        "comparisons": {},
    }
    command._show(found, json=False)
    out, err = capsys.readouterr()
    assert [line.split("\t")[3] for line in out.splitlines()[1:]] == [
        "the good one", "same", "skipped", "undecided", "regressed",
    ]  # fmt: skip
    assert "the first slow one, if any, is among v2, v3, v4" in err


def test_a_bad_file_between_is_gone_around_and_one_at_the_end_is_bad_input() -> None:
    names = [f"v{number}" for number in range(5)]

    def bisected(bad: int) -> command.Bisected:
        def measure(index: int, plan: DuetPlan) -> Comparison:
            if index == bad:
                raise InputError(f"v{index}: not a readable ONNX file")
            return comparison("regressed" if index == 4 else "same", 1.1)

        return command.bisect(names, measure, DuetPlan(), lambda line: None)

    found = bisected(2)
    assert (found.last_good, found.first_bad, found.found) == (3, 4, True)
    assert found.skipped == {2: "v2: not a readable ONNX file"}
    with pytest.raises(InputError, match="v4: not a readable ONNX file"):
        bisected(4)


def test_the_ends_decide_whether_there_is_anything_to_find() -> None:
    def always(answer: Answer) -> command.Bisected:
        return command.bisect(["a", "b"], lambda index, plan: comparison(answer), DuetPlan(), lambda line: None)

    assert always("regressed").found
    assert not always("undecided").found
    for answer in ("same", "improved"):
        with pytest.raises(NothingFits, match="b is no slower than a"):
            always(answer)  # type: ignore[arg-type]

    def fails(index: int, plan: DuetPlan) -> Comparison:
        raise MeasurementError("the worker died")

    with pytest.raises(MeasurementError):
        command.bisect(["a", "b", "c"], fails, DuetPlan(), lambda line: None)


# Versions


def test_versions_of_a_wheel() -> None:
    listed = "onnxruntime (1.32.0)\nAvailable versions: 1.32.0, 1.31.1, 1.22.0, 1.9.0\n  INSTALLED: 1.32.0\n"
    available = wheels.parse_versions(listed)
    assert available == ["1.32.0", "1.31.1", "1.22.0", "1.9.0"]
    assert wheels.between(available, "1.9.0", "1.31.1") == ["1.9.0", "1.22.0", "1.31.1"]
    assert wheels.between(available, "1.32.0", "1.22.0") == ["1.32.0", "1.31.1", "1.22.0"]
    assert wheels.parse_versions("nothing") == []
    with pytest.raises(InputError, match=r"accepted: a version such as 1\.22\.0"):
        wheels.between(available, "new", "1.22.0")
    with pytest.raises(InputError, match="without a version"):
        wheels.environment("onnxruntime==1.22.0", "1.22.0")


# Input


def options(**how: Any) -> dict[str, Any]:
    usual = {
        "package": None, "good": None, "bad": None, "target": "local", "fleet": None, "budget": "30s", "floor": "2%",
        "shape": None, "cache": None, "json": True, "store": None,
    }  # fmt: skip
    return usual | how


def test_bad_input_is_said_before_anything_runs() -> None:
    for models, how, message in (
        (["a.onnx"], {}, "two or more, good to bad"),
        (["a.onnx", "b.onnx"], {"good": "1"}, "give --package NAME"),
        (["a.onnx"], {"package": "onnxruntime", "good": "1.22.0"}, "needs --good VERSION and --bad VERSION"),
        (["a.onnx", "b.onnx"], {"package": "onnxruntime", "good": "1", "bad": "2"}, "accepted: one"),
    ):
        with pytest.raises(InputError, match=message):
            command.run(models, **options(**how))
