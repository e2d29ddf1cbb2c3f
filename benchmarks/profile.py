"""``hwnas profile``: models on targets, each figure with its interval."""

from __future__ import annotations

import dataclasses
import json as json_
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import profile_fleet
from benchmarks import sweeps as sweeps_
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
    written,
)
from benchmarks.pipes import reader_may_go
from benchmarks.profile_tables import show
from benchmarks.side_by_side import Side, slower_when_narrower
from devices import extras
from devices.measure import profile_all
from devices.plan import PRECISE, Job, Plan
from devices.session import OnEvent, Session
from profiles import files, frames
from profiles.errors import HwnasError, InputError
from profiles.records import SCHEMA, Profile, Target


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What is measured beside a profile; by default nothing."""

    callers: int | None = None
    sustain_s: float | None = None
    operators: bool = False
    deadline_s: float = PRECISE.deadline_s  # for each


def run(
    setting: Setting,
    *,
    within: str,
    budget: str,
    interval_ms: float | None,
    timeout: str,
    sweeps: Sequence[str],
    callers: int | None,
    sustain: str | None,
    operators: bool,
    json: bool,
    csv: Path | None,
    html: Path | None = None,
) -> None:
    """Raises the first error where nothing could be measured; where some could, those are printed before."""
    check_interval(interval_ms)
    check_folders(csv=csv, html=html)
    plan = dataclasses.replace(
        PRECISE,
        within=share("--within", within, least=0.0001),
        budget_s=seconds("--budget", budget),
        interval_ms=interval_ms,
        deadline_s=seconds("--timeout", timeout, least_s=0.1),
    )
    sustain_s = seconds("--sustain", sustain) if sustain else None
    extra = Extra(callers=callers, sustain_s=sustain_s, operators=operators, deadline_s=plan.deadline_s)
    targets = [swept for target in setting.targets for swept in sweeps_.swept(target, sweeps, setting.fleet)]
    if extra.sustain_s is not None:
        extras.check_sustain(extra.sustain_s)
    if callers is not None:
        extras.check_callers(callers)
    found: list[Profile] = []
    errors: list[HwnasError] = []
    with bench(setting) as here:
        boards = {board for target in targets for board in setting.fleet.boards(target.device)}
        # A board may be away for a moment: it is waited for and tried again. Several models on one board alone are
        # timed in turns instead.
        single = len(here.jobs) == len(targets) == 1 and not setting.fleet.is_here(targets[0].device)
        if len(boards) > 1 or single or any(target.device in setting.fleet.pools for target in targets):

            def finish(session: Session, job: Job, profile: Profile) -> Profile:
                return _with_extras(session, job, profile, extra, lambda kind, data: None)

            found, errors = profile_fleet.measure(setting.fleet, here.jobs, targets, here.store, plan, finish)
        else:
            for target in targets:
                try:
                    results = measured(here, target, plan, extra)
                except HwnasError as error:
                    results = [error]
                found += [one for one in results if isinstance(one, Profile)]
                errors += [one for one in results if isinstance(one, HwnasError)]
    curves = sweeps_.curves(found) if sweeps else []
    with written(Path("stdout"), errors), reader_may_go():  # the files are for others
        if found and json:
            knees = {"knees": sweeps_.knees(curves)} if curves else {}
            profiles = [one.to_dict(raw=False) for one in found]
            print(json_.dumps({"schema": SCHEMA, "profiles": profiles, **knees}, indent=1))
        elif found:
            show(found, curves)
    if csv and found:
        with written(csv, errors):
            frames.write_csv(found, csv)
    if html and found:
        with written(html, errors):
            files.write_text(html, _page(found, curves))
    raise_first(errors)


def measured(here: Bench, target: Target, plan: Plan, extra: Extra) -> list[Profile | HwnasError]:
    """Each model of the command on ``target``, kept in the store, or why there is no figure."""
    session = here.session(target)
    target = dataclasses.replace(target, device=session.name)  # of a pool, the board that it is
    usable = here.usable(target, plan)
    session = here.session(target)  # it may have been connected anew
    jobs = [one for one in usable if isinstance(one, Job)]
    if not jobs:
        return [one for one in usable if isinstance(one, HwnasError)]
    reference_ms = here.reference_ms(target)
    harness_us = extras.harness_us(session, target)
    plan = dataclasses.replace(plan, meter=here.meter(target))
    results = profile_all(session, jobs, target, reference_ms=reference_ms, plan=plan, on_event=here.progress.hear)
    done = iter([_finished(here, job, result, harness_us, extra) for job, result in zip(jobs, results, strict=True)])
    return [next(done) if isinstance(one, Job) else one for one in usable]


def _finished(
    here: Bench, job: Job, result: Profile | HwnasError, harness_us: float, extra: Extra
) -> Profile | HwnasError:
    """With what is measured beside it, and in the store."""
    if isinstance(result, HwnasError):
        return result
    try:
        session, timed = here.session(result.target), dataclasses.replace(result, harness_us=harness_us)
        profile = _with_extras(session, job, timed, extra, here.progress.hear)
        here.store.add_profile(profile)
    except HwnasError as error:
        return type(error)(f"{label(result.target)}: {error}")
    return profile


def _with_extras(session: Session, job: Job, profile: Profile, extra: Extra, hear: OnEvent) -> Profile:
    """What cannot be measured leaves the other figures as they are, and its reason in ``missing``."""
    target, limits = profile.target, {"deadline_s": extra.deadline_s}

    def taken(field: str, what: str, take: Callable[[], Any]) -> None:
        nonlocal profile
        hear("pass", {"model": job.name, "pass": what, "number": 0, "of": 1})
        try:
            profile = dataclasses.replace(profile, **{field: take()})
        except InputError:
            raise
        except HwnasError as error:
            if session.closed:
                raise
            profile = dataclasses.replace(profile, missing={**profile.missing, field: str(error)})

    if extra.operators:
        taken("operators", "operators", lambda: extras.operators(session, job, target, **limits))
    profile = dataclasses.replace(profile, **extras.fallback_time(profile))
    if extra.callers:
        callers = extra.callers
        taken("concurrent", f"{callers} callers", lambda: extras.concurrent(session, job, target, callers, **limits))
    if extra.sustain_s:
        steady_s = extra.sustain_s
        what = f"a steady load for {steady_s:g} s"
        taken("sustained", what, lambda: extras.sustained(session, job, target, steady_s, **limits))
        if profile.sustained and profile.sustained["throttled_windows"] and "throttled" not in profile.flags:
            profile = dataclasses.replace(profile, flags=(*profile.flags, "throttled"))
    return profile


def _page(found: Sequence[Profile], curves: Sequence[sweeps_.Curve]) -> str:
    from benchmarks.compare_page import page

    sides = [Side(profile=one) for one in found]
    return page("profile", sides, curves, slower_when_narrower(sides))
