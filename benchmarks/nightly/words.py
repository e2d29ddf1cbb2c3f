"""How a judgement is said, in tables and reports alike."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.nightly.judgements import OUTPUT, Judgement, counts
from benchmarks.nightly.suite import ACCURACY
from benchmarks.pages.words import with_unit

_WORDS = {
    "regressed": ("regression", "regressions"),
    "undecided": ("undecided", "undecided"),
    "unjudged": ("not judged", "not judged"),
    "improved": ("improvement", "improvements"),
    "same": ("the same", "the same"),
    "new": ("new", "new"),
}


def value(one: Judgement, given: float | None) -> str:
    """'12.3 ms'; '-' where there is none."""
    return "-" if given is None else with_unit(one.metric, given)


def change(one: Judgement) -> str:
    """'+4.9 %', of an accuracy '-0.31 pp'."""
    if one.metric == ACCURACY and one.base is not None and one.other is not None:
        return f"{100 * (one.other - one.base):+.2f} pp"
    return "-" if one.ratio is None else f"{100 * (one.ratio - 1):+.2f} %"


def interval(one: Judgement) -> str:
    """'+3.1 to +6.8 %': the one that the verdict stands on."""
    if one.interval is None:
        return "-"
    low, high = (100 * (bound - 1) for bound in one.interval)
    return f"{low:+.2f} to {high:+.2f} %"


def floor(one: Judgement) -> str:
    if one.floor is None:
        return "-"
    return f"{100 * one.floor:.3g} {'pp' if one.metric == ACCURACY else '%'}"


def verdict(one: Judgement) -> str:
    """With whether it was confirmed."""
    if one.metric == OUTPUT and one.verdict in ("regressed", "same"):
        return "wrong, confirmed" if one.alarm else "right"
    if one.not_worse:
        return "not worse"
    return f"{one.verdict}, confirmed" if one.alarm else one.verdict


def summary(judgements: Iterable[Judgement]) -> str:
    """'1 regression, 2 undecided, 14 the same'."""
    return ", ".join(f"{count} {_WORDS[answer][count != 1]}" for answer, count in counts(judgements).items())
