"""``hwnas bisect``: the first slow one of a list of model files, or of a wheel's versions, by duets and halving."""

from __future__ import annotations

import dataclasses
import json as json_
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import wheels
from benchmarks.bisection import first_bad
from benchmarks.measuring import Bench, Setting, bench, seconds, share
from benchmarks.tables import table
from devices.duet import DuetPlan, compare
from devices.plan import Job
from devices.transports.local import Device as Local
from profiles.comparisons import Comparison
from profiles.errors import HwnasError, InputError, NothingFits
from profiles.records import SCHEMA, Target
from profiles.verdicts import Answer

_LONGER = 4.0  # times the budget, for a pair that was undecided

Compare = Callable[[int, DuetPlan], Comparison]  # of that index against the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisected:
    """``last_good`` and ``first_bad`` are indices of ``names``: neighbours where the search ended well.

    ``skipped``: index -> why it has no comparison. Undecided ones are among ``comparisons``.
    """

    names: Sequence[str]
    last_good: int
    first_bad: int
    comparisons: dict[int, Comparison]
    skipped: dict[int, str]

    @property
    def found(self) -> bool:
        slow = self.comparisons[self.first_bad].verdict.verdict == "regressed"
        return slow and self.first_bad - self.last_good == 1


def run(
    given: Sequence[str],
    *,
    package: str | None,
    good: str | None,
    bad: str | None,
    target: str,
    fleet: Path | None,
    budget: str,
    floor: str,
    shape: Sequence[str] | None,
    cache: Path | None,
    json: bool,
    store: str | None,
) -> None:
    """Raises NothingFits where the last is no slower than the first."""
    setting = Setting.of(given, [target], fleet, shape, None, {}, store)
    plan = DuetPlan(budget_s=seconds("--budget", budget), floor=share("--floor", floor))
    _check(setting, package, good, bad)
    with bench(setting) as here:
        (where,) = setting.targets
        if package is None:
            names = [job.name for job in here.jobs]
            found = bisect(names, _models(here, where), plan, here.progress.say)
        else:
            names = _versions(package, str(good), str(bad), cache, here.progress.say)
            found = bisect(names, _wheels(here, where, package, names, cache), plan, here.progress.say)
    _show(found, json)


def bisect(names: Sequence[str], measure: Compare, plan: DuetPlan, say: Callable[[str], None]) -> Bisected:
    """``names``: good to bad. The last is compared with the first before anything else.

    An undecided pair is measured once more, longer. Where one between cannot be measured its neighbours are asked.
    Raises NothingFits where the last is not slower, and the error of the comparison of the two ends where that cannot
    be made: what is wrong with the first, or with all, shows there.
    """
    comparisons: dict[int, Comparison] = {}
    skipped: dict[int, str] = {}

    def judge(index: int) -> Answer:
        for tried in (plan, dataclasses.replace(plan, budget_s=_LONGER * plan.budget_s)):
            try:
                comparisons[index] = found = measure(index, tried)
            except HwnasError as error:
                if index == len(names) - 1:
                    raise
                skipped[index] = str(error)
                say(f"{names[index]}: skipped: {error}")
                return "undecided"
            verdict = found.verdict
            say(f"{names[index]}: {verdict.ratio:.4f} x {names[0]}: {verdict.verdict}")
            if verdict.verdict != "undecided":
                break
        return comparisons[index].verdict.verdict

    last = len(names) - 1
    answer = judge(last)
    if answer == "undecided":
        return Bisected(names=names, last_good=0, first_bad=last, comparisons=comparisons, skipped=skipped)
    if answer != "regressed":
        ratio = comparisons[last].verdict.ratio
        raise NothingFits(f"bisect: {names[last]} is no slower than {names[0]}: {answer}, ratio {ratio:.4f}")
    at = first_bad(len(names), judge)
    return Bisected(names=names, last_good=at[0], first_bad=at[1], comparisons=comparisons, skipped=skipped)


