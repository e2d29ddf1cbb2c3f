"""``hwnas compare``: models on one target, or one model on several, side by side and each against a base.

Everything is profiled, and then measured against the base in alternating blocks: a duet, which ends in a verdict. Two
targets of different devices cannot alternate: there the ratio is that of their calibrated latencies.
"""

from __future__ import annotations

import dataclasses
import functools
import json as json_
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import profile as profiling
from benchmarks import side_by_side, sweeps
from benchmarks.measuring import (
    Bench,
    Setting,
    bench,
    check_folders,
    check_interval,
    label,
    raise_first,
    seconds,
    share,
    tell,
    written,
)
from benchmarks.pipes import reader_may_go
from benchmarks.profile_tables import tell_missing
from benchmarks.side_by_side import Side, slower_when_narrower
from benchmarks.tables import folded
from devices import duet
from devices.duet import DuetPlan
from devices.plan import PRECISE, Job, Plan
from profiles import apart, files
from profiles.comparisons import Comparison
from profiles.errors import HwnasError, InputError
from profiles.records import SCHEMA, Profile, Target
from profiles.verdicts import ANSWERS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """``sort``: a column of ``side_by_side``; ``None``: in the order given, the base first."""

    sort: str | None = None
    json: bool = False
    csv: Path | None = None
    html: Path | None = None


def run(
    setting: Setting,
    *,
    base: str | None = None,
    budget: str,
    floor: str,
    interval_ms: float | None,
    timeout: str,
    sweep: Sequence[str] = (),
    fail_on: Sequence[str],
    output: Output,
) -> int:
    """The exit code: 1 where a verdict is one of ``fail_on``, whatever else failed, unless that was bad input. Raises
    the first error otherwise, after what could be measured.
    """
    for verdict in fail_on:
        if verdict not in ANSWERS:
            raise InputError.of("compare", "--fail-on", verdict, ", ".join(ANSWERS))
    side_by_side.check_sort(output.sort)
    check_interval(interval_ms)
    check_folders(csv=output.csv, html=output.html)
    groups = _groups(setting, base)
    settings = {target: sweeps.swept(target, sweep, setting.fleet) for target in setting.targets if sweep}
    plan = DuetPlan(
        budget_s=seconds("--budget", budget),
        floor=share("--floor", floor),
        interval_ms=interval_ms,
        deadline_s=seconds("--timeout", timeout, least_s=0.1),
    )
    with bench(setting) as here:
        work = Work(here, plan)
        try:
            for targets in groups:
                work.compare(targets)
            for target, variants in settings.items():
                if len(work.sides) > 1 and any(side.profile.target.name == target.name for side in work.sides):
                    work.sweep(target, variants)
        except HwnasError as error:
            work.errors.append(error)
    if len(work.sides) > 1:  # one alone is compared with nothing
        unprinted: list[HwnasError] = []  # which says nothing to a reader of the page
        with written(Path("stdout"), unprinted), reader_may_go():  # the files and the exit code are for others
            _show(work, output)
        _write(work, output)
        work.errors += unprinted
    failed = any(side.verdict in fail_on for side in work.sides)
    if failed and not any(isinstance(error, InputError) for error in work.errors):
        tell(work.errors)
    else:
        raise_first(work.errors)
    return int(failed)


def _groups(setting: Setting, base: str | None) -> list[list[Target]]:
    """Targets that are compared with each other: all of them for one model, each by itself for several models."""
    names = [target.name for target in setting.targets]
    if len(setting.given) > 1:
        if base is not None:
            raise InputError(
                f"--base {base}: given several MODELs; accepted: one, since several are compared with the first"
            )
        return [[target] for target in setting.targets]
    if len(names) < 2:
        raise InputError("compare: given one MODEL on one target; accepted: several MODELs, or several --target")
    if base is not None and base not in names:
        raise InputError.of("compare", "--base", base, f"one of --target: {', '.join(names)}")
    return [sorted(setting.targets, key=lambda target: target.name != (base or names[0]))]


