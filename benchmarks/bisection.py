"""Which is the first bad one of a list that begins good and ends bad: by halves, with verdicts that may be open."""

from __future__ import annotations

from collections.abc import Callable

from profiles.verdicts import Answer


def first_bad(count: int, judge: Callable[[int], Answer]) -> tuple[int, int]:
    """(last known good, first known bad), of which 0 is good and ``count`` - 1 is bad; neighbours where it was found.

    ``judge`` says of an index what it is against the first: "regressed" is bad, "same" and "improved" are good. Where
    it is "undecided" its neighbours are asked, nearest to the middle first; what lies between the two in the end is
    what could not be decided. Each index is asked at most once, and no more of them than halving takes while all are
    decided. Takes it that all after a bad one are bad; where that is not so, one of the borders is found.
    """
    good, bad = 0, count - 1
    undecided: set[int] = set()
    while left := [index for index in range(good + 1, bad) if index not in undecided]:
        index = min(left, key=lambda one: (abs(2 * one - good - bad), one))
        answer = judge(index)
        if answer == "undecided":
            undecided.add(index)
        elif answer == "regressed":
            bad = index
        else:
            good = index
    return good, bad
