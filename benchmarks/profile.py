"""``hwnas profile``: models on targets, each figure with its interval."""

from __future__ import annotations

import dataclasses
import itertools
import json as json_
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import profile_fleet
from benchmarks.measuring import Bench, Setting, bench, label, seconds, share
from benchmarks.profile_tables import show
from devices import extras
from devices.measure import PRECISE, Job, Plan, profile_all
from devices.session import OnEvent, Session
from profiles import frames
from profiles.errors import HwnasError, InputError
from profiles.records import SCHEMA, Profile, Target


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Extra:
    callers: int | None
    sustain_s: float | None
    operators: bool


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
) -> None:
    """Raises the first error where nothing could be measured; where some could, those are printed before."""
    plan = dataclasses.replace(
        PRECISE,
        within=share("--within", within, least=0.0001),
        budget_s=seconds("--budget", budget),
        interval_ms=interval_ms,
        deadline_s=seconds("--timeout", timeout),
    )
    extra = _Extra(callers=callers, sustain_s=seconds("--sustain", sustain) if sustain else None, operators=operators)
    targets = [swept for target in setting.targets for swept in _swept(target, sweeps, setting)]
    if callers is not None and callers < 1:
        raise InputError(f"--callers: given {callers}; accepted: a whole number from 1")
    found: list[Profile] = []
    errors: list[HwnasError] = []
    with bench(setting) as here:
        if len({board for target in targets for board in setting.fleet.boards(target.device)}) > 1:

            def finish(session: Session, job: Job, profile: Profile) -> Profile:
                return _with_extras(session, job, profile, extra, lambda kind, data: None)

            found, errors = profile_fleet.measure(setting.fleet, here.jobs, targets, here.store, plan, finish)
            targets = []
        for target in targets:
            try:
                results = _measure(here, target, plan, extra)
            except HwnasError as error:
                results = [error]
            found += [one for one in results if isinstance(one, Profile)]
            errors += [one for one in results if isinstance(one, HwnasError)]
    if csv and found:
        frames.write_csv(found, csv)
    if found and json:
        print(json_.dumps({"schema": SCHEMA, "profiles": [one.to_dict(raw=False) for one in found]}, indent=1))
    elif found:
        show(found)
    if errors:
        # Bad input before what failed, as in all commands.
        errors.sort(key=lambda error: error.exit_code != InputError.exit_code)
        for other in errors[1:]:
            print(f"hwnas: {other}", file=sys.stderr)
        raise errors[0]


def _measure(here: Bench, target: Target, plan: Plan, extra: _Extra) -> list[Profile | HwnasError]:
    session = here.session(target)
    jobs, errors = here.usable(target, plan)
    found: list[Profile | HwnasError] = [*errors]
    if not jobs:
        return found
    reference_ms = here.reference_ms(target)
    harness_us = extras.harness_us(session, target)
    plan = dataclasses.replace(plan, meter=here.meter(target))
    results = profile_all(session, jobs, target, reference_ms=reference_ms, plan=plan, on_event=here.progress.hear)
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, Profile):
            try:
                result = dataclasses.replace(result, harness_us=harness_us)
                result = _with_extras(session, job, result, extra, here.progress.hear)
                here.store.add_profile(result)
            except HwnasError as error:
                result = type(error)(f"{label(target)}: {error}")
        found.append(result)
    return found


def _with_extras(session: Session, job: Job, profile: Profile, extra: _Extra, hear: OnEvent) -> Profile:
    target = profile.target
    if extra.operators:
        hear("pass", {"model": job.name, "pass": "operators", "number": 0, "of": 1})
        profile = dataclasses.replace(profile, operators=extras.operators(session, job, target))
    if extra.callers:
        hear("pass", {"model": job.name, "pass": f"{extra.callers} callers", "number": 0, "of": 1})
        profile = dataclasses.replace(profile, concurrent=extras.concurrent(session, job, target, extra.callers))
    if extra.sustain_s:
        what = f"a steady load for {extra.sustain_s:g} s"
        hear("pass", {"model": job.name, "pass": what, "number": 0, "of": 1})
        sustained = extras.sustained(session, job, target, extra.sustain_s)
        flags = ("throttled",) if sustained["throttled_windows"] and "throttled" not in profile.flags else ()
        profile = dataclasses.replace(profile, sustained=sustained, flags=profile.flags + flags)
    return profile


def _swept(target: Target, sweeps: Sequence[str], setting: Setting) -> list[Target]:
    """'threads=1,2' and 'batch=1,8': every combination."""
    axes = []
    for text in sweeps:
        match = re.fullmatch(r"(threads|batch)=(\d+(?:,\d+)*)", text)
        if match is None:
            raise InputError(f"--sweep: given {text!r}; accepted: threads=1,2,4 or batch=1,8")
        axes.append([(match[1], int(value)) for value in match[2].split(",")])
    fixed = {"threads": target.threads, "batch": target.batch, "precision": target.precision}
    return [setting.fleet.target(target.name, fixed | dict(chosen)) for chosen in itertools.product(*axes)]
