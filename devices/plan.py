"""What is to be measured, and how much of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import energy, energy_pass
from profiles.errors import InputError
from profiles.records import Target

# The default is for a search: about 2 s a model, a part of it for five processes to start.
PROCESSES = 3
GROUPS = 11
BLOCK_MS = 4.0
WARM_UP_MS = 20.0
_EXTRA_GROUPS = 2  # times the groups asked for: at most this many run where some are disturbed
_ENOUGH = 2  # times the time that the groups asked for take of a model whose runs are shorter than a block


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model to profile.

    ``reference``: an .npz written by ``write_reference``, the outputs that are right (those of torch at export).
    Without it they come from ``reference_model`` (for a converted model: the fp32 one it came from), else from the
    model itself, run on one CPU thread without optimisations.
    """

    model: Path
    name: str
    reference: Path | None = None
    reference_model: Path | None = None
    shapes: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    inputs: Path | None = None  # .npz to time with, by input name; default random
    program: Path | None = None  # the same model as a torch program, for engines that take those; see devices.artifact
    precision: str | None = None  # of ``model``; default: the target's
    flags: tuple[str, ...] = ()  # go into the record

    def __post_init__(self) -> None:
        """Raises InputError."""
        if self.shapes and self.inputs:
            given = ", ".join(f"{name}={'x'.join(map(str, sizes))}" for name, sizes in self.shapes.items())
            raise InputError(
                f"given inputs in {self.inputs} and the shape {given}; accepted: one of them: a file has its own"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured: each process runs ``groups`` undisturbed groups of four blocks of ``block_ms``.

    ``within``: measure on, process by process, until the 95 % interval of the calibrated latency has this half-width
    (0.01 is 1 %) or the latency pass of a model has taken ``budget_s``; ``processes`` is then the least number.
    ``None``: exactly ``processes``.
    ``hurried``: a process ends early where runs are longer than blocks were to be. Without, the default plan gives at
    least 66 times also of a model that takes long, and a 90th percentile needs 64.
    """

    processes: int = PROCESSES
    groups: int = GROUPS
    block_ms: float = BLOCK_MS
    warm_up_ms: float = WARM_UP_MS
    hurried: bool = True
    within: float | None = None
    budget_s: float = 30.0
    interval_ms: float | None = None  # from the start of one inference to that of the next; None: back to back
    memory: bool = True
    meter: Mapping[str, Any] | None = None  # one of ``Fleet.meters``; ``None``: energy is not measured
    energy_windows: int = energy.MIN_WINDOWS
    max_window_s: float = 120.0  # of an energy window, which is as long as the meter needs
    deadline_s: float = 300.0  # for one pass
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError: one process cannot say how the next one will differ, so two is the least."""
        least = {"processes": 2, "groups": 1, "block_ms": 0.1, "warm_up_ms": 0.0, "deadline_s": 0.1}
        least |= {"energy_windows": energy.MIN_WINDOWS, "max_window_s": energy_pass.LEAST_WINDOW_S}
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise InputError(f"{name}: given {getattr(self, name)}; accepted: from {value}")
        above = {"within": self.within, "budget_s": self.budget_s, "interval_ms": self.interval_ms}
        for name, given in above.items():
            if given is not None and not 0 < given < math.inf:
                raise InputError(f"{name}: given {given}; accepted: a number above 0")

    @property
    def max_groups(self) -> int:
        """Where some are disturbed. With an interval to reach, further processes replace what was disturbed."""
        return self.groups * _EXTRA_GROUPS if self.within is None else some_more(self.groups)

    @property
    def enough_ms(self) -> float | None:
        return enough_ms(self.groups, self.block_ms) if self.hurried else None


# For one model at a time, where the figure itself is the result. Short processes, so that there are many: they differ
# more than blocks do. Blocks of 5 ms, so that both arms of a group meet the same machine also where a neighbour on the
# same physical core, which a virtual machine cannot see, comes and goes several times a second.
PRECISE = Plan(processes=3, groups=16, block_ms=5.0, warm_up_ms=30.0, within=0.01)


def some_more(groups: int) -> int:
    """``max_groups`` of a process that others stand in for."""
    return groups + max(1, groups // 5)


def enough_ms(groups: int, block_ms: float) -> float:
    """When a process of two arms, whose runs are longer than its blocks were to be, has run enough groups."""
    return _ENOUGH * groups * 4 * block_ms


def aim(target: Target, job: Job) -> Target:
    """The target as ``job`` uses it: in the precision that its file has."""
    return target if job.precision is None else dataclasses.replace(target, precision=job.precision)