def _check(setting: Setting, package: str | None, good: str | None, bad: str | None) -> None:
    if len(setting.targets) > 1:
        raise InputError(f"bisect: --target all: given {len(setting.targets)} targets; accepted: one")
    if package is None:
        if good is not None or bad is not None:
            raise InputError("bisect: --good and --bad are versions of a package: give --package NAME as well")
        if len(setting.given) < 2:
            raise InputError("bisect: given one MODEL; accepted: two or more, good to bad; or --package NAME")
        return
    if good is None or bad is None:
        raise InputError("bisect: --package needs --good VERSION and --bad VERSION")
    if len(setting.given) != 1:
        raise InputError(f"bisect: given {len(setting.given)} MODELs with --package; accepted: one")
    (target,) = setting.targets
    if not isinstance(setting.fleet.device(target.device), Local):
        raise InputError(
            f"bisect: --package makes environments on this machine; target {target.name} is of device {target.device}, "
            'accepted: one of transport "local"'
        )


def _models(here: Bench, target: Target) -> Compare:
    ready: dict[int, Job] = {}

    def prepared(index: int) -> Job:
        if index not in ready:
            ready[index] = here.prepared(here.jobs[index], target)
        return ready[index]

    def measure(index: int, plan: DuetPlan) -> Comparison:
        session, tell = here.session(target), here.progress.hear
        found = compare(session, prepared(0), prepared(index), target, plan=plan, on_event=tell)
        here.store.add_comparison(found)
        return found

    return measure


def _versions(package: str, good: str, bad: str, cache: Path | None, say: Callable[[str], None]) -> list[str]:
    say(f"{package} {good}: making an environment, unless it is there")
    names = wheels.versions_between(package, good, bad, wheels.environment(package, good, cache))
    if len(names) < 2:
        raise InputError(f"bisect: given {package} {good} as good and as bad; accepted: two versions")
    say(f"{len(names)} versions: {', '.join(names)}")
    return names


def _wheels(here: Bench, target: Target, package: str, names: Sequence[str], cache: Path | None) -> Compare:
    def on(index: int) -> Target:
        python = wheels.environment(package, names[index], cache)
        return dataclasses.replace(target, python=str(python))

    def measure(index: int, plan: DuetPlan) -> Comparison:
        base, other = on(0), on(index)
        session, tell = here.session(target), here.progress.hear
        job = here.prepared(here.jobs[0], base)
        found = compare(session, job, job, other, base_target=base, plan=plan, on_event=tell)
        here.store.add_comparison(found)
        return found

    return measure


def _show(found: Bisected, json: bool) -> None:
    if json:
        print(json_.dumps(to_dict(found), indent=1))
    else:
        table([f"against {found.names[0]}", "ratio", "99 % interval", "verdict", ""], _rows(found))
    if found.found:
        print(f"first slow: {found.names[found.first_bad]}", file=sys.stderr)
        return
    inside = ", ".join(found.names[found.last_good + 1 : found.first_bad + 1])
    print(f"not decided: the first slow one, if any, is among {inside}; a longer --budget may decide", file=sys.stderr)


def to_dict(found: Bisected) -> dict[str, Any]:
    """``first_bad`` is null where it was not found; it is then one of ``candidates``."""
    return {
        "schema": SCHEMA,
        "first_bad": found.names[found.first_bad] if found.found else None,
        "last_good": found.names[found.last_good],
        "candidates": list(found.names[found.last_good + 1 : found.first_bad + 1]),
        "skipped": {found.names[index]: why for index, why in sorted(found.skipped.items())},
        "comparisons": {found.names[index]: one.to_dict(raw=False) for index, one in sorted(found.comparisons.items())},
    }


def _rows(found: Bisected) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for index, name in enumerate(found.names):
        one = found.comparisons.get(index)
        mark = "first slow" if found.found and index == found.first_bad else ""
        if one is not None:
            low, high = one.verdict.ratio_ci99
            figures: tuple[str, ...] = (f"{one.verdict.ratio:.4f}", f"{low:.4f} to {high:.4f}", one.verdict.verdict)
        else:
            figures = ("-", "-", "the good one" if index == 0 else "skipped" if index in found.skipped else "not asked")
        rows.append((name, *figures, mark))
    return rows
