"""What follows from the stages of a night: written out by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from benchmarks.nightly import words
from benchmarks.nightly.judgements import Judgement, Stage, counts, due, exit_code, settled

ALL: tuple[Stage, ...] = ("first", "longer", "confirm")


def judgement(
    model: str, verdict: str, p_value: float | None = None, metric: str = "latency_ms", **more: Any
) -> Judgement:
    usual: dict[str, Any] = {"target": "local", "floor": 0.02, "ratio": 1.05, "p_value": p_value}
    return Judgement(model=model, metric=metric, verdict=verdict, **usual | more)  # type: ignore[arg-type]


def found(*rows: tuple[Judgement, ...]) -> dict[Any, dict[Stage, Judgement]]:
    """Each row: what the stages said in their order."""
    return {row[0].key: dict(zip(ALL, row, strict=False)) for row in rows}


WORSE, UNCLEAR = judgement("a", "regressed", 1e-6), judgement("b", "undecided", 0.3)
SAME = judgement("c", "same", 1.0)


def test_what_a_longer_look_is_for() -> None:
    """Undecided, and what is worse by itself (p of 0.4 %) but not among four."""
    alone = judgement("d", "regressed", 0.004)
    assert due(found((alone,)), "longer") == []
    assert due(found((UNCLEAR,), (SAME,), (judgement("e", "same", 1.0),), (alone,)), "longer") == [
        ("b", "local", "latency_ms"),
        ("d", "local", "latency_ms"),
    ]


def test_what_failed_is_tried_once_more_and_what_cannot_be_worse_is_left() -> None:
    """Between 4 % and 1 % faster, with a floor of 2 %: the same or improved, and no regression in either case."""
    crashed = judgement("a", "unjudged", failed=True)
    faster = judgement("b", "undecided", 1.0, interval=(0.96, 0.99))
    either = judgement("c", "undecided", 0.3, interval=(0.99, 1.03))
    assert due(found((crashed,), (faster,), (either,), (judgement("d", "unjudged"),)), "longer") == [
        crashed.key,
        either.key,
    ]
    assert [one.judged for one in (crashed, faster, either)] == [False, True, False]
    assert exit_code([faster], 0.0) == (0, []) and exit_code([either], 0.0)[0] == 3
    assert words.verdict(faster) == "not worse"


def test_an_alarm_that_could_not_be_measured_again_is_no_silent_pass() -> None:
    others = [judgement(name, "same") for name in "bcdefghi"]
    for stages in (
        {"first": WORSE},
        {"first": WORSE, "confirm": judgement("a", "unjudged", ratio=None, reason="gone")},
    ):
        judged = settled({WORSE.key: stages})  # type: ignore[dict-item]
        assert exit_code([*judged, *others], 0.2) == (
            3,
            ["a on local: latency_ms is worse, which was neither confirmed nor ruled out"],
        )


def test_a_longer_look_that_brought_nothing_does_not_hide_the_first() -> None:
    weak, lost = judgement("d", "regressed", 0.004), judgement("d", "unjudged", ratio=None, reason="gone", failed=True)
    others = [judgement(name, "same", 1.0) for name in "abc"]
    last = settled(found(*((one,) for one in others), (weak, lost)))[-1]
    assert last.verdict == "undecided" and last.suspect and last.ratio == 1.05
    assert settled(found((UNCLEAR, dataclasses.replace(lost, model="b"))))[0].reason == "measured again: gone"
    # Measured again, but in another environment than the baseline's, it says something.
    again = judgement("a", "unjudged", 1.0, ratio=1.0, reason="same as the baseline's file; the environment is not")
    (one,) = settled({WORSE.key: {"first": WORSE, "confirm": again}})
    assert one.verdict == "undecided" and not one.suspect


def test_an_output_that_is_wrong_in_a_later_stage_is_heard_of() -> None:
    right, wrong = judgement("a", "same", metric="output"), judgement("a", "regressed", metric="output", reason="nan")
    (late,) = settled({right.key: {"first": right, "longer": right, "confirm": wrong}})
    assert late.verdict == "undecided" and late.suspect and late.reason.endswith("nan")
    known = {right.key: {"first": right, "longer": wrong}, UNCLEAR.key: {"first": UNCLEAR}}
    assert due(known, "confirm") == [right.key]  # type: ignore[arg-type]
    (twice, _) = settled(known | {right.key: {"first": right, "longer": wrong, "confirm": wrong}})  # type: ignore[arg-type]
    assert twice.alarm
    (once, _) = settled(known | {right.key: {"first": wrong, "confirm": right}})  # type: ignore[arg-type]
    assert once.verdict == "undecided" and once.suspect


def test_each_alarm_is_confirmed_but_for_what_is_exact() -> None:
    size = judgement("a", "regressed", metric="model_size_mb")
    output = judgement("b", "regressed", metric="output")
    assert due(found((WORSE,), (size,), (output,), (SAME,)), "confirm") == [WORSE.key, output.key]


def test_an_alarm_needs_two_runs() -> None:
    (once,) = settled(found((WORSE,)))
    assert (once.verdict, once.confirmed) == ("undecided", False)
    again = dataclasses.replace(WORSE, ratio=1.03)
    (twice,) = settled({WORSE.key: {"first": WORSE, "confirm": again}})
    assert (twice.alarm, twice.ratio) == (True, 1.03)  # the first figure was chosen for being large
    (not_again,) = settled({WORSE.key: {"first": WORSE, "confirm": dataclasses.replace(SAME, ratio=1.001)}})
    assert not_again.verdict == "undecided"
    assert "same, ratio 1.0010" in not_again.reason


def test_a_longer_look_stands_in_the_place_of_the_first() -> None:
    better_known = judgement("b", "same", 1.0)
    assert settled(found((UNCLEAR, better_known))) == [better_known]


def test_worse_by_itself_and_not_among_all_is_not_a_silent_pass() -> None:
    weak = judgement("d", "regressed", 0.004)
    others = [judgement(name, "same", 1.0) for name in "abc"]
    last = settled(found(*((one,) for one in others), (weak, weak)))[-1]
    assert last.verdict == "undecided"
    assert "among the 4" in last.reason


def test_the_exit_code() -> None:
    alarm = dataclasses.replace(WORSE, confirmed=True)
    right = judgement("b", "same", metric="output")
    others = [judgement(name, "same") for name in "cdef"]
    assert exit_code([*others, UNCLEAR], 0.2) == (0, [])  # of one pair in five it was measured, and not decided
    lost_b = judgement("b", "unjudged")
    assert exit_code([*others, lost_b], 0.2) == (3, ["model b got no judgement"])
    # What is exact does not make a pair whose latency is open a decided one.
    sizes = [judgement(name, "same", metric="model_size_mb") for name in "abcdef"]
    code, reasons = exit_code([SAME, UNCLEAR, *others[:1], *sizes[:3]], 0.2)
    assert (code, reasons) == (3, ["1 of 3 pairs have a judgement missing or undecided, more than 20 %"])
    assert exit_code([SAME, judgement("b", "same"), UNCLEAR], 0.5) == (0, [])
    code, reasons = exit_code([right, lost_b, alarm], 0.2)
    assert code == 1
    assert reasons[0] == "model b got no judgement"
    lost = judgement("c", "unjudged", target="pi5")
    assert "target pi5 got no judgement" in exit_code([SAME, SAME, SAME, SAME, SAME, lost], 0.2)[1]
    assert exit_code([judgement("a", "new")], 0.2) == (0, [])
    # The size of its file says nothing of whether it could be measured.
    size = judgement("b", "same", metric="model_size_mb")
    assert exit_code([*others, *others, lost_b, size], 0.2) == (3, ["model b got no judgement"])
    assert exit_code([*others, size], 0.2) == (0, [])
    many = [judgement(f"m{number}", "undecided" if number < 29 else "same") for number in range(100)]
    assert exit_code(many, 0.29) == (0, []) and exit_code(many, 0.28)[0] == 3
    assert exit_code([dataclasses.replace(WORSE)], 0.2)[0] == 0  # worse once is not an alarm


def test_counting() -> None:
    right = judgement("b", "same", metric="output")
    assert counts([SAME, UNCLEAR, right, SAME]) == {"undecided": 1, "same": 2}


@pytest.mark.parametrize("one", [WORSE, dataclasses.replace(SAME, interval=(0.9, 1.1)), judgement("x", "unjudged")])
def test_a_judgement_survives_the_store(one: Judgement) -> None:
    assert Judgement.from_dict(one.to_dict()) == one
    assert Judgement.from_dict(one.to_dict() | {"of_a_newer_hwnas": 1}) == one
    old = {name: value for name, value in one.to_dict().items() if name not in ("failed", "suspect")}
    assert Judgement.from_dict(old) == one
