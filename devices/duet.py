"""Two models, or two targets of one device, against each other: in alternating blocks, in as many fresh processes as a
verdict needs.

Both are loaded in every process, in an order that alternates from process to process: which one lies where in memory
makes a difference of its own. Where they cannot share one, since their engine, interpreter or threads differ, each
has a resident process beside it (``devices.residents``). Method: duet benchmarking, arXiv 2001.05811.
"""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from devices import conditions, onnxfile
from devices.assemble import blocks_of, provenance, settle
from devices.measure import check, feeding
from devices.plan import PRECISE, Job, aim, enough_ms, some_more
from devices.protocol import Record
from devices.session import OnEvent, Session
from profiles import statistics, verdicts
from profiles.comparisons import Comparison
from profiles.errors import InputError, MeasurementError
from profiles.records import Block, Target
from profiles.verdicts import MIN_PROCESSES, Verdict

# Two processes that take turns: handing over takes processor time, which in a short block looks like a disturbance.
_RIVALS_GROUPS, _RIVALS_BLOCK_MS = 4, 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DuetPlan:
    """``budget_s`` is for the latency passes; looks are taken at quarters of it, once there are enough processes.

    ``interval_within``: measure for the ratio instead: until its 95 % interval has this half-width, looked at after
    every process; the verdict is then that of the last look.
    """

    budget_s: float = 30.0
    floor: float = verdicts.FLOOR
    interval_within: float | None = None
    groups: int = PRECISE.groups
    block_ms: float = PRECISE.block_ms
    warm_up_ms: float = PRECISE.warm_up_ms
    interval_ms: float | None = None
    least: int = MIN_PROCESSES + 2  # processes before the first look: with 3 an interval of 99.75 % is of no use
    deadline_s: float = 300.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("budget_s", "interval_within", "interval_ms"):
            given = getattr(self, name)
            if given is not None and not 0 < given < math.inf:
                raise InputError(f"{name}: given {given}; accepted: a number above 0")
        if not 0 <= self.floor < 1:
            raise InputError(f"floor: given {self.floor}; accepted: from 0, below 1; 0.01 is 1 %")


def compare(
    session: Session,
    base: Job,
    other: Job,
    target: Target,
    *,
    base_target: Target | None = None,
    plan: DuetPlan | None = None,
    on_event: OnEvent | None = None,
) -> Comparison:
    """The verdict on ``other`` on ``target`` against ``base`` on ``base_target`` (``None``: the same), after parity of
    both. The jobs hold what their targets run, see ``devices.artifact``.

    Raises InputError, UnavailableError, ParityError and MeasurementError, as ``measure.profile`` does.
    """
    plan = plan or DuetPlan()
    against = base_target or target
    if against.device != target.device:
        raise InputError(f"a duet: given targets of {against.device} and {target.device}; accepted: of one device")
    together = _together(against, target)
    if not together:
        longer = max(plan.block_ms, _RIVALS_BLOCK_MS)
        plan = dataclasses.replace(plan, groups=min(plan.groups, _RIVALS_GROUPS), block_ms=longer)
    tell = on_event or (lambda kind, data: None)
    name = f"{base.name} / {other.name}"
    digests = []
    for job, where in ((base, against), (other, target)):
        tell("pass", {"model": job.name, "pass": "parity", "number": 0, "of": 1})
        digests.append(check(session, job, where, seed=plan.seed, deadline_s=plan.deadline_s))
    answers: dict[int, Record] = {}
    turn = random.Random(plan.seed).randrange(2)
    spent_s, looks = 0.0, 0
    verdict: Verdict | None = None
    while True:
        number = len(answers)
        about = {"verdict": verdict.verdict, "ratio": verdict.ratio} if verdict else {}
        tell("pass", {"model": name, "pass": "duet", "number": number, "of": None, **about})
        start = session.clock_s()
        try:
            arms = [_arm(session, "base", base, against), _arm(session, "other", other, target)]
            ordered = arms if (number + turn) % 2 == 0 else arms[::-1]
            answers[number] = _process(session, "latency" if together else "rivals", ordered, plan, number)
        except MeasurementError as error:
            raise type(error)(f"{name}: {error}") from None
        spent_s += session.clock_s() - start
        over = spent_s * (1 + 1 / len(answers)) > plan.budget_s
        due = plan.interval_within is not None or spent_s >= plan.budget_s * (looks + 1) / verdicts.LOOKS
        if len(answers) < plan.least or not (over or due):
            continue
        looks = verdicts.LOOKS if over or plan.interval_within is not None else looks + 1
        flags, used = _settled(answers, plan)
        ratios = statistics.group_log_ratios(used, "other", "base")
        verdict = verdicts.judge(ratios, floor=plan.floor, look=looks, seed=plan.seed)
        if over or _enough(verdict, plan.interval_within):
            break
    found = conditions.summary([answers[number] for number in sorted(answers)])
    device = session.fingerprint(target)
    return Comparison(
        base=base.name,
        other=other.name,
        base_digest=digests[0],
        other_digest=digests[1],
        target=target,
        base_target=base_target,
        device=device,
        base_device=session.fingerprint(base_target) if base_target else None,
        verdict=verdict,
        base_ms=_median_ms(used, "base"),
        other_ms=_median_ms(used, "other"),
        stopped="decided" if _enough(verdict, plan.interval_within) else "budget",
        flags=flags + conditions.flags(found),
        conditions=found,
        blocks=blocks_of(answers),
        **provenance(device),
    )


def _process(session: Session, operation: str, arms: list[dict[str, Any]], plan: DuetPlan, number: int) -> Record:
    return session.request(
        operation,
        target=arms[0]["target"],
        arms=arms,
        seed=plan.seed + number,
        groups=plan.groups,
        max_groups=some_more(plan.groups),
        enough_ms=enough_ms(plan.groups, plan.block_ms),
        block_ms=plan.block_ms,
        warm_up_ms=plan.warm_up_ms,
        interval_ms=plan.interval_ms,
        deadline_s=plan.deadline_s,
    )


def _together(first: Target, second: Target) -> bool:
    """Whether one process can hold both, neither of them noticing the other."""
    return all(getattr(first, key) == getattr(second, key) for key in ("engine", "provider", "threads", "python"))


def _arm(session: Session, name: str, job: Job, target: Target) -> dict[str, Any]:
    return {
        "name": name,
        "target": aim(target, job).to_dict(),
        "model": session.put(job.model, onnxfile.external_files(job.model)),
        **feeding(session, job),
    }


def _settled(answers: dict[int, Record], plan: DuetPlan) -> tuple[tuple[str, ...], tuple[Block, ...]]:
    return settle(blocks_of(answers), processes=len(answers), groups=plan.groups, over="other", under="base")


def _enough(verdict: Verdict, within: float | None) -> bool:
    low, high = verdict.ratio_ci95
    return verdict.verdict != "undecided" if within is None else high / low <= (1 + within) ** 2


def _median_ms(blocks: tuple[Block, ...], arm: str) -> float:
    return float(np.median([time for block in blocks if block.arm == arm for time in block.latencies_ns])) / 1e6
