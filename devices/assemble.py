"""One record out of what the passes of one model brought."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from devices import conditions
from devices.bundle import agent_digest, calibration_digest
from devices.metering import Metered
from devices.plan import Plan
from devices.protocol import Record
from profiles import statistics
from profiles.clock import utc_now
from profiles.errors import HwnasError
from profiles.records import Arm, Block, Calibration, Profile, Target

_LEAST_QUIET = 3  # processes


@dataclass(slots=True, kw_only=True)
class Taken:
    """The answers of the agent for one model so far. ``error``: why there will be no record."""

    model: str
    digest: str = ""
    shapes: dict[str, list[int]] = field(default_factory=dict)
    model_size_mb: float | None = None
    flags: tuple[str, ...] = ()  # that come with the model's file
    parity: Record = field(default_factory=dict)
    latency: dict[int, Record] = field(default_factory=dict)  # process -> answer
    half_width: float | None = None  # of the interval so far, relative; see devices.rounds
    memory: Record | None = None
    metered: Metered = field(default_factory=Metered)
    error: HwnasError | None = None


def assemble(one: Taken, target: Target, device: dict[str, Any], *, reference_ms: float | None, plan: Plan) -> Profile:
    """``device``: its fingerprint. ``reference_ms``: ``None``, or a paced plan, takes the calibration model's time in
    these blocks."""
    blocks = blocks_of(one.latency)
    flags, used = settle(blocks, processes=len(one.latency), groups=plan.groups)
    ratios = statistics.group_log_ratios(used, "model", "calibration")
    log_ratio = statistics.two_level_bootstrap(ratios, seed=plan.seed)
    low, high = log_ratio.interval(0.95)
    stopped = "plan"
    if plan.within is not None:
        reached = (high - low) / 2 <= math.log1p(plan.within)
        stopped = f"within {100 * plan.within:g} %" if reached else "budget"
        flags += () if reached else ("unsettled",)
    found = conditions.summary([answer for _, answer in sorted(one.latency.items())])
    times_ns = _times(used, "model")
    median_ms = float(np.median(times_ns)) / 1e6
    measured_ms = float(np.median(_times(used, "calibration"))) / 1e6
    if plan.interval_ms and median_ms > plan.interval_ms:
        flags += ("interval_missed",)
    if plan.interval_ms:  # back to back, as the reference was taken, the model is faster than in a paced block
        reference_ms = None
    clock = Calibration(digest=calibration_digest(), measured_ms=measured_ms, reference_ms=reference_ms or measured_ms)
    calibrated_ms = clock.reference_ms * math.exp(log_ratio.value)
    memory = one.memory or {"peak_memory_mb": None, "reason": "the memory pass was not asked for"}
    missing = one.metered.missing()
    on_device = [time_ms for answer in one.latency.values() for time_ms in answer.get("device_ms") or ()]
    if not on_device:
        how = " with transfers" if target.transfers and target.provider in ("cuda", "tensorrt") else ""
        missing["device_latency_ms"] = (
            f"engine {target.engine} on {target.provider}{how} has no timing by device events"
        )
    builds = [answer["build_ns"] for answer in one.latency.values() if answer.get("build_ns") is not None]
    if not builds:
        missing["build_ms"] = f"engine {target.engine} on {target.provider} does not time a build apart from load_ms"
    if memory["peak_memory_mb"] is None:
        missing["peak_memory_mb"] = memory["reason"]
    return Profile(
        model=one.model,
        digest=one.digest,
        target=target,
        device=device,
        provider=target.provider,
        node_providers=one.parity["node_providers"],
        fallen_back=one.parity["fallen_back"],
        fallback_percent=one.parity["fallback_percent"],
        calibration=clock,
        latency_ms=statistics.percentiles_ms(times_ns),
        latency_ms_calibrated=calibrated_ms,
        latency_ms_sem=calibrated_ms * log_ratio.sem,
        throughput_per_s=target.batch / median_ms * 1e3,
        samples=len(times_ns),
        device_latency_ms=float(np.median(on_device)) if on_device else None,
        latency_ms_ci95=(clock.reference_ms * math.exp(low), clock.reference_ms * math.exp(high)),
        stopped=stopped,
        shapes=one.shapes,
        interval_ms=plan.interval_ms,
        load_ms=_median(one.latency.values(), "load_ns"),
        build_ms=float(np.median(builds)) / 1e6 if builds else None,
        first_run_ms=_median(one.latency.values(), "first_run_ns"),
        peak_memory_mb=memory["peak_memory_mb"],
        model_size_mb=one.model_size_mb,
        output_error=one.parity["output_error"],
        conditions=found,
        flags=(*one.flags, *flags, *conditions.flags(found), *one.metered.flags),
        missing=missing,
        blocks=blocks,
        **one.metered.fields(),
        **provenance(device),
    )


def provenance(device: Mapping[str, Any]) -> dict[str, Any]:
    """The fields ``versions``, ``time`` and ``command`` of a record that is made now."""
    versions = {**device["versions"], "agent": agent_digest()}
    return {"versions": versions, "time": utc_now(), "command": shlex.join(sys.argv)}


def blocks_of(answers: Mapping[int, Record]) -> tuple[Block, ...]:
    """``answers``: of latency passes, by process."""
    return tuple(
        Block(process=process, group=group, arm=arm, latencies_ns=tuple(times), disturbed=bool(reasons))
        for process, answer in sorted(answers.items())
        for group, arm, times, reasons, *_ in answer["blocks"]
    )


def settle(
    blocks: Sequence[Block], *, processes: int, groups: int, over: Arm = "model", under: Arm = "calibration"
) -> tuple[tuple[str, ...], tuple[Block, ...]]:
    """Flags, and the blocks to compute with.

    Those are the undisturbed blocks of the processes of which at least half of ``groups``, or of as many as were run,
    are undisturbed, where that is every process, or at least 3 and half of all. Else the machine stayed disturbed: all
    blocks, and a flag.
    """
    quiet = statistics.quiet_groups(blocks, over, under)
    ran = Counter(process for process, _ in {(block.process, block.group) for block in blocks})
    good = {process for process, count in quiet.items() if count >= min(groups, ran[process]) / 2}
    if len(good) == processes or (len(good) >= _LEAST_QUIET and len(good) >= processes / 2):
        return (), tuple(block for block in blocks if not block.disturbed and block.process in good)
    return ("disturbed",), tuple(dataclasses.replace(block, disturbed=False) for block in blocks)


def _times(blocks: Sequence[Block], arm: str) -> npt.NDArray[np.int64]:
    return np.array([time for block in blocks if block.arm == arm for time in block.latencies_ns], dtype=np.int64)


def _median(answers: Any, key: str) -> float:
    return float(np.median([answer[key] for answer in answers])) / 1e6
