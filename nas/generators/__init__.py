"""Generators propose candidates. One file each; the file's name is the name in ``[search] generator``.

A generator is a module with ``create(spec, seed) -> Generator``, ``STARTS_ITSELF = True`` where it wants no random
phase before it, and ``SCOUTS = True`` where it learns from candidates that were measured and not trained: then it has
``scout(seen) -> Choices | None`` as well, which chooses one, and is told of them. ``TRANSFERS = True``: it makes use of
``Spec.transfer`` and ``Spec.trained``; ``OPTIONS = True``: it takes ``[search] options``, and refuses those that it
does not know. What it need not care about, because ``nas.generate.AskTell`` does: duplicates of proposals of others,
the initial phase, falling back, resuming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Choices = dict[str, Any]
Seen = Callable[[Choices], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``threshold``: the reference point's coordinate; ``None``: the generator finds one itself."""

    name: str
    goal: Literal["max", "min"]
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A hard limit on a metric, which may or may not be an objective as well."""

    name: str
    op: Literal["<=", ">="]
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Figures (n,) of another device or an earlier study that tell of ``metric``, a modelled one of this study."""

    metric: str
    choices: Sequence[Choices]
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A candidate that costs a profile and no training: that was done in an earlier search. ``values``: what it gave
    then of this study's metrics; a target of another precision may make something else of it. May be empty."""

    choices: Choices
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is searched. A parameter: {"name", "values", "ordered"} or {"name", "low", "high", "log", "integer"}.

    ``input_shape`` and ``outputs``: of the data, for generators that look at the networks; ``None``: not known.
    """

    parameters: Sequence[Mapping[str, Any]]
    objectives: Sequence[Objective]
    limits: Sequence[Limit] = ()
    space: str | None = None
    input_shape: Sequence[int] | None = None
    outputs: int | None = None
    generator: str = "hwnas"
    initial: int = 8  # proposals of the random phase
    options: Mapping[str, Any] = field(default_factory=dict)
    transfer: Sequence[Transfer] = ()  # for generators with ``TRANSFERS``
    trained: Sequence[Trained] = ()  # for these, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """``sems``: standard errors; a metric either has one in every observation or in none.

    ``status``: ``pending`` (being evaluated), ``done`` (metrics may be missing: a gated candidate has no accuracy),
    ``failed`` (never to be proposed again, nothing learnt), ``scouted`` (measured and not trained, or about to be: the
    candidate stays to be proposed; told to generators with ``SCOUTS`` alone).
    """

    choices: Choices
    status: Literal["pending", "done", "failed", "scouted"]
    values: Mapping[str, float] = field(default_factory=dict)
    sems: Mapping[str, float] = field(default_factory=dict)


class Generator(Protocol):
    def propose(self, seen: Seen) -> Choices | None:
        """One candidate for which ``seen`` is false; ``None`` if it could find none.

        The proposal is observed as pending next, in its canonical form, before anything else happens."""
        ...

    def observe(self, observation: Observation) -> None:
        """Told once as pending, and once as done or failed."""
        ...
