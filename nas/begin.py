"""What a search begins with: its targets calibrated, its limits as numbers, what its generator is told of the study."""

from __future__ import annotations

from typing import Any

from nas.bench import Bench
from nas.data import Dataset
from nas.folder import RunFolder
from nas.journal import Journal
from nas.plan import Plan
from nas.presence import Presence
from nas.study import Study, parameters_of
from nas.transfer import kept
from profiles.errors import InputError


def begin(study: Study, folder: RunFolder, bench: Bench, journal: Journal, data: str | None = None) -> None:
    """Calibrate the targets, so that "4x" is a number and stays the same one for the whole study. ``data``: the digest
    of what the networks are trained on, ``None`` where none is.

    Raises InputError where the targets or the data are others than when the run was begun.
    """
    described = bench.described()
    if journal.last("started") is None:
        journal.notify("calibrating", targets=list(described))
        limits = [{"name": c.metric, "op": c.op, "bound": _bound(c.bound, c.target, bench)} for c in study.constraint]
        references = {name: bench.reference_ms(name) for name in described}
        while journal.last("started") is None:  # another controller may be quicker
            about = {"targets": described, "limits": limits, "references_ms": references, "data": data}
            if journal.append_now("started", None, **about, parameters=parameters_of(study)):
                return
    begun = journal.last("started")
    if begun is not None and begun.data["targets"] != described:
        raise InputError(
            f"{folder.path}: the targets differ from those it was begun with; begin anew with another --out"
        )
    if begun is not None and None not in (known := begun.data.get("data"), data) and known != data:
        raise InputError(f"{folder.path}: the data is not what it was begun with; begin anew with another --out")
    journal.append("resumed", None)


def seed_offset(journal: Journal, presence: Presence) -> int:
    """0 where no other controller was there before this one; else a number that no other one has.

    Also of those that begin at once: the place of an event is that of one of them alone.
    """
    begun = [*journal.every("started"), *journal.every("resumed")]  # the first one wrote no "resumed"
    own = max(event.seq for event in begun if event.data.get("by") == journal.me)
    before = {event.data.get("by") for event in begun if event.seq < own} - {journal.me}
    return own if any(not presence.gone(name) for name in before) else 0


def _bound(bound: float | str, target: str | None, bench: Bench) -> float:
    if isinstance(bound, str):
        return float(bound.removesuffix("x")) * bench.reference_ms(target or "local")
    return float(bound)


def spec_of(study: Study, plan: Plan, data: Dataset) -> dict[str, Any]:
    """The study as ``nas.generate.parse`` takes it."""
    objectives = [{"name": o.name, "goal": o.goal, "threshold": o.threshold} for o in plan.objectives]
    return {
        "parameters": parameters_of(study),
        "objectives": objectives,
        "constraints": [{"name": limit.name, "op": limit.op, "bound": limit.bound} for limit in plan.limits],
        "space": study.full_space,
        "input_shape": list(data.input_shape),
        "outputs": data.outputs,
        "generator": study.search.generator,
        "initial": study.search.initial_trials,
        "options": study.search.options,
    } | (kept(plan.folder) or {})