class Work:
    """What has been measured so far."""

    def __init__(self, here: Bench, plan: DuetPlan) -> None:
        self.sides: list[Side] = []
        self.points: list[Profile] = []  # of sweeps alone
        self.errors: list[HwnasError] = []
        self._here = here
        self._plan = plan
        # A third of the budget: the verdict stands on the pair, which has all of it.
        self._profiling: Plan = dataclasses.replace(
            PRECISE, budget_s=plan.budget_s / 3, interval_ms=plan.interval_ms, deadline_s=plan.deadline_s
        )

    @property
    def profiles(self) -> list[Profile]:
        return [side.profile for side in self.sides] + self.points

    @property
    def swept(self) -> list[Side]:
        """What stands below the sides, compared with nothing."""
        return [Side(profile=one) for one in self.points]

    @functools.cached_property
    def curves(self) -> list[sweeps.Curve]:
        """To be asked for once all is measured."""
        return sweeps.curves(self.profiles) if self.points else []

    def compare(self, targets: Sequence[Target]) -> None:
        """All models on all targets against the first model on the first target. Where that one fails, other models are
        not measured, and other targets without a comparison.
        """
        against: tuple[Job, Profile] | None = None
        for target in targets:
            for job, profile in zip(self._here.jobs, self._profiles(target), strict=True):
                is_base = target is targets[0] and job is self._here.jobs[0]
                if isinstance(profile, HwnasError):
                    self.errors.append(profile)
                    if is_base and len(self._here.jobs) > 1:
                        return
                elif is_base:
                    against = job, profile
                    self.sides.append(Side(profile=profile, is_base=True))
                else:
                    found = self._against(*against, job, profile) if against else None
                    self.sides.append(Side(profile=profile, comparison=found))

    def sweep(self, target: Target, variants: Sequence[Target]) -> None:
        """What is measured already is not measured again."""
        for variant in variants:
            if variant != target:
                found = self._profiles(variant)
                self.points += [one for one in found if isinstance(one, Profile)]
                self.errors += [one for one in found if isinstance(one, HwnasError)]

    def _profiles(self, target: Target) -> list[Profile | HwnasError]:
        """Of each model, or why there is none: with the target's name, since there are several."""
        try:
            found = profiling.measured(self._here, target, self._profiling, profiling.Extra())
        except HwnasError as error:  # of the target, and so of every model
            found = [error for _ in self._here.jobs]
        return [type(one)(f"{label(target)}: {one}") if isinstance(one, HwnasError) else one for one in found]

    def _against(self, base_job: Job, base: Profile, job: Job, other: Profile) -> Comparison | None:
        here, target = self._here, other.target
        try:
            if base.target.device != target.device:
                found = apart.compare(base, other, floor=self._plan.floor)
            else:
                found = duet.compare(
                    here.session(target),
                    here.prepared(base_job, base.target),
                    here.prepared(job, target),
                    target,
                    base_target=None if base.target == target else base.target,
                    plan=self._plan,
                    on_event=here.progress.hear,
                )
            here.store.add_comparison(found)
        except HwnasError as error:
            self.errors.append(type(error)(f"{label(target)}: {error}"))
            return None
        return found


def _show(work: Work, output: Output) -> None:
    sides = side_by_side.ordered(work.sides, output.sort)
    if output.json:
        answer = {
            "schema": SCHEMA,
            "comparisons": [side.comparison.to_dict(raw=False) for side in sides if side.comparison],
            "profiles": [one.to_dict(raw=False) for one in work.profiles],
        }
        knees = {"knees": sweeps.knees(work.curves)} if work.curves else {}
        print(json_.dumps(answer | knees, indent=1))
        return
    rows = [*sides, *work.swept]
    folded(side_by_side.heads_of(rows), side_by_side.rows_of(rows))
    for line in (*_notes(sides), *slower_when_narrower(sides), *map(sweeps.told, work.curves)):
        print(line, file=sys.stderr)
    tell_missing(work.profiles)


def _write(work: Work, output: Output) -> None:
    """What cannot be written is one of the errors of ``work``."""
    sides = side_by_side.ordered(work.sides, output.sort)
    remarks = [*slower_when_narrower(sides), *map(str, work.errors)]
    if output.csv:
        with written(output.csv, work.errors):
            side_by_side.write_csv([*sides, *work.swept], output.csv)
    if output.html:
        from benchmarks.compare_page import page

        with written(output.html, work.errors):
            files.write_text(output.html, page("compare", sides, work.curves, remarks, work.points))


def _notes(sides: Sequence[Side]) -> list[str]:
    """What the figures mean, and what was odd about them."""
    found = [side.comparison for side in sides if side.comparison]
    if not found:
        return []
    rates = [one.verdict.false_alarm_rate for one in found if one.verdict.false_alarm_rate]
    notes = [
        "latency: with half its 95 % interval; speed-up: base / other, above 1 is faster;"
        f" up to {100 * found[0].verdict.floor:g} % counts as the same"
        + (f"; at most {100 * max(rates):g} % of verdicts of one device are false alarms" if rates else "")
    ]
    for one in found:
        who = f"{one.other} on {label(one.target)}"
        if one.method == apart.METHOD:
            about = f"{who}: from two profiles, since {label(one.base_target or one.target)} is of another device:"
            about += " how two moments of them differ is not in the interval"
        else:
            about = f"{who}: {one.stopped} after {one.verdict.processes} processes"
        if one.verdict.verdict == "undecided":
            about += "; a longer --budget may decide"
        if "disturbed" in one.flags:
            reasons = ", ".join(one.conditions.get("reasons", {}))
            about += f"; the machine stayed disturbed ({reasons})"
        notes.append(about)
    return notes
